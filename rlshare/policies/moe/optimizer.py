"""A rate of the critic's own, where Stable-Baselines3 sets one rate for all parameters."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rlshare.moe.reference import is_exported


class ScaledGradient(torch.autograd.Function):
    """x, whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        """Return x."""
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, d_x: Tensor) -> tuple[Tensor, None]:
        """Return the gradient times the constant."""
        return ctx.scale * d_x, None


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """Return x, whose gradient is multiplied by ``scale``."""
    if scale == 1.0 or is_exported():
        return x
    y: Tensor = ScaledGradient.apply(x, scale)  # type: ignore[no-untyped-call]
    return y


class ValueRate:
    """Lets a critic learn at a multiple of the rate that is set for all groups of an optimizer.

    Its parameters are the second group; without a multiple there is one group. Optimizers lose
    their hooks when they are copied: their owner then hooks them again.

    Args:
        scale: the multiple.
        module: whose parameters are learnt.
        critic: the parts of it that have the rate.
    """

    def __init__(self, scale: float, module: nn.Module, critic: Iterable[nn.Module]) -> None:
        own = {id(p) for part in critic for p in part.parameters()}
        of_critic = [id(p) in own for p in module.parameters()]
        self.scale = scale
        # Places among the module's parameters, those of the critic apart.
        self._parts = [
            [i for i, found in enumerate(of_critic) if found is value] for value in (False, True)
        ]

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Return the groups of the module's parameters."""
        parameters = list(module.parameters())
        if self.scale == 1.0:
            return [{"params": parameters}]
        return [{"params": [parameters[i] for i in part]} for part in self._parts]

    def hook(self, optimizer: torch.optim.Optimizer) -> None:
        """Scale the critic's rate in every step from now on, and load states of other groups."""
        optimizer.register_load_state_dict_pre_hook(self._regrouped)
        if self.scale != 1.0:
            optimizer.register_step_pre_hook(self._scale)
            optimizer.register_step_post_hook(self._restore)

    def _scale(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        group = optimizer.param_groups[1]
        self._unscaled = group["lr"]
        group["lr"] = group["lr"] * self.scale

    def _restore(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        optimizer.param_groups[1]["lr"] = self._unscaled

    def _regrouped(
        self, optimizer: torch.optim.Optimizer, saved: dict[str, Any]
    ) -> dict[str, Any] | None:
        """A state saved with one group for two, or with two for one: the scale was another.

        Raises:
            RuntimeError: if it is that of other parameters.
        """
        groups = saved["param_groups"]
        n_saved, n = (
            sum(len(group["params"]) for group in found)
            for found in (groups, optimizer.param_groups)
        )
        if n_saved != n:
            raise RuntimeError(
                f"the stored policy has another structure: its optimizer knows {n_saved} "
                f"parameters, this one {n}; load with the moe, shared, net_arch and encoder it was "
                "made with"
            )
        if len(groups) == len(optimizer.param_groups):
            return None
        order = [i for part in self._parts for i in part]
        if len(optimizer.param_groups) == 1:
            order = sorted(range(len(order)), key=order.__getitem__)
        ids = [i for group in groups for i in group["params"]]
        state = {new: saved["state"].get(ids[old]) for new, old in enumerate(order)}
        new_ids = iter(range(len(ids)))
        return {
            **saved,
            "state": {i: moments for i, moments in state.items() if moments is not None},
            "param_groups": [
                {**groups[0], "params": [next(new_ids) for _ in group["params"]]}
                for group in optimizer.param_groups
            ],
        }
