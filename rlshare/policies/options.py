"""Options that the policies of both families take from Stable-Baselines3's, checked."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rlshare.messages import nearest

# What Stable-Baselines3 does not give: it calls ``step()`` on dense gradients.
_UNFIT = {torch.optim.LBFGS: "a closure", torch.optim.SparseAdam: "sparse gradients"}


def refuse_unknown(
    policy: str, given: Mapping[str, Any], known: Sequence[str], reasons: Mapping[str, str]
) -> None:
    """Refuse options that a policy does not have.

    Args:
        policy: its alias.
        given: the options.
        known: names of those it has.
        reasons: why it has no other, by name.

    Raises:
        ValueError: with the reason, or the nearest known name.
    """
    for name in given:
        if name not in known:
            why = f": {reasons[name]}." if name in reasons else nearest(name, known)
            raise ValueError(
                f"{policy} has no option {name!r} here{why} Its options: {', '.join(known)}"
            )


def plain_arch(net_arch: Any) -> Any:
    """Return ``net_arch`` as it is, but ``[dict(pi=..)]``, SB3's form before 1.8, as the dict."""
    is_old = isinstance(net_arch, Sequence) and len(net_arch) == 1
    return net_arch[0] if is_old and isinstance(net_arch[0], Mapping) else net_arch


def check_optimizer(kind: Any, kwargs: Any) -> None:
    """Refuse an optimizer that Stable-Baselines3 could not make, or not step.

    Args:
        kind: ``optimizer_class``, a class or what makes an optimizer like one.
        kwargs: ``optimizer_kwargs``, or None.

    Raises:
        ValueError: saying what to use.
    """
    is_class = isinstance(kind, type)
    if not callable(kind) or (is_class and not issubclass(kind, torch.optim.Optimizer)):
        raise ValueError(
            f"optimizer_class must be a class of optimizers like torch.optim.Adam, got {kind!r}"
        )
    for unfit, need in _UNFIT.items():
        if is_class and issubclass(kind, unfit):
            raise ValueError(
                f"optimizer_class must step without {need}, like torch.optim.Adam, got {kind!r}"
            )
    check_kwargs("optimizer_kwargs", kwargs, kind, given=("lr",))


def check_kwargs(name: str, kwargs: Any, made: Callable[..., Any], given: Sequence[str]) -> None:
    """Refuse what are no arguments of a class.

    Args:
        name: of the option.
        kwargs: its value, a mapping or None.
        made: the class.
        given: arguments that it gets from elsewhere.

    Raises:
        ValueError: naming those that it has.
    """
    kind = getattr(made, "__name__", repr(made))
    if not isinstance(kwargs, Mapping | None):
        raise ValueError(f"{name} must be a dict of arguments of {kind}, got {kwargs!r}")
    parameters = inspect.signature(made).parameters
    known = [key for key in parameters if key not in ("params", *given)]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for key, value in (kwargs or {}).items():
        if key == "lr":
            raise ValueError(
                f"{name} must be without 'lr', got {value!r}: the rate is the learning_rate of the "
                "algorithm"
            )
        if key in given or (key not in known and not takes_any):
            raise ValueError(
                f"{name} has no {key!r}{nearest(key, known)} Arguments of {kind}: "
                f"{', '.join(known)}"
            )
