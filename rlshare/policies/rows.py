"""Rollout buffers that tell a tree policy which row of the rollout each sample is.

Pass one as ``rollout_buffer_class``. The observations of a minibatch carry two attributes:
``row_ids`` (int64 [m], rows of the flattened rollout) and ``rollout`` (all observations of the
rollout, whose identity changes with every new rollout). The policy then walks each tree once per
row and rollout, not once per epoch, and may bin the rollout's observations once. Advantages are
those of Stable-Baselines3, by a compiled loop.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from rlshare.returns import gae


class RowsOfRollout(NamedTuple):
    """Which rows of which rollout the observations of a minibatch are."""

    ids: NDArray[np.int64]  # [m]
    rollout: Any  # its observations; their identity tells it from others


def rows_of(obs: Any) -> RowsOfRollout | None:
    """Return the rows that observations of a minibatch know to be, None if they do not know."""
    ids = getattr(obs, "row_ids", None)
    return None if ids is None else RowsOfRollout(ids, obs.rollout)


class CompiledAdvantages(RolloutBuffer):
    """``RolloutBuffer`` with SB3's advantages, computed in one compiled loop."""

    def compute_returns_and_advantage(
        self, last_values: torch.Tensor, dones: NDArray[np.bool_]
    ) -> None:
        """Fill ``advantages`` and ``returns`` [n_steps, n_envs], as SB3's buffer does.

        Args:
            last_values: of the observations after the last step [n_envs] or [n_envs, 1].
            dones: whether episodes ended with the last step [n_envs].
        """
        last = last_values.detach().cpu().numpy().reshape(1, -1)
        ended = np.concatenate([self.episode_starts[1:], dones.reshape(1, -1)]).astype(np.bool_)
        self.advantages = gae(
            self.rewards,
            self.values,
            np.concatenate([self.values[1:], last]),
            terminated=ended,  # SB3 has added a truncated episode's next value to its reward
            dones=ended,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
        )
        self.returns = self.advantages + self.values


class TreeRolloutBuffer(CompiledAdvantages):
    """``RolloutBuffer`` whose samples know their rows."""

    def _get_samples(
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> RolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        observations: Any = samples.observations  # tensors take attributes, their type does not say
        observations.row_ids = batch_inds
        observations.rollout = self.observations
        return samples


class RowDict(dict[str, torch.Tensor]):
    """Dict observations of a minibatch, with the rows of the rollout they are."""

    row_ids: NDArray[np.int64]
    rollout: dict[str, NDArray[Any]]


class DictTreeRolloutBuffer(CompiledAdvantages, DictRolloutBuffer):
    """``DictRolloutBuffer`` whose samples know their rows."""

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> DictRolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        observations = RowDict(samples.observations)
        observations.row_ids = batch_inds
        observations.rollout = self.observations
        return samples._replace(observations=observations)
