"""From Stable-Baselines3 observations to the feature matrix of the trees."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import get_obs_shape
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rlshare.trees.torch.module import refuse_export

Observation = torch.Tensor | NDArray[Any]


class TabularFeatures(BaseFeaturesExtractor):
    """Flattens an observation to one row of features per sample; no scaling, no one-hot.

    Box and MultiBinary give numbers, Discrete and MultiDiscrete one integer category per
    component. A Dict is flattened in the order of its sorted keys. Integers stay exact: the
    matrix is float32 without categories, int64 with nothing else, float64 with both.

    Args:
        observation_space: Box, Discrete, MultiDiscrete, MultiBinary or a Dict of these.
    """

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        parts = _parts(observation_space)
        widths = [int(np.prod(get_obs_shape(part))) for part in parts.values()]  # type: ignore[arg-type]
        super().__init__(observation_space, sum(widths))
        self._keys = tuple(parts)
        self.is_category = np.repeat([_is_categorical(part) for part in parts.values()], widths)
        self.dtype: type[np.generic] = np.float32
        if self.is_category.any():
            self.dtype = np.int64 if self.is_category.all() else np.float64

    @property
    def categorical(self) -> list[int]:
        """Indices of the categorical features."""
        return [int(i) for i in np.flatnonzero(self.is_category)]

    def forward(self, observations: Observation | dict[str, Observation]) -> NDArray[Any]:
        """Return the features [n, features_dim] of n observations, tensors or arrays.

        Discrete observations may be [n] (acting) or [n, 1] (rollout buffers).
        """
        refuse_export()
        if isinstance(observations, dict):
            columns = [self._columns(observations[key]) for key in self._keys]
            return np.ascontiguousarray(np.concatenate(columns, axis=1))
        return np.ascontiguousarray(self._columns(observations))

    def _columns(self, part: Observation) -> NDArray[Any]:
        array = part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else part
        return array.reshape(len(array), -1).astype(self.dtype, copy=False)


def _parts(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """The spaces in the order of their features; a lone space has no key."""
    if not isinstance(space, spaces.Dict):
        return {"": space}
    return {key: space[key] for key in sorted(space)}


def _is_categorical(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
