"""Targets that share the trees of their online ensemble: averages, growth, loading, copies."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.utils import polyak_update

from rlshare.trees import BoostedTrees, TreeParams
from rlshare.trees.torch.optimizer import BoostingOptimizer
from rlshare.trees.torch.target import FollowedEnsemble

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)


def ensemble(n_outputs: int = 2) -> FollowedEnsemble:
    trees = BoostedTrees(3, n_outputs, TreeParams(max_depth=3), learning_rate=0.5)
    return FollowedEnsemble(trees)


def grow(online: FollowedEnsemble, n_trees: int = 1, seed: int = 0) -> None:
    optimizer = BoostingOptimizer([online])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_trees):
        (online(X) * torch.randn(64, online.trees.n_outputs, generator=generator)).mean().backward()
        optimizer.step()


def update(online: FollowedEnsemble, tau: float) -> None:
    polyak_update(online.parameters(), online.target.parameters(), tau)


def outputs(module: Any) -> np.ndarray[Any, Any]:
    return np.asarray(module(X).detach())


def test_the_average_of_weights_is_the_average_of_functions() -> None:
    online = ensemble()
    expected = outputs(online.target).astype(np.float64)
    for k in range(8):
        grow(online, 3, seed=k)
        np.testing.assert_allclose(outputs(online.target), expected, atol=1e-6)
        update(online, 0.3)
        expected += 0.3 * (outputs(online) - expected)
    np.testing.assert_allclose(outputs(online.target), expected, atol=1e-6)
    assert np.abs(outputs(online) - expected).max() > 1e-3  # it follows, and is not there


def test_a_hard_update_is_the_online_ensemble_of_that_moment_bit_for_bit() -> None:
    online = ensemble()
    grow(online, 5)
    update(online, 0.3)
    update(online, 1.0)
    before = outputs(online)
    np.testing.assert_array_equal(outputs(online.target), before)
    grow(online, 4, seed=1)
    np.testing.assert_array_equal(outputs(online.target), before)
    assert online.target.n_full == 5
    assert (outputs(online) != before).any()


@pytest.mark.parametrize("tau", [0.005, 0.3, 0.7])
def test_weights_come_to_one_and_stay(tau: float) -> None:
    online = ensemble()
    grow(online)
    for _ in range(int(20 / tau)):
        update(online, tau)
        outputs(online.target)
    assert online.target.n_full == 1
    np.testing.assert_array_equal(outputs(online.target), outputs(online))


def test_a_refused_step_changes_no_weights() -> None:
    online = ensemble()
    grow(online, 3)
    online(X).sum().mul(torch.inf).backward()
    with pytest.raises(ValueError, match="must be finite"):
        BoostingOptimizer([online]).step()
    assert len(online.weights) == len(online.target.weights) == online.trees.n_trees == 3


def test_a_compaction_takes_only_what_the_target_has_in_full() -> None:
    online = ensemble()
    grow(online, 30)
    update(online, 1.0)
    grow(online, 10, seed=1)
    update(online, 0.5)
    assert online.trees.n_compactable == 30
    before, online_before = outputs(online.target), outputs(online)
    assert online.trees.compact(X, 30, 15)
    assert online.target.weights.tolist() == [1.0] * 15 + [0.5] * 10
    # both moved by the same difference, that of the compacted part
    np.testing.assert_allclose(
        outputs(online.target) - before, outputs(online) - online_before, atol=1e-6
    )
    grow(online, 2, seed=2)
    update(online, 1.0)
    np.testing.assert_array_equal(outputs(online.target), outputs(online))


class Networks(torch.nn.Module):
    """An online and a target network, as policies hold them."""

    def __init__(self, n_outputs: int = 2) -> None:
        super().__init__()
        self.online = ensemble(n_outputs)
        self.target = self.online.target


def averaged() -> Networks:
    networks = Networks()
    for k in range(4):
        grow(networks.online, 2, seed=k)
        update(networks.online, 0.4)
    grow(networks.online, 1, seed=9)
    return networks


def through_a_file(networks: Networks) -> Networks:
    file = io.BytesIO()
    torch.save(networks.state_dict(), file)
    file.seek(0)
    loaded = Networks()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    return loaded


duplicates = pytest.mark.parametrize(
    "duplicate", [through_a_file, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)


@duplicates
def test_copies_share_their_own_trees(duplicate: Callable[[Networks], Networks]) -> None:
    networks = averaged()
    other = duplicate(networks)
    before = outputs(networks.target)
    np.testing.assert_array_equal(outputs(other.target), before)
    np.testing.assert_array_equal(outputs(other.online), outputs(networks.online))
    assert other.online.target is other.target
    grow(other.online, 2, seed=5)
    update(other.online, 1.0)
    np.testing.assert_array_equal(outputs(other.target), outputs(other.online))
    np.testing.assert_array_equal(outputs(networks.target), before)


@duplicates
def test_copies_follow_compactions(duplicate: Callable[[Networks], Networks]) -> None:
    networks = Networks()
    grow(networks.online, 30)
    update(networks.online, 1.0)
    grow(networks.online, 10, seed=1)
    update(networks.online, 0.5)
    other = duplicate(networks)
    assert other.online.trees.n_compactable == 30
    assert other.online.trees.compact(X, 30, 15)
    assert other.target.weights.tolist() == [1.0] * 15 + [0.5] * 10
    assert networks.target.weights.tolist() == [1.0] * 30 + [0.5] * 10


def test_a_state_that_was_loaded_stays_as_it_is() -> None:
    networks, other = averaged(), averaged()
    state = {name: value.clone() for name, value in networks.state_dict().items()}
    kept = state["target.weights"].tolist()
    other.load_state_dict(state)
    update(other.online, 0.5)
    assert other.target.weights.tolist() != kept
    assert state["target.weights"].tolist() == kept


def test_the_target_loads_the_state_of_its_online_ensemble() -> None:
    networks = averaged()
    networks.target.load_state_dict(networks.online.state_dict())
    np.testing.assert_array_equal(outputs(networks.target), outputs(networks.online))


def test_after_the_trees_alone_are_loaded_the_target_equals_them() -> None:
    networks, other = averaged(), Networks()
    other.online.load_state_dict(networks.online.state_dict())
    np.testing.assert_array_equal(outputs(other.target), outputs(networks.online))


@pytest.mark.parametrize("weights", [[1.0] * 8, [1.0] * 10, [1.0] * 8 + [2.0], [[1.0] * 9]])
def test_weights_that_fit_no_trees_are_refused(weights: Any) -> None:
    networks = averaged()
    before = outputs(networks.target)
    with pytest.raises(RuntimeError, match="must be 9 numbers in"):
        networks.target.load_state_dict({"weights": torch.tensor(weights)})
    np.testing.assert_array_equal(outputs(networks.target), before)


def test_trees_of_another_online_ensemble_are_refused() -> None:
    networks, other = averaged(), Networks()
    grow(other.online, 9, seed=3)
    with pytest.raises(RuntimeError, match="got other trees"):
        networks.target.load_state_dict(other.online.state_dict())


@pytest.mark.parametrize("missing", ["online._extra_state", "target.weights"])
def test_an_incomplete_state_is_refused(missing: str) -> None:
    state = averaged().state_dict()
    del state[missing]
    with pytest.raises(RuntimeError, match=f"Missing key.*{missing}"):
        Networks().load_state_dict(state)


def test_trees_of_another_shape_change_nothing() -> None:
    networks = averaged()
    before = outputs(networks.target)
    with pytest.raises(RuntimeError, match="n_outputs"):
        networks.load_state_dict(Networks(n_outputs=3).state_dict())
    np.testing.assert_array_equal(outputs(networks.target), before)
