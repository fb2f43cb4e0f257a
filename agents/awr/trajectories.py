"""Replay buffers as trajectories: rows in the order they happened, with returns and advantages."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecNormalize

from rlshare.policies.rows import RowDict
from rlshare.returns import gae

Rows = NDArray[np.int64]
FloatArray = NDArray[np.float32]


class TrajectorySamples(NamedTuple):
    """Rows of a buffer, m of them."""

    observations: PyTorchObs
    actions: torch.Tensor  # [m, action_dim]
    returns: torch.Tensor  # [m]
    weights: torch.Tensor  # [m]


class TrajectoryBuffer(ReplayBuffer):
    """``ReplayBuffer`` that knows where its episodes end."""

    def end_episodes(self) -> None:
        """Cut the episodes under way: what is added next does not follow from the last rows.

        They count as truncated: the value of what followed stands for the rewards not seen.
        """
        if self.size() > 0:
            last = (self.pos - 1) % self.buffer_size
            under_way = self.dones[last] == 0
            self.dones[last, under_way] = 1
            self.timeouts[last, under_way] = 1

    def trajectories(self, env: VecNormalize | None = None) -> "Trajectories":
        """Return all rows as they are now, normalised as ``env`` does now."""
        return Trajectories(self, env)


class DictTrajectoryBuffer(TrajectoryBuffer, DictReplayBuffer):
    """:class:`TrajectoryBuffer` for Dict observations."""


class Trajectories:
    """The n transitions of a buffer, from several environments, during a training phase.

    Row t * n_envs + e is place t of environment e. The observations of a minibatch carry the
    attributes ``row_ids`` and ``rollout``, as those of a ``TreeRolloutBuffer`` do, so that a tree
    policy adds only new trees to a row that it has seen before.
    """

    returns: FloatArray  # [n]
    advantages: FloatArray  # [n]
    weights: FloatArray  # [n], of the rows in the policy's loss

    def __init__(self, buffer: TrajectoryBuffer, env: VecNormalize | None) -> None:
        size, n_envs = buffer.size(), buffer.n_envs
        self.n_rows = size * n_envs

        def flat(part: NDArray[Any]) -> NDArray[Any]:
            return part[:size].reshape(self.n_rows, *part.shape[2:])

        rows = np.arange(self.n_rows).reshape(size, n_envs).T
        # [n_envs, size], oldest first
        self._in_time: Rows = np.roll(rows, -buffer.pos, axis=1) if buffer.full else rows
        done = flat(buffer.dones) > 0
        truncated = flat(buffer.timeouts) > 0
        self._cut = done.copy()  # no later row belongs to the episode
        self._cut[self._in_time[:, -1]] = True
        # Rows whose next observation has a value and is not another row.
        self.end_rows: Rows = np.flatnonzero(self._cut & ~(done & ~truncated))
        following = _each(buffer.next_observations, lambda part: flat(part)[self.end_rows])
        self.next_observations: PyTorchObs = _each(
            buffer._normalize_obs(following, env), buffer.to_torch
        )
        self._rewards = buffer._normalize_reward(flat(buffer.rewards), env)
        self._rollout: Any = buffer._normalize_obs(_each(buffer.observations, flat), env)
        self._actions = flat(buffer.actions).astype(np.float32, copy=False)
        self._to_torch = buffer.to_torch

    def observations_of(self, rows: Rows) -> PyTorchObs:
        """Return the observations of ``rows`` [m], which know their rows."""
        taken = _each(self._rollout, lambda part: self._to_torch(part[rows]))
        observations: Any = RowDict(taken) if isinstance(taken, dict) else taken
        observations.row_ids = rows
        observations.rollout = self._rollout
        found: PyTorchObs = observations
        return found

    def compute_returns_and_advantages(
        self, values: FloatArray, next_values: FloatArray, gamma: float, gae_lambda: float
    ) -> None:
        """Set ``advantages``, see :func:`rlshare.returns.gae`, and ``returns``, which add values.

        A truncated or unfinished episode goes on with the value of its next observation.

        Args:
            values: V of the rows [n].
            next_values: V of ``next_observations`` [k].
            gamma: discount factor.
            gae_lambda: from 0, one-step differences, to 1, Monte-Carlo returns.
        """
        order = self._in_time
        successors = np.zeros(self.n_rows, np.float32)  # V of what followed, 0 after the end
        successors[order[:, :-1]] = values[order[:, 1:]]
        successors[self._cut] = 0
        successors[self.end_rows] = next_values
        in_time = order.T
        self.advantages = np.empty(self.n_rows, np.float32)
        self.advantages[in_time] = gae(
            self._rewards[in_time],
            values[in_time],
            successors[in_time],
            terminated=np.zeros(in_time.shape, bool),  # no value follows there
            dones=self._cut[in_time],
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        self.returns = self.advantages + values.astype(np.float32)

    def take(self, rows: Rows) -> TrajectorySamples:
        """Return the rows ``rows`` [m]."""
        return TrajectorySamples(
            self.observations_of(rows),
            self._to_torch(self._actions[rows]),
            self._to_torch(self.returns[rows]),
            self._to_torch(self.weights[rows]),
        )


def _each(parts: Any, function: Callable[[NDArray[Any]], Any]) -> Any:
    """Apply a function to an array, or to each in a dict."""
    if isinstance(parts, dict):
        return {key: function(part) for key, part in parts.items()}
    return function(parts)


# Saved models and buffers store class paths: these must outlive the layout of the files.
TrajectoryBuffer.__module__ = DictTrajectoryBuffer.__module__ = "rlshare.agents"
