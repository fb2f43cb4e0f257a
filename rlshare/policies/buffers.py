"""Rollout buffers that tell a tree policy which row of the rollout each sample is.

Pass one as ``rollout_buffer_class``. The observations of a minibatch carry two attributes:
``row_ids`` (int64 [m], rows of the flattened rollout) and ``rollout`` (all observations of the
rollout, whose identity changes with every new rollout). The policy then walks each tree once per
row and rollout, not once per epoch, and may bin the rollout's observations once.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize


class TreeRolloutBuffer(RolloutBuffer):
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


class DictTreeRolloutBuffer(DictRolloutBuffer):
    """``DictRolloutBuffer`` whose samples know their rows."""

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> DictRolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        observations = RowDict(samples.observations)
        observations.row_ids = batch_inds
        observations.rollout = self.observations
        return samples._replace(observations=observations)
