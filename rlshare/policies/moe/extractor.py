"""Features through a layer of experts: the part that all MoE policies have in common."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from torch import Tensor, nn

from rlshare.messages import nearest
from rlshare.moe import MoELayer
from rlshare.moe.reference import Routes

Observations = Tensor | dict[str, Tensor]
TASK_KEY = "task"  # of Dict observations
_BASES: dict[str, type[BaseFeaturesExtractor]] = {"flat": FlattenExtractor, "cnn": NatureCNN}


def moe_options(moe: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of the layer that the plain data ``moe`` gives, and their defaults.

    Beside those of :class:`rlshare.moe.MoELayer` without ``d``: ``width``, the features that go in
    and out of the experts. ``width`` and ``hidden`` are 64, ``activation`` is "tanh" as in SB3's
    MlpPolicy; with tasks one expert is shared.

    Raises:
        ValueError: for an unknown key, with the nearest known one.
    """
    known = [name for name in inspect.signature(MoELayer).parameters if name != "d"]
    for key in moe or {}:
        if key not in (*known, "width"):
            raise ValueError(
                f"moe has no key {key!r}{nearest(key, known)} Known keys: width, {', '.join(known)}"
            )
    options = {"width": 64, "hidden": 64, "activation": "tanh", **(moe or {})}
    options.setdefault("n_shared", 1 if options.get("n_tasks") else 0)
    return options


class MoEExtractor(BaseFeaturesExtractor):
    """Observations, through a first layer, to the experts: features [n, width].

    The task of a row, where ``n_tasks`` is given, is the entry "task" of a Dict observation, or
    else the last ``n_tasks`` features: one-hot, or what a normaliser made of it.

    Args:
        observation_space: of the environment.
        moe: see :func:`moe_options`.
        base: "flat" or "cnn" (Stable-Baselines3's NatureCNN); a Dict is always flattened by key,
            images in it through a NatureCNN.

    Raises:
        ValueError: for an option that breaks its rule, and for more tasks than features.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], moe: Mapping[str, Any] | None, base: str
    ) -> None:
        options = moe_options(moe)
        width = options.pop("width")
        super().__init__(observation_space, width)
        if isinstance(observation_space, spaces.Dict):
            self.base: BaseFeaturesExtractor = CombinedExtractor(observation_space)
            tasks = observation_space.spaces.get(TASK_KEY)
            n_features = 0 if tasks is None else spaces.flatdim(tasks)
        else:
            self.base = _BASES[base](observation_space)
            n_features = 0 if base == "cnn" else self.base.features_dim
        self.experts = MoELayer(width, **options)
        self.n_tasks = self.experts.n_tasks
        if self.n_tasks > n_features:
            raise ValueError(
                f"n_tasks = {self.n_tasks} needs a one-hot task in the observation, its last "
                f"features or a Dict's entry {TASK_KEY!r}, got {observation_space}"
            )
        activation: nn.Module = nn.Tanh() if self.experts.rules.activation == "tanh" else nn.ReLU()
        self.first = nn.Sequential(nn.Linear(self.base.features_dim, width), activation)
        self.last = activation

    def forward(self, observations: Observations, experts: Tensor | None = None) -> Tensor:
        """Return features [n, width] of preprocessed observations.

        ``experts``, int32 [n, top_k], are used instead of those the router would select.
        """
        x = self.first(self.base(observations))
        y: Tensor = self.last(self.experts(x, self.task(observations), experts))
        return y

    def select(self, observations: Observations) -> Tensor:
        """Return the experts int32 [n, top_k] that the router selects."""
        with torch.no_grad():
            return self.experts.select(self.first(self.base(observations)), self.task(observations))

    def routes(self, observations: Observations) -> Routes:
        """Return the routes of preprocessed observations, gates and probabilities included."""
        with torch.no_grad():
            return self.experts.routes(self.first(self.base(observations)), self.task(observations))

    def task(self, observations: Observations) -> Tensor | None:
        """Return the task of each row, one-hot [n, n_tasks], or None without tasks."""
        if not self.n_tasks:
            return None
        if isinstance(observations, dict):
            found = observations[TASK_KEY].flatten(1)
        else:
            found = observations.flatten(1)[:, -self.n_tasks :]
        return nn.functional.one_hot(found.argmax(1), self.n_tasks).to(found.dtype)
