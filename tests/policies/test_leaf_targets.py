"""Targets of leaves that move, beside their online ensembles and in the stock algorithms."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import OBSERVATIONS, ContextualBandit
from quadratic_bandit import QuadraticBandit
from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import polyak_update

from rlshare.trees import BoostedTrees, TreeParams
from rlshare.trees.refitting import REDRAWN_AFTER
from rlshare.trees.torch.optimizer import BoostingOptimizer
from rlshare.trees.torch.target import FollowedEnsemble

TREE = {"learner": "refit", "n_trees": 20}
X = np.random.default_rng(0).normal(size=(512, 3)).astype(np.float32)
STEPS = REDRAWN_AFTER[0] // len(X)  # the next one draws other tests


def ensemble(learner: Any = "refit", n_outputs: int = 2) -> FollowedEnsemble:
    params = TreeParams(max_depth=3, learner=learner, n_trees=20, random_state=0)
    return FollowedEnsemble(BoostedTrees(3, n_outputs, params, learning_rate=3.0))


def move(online: FollowedEnsemble, n_steps: int = 1, seed: int = 0) -> None:
    optimizer = BoostingOptimizer([online])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        weights = torch.randn(len(X), online.trees.n_outputs, generator=generator)
        (online(X) * weights).mean().backward()
        optimizer.step()


def update(online: FollowedEnsemble, tau: float) -> None:
    polyak_update(online.parameters(), online.target.parameters(), tau)


def outputs(module: Any) -> np.ndarray[Any, Any]:
    return np.asarray(module(X).detach())


class Networks(torch.nn.Module):
    """An online and a target network, as policies hold them."""

    def __init__(self, learner: str = "refit", n_outputs: int = 2) -> None:
        super().__init__()
        self.online = ensemble(learner, n_outputs)
        self.target = self.online.target


def averaged(n_steps: int = 3) -> Networks:
    networks = Networks()
    for k in range(n_steps):
        move(networks.online, seed=k)
        update(networks.online, 0.4)
    move(networks.online, seed=99)
    return networks


def through_a_file(networks: Networks) -> Networks:
    file = io.BytesIO()
    torch.save(networks.state_dict(), file)
    file.seek(0)
    loaded = Networks()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    return loaded


class TestEnsembles:
    def test_polyak_updates_average_leaves_in_float64(self) -> None:
        online = ensemble()
        assert len(online.leaves) == len(online.target.leaves) == 0  # before there are trees
        update(online, 0.5)
        expected = np.zeros(20 * 8 * 2)
        for k in range(6):
            move(online, 2, seed=k)
            update(online, 0.05)
            leaves = online.trees.leaves.astype(np.float64)
            np.testing.assert_array_equal(np.asarray(online.leaves), leaves)
            expected += 0.05 * (leaves - expected)
            np.testing.assert_allclose(online.target.leaves, expected, rtol=1e-12)
        tables = [leaves.astype(np.float32) for leaves in (leaves, expected)]
        for module, table in zip((online, online.target), tables, strict=True):
            twin = online.trees.copy()
            np.testing.assert_array_equal(outputs(module), twin.predict(X, leaves=table))

    def test_a_hard_update_is_the_online_ensemble_of_that_moment(self) -> None:
        online = ensemble()
        for tau in (0.3, 1.0):
            move(online, 2)
            update(online, tau)
        before = outputs(online)
        np.testing.assert_array_equal(outputs(online.target), before)
        move(online, 2, seed=1)
        np.testing.assert_array_equal(outputs(online.target), before)

    @pytest.mark.parametrize("n_before", [0, 1, STEPS])
    def test_a_refused_step_changes_neither(self, n_before: int) -> None:
        """Not even of an ensemble whose own step was made before another's was refused."""
        online, other = ensemble(), ensemble()
        move(online, n_before)
        update(online, 0.5)
        before = [*map(torch.clone, (online.leaves, online.target.leaves)), online.trees.to_bytes()]
        (online(X).sum() + other(X).sum() * torch.inf).backward()
        with pytest.raises(ValueError, match="must be finite"):
            BoostingOptimizer([online, other]).step()
        after = [online.leaves, online.target.leaves, online.trees.to_bytes()]
        assert torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1])
        assert before[2] == after[2]

    def test_other_tests_are_followed(self) -> None:
        online = averaged(STEPS).online
        assert online.trees.n_steps_done == STEPS + 1  # they have just been drawn
        np.testing.assert_array_equal(np.asarray(online.leaves), online.trees.leaves)
        before = outputs(online.target)
        update(online, 0.0)
        np.testing.assert_array_equal(outputs(online.target), before)
        update(online, 1.0)
        np.testing.assert_array_equal(outputs(online.target), outputs(online))

    @pytest.mark.parametrize(
        "duplicate", [through_a_file, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
    )
    def test_copies_go_on_alike_over_new_tests(
        self, duplicate: Callable[[Networks], Networks]
    ) -> None:
        networks = averaged()
        other, before = duplicate(networks), outputs(networks.target)
        assert other.online.target is other.target
        for seed in (1, 2):
            move(other.online, STEPS // 2, seed=seed)
            update(other.online, 0.3)
        np.testing.assert_array_equal(outputs(networks.target), before)
        for seed in (1, 2):
            move(networks.online, STEPS // 2, seed=seed)
            update(networks.online, 0.3)
        assert networks.online.trees.to_bytes() == other.online.trees.to_bytes()
        assert torch.equal(networks.target.leaves, other.target.leaves)
        assert (outputs(networks.target) != before).any()

    def test_the_target_loads_the_state_of_its_online_ensemble(self) -> None:
        networks = averaged()
        networks.target.load_state_dict(networks.online.state_dict())
        np.testing.assert_array_equal(outputs(networks.target), outputs(networks.online))

    def test_after_the_trees_alone_are_loaded_the_target_equals_them(self) -> None:
        networks, other = averaged(), Networks()
        other.online.load_state_dict(networks.online.state_dict())
        np.testing.assert_array_equal(outputs(other.target), outputs(networks.online))

    @pytest.mark.parametrize(
        "leaves", [[0.0] * 319, [0.0] * 321, [0.0] * 319 + [np.nan], [1e39] * 320, [[0.0] * 320]]
    )
    def test_leaves_that_fit_no_trees_are_refused(self, leaves: Any) -> None:
        networks = averaged()
        before = outputs(networks.target)
        with pytest.raises(RuntimeError, match="must be 320 finite numbers"):
            networks.target.load_state_dict({"leaves": torch.tensor(leaves, dtype=torch.float64)})
        np.testing.assert_array_equal(outputs(networks.target), before)

    @pytest.mark.parametrize("missing", ["online._extra_state", "target.leaves"])
    def test_an_incomplete_state_is_refused(self, missing: str) -> None:
        state = averaged().state_dict()
        del state[missing]
        with pytest.raises(RuntimeError, match=f"Missing key.*{missing}"):
            Networks().load_state_dict(state)

    @pytest.mark.parametrize(("ours", "theirs"), [("grow", "refit"), ("refit", "grow")])
    def test_trees_of_another_learner_change_nothing(self, ours: str, theirs: str) -> None:
        networks, other = Networks(ours), Networks(theirs)
        for each in (networks, other):
            move(each.online, 2)
            update(each.online, 0.5)
        before = outputs(networks.target)
        with pytest.raises(RuntimeError, match=f"learner must be '{theirs}'.*got '{ours}'"):
            networks.load_state_dict(other.state_dict(), strict=False)
        np.testing.assert_array_equal(outputs(networks.target), before)


def bandit(observation: str = "box", action: str = "discrete", n_envs: int = 4) -> Any:
    kwargs = {"observation": observation, "action": action}
    return make_vec_env(ContextualBandit, n_envs, seed=1, env_kwargs=kwargs)


def agent(algorithm: Any, env: Any = None, policy: dict[str, Any] | None = None,
          **settings: Any) -> Any:  # fmt: skip
    env = env or (bandit() if algorithm is DQN else make_vec_env(QuadraticBandit, 4, seed=1))
    settings = {
        "train_freq": 4, "batch_size": 128, "learning_starts": 64, "seed": 0, "device": "cpu",
    } | settings  # fmt: skip
    return algorithm("GBTPolicy", env, policy_kwargs={"tree": TREE, **(policy or {})}, **settings)


class Watch(BaseCallback):
    """Averages leaves of every ensemble that has a target network, as often as these do."""

    def __init__(self, pairs: Callable[[Any], Any], tau: float) -> None:
        super().__init__()
        self.pairs, self.tau = pairs, tau
        self.expected: dict[int, Any] = {}
        self.n_checked = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        for k, (online, target) in enumerate(self.pairs(self.model)):
            leaves = online.trees.leaves.astype(np.float64)
            old = self.expected.get(k, np.zeros(0))
            old = np.zeros(len(leaves)) if len(old) == 0 else old
            self.expected[k] = (1 - self.tau) * old + self.tau * leaves
            self.n_checked += len(leaves) > 0
            np.testing.assert_allclose(target.leaves, self.expected[k], rtol=1e-12, atol=1e-300)


def pairs_of(model: Any) -> Any:
    found = [*zip(model.critic.trees, model.critic_target.trees, strict=True)]
    if not isinstance(model, SAC):
        found += zip(model.actor.trees, model.actor_target.trees, strict=True)
    return found


@pytest.mark.parametrize("algorithm", [SAC, TD3, DDPG])
def test_targets_in_training_are_averages_of_leaf_tables(algorithm: Any) -> None:
    """One update of the targets a rollout, each after a gradient step."""
    settings = {"policy_delay": 1} if algorithm is TD3 else {}
    model = agent(algorithm, policy={"critic": "quadratic"}, tau=0.1, **settings)
    watch = Watch(pairs_of, 0.1)
    model.learn(400, callback=watch)
    assert watch.n_checked > 20


def test_the_target_of_dqn_is_an_average_of_leaf_tables() -> None:
    """It moves before each gradient step."""
    model = agent(DQN, tau=0.05, target_update_interval=16).learn(128)
    for _ in range(5):
        online, target = (net.trees[0] for net in (model.q_net, model.q_net_target))
        leaves, before = online.trees.leaves.astype(np.float64), target.leaves.numpy().copy()
        n_steps = online.trees.n_steps_done
        model.learn(16, reset_num_timesteps=False)
        assert online.trees.n_steps_done == n_steps + 1
        np.testing.assert_allclose(target.leaves, 0.95 * before + 0.05 * leaves, rtol=1e-12)


def test_a_gradient_step_of_dqn_over_new_tests_keeps_both_functions() -> None:
    model = agent(DQN, batch_size=512, tau=0.02, target_update_interval=16, gamma=0.5,
                  policy={"value_lr": 3.0, "tree": TREE | {"max_depth": 6}})  # fmt: skip
    model.learn(64 + 16 * STEPS)
    online, target = (net.trees[0] for net in (model.q_net, model.q_net_target))
    assert online.trees.n_steps_done == STEPS
    rows = model.replay_buffer.observations[: model.replay_buffer.pos].reshape(-1, 3)
    before = [np.asarray(module(rows).detach()) for module in (online, target)]
    model.train(1, 512)
    after = [np.asarray(module(rows).detach()) for module in (online, target)]
    assert online.trees.n_steps_done == STEPS + 1
    scale = before[0].var()
    assert np.square(before[0] - before[1]).mean() > 0.3 * scale
    assert np.square(after[1] - before[1]).mean() < 0.03 * scale


def test_rows_without_gradients_count_for_all_actions() -> None:
    """Which of them they took is not known."""
    model = agent(DQN, learning_starts=1000, policy={"value_lr": 1.0})
    (online,) = model.q_net.trees
    x, grads = X[:64], np.zeros((64, 3), np.float32)
    grads[:16, 0], grads[16:32, 1] = 1.0, -2.0
    weights = online.sample_weight(grads)
    np.testing.assert_array_equal(weights[:32], grads[:32] != 0)
    np.testing.assert_array_equal(weights[32:], 1.0)
    reference = online.trees.copy()
    reference.step(x, grads, sample_weight=weights)
    (online(x) * torch.from_numpy(grads)).sum().div(64).backward()
    model.policy.optimizer.step()
    np.testing.assert_array_equal(online.trees.predict(x), reference.predict(x))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_dqn_learns_in_bounded_size(observation: str) -> None:
    model = agent(
        DQN, bandit(observation, n_envs=8), {"value_lr": 2.0, "tree": TREE | {"n_trees": 50}},
        gamma=0.0, batch_size=256, exploration_fraction=0.5, exploration_final_eps=0.1,
    ).learn(2000)  # fmt: skip
    assert model.policy.n_trees == 50
    assert evaluate_policy(model, bandit(observation, n_envs=1), 60, warn=False)[0] >= 0.85


@pytest.mark.parametrize("algorithm", [SAC, TD3, DDPG])
@pytest.mark.parametrize("critic", ["nn", "quadratic"])
def test_the_size_of_actors_and_critics_is_constant(algorithm: Any, critic: str) -> None:
    model = agent(algorithm, policy={"critic": critic, "net_arch": [16]}).learn(300)
    n_critics = 0 if critic == "nn" else 1 if algorithm is DDPG else 2
    assert [trees.n_trees for trees in model.policy.ensembles] == [20] * (1 + n_critics)
    assert all(trees.n_steps_done > 5 for trees in model.policy.ensembles)
    if n_critics == 2:  # twins differ by their tests
        first, second = (module.trees for module in model.critic.trees)
        assert first.params.subsample == second.params.subsample == 1.0
        assert (first.predict(np.ones((1, 2))) != second.predict(np.ones((1, 2)))).any()


@pytest.mark.parametrize(("saved", "own"), [("grow", "refit"), ("refit", "grow")])
def test_a_model_of_another_learner_is_refused(saved: str, own: str, tmp_path: Path) -> None:
    agent(DQN, policy={"tree": {"learner": saved}}).learn(200).save(tmp_path / "model")
    with pytest.raises(RuntimeError, match="learner where targets follow"):
        DQN.load(tmp_path / "model", device="cpu",
                 custom_objects={"policy_kwargs": {"tree": {"learner": own}}})  # fmt: skip


def test_a_loaded_model_takes_other_numbers_of_trees(tmp_path: Path) -> None:
    """The next time that tests are drawn."""
    model = agent(DQN, batch_size=512, target_update_interval=16, tau=0.5).learn(200)
    model.save(tmp_path / "model")
    fewer = {"policy_kwargs": {"tree": TREE | {"n_trees": 7}}}
    loaded = DQN.load(tmp_path / "model", env=bandit(), device="cpu", custom_objects=fewer)
    loaded.learn(32 + 16 * STEPS)
    assert loaded.policy.n_trees == 7
    assert len(loaded.q_net_target.trees[0].leaves) == len(loaded.policy.ensembles[0].leaves)
