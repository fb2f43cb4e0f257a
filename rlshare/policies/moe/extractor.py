"""Features through a layer of experts: the part that all MoE policies have in common."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import Tensor, nn

from rlshare import checks
from rlshare.messages import nearest
from rlshare.moe import MoELayer
from rlshare.moe.options import Options
from rlshare.moe.reference import Routes
from rlshare.policies.moe.encoders import EncoderClass, encoder

Observations = Tensor | dict[str, Tensor]
TASK_KEY = "task"  # of Dict observations
ROWS_AT_ONCE = 256  # through a convolution, where rows of a whole rollout are looked at


def moe_options(moe: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of the layer that the plain data ``moe`` gives, and their defaults.

    Beside those of :class:`rlshare.moe.MoELayer` without ``d``: ``width``, the features that go in
    and out of the experts. ``width`` and ``hidden`` are 64, ``activation`` is "tanh" as in SB3's
    MlpPolicy; with tasks one expert is shared.

    Raises:
        ValueError: for an unknown key, with the nearest known one.
    """
    known = [field.name for field in fields(Options) if field.name != "d"]
    for key in moe or {}:
        if key not in (*known, "width"):
            raise ValueError(
                f"moe has no key {key!r}{nearest(key, known)} Known keys: width, {', '.join(known)}"
            )
    options = {"width": 64, "hidden": 64, "activation": "tanh", **(moe or {})}
    options["width"] = checks.integer("width", options["width"], 1)
    options.setdefault("n_shared", 1 if options.get("n_tasks") else 0)
    return options


class MoEExtractor(BaseFeaturesExtractor):
    """Observations, through an encoder and a first layer, to the experts: features [n, width].

    The task of a row, where ``n_tasks`` is given, is the entry "task" of a Dict observation, or
    else the last ``n_tasks`` features: one-hot, or what a normaliser made of it.

    Args:
        observation_space: of the environment.
        moe: see :func:`moe_options`.
        base: class of the encoder; None is Stable-Baselines3's for the space, see
            :func:`rlshare.policies.moe.encoders.encoder_class`.
        base_kwargs: its arguments beside the space.
        normalize_images: False where images are normalised already.

    Raises:
        ValueError: for an option that breaks its rule, and for more tasks than features.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        moe: Mapping[str, Any] | None = None,
        base: EncoderClass | None = None,
        base_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
    ) -> None:
        options = moe_options(moe)
        width = options.pop("width")
        super().__init__(observation_space, width)
        self.base = encoder(observation_space, base, base_kwargs, normalize_images)
        self.experts = MoELayer(width, **options)
        self.n_tasks = self.experts.n_tasks
        if self.n_tasks > self._n_task_features(observation_space):
            raise ValueError(
                f"n_tasks = {self.n_tasks} needs a one-hot task in the observation, its last "
                f"features or a Dict's entry {TASK_KEY!r}, got {observation_space}"
            )
        activation: nn.Module = nn.Tanh() if self.experts.activation == "tanh" else nn.ReLU()
        self.first = nn.Sequential(nn.Linear(self.base.features_dim, width), activation)
        self.last = activation

    def _n_task_features(self, space: spaces.Space[Any]) -> int:
        if isinstance(space, spaces.Dict):
            return spaces.flatdim(space.spaces[TASK_KEY]) if TASK_KEY in space.spaces else 0
        flat = isinstance(self.base, FlattenExtractor) or len(space.shape or ()) < 3
        return get_flattened_obs_dim(space) if flat else 0

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


def extractor_inputs(policy: BasePolicy, obs: Any) -> Any:
    """Return observations, arrays or tensors with a row each, as the extractors take them."""
    tensors = (
        {key: torch.as_tensor(part, device=policy.device) for key, part in obs.items()}
        if isinstance(obs, dict)
        else torch.as_tensor(obs, device=policy.device)
    )
    space = policy.observation_space
    return preprocess_obs(tensors, space, normalize_images=policy.normalize_images)


def expert_layers(policy: BasePolicy) -> Iterator[tuple[str, MoEExtractor]]:
    """Yield the names and extractors of a policy that learn, without those of target networks.

    The names are "shared", or "pi" and "vf", "actor" and "critic", "q_net".
    """
    seen: set[int] = set()
    for path, module in policy.named_modules():
        if not isinstance(module, MoEExtractor) or id(module) in seen or "target" in path:
            continue
        seen.add(id(module))
        name = path.removesuffix("features_extractor").strip("._")
        separate = getattr(policy, "vf_features_extractor", module) is not module
        yield name or ("pi" if separate else "shared"), module


def select_experts(policy: BasePolicy, obs: Any) -> dict[str, Tensor]:
    """Return the experts int32 [n, top_k] that each layer selects, by the layer's name.

    A part of the rows at a time, so that memory does not grow with them.

    Args:
        policy: with expert layers.
        obs: observations as of :func:`extractor_inputs`.
    """
    n = len(next(iter(obs.values()))) if isinstance(obs, dict) else len(obs)
    found: dict[str, list[Tensor]] = {}
    for at in range(0, n, ROWS_AT_ONCE):
        rows = slice(at, at + ROWS_AT_ONCE)
        part = {key: v[rows] for key, v in obs.items()} if isinstance(obs, dict) else obs[rows]
        inputs = extractor_inputs(policy, part)
        for name, layer in expert_layers(policy):
            found.setdefault(name, []).append(layer.select(inputs))
    return {name: torch.cat(parts) for name, parts in found.items()}
