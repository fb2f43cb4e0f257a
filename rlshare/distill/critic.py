"""A critic of the student: values of its own policy, fitted to returns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlshare.returns import gae
from rlshare.trees import BoostedTrees, TreeParams

_RATE = 0.1
_PASSES = 3  # values at the cuts come from the pass before


class Rollout(NamedTuple):
    """T steps of n environments.

    Attributes:
        rows: features that the steps began with [T, n, d].
        next_rows: those that they led to, at the end of an episode its own last ones [T, n, d].
        rewards: [T, n].
        dones: whether the episode ended [T, n].
        truncated: whether a limit cut it, of those that ended [T, n].
    """

    rows: NDArray[Any]
    next_rows: NDArray[Any]
    rewards: NDArray[np.float32]
    dones: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


def fit_values(
    rollout: Rollout,
    gamma: float,
    scale: float,
    params: TreeParams,
    n_trees: int,
    n_threads: int | None = None,
) -> BoostedTrees:
    """Return trees fitted to the discounted returns of a rollout.

    Where a time limit or the end of the rollout cuts an episode, the value of its last state stands
    for what would have come (Pardo et al., "Time Limits in Reinforcement Learning", arXiv
    1712.00378); so trees are fitted three times, each time with the values of the trees before.

    Args:
        rollout: of the policy whose values are wanted.
        gamma: discount.
        scale: that rewards are multiplied by.
        params: of the trees.
        n_trees: how many.
        n_threads: at most so many; None for as many as there are cores.
    """
    shape = rollout.rewards.shape
    X = rollout.rows.reshape(-1, rollout.rows.shape[-1])
    after = rollout.next_rows.reshape(X.shape)
    rewards = (rollout.rewards * scale).astype(np.float32)
    values = next_values = np.zeros(shape, np.float32)
    ended = rollout.dones & ~rollout.truncated
    for _ in range(_PASSES):
        advantages = gae(rewards, values, next_values, ended, rollout.dones, gamma, 1.0)
        model = BoostedTrees(X.shape[1], 1, params, learning_rate=_RATE, n_threads=n_threads)
        model.fit(X, (advantages + values).reshape(-1, 1), n_trees)
        values = model.predict(X).reshape(shape)
        next_values = model.predict(after).reshape(shape)
    return model
