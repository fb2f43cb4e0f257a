"""What MoE policies share: features from experts, options, copies and files."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution, StateDependentNoiseDistribution
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from rlshare import checks
from rlshare.policies.moe.extractor import MoEExtractor, expert_layers
from rlshare.policies.options import check_optimizer, plain_arch, refuse_unknown
from rlshare.policies.saving import SavedPolicy
from rlshare.policies.spaces import ACTIONS, check_spaces, has_images

_NO_DEVIATION = "it explores by action_noise or exploration_fraction, without a deviation"
# Options of Stable-Baselines3's policies, and of other MoE policies, that one does not have.
_REASONS = {
    "ortho_init": "PPO, A2C and AWR alone begin with orthogonal weights",
    "use_sde": _NO_DEVIATION,
    "log_std_init": _NO_DEVIATION,
    "use_expln": _NO_DEVIATION,
    "full_std": "PPO and A2C alone have it, with use_sde=True",
    "clip_mean": "SAC alone has it, with use_sde=True",
    "squash_output": "actions of SAC and TD3 are always squashed, and Q-values are no actions",
    "n_critics": "it has one value function",
    "share_features_extractor": "it has one network",
    "shared": "it has one network",
    "value_lr_scale": "values are learnt at learning_rate itself",
    "store_routes": "routes are kept for the epochs of a rollout, and a replay buffer has none",
}
_FUNCTION = ("gate", "top_k", "router", "activation", "n_tasks")  # of a mixture
_FUNCTION_OF_SDE = ("use_expln", "clip_mean", "squash_output")
_NOT_WITHOUT_SDE = ("full_std", "use_expln", "squash_output")  # then None in files
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "ortho_init": checks.switch,
    "use_sde": checks.switch,
    "full_std": checks.switch,
    "use_expln": checks.switch,
    "squash_output": checks.switch,
    "normalize_images": checks.switch,
    "log_std_init": checks.finite,
    "clip_mean": checks.non_negative,
    "n_critics": lambda name, value: checks.integer(name, value, 1),
}


class ExpertPolicy(SavedPolicy):
    """Mixin in front of a policy of Stable-Baselines3 whose features come from a MoEExtractor.

    Attributes:
        actions: kinds of actions it takes.
        parts: networks behind the experts that ``net_arch`` may give layers by name, none where
            there is one network.
        layers: of each, where ``net_arch`` says nothing.
        sharing: whether actor and critic have one mixture, where ``shared`` says nothing.
        adam: arguments of the optimizer, where nothing is said of it.
    """

    actions: ClassVar[tuple[str, ...]] = ACTIONS["PPO"]
    parts: ClassVar[tuple[str, ...]] = ()
    layers: ClassVar[tuple[int, ...]] = ()
    sharing: ClassVar[bool] = False
    adam: ClassVar[dict[str, Any]] = {}
    moe: dict[str, Any]
    _encoder: dict[str, Any]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        moe: Mapping[str, Any] | None = None,
        net_arch: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_unknown("MoEPolicy", kwargs, _options_of(type(self)), _REASONS)
        check_spaces("MoEPolicy", observation_space, action_space, self.actions, networks=True)
        given = _checked(kwargs, action_space)
        if self.parts:
            given["share_features_extractor"] = _shared(given, self.sharing)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=checked_arch(net_arch, self.parts, list(self.layers)),
            **self._features(moe, given),
            **_with_fused_adam(given, self.adam),
        )
        self.watch_optimizers()

    def _features(self, moe: Any, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of SB3's policy; what it says of an extractor is the encoder's."""
        if not isinstance(moe, Mapping | None):
            raise ValueError(f"moe must be a dict of options of a mixture, got {moe!r}")
        encoder = {
            "features_extractor_class": given.pop("features_extractor_class", None),
            "features_extractor_kwargs": given.pop("features_extractor_kwargs", None),
        }
        options = {
            "moe": dict(moe or {}),
            "base": encoder["features_extractor_class"],
            "base_kwargs": encoder["features_extractor_kwargs"],
            "normalize_images": given.get("normalize_images", True),
        }
        self.__dict__.update(moe=dict(moe or {}), _encoder=encoder)  # nn.Module comes later
        return {"features_extractor_class": MoEExtractor, "features_extractor_kwargs": options}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        if self.parts:
            data.pop("share_features_extractor", None)
            data["shared"] = self.share_features_extractor
        return {**data, **self._encoder, "moe": self.moe}

    def fixed_options(self) -> dict[str, Any]:
        """Return what makes the function of the parameters, see :class:`SavedPolicy`."""
        given = self._get_constructor_parameters()
        (_, extractor), *_ = expert_layers(self)  # type: ignore[arg-type]
        fixed = {f"moe's {name}": getattr(extractor.experts, name) for name in _FUNCTION}
        fixed["features_extractor_class"] = type(extractor.base).__name__
        fixed["normalize_images"] = given["normalize_images"] and has_images(
            given["observation_space"]
        )
        arch = given["net_arch"]
        if any(arch.values() if isinstance(arch, dict) else arch):
            kind = given["activation_fn"]
            fixed["activation_fn"] = getattr(kind, "__name__", repr(kind))
        if given.get("use_sde"):
            fixed |= {name: given[name] for name in _FUNCTION_OF_SDE if name in given}
        return fixed

    def initial_options(self) -> dict[str, Any]:
        """Return what says where training begins."""
        given = self._get_constructor_parameters()
        has_deviation = hasattr(self, "log_std") or given.get("use_sde")
        return {"log_std_init": given["log_std_init"]} if has_deviation else {}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load parameters, as torch does.

        Raises:
            RuntimeError: if they are those of a policy of another structure (a ValueError would be
                hidden by Stable-Baselines3).
        """
        own = self.state_dict()
        for name, value in own.items():
            stored = state_dict.get(name)
            if stored is not None and stored.shape != value.shape:
                raise RuntimeError(
                    f"the stored policy has another structure: {name} {list(stored.shape)} there, "
                    f"{list(value.shape)} here; load with the moe, shared, net_arch and encoder it "
                    "was made with"
                )
        odd = sorted(k for k in own.keys() ^ state_dict.keys() if not k.endswith("_extra_state"))
        if strict and odd:
            raise RuntimeError(
                f"the stored policy has another structure: {odd[0]} and {len(odd) - 1} more are in "
                "one of both only; load with the moe, shared, net_arch and encoder it was made with"
            )
        return super().load_state_dict(state_dict, strict, assign)


def _options_of(policy: type[ExpertPolicy]) -> list[str]:
    """Return the names of what a policy's constructor takes, as far as SB3's own class."""
    names: dict[str, None] = {"shared": None} if policy.parts else {}
    for each in policy.__mro__:
        names |= dict.fromkeys(inspect.signature(each.__init__).parameters)  # type: ignore[misc]
        if each.__module__.startswith("stable_baselines3"):
            break
    others = ("self", "args", "kwargs", "observation_space", "action_space", "lr_schedule")
    return [name for name in names if name not in others]


def _checked(kwargs: Mapping[str, Any], action_space: spaces.Space[Any]) -> dict[str, Any]:
    """Return options of SB3's policies with their values checked.

    Raises:
        ValueError: for one that breaks its rule.
    """
    given = {k: v for k, v in kwargs.items() if v is not None or k not in _NOT_WITHOUT_SDE}
    for name, check in _CHECKS.items():
        if name in given:
            given[name] = check(name, given[name])
    if given.get("use_sde") and not isinstance(action_space, spaces.Box):
        raise ValueError(f"use_sde must be False unless actions are a Box, got {action_space}")
    if given.get("squash_output") and not given.get("use_sde"):
        raise ValueError("squash_output must be False without use_sde=True, got True")
    activation = given.get("activation_fn", nn.Tanh)
    if not callable(activation) or isinstance(activation, nn.Module):
        raise ValueError(
            f"activation_fn must be a class of modules like torch.nn.Tanh, got {activation!r}"
        )
    check_optimizer(given.get("optimizer_class", torch.optim.Adam), given.get("optimizer_kwargs"))
    return given


def _with_fused_adam(given: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Let Adam, where nothing else is asked for, take all parameters in one pass.

    A mixture has many that each batch hardly uses, and passes over them would cost as much as its
    active experts.
    """
    adam = given.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam
    if adam and given.get("optimizer_kwargs") is None:
        return {**given, "optimizer_kwargs": {**arguments, "fused": True}}
    return given


