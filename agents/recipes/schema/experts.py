"""``policy_kwargs`` of the policies of experts; the layer checks its own options."""

import inspect
from typing import Any, Literal

from pydantic import PositiveInt

from rlshare.agents.recipes.schema.base import Settings
from rlshare.agents.recipes.schema.options import section_of
from rlshare.moe import MoELayer
from rlshare.moe.options import Options, default_balance
from rlshare.policies.moe.extractor import moe_options

_ARGUMENTS = {
    name: argument.default
    for name, argument in inspect.signature(MoELayer).parameters.items()
    if name != "d"
}


def layer(**moe: Any) -> None:
    """Check the options of a layer; where tasks are not counted, the environment says how many."""
    said = moe_options(moe)
    options = {**_ARGUMENTS, "n_tasks": 1, **said}
    width = options.pop("width")
    if options["balance"] is None:
        options["balance"] = default_balance(options["gate"])
    Options(d=width, **options)


_Layer: Any = section_of(layer, ["width", *_ARGUMENTS])


class ActorCritic(Settings):
    """``policy_kwargs`` of ``rlshare.policies.MoEPolicy``."""

    moe: _Layer | None = _Layer()
    shared: bool | None = None
    value_lr_scale: float | None = None
    store_routes: bool | None = None
    net_arch: list[int] | dict[Literal["pi", "vf"], list[int]] | None = None
    ortho_init: bool | None = None
    log_std_init: float | None = None


class QNetwork(Settings):
    """``policy_kwargs`` of ``rlshare.policies.MoEDQNPolicy``."""

    moe: _Layer | None = _Layer()
    net_arch: list[int] | None = None


class ActorAndCritics(Settings):
    """``policy_kwargs`` of ``rlshare.policies.MoESACPolicy`` and ``MoETD3Policy``."""

    moe: _Layer | None = _Layer()
    shared: bool | None = None
    net_arch: list[int] | dict[Literal["pi", "qf"], list[int]] | None = None
    n_critics: PositiveInt | None = None
