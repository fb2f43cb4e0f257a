"""Columns of actions, against the distributions of Stable-Baselines3."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import make_proba_distribution

from rlshare.distill.actions import ActionColumns

SPACES = [
    spaces.Discrete(3),
    spaces.MultiDiscrete([2, 4]),
    spaces.MultiBinary(3),
    spaces.Box(-1.0, 2.0, (2,)),
]


def sb3(space: spaces.Space[Any], F: np.ndarray, log_std: np.ndarray) -> Any:
    distribution: Any = make_proba_distribution(space)
    theta = torch.as_tensor(F)
    if isinstance(space, spaces.Box):
        return distribution.proba_distribution(theta, torch.as_tensor(log_std))
    return distribution.proba_distribution(action_logits=theta)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_best_actions_and_probabilities_are_those_of_sb3(space: spaces.Space[Any]) -> None:
    columns = ActionColumns(space)
    rng = np.random.default_rng(0)
    F = (2 * rng.normal(size=(200, columns.n_columns))).astype(np.float32)
    theirs = sb3(space, F, np.zeros(columns.n_columns, np.float32))
    mode = theirs.mode().numpy()
    if isinstance(space, spaces.Box):
        mode = np.clip(mode, space.low, space.high)
        np.testing.assert_array_equal(columns.link(F), F)
    else:
        parts = theirs.distribution
        parts = parts if isinstance(parts, list) else [parts]
        probabilities = np.concatenate([part.probs.numpy() for part in parts], axis=1)
        np.testing.assert_allclose(columns.link(F), probabilities, atol=1e-6)
    np.testing.assert_array_equal(columns.actions(F), mode)
    assert all(space.contains(action) for action in columns.actions(F))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_drawn_actions_have_those_frequencies(space: spaces.Space[Any]) -> None:
    columns = ActionColumns(space)
    F = np.tile(np.linspace(-1, 1, columns.n_columns, dtype=np.float32), (20_000, 1))
    log_std = np.full(columns.n_columns, -1.5)
    drawn = columns.sample(F, log_std, np.random.default_rng(0))
    again = columns.sample(F, log_std, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, again)
    flat = drawn.reshape(len(drawn), -1)
    if isinstance(space, spaces.Box):
        np.testing.assert_allclose(flat[:, 1].std(), np.exp(-1.5), rtol=0.03)
        return
    p = columns.link(F[:1])[0]
    if not columns.blocks:
        np.testing.assert_allclose(flat.mean(axis=0), p, atol=0.02)
        return
    for i, block in enumerate(columns.blocks):
        share = np.bincount(flat[:, i], minlength=block.stop - block.start) / len(flat)
        np.testing.assert_allclose(share, p[block], atol=0.02)


def test_targets_that_are_sure() -> None:
    columns = ActionColumns(spaces.MultiDiscrete([2, 2]))
    targets = np.array([[0.4, 0.6, 0.9, 0.1]], np.float32)
    assert columns.one_hot(targets).tolist() == [[0, 1, 1, 0]]
    coins = ActionColumns(spaces.MultiBinary(2))
    assert coins.one_hot(np.array([[0.4, 0.6]], np.float32)).tolist() == [[0, 1]]


def test_agreement() -> None:
    columns = ActionColumns(spaces.Discrete(2))
    F = np.array([[0, 1], [1, 0], [2, 3], [5, 0]], np.float32)
    targets = np.array([[0.1, 0.9], [0.6, 0.4], [1, 0], [0.2, 0.8]], np.float32)
    assert columns.agreement(F, targets) == 0.5
    coins = ActionColumns(spaces.MultiBinary(2))
    assert coins.agreement(np.array([[1.0, -1], [1, 1]]), np.array([[0.9, 0.1], [0.9, 0.1]])) == 0.5
    box = ActionColumns(spaces.Box(-1, 1, (1,)))
    targets = np.array([[-1.0], [1.0]], np.float32)
    assert box.agreement(targets * 3, targets) == 1  # beyond the bounds is at the bounds
    assert box.agreement(0 * targets, targets) == 0


def test_another_space_is_refused() -> None:
    with pytest.raises(ValueError, match="got Tuple"):
        ActionColumns(spaces.Tuple([spaces.Discrete(2)]))