def checked_arch(net_arch: Any, parts: tuple[str, ...], default: list[int]) -> Any:
    """Return hidden layers as a list, or by part, of units.

    Raises:
        ValueError: for units that are no positive integers, and for other parts.
    """
    rule = f"a list or a dict of {' and '.join(parts)}" if parts else "a list"
    found: Any = default if net_arch is None else plain_arch(net_arch)
    by_part = isinstance(found, Mapping)
    if by_part and not set(found) <= set(parts):
        raise ValueError(f"net_arch must be {rule}, got {net_arch!r}")
    layers = [found.get(part, []) for part in parts] if by_part else [found]
    for each in layers:
        if isinstance(each, str) or not isinstance(each, Sequence | np.ndarray):
            raise ValueError(f"net_arch must be {rule} of units, got {net_arch!r}")
    checked = [[checks.integer("units of net_arch", n, 1) for n in each] for each in layers]
    return dict(zip(parts, checked, strict=True)) if by_part else checked[0]


def _shared(given: dict[str, Any], default: bool) -> bool:
    """Return whether actor and critic have one extractor; the options that say so are taken out.

    Raises:
        ValueError: where both names say different things.
    """
    names = ("shared", "share_features_extractor")
    found = {name: given.pop(name, None) for name in names}
    known = {name: value for name, value in found.items() if value is not None}
    values = [checks.switch(name, value) for name, value in known.items()]
    if len(set(values)) > 1:
        raise ValueError(
            f"shared and share_features_extractor are one option, got {values[0]} and {values[1]}"
        )
    return values[0] if values else default


def without_graph(distribution: Distribution, fresh: Distribution) -> Distribution:
    """Return a fresh distribution that explores as another, which may hang on a graph.

    Torch neither copies nor pickles a graph.
    """
    if isinstance(distribution, StateDependentNoiseDistribution):
        for name in ("exploration_mat", "exploration_matrices"):
            matrix = getattr(distribution, name)
            setattr(fresh, name, None if matrix is None else matrix.detach())
    return fresh
