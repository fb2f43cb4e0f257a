"""What files of our policies say beside parameters, and what loading makes of it."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rlshare.trees.torch.optimizer import BoostingOptimizer

Optimizer = torch.optim.Optimizer
_CLASS = "optimizer_class"  # in the state of an optimizer
# Of a group of parameters: the algorithm's, or of no influence on what is learnt.
_NOT_COMPARED = {"params", "lr", "initial_lr", "foreach", "fused", "capturable", "differentiable"}


class SavedPolicy(nn.Module):
    """Mixin: refuses to load what was saved with other options, where no parameter shows them.

    Optimizers begin anew where their class has changed.
    """

    def fixed_options(self) -> dict[str, Any]:
        """Return options, as plain data, without which the same parameters are another function."""
        return {}

    def initial_options(self) -> dict[str, Any]:
        """Return options, as plain data, that are without effect once training has begun."""
        return {}

    def watch_optimizers(self) -> None:
        """Let states of the optimizers tell their class; optimizers lose their hooks in copies."""
        for optimizer in _torch_optimizers(self):
            optimizer.register_state_dict_post_hook(_note_class)
            optimizer.register_load_state_dict_pre_hook(_check_state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.watch_optimizers()

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", None)  # torch's own, beside the parameters
        if metadata is not None:
            metadata[prefix[:-1]].update(fixed=self.fixed_options(), initial=self.initial_options())

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        fixed, initial = self.fixed_options(), self.initial_options()
        for name, saved in local_metadata.get("fixed", {}).items():
            if fixed.get(name) != saved:
                raise RuntimeError(
                    f"{name} must be {saved!r}, with which the policy was saved, got "
                    f"{fixed.get(name)!r}: the same parameters would be another function"
                )
        for name, saved in local_metadata.get("initial", {}).items():
            if initial.get(name, saved) != saved:
                warnings.warn(
                    f"{name} = {initial[name]!r} is without effect, since the saved policy has "
                    f"begun to train from {saved!r} and goes on",
                    UserWarning,
                    stacklevel=2,
                )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def _torch_optimizers(policy: nn.Module) -> Iterator[Optimizer]:
    for owner in (policy, getattr(policy, "actor", None), getattr(policy, "critic", None)):
        found = getattr(owner, "optimizer", None)
        if found is not None:
            yield found.torch_optimizer if isinstance(found, BoostingOptimizer) else found


def _note_class(optimizer: Optimizer, state: dict[str, Any]) -> None:
    state[_CLASS] = type(optimizer).__name__


def _check_state(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any] | None:
    """Return a new state in place of one of another class, None for one that can be loaded."""
    ours, theirs = optimizer.param_groups[0], saved["param_groups"][0]
    own = type(optimizer).__name__
    other = saved.get(_CLASS)
    is_another = other != own
    if other is None:  # older files do not tell, but each class knows what the other does not
        is_another = bool(theirs.keys() - ours.keys() and ours.keys() - theirs.keys())
    if is_another:
        warnings.warn(
            f"the saved optimizer state is of {other or 'another class'}, and optimizer_class is "
            f"{own}: it begins with a new state",
            UserWarning,
            stacklevel=2,
        )
        return optimizer.state_dict()
    names = [name for name in ours if name in theirs and name not in _NOT_COMPARED]
    changed = [name for name in names if theirs[name] != ours[name]]
    if changed:
        kept, given = ({name: group[name] for name in changed} for group in (theirs, ours))
        warnings.warn(
            f"the saved optimizer goes on with {kept}, as with Stable-Baselines3's own policies, "
            f"and not with {given}: change its param_groups after loading",
            UserWarning,
            stacklevel=2,
        )
    return None
