"""What MoE policies share: features from experts, options, copies and files."""

from collections.abc import Mapping
from typing import Any

import torch
from stable_baselines3.common.distributions import Distribution, StateDependentNoiseDistribution
from torch import nn

from rlshare import checks
from rlshare.policies.moe.extractor import MoEExtractor

NetArch = list[int] | dict[str, list[int]] | None


class ExpertPolicy(nn.Module):
    """Mixin in front of a policy of Stable-Baselines3 whose features come from a MoEExtractor."""

    moe: dict[str, Any]
    _encoder: dict[str, Any]

    def _features(self, moe: Mapping[str, Any] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of SB3's policy; what it says of an extractor is the encoder's."""
        encoder = {
            "features_extractor_class": kwargs.pop("features_extractor_class", None),
            "features_extractor_kwargs": kwargs.pop("features_extractor_kwargs", None),
        }
        options = {
            "moe": dict(moe or {}),
            "base": encoder["features_extractor_class"],
            "base_kwargs": encoder["features_extractor_kwargs"],
            "normalize_images": kwargs.get("normalize_images", True),
        }
        self.__dict__.update(moe=dict(moe or {}), _encoder=encoder)  # nn.Module comes later
        return {"features_extractor_class": MoEExtractor, "features_extractor_kwargs": options}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        return {**data, **self._encoder, "moe": self.moe}

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


def with_fused_adam(kwargs: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Let Adam, where nothing else is asked for, take all parameters in one pass.

    A mixture has many that each batch hardly uses, and passes over them would cost as much as its
    active experts.
    """
    adam = kwargs.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam
    if adam and kwargs.get("optimizer_kwargs") is None:
        return {**kwargs, "optimizer_kwargs": {**options, "fused": True}}
    return kwargs


def checked_arch(net_arch: Any, keys: tuple[str, ...], default: list[int]) -> Any:
    """Return hidden layers as a list, or by key, of units.

    Raises:
        ValueError: for units that are no positive integers, and for other keys.
    """
    if net_arch is None:
        return default
    if isinstance(net_arch, Mapping):
        if not set(net_arch) <= set(keys):
            rule = f"a list or a dict of {' and '.join(keys)}" if keys else "a list"
            raise ValueError(f"net_arch must be {rule}, got {net_arch}")
        return {key: _layers(net_arch.get(key, [])) for key in keys}
    if len(net_arch) > 0 and isinstance(net_arch[0], Mapping):  # SB3 before 1.8
        return checked_arch(net_arch[0], keys, default)
    return _layers(net_arch)


def _layers(units: Any) -> list[int]:
    return [checks.integer("units of net_arch", n, 1) for n in units]


def shared_extractor(kwargs: dict[str, Any], shared: bool | None, default: bool) -> bool:
    """Return whether actor and critic have one extractor; SB3's name for it is taken out.

    Raises:
        ValueError: where both names say different things.
    """
    given = kwargs.pop("share_features_extractor", None)
    if None not in (shared, given) and shared != given:
        raise ValueError(
            f"shared and share_features_extractor are one option, got {shared} and {given}"
        )
    known = [value for value in (shared, given) if value is not None]
    return bool(known[0]) if known else default


def without_graph(distribution: Distribution, fresh: Distribution) -> Distribution:
    """Return a fresh distribution that explores as another, which may hang on a graph.

    Torch neither copies nor pickles a graph.
    """
    if isinstance(distribution, StateDependentNoiseDistribution):
        for name in ("exploration_mat", "exploration_matrices"):
            matrix = getattr(distribution, name)
            setattr(fresh, name, None if matrix is None else matrix.detach())
    return fresh
