"""The optimizer that grows trees, and the torch parameters beside them."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.tape import Batch


class BoostingOptimizer(torch.optim.Optimizer):
    """Grows one tree per ensemble and step, and steps an optimizer of torch parameters.

    The two are one optimizer to Stable-Baselines3: ``param_groups`` and ``state`` are those of
    the torch optimizer. A schedule that writes ``group["lr"]`` drives the trees too: their rates
    are multiplied by ``group["lr"] / lr``, and a rate below 0 is 0. At the rate 0 a step grows a
    tree that adds nothing, so that later draws and schedules are where the steps are.

    No other optimizer can grow the trees: one that steps parameters of these ensembles, or those
    beside them, while gradients wait here is refused.

    Args:
        ensembles: what to boost; an ensemble without a gradient is left alone.
        torch_optimizer: of the other parameters, if there are any.
        lr: the learning rate at which the trees keep their own rates; 0, as of a policy that was
            loaded alone, refuses to step.
        torch_lr: rate of the torch parameters, constant or at boosting step t, scaled like the
            trees'; None uses ``group["lr"]`` itself.
        reduction: of the loss over the rows of a forward pass, "mean" or "sum".
        targets: parameters that nothing steps, as of target networks of the same policy: an
            optimizer that has them is one over all of the policy.

    Raises:
        ValueError: for another reduction.
    """

    def __init__(
        self,
        ensembles: Sequence[TreeEnsemble],
        torch_optimizer: torch.optim.Optimizer | None = None,
        *,
        lr: float = 1.0,
        torch_lr: float | Callable[[int], float] | None = None,
        reduction: str = "mean",
        targets: Iterable[nn.Parameter] = (),
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        if torch_optimizer is None:  # torch refuses an optimizer of nothing
            torch_optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=lr)
        super().__init__(torch_optimizer.param_groups, torch_optimizer.defaults)
        self.ensembles = tuple(ensembles)
        self.torch_optimizer = torch_optimizer
        self.lr = lr
        self.torch_lr = torch_lr
        self.reduction = reduction
        self.targets = tuple(targets)
        self.fit_seconds = 0.0  # spent growing trees, in n_fits steps
        self.n_fits = 0
        self._share_state()
        _OPTIMIZERS.add(self)

    def _share_state(self) -> None:
        self.param_groups = self.torch_optimizer.param_groups
        self.state = self.torch_optimizer.state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients; forward passes made before this call may still receive one."""
        super().zero_grad(set_to_none)
        for ensemble in self.ensembles:
            ensemble.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Grow one tree in every ensemble that received gradients; step the torch parameters.

        The forward passes on the tapes are used up, also by a step that fails.

        Raises:
            ValueError: if a gradient or the learning rate is NaN or infinite, or the policy was
                loaded alone; every ensemble and parameter is then as it was.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        try:
            if not self.lr > 0.0:
                raise ValueError(
                    "tree rates are relative to the initial learning rate, which must be > 0 "
                    f"to train, got {self.lr}: a policy loaded alone acts, to train load the model"
                )
            batches = [ensemble.batch(self.reduction) for ensemble in self.ensembles]
            self._check_torch_gradients()
            scale = self._scale()
            t = self.ensembles[0].trees.n_steps_done
            started = time.perf_counter()
            self._grow(batches, scale)
            self.fit_seconds += time.perf_counter() - started
            self.n_fits += any(batch is not None for batch in batches)
            rate = self.torch_lr(t) if callable(self.torch_lr) else self.torch_lr
            self._step_torch(None if rate is None else rate * scale)
        finally:
            for ensemble in self.ensembles:
                ensemble.clear_tape()
        return loss

    def _scale(self) -> float:
        """Return what the trees' own rates are multiplied by."""
        lr = float(self.param_groups[0]["lr"])
        if not isfinite(lr):
            raise ValueError(f"the learning rate must be finite, got {lr}")
        return max(0.0, lr) / self.lr

    def _grow(self, batches: Sequence[Batch | None], scale: float) -> None:
        """Grow one tree in every ensemble with a batch, or, where one refuses, in none."""
        grown = []
        try:
            for ensemble, batch in zip(self.ensembles, batches, strict=True):
                if batch is not None:
                    source, rows, grads = batch
                    trees, mark = ensemble.trees, ensemble.trees.mark()
                    weights = ensemble.sample_weight(grads)
                    trees.step(source, grads, rows, sample_weight=weights, lr_scale=scale)
                    grown.append((trees, mark))
        except ValueError:
            for trees, mark in grown:
                trees.rewind(mark)
            raise
        for ensemble in self.ensembles:
            ensemble.trees_changed()

    def _check_torch_gradients(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not parameter.grad.isfinite().all():
                    raise ValueError("gradients must be finite, got NaN or Inf in a parameter")

    def _step_torch(self, lr: float | None) -> None:
        """Step the torch parameters, at the rate ``lr`` in place of the groups' own."""
        written = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = max(group["lr"], 0.0) if lr is None else lr
        try:
            self.torch_optimizer.step()
        finally:
            for group, value in zip(self.param_groups, written, strict=True):
                group["lr"] = value

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the torch optimizer; the trees travel with the policy."""
        return self.torch_optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the torch optimizer."""
        self.torch_optimizer.load_state_dict(state_dict)
        self._share_state()

    def __getstate__(self) -> dict[str, Any]:
        # torch keeps three attributes in copies and pickles; ours are part of the optimizer too
        return {
            **super().__getstate__(),
            "ensembles": self.ensembles,
            "torch_optimizer": self.torch_optimizer,
            "lr": self.lr,
            "torch_lr": self.torch_lr,
            "reduction": self.reduction,
            "targets": self.targets,
            "fit_seconds": self.fit_seconds,
            "n_fits": self.n_fits,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share_state()
        _OPTIMIZERS.add(self)

    def _must_step_for(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether another optimizer steps what is this policy's, while gradients wait here."""
        if not any(ensemble.has_gradients for ensemble in self.ensembles):
            return False
        own = {id(parameter) for group in self.param_groups for parameter in group["params"]}
        own |= {id(parameter) for each in self.ensembles for parameter in each.parameters()}
        own |= {id(parameter) for parameter in self.targets}
        return any(
            id(parameter) in own
            for group in optimizer.param_groups
            for parameter in group["params"]
        )


_OPTIMIZERS: weakref.WeakSet[BoostingOptimizer] = weakref.WeakSet()


def _refuse_others(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Refuse an optimizer over the parameters of a tree policy: its trees would learn nothing."""
    if isinstance(optimizer, BoostingOptimizer):
        return
    for each in list(_OPTIMIZERS):
        if each.torch_optimizer is optimizer:
            return
    if any(each._must_step_for(optimizer) for each in list(_OPTIMIZERS)):
        raise ValueError(
            f"trees are no torch parameters, and {type(optimizer).__name__} over those of their "
            "policy would not train them: step policy.optimizer in its place (of SAC and TD3 "
            "policy.actor.optimizer and policy.critic.optimizer)"
        )


register_optimizer_step_pre_hook(_refuse_others)
