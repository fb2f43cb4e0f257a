"""Boosted trees under any torch loss.

The ensemble's output theta = F(X) enters the graph as a leaf tensor, backward stops there, and
the optimizer turns theta.grad into per-sample gradients and grows one tree (Fuhrer, Tessler,
Dalal, "Gradient Boosting Reinforcement Learning", arXiv 2407.08250, section 4).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlshare.trees import BoostedTrees, Codes

Features = NDArray[Any]
Rows = NDArray[np.int64]
Grads = NDArray[np.float32]
Batch = tuple[Features | Codes, Rows | None, Grads]


class GradClip(NamedTuple):
    """Columns [start, stop) of a row of gradients are scaled to ``max_norm`` if they exceed it."""

    start: int
    stop: int
    max_norm: float


@dataclass
class _TapeEntry:
    """One forward pass that may receive a gradient: theta = F(source[rows])."""

    theta: Tensor
    source: Features | Codes
    rows: Rows | None


@dataclass
class _RowCache:
    """F(s) of the rows of one rollout, for the first ``n_trees`` trees (the margin cache)."""

    rollout: object
    x: Features
    margins: NDArray[np.float32]
    n_trees: int
    n_asked: int  # rows asked for since the margins were brought up to date
    codes: Codes | None
    forest: object  # a compaction replaces it, and what was summed over its trees


class TreeEnsemble(nn.Module):
    """A ``BoostedTrees`` as a torch module, without torch parameters.

    While training and with gradients enabled, every forward pass is kept on a tape until
    ``BoostingOptimizer.step`` or ``train(False)``. The trees travel in the ``state_dict`` as a
    uint8 tensor, so that ``torch.load(weights_only=True)`` reads them. Copies and pickles start
    with an empty tape and without cached rows. The trees use as many threads as torch is set to
    when they come here.

    Args:
        trees: the ensemble, D output columns.
        grad_clips: norms to which blocks of columns of each gradient row are clipped.
    """

    def __init__(self, trees: BoostedTrees, grad_clips: Sequence[GradClip] = ()) -> None:
        super().__init__()
        trees.n_threads = torch.get_num_threads()
        self.trees = trees
        self.grad_clips = tuple(grad_clips)
        self.n_evaluations = 0  # (row, tree) pairs walked so far
        self._tape: list[_TapeEntry] = []
        self._cache: _RowCache | None = None

    def forward(self, x: Features) -> Tensor:
        """Return F(x), float32 [n, D] on the CPU, for features ``x`` [n, n_features]."""
        self.n_evaluations += len(x) * self.trees.n_trees
        return self._record(self.trees.predict(x), x, None)

    def holds(self, rollout: object) -> bool:
        """Whether the cached rows are those of ``rollout``, compared by identity."""
        return self._cache is not None and self._cache.rollout is rollout

    def hold(self, rollout: object, x: Features) -> None:
        """Cache the rows ``x`` [n, n_features] of ``rollout`` in place of any earlier ones.

        A row that equals the earlier one in its place keeps its sum over the trees: in a replay
        buffer only what was collected since is new. Codes are made here, once, if the ensemble's
        bins are those of the rollout.
        """
        codes = self.trees.bin(x) if self.trees.params.bins == "rollout" else None
        old, forest = self._cache, self.trees.version
        if old is None or old.forest is not forest:
            old = _RowCache(None, x[:0], self.trees.predict(x[:0]), 0, 0, None, forest)
        margins = np.empty((len(x), self.trees.n_outputs), np.float32)
        known = _equal_rows(old.x, x)
        margins[known] = old.margins[known[: len(old.x)].nonzero()]
        margins[~known] = self.trees.predict(x[~known], 0, old.n_trees)
        self.n_evaluations += int((~known).sum()) * old.n_trees
        # A copy: the memory of a replay buffer is written over.
        self._cache = _RowCache(rollout, x.copy(), margins, old.n_trees, len(x), codes, forest)

    def forward_rows(self, rows: Rows) -> Tensor:
        """Return F of the cached rows ``rows`` [m], float32 [m, D]: bit-equal to ``forward``.

        The trees grown since the cache was filled are added to these rows alone, and to all rows
        once as many rows were asked for as there are, that is once an epoch: two calls at most,
        whatever the order of the rows.

        Raises:
            ValueError: if no rows are held.
        """
        if self._cache is None:
            raise ValueError("forward_rows needs rows: call hold first")
        if self._cache.forest is not self.trees.version:
            self.hold(self._cache.rollout, self._cache.x)
        cache = self._cache
        if cache.n_asked >= len(cache.x):
            self._add_trees(cache.x, cache.n_trees, cache.margins)
            cache.n_trees, cache.n_asked = self.trees.n_trees, 0
        cache.n_asked += len(rows)
        theta, x = cache.margins[rows], cache.x[rows]
        self._add_trees(x, cache.n_trees, theta)
        if cache.codes is None:
            return self._record(theta, x, None)
        return self._record(theta, cache.codes, rows)

    def _add_trees(self, x: Features, start: int, margins: NDArray[np.float32]) -> None:
        """Add the trees from ``start`` on to ``margins`` [n, D] of ``x``, in place."""
        if start < self.trees.n_trees:
            self.n_evaluations += len(x) * (self.trees.n_trees - start)
            self.trees.predict(x, start, out=margins)

    def _record(
        self, f: NDArray[np.float32], source: Features | Codes, rows: Rows | None
    ) -> Tensor:
        theta = torch.from_numpy(f)
        if self.training and torch.is_grad_enabled():
            self._tape.append(_TapeEntry(theta.requires_grad_(), source, rows))
        return theta

    def trees_changed(self) -> None:
        """Follow a change of the number of trees; nothing here depends on it."""

    def clear_tape(self) -> None:
        """Forget the forward passes, with their gradients."""
        self._tape.clear()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, but not the forward passes that may still receive one."""
        super().zero_grad(set_to_none)
        for entry in self._tape:
            entry.theta.grad = None

    def train(self, mode: bool = True) -> TreeEnsemble:
        """Switch the mode; leaving training clears the tape."""
        if not mode:
            self.clear_tape()
        super().train(mode)
        return self

    def batch(self, reduction: str) -> Batch | None:
        """Return what the next tree is fitted to: (source, rows, per-sample gradients [n, D]).

        None if no forward pass has received a gradient.

        Args:
            reduction: of the loss: "mean" multiplies by the rows of the pass, "sum" by 1.

        Raises:
            ValueError: if a gradient is NaN or infinite.
        """
        entries = [entry for entry in self._tape if entry.theta.grad is not None]
        if not entries:
            return None
        grads = np.concatenate([_per_sample(entry.theta, reduction) for entry in entries])
        if not np.isfinite(grads).all():
            count = int((~np.isfinite(grads)).any(axis=1).sum())
            raise ValueError(f"gradients must be finite, got NaN or Inf in {count} rows")
        for start, stop, max_norm in self.grad_clips:
            clip_rows(grads[:, start:stop], max_norm)
        source, rows = _joined(entries)
        return source, rows, grads

    def get_extra_state(self) -> Tensor:
        """Return the serialised ensemble, uint8."""
        return torch.frombuffer(bytearray(self.trees.to_bytes()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Replace the ensemble by a serialised one; its learning rates come with it.

        Raises:
            RuntimeError: if the bytes are not an ensemble of the same numbers of features and
                outputs (a ValueError would be hidden by Stable-Baselines3).
        """
        try:
            data = state.cpu().numpy().tobytes()
            trees = BoostedTrees.from_bytes(data, n_threads=torch.get_num_threads())
        except ValueError as error:
            raise RuntimeError(str(error)) from error
        ours, theirs = ((t.n_features, t.n_outputs) for t in (self.trees, trees))
        if ours != theirs:
            raise RuntimeError(
                f"the saved trees must have (n_features, n_outputs) = {ours}, got {theirs}"
            )
        self.trees = trees
        self.clear_tape()
        self._cache = None
        self.trees_changed()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tape": [], "_cache": None}


def _equal_rows(old: Features, new: Features) -> NDArray[np.bool_]:
    """Return which rows of ``new`` [n, d] are those of ``old`` [m, d] in their place, [n]."""
    k = min(len(old), len(new))
    a, b = old[:k], new[:k]
    equal = np.zeros(len(new), bool)
    equal[:k] = ((a == b) | ((a != a) & (b != b))).all(axis=1)  # NaN is equal to NaN here
    return equal


def clip_rows(grads: Grads, max_norm: float) -> None:
    """Scale, in place, the rows of ``grads`` [n, d] whose l2 norm exceeds ``max_norm`` to it."""
    norms = np.linalg.norm(grads.astype(np.float64), axis=1, keepdims=True)  # squares may be large
    grads *= max_norm / np.maximum(norms, max_norm)


def _per_sample(theta: Tensor, reduction: str) -> Grads:
    """dL_i/dF_i from the gradient of the reduced loss: boosting has no hidden factor 1/n."""
    grads: Grads = np.asarray(theta.grad, dtype=np.float32)
    return grads * np.float32(len(grads)) if reduction == "mean" else grads.copy()


def _joined(entries: Sequence[_TapeEntry]) -> tuple[Features | Codes, Rows | None]:
    """The training rows of several forward passes before one step, one after the other."""
    source = entries[0].source
    if len(entries) == 1:
        return source, entries[0].rows
    if all(isinstance(entry.source, np.ndarray) for entry in entries):
        return np.concatenate([entry.source for entry in entries]), None
    if any(entry.source is not source for entry in entries):
        raise ValueError("forward passes on different rollouts must not share one step")
    return source, np.concatenate([entry.rows for entry in entries if entry.rows is not None])


class BoostingOptimizer(torch.optim.Optimizer):
    """Grows one tree per ensemble and step, and steps an optimizer of torch parameters.

    The two are one optimizer to Stable-Baselines3: ``param_groups`` and ``state`` are those of
    the torch optimizer. A schedule that writes ``group["lr"]`` drives the trees too: their rates
    are multiplied by ``group["lr"] / lr``.

    Args:
        ensembles: what to boost; an ensemble without a gradient is left alone.
        torch_optimizer: of the other parameters, if there are any.
        lr: the learning rate at which the trees keep their own rates; 0 refuses to step.
        torch_lr: rate of the torch parameters, constant or at boosting step t, scaled like the
            trees'; None uses ``group["lr"]`` itself.
        reduction: of the loss over the rows of a forward pass, "mean" or "sum".

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
        self.fit_seconds = 0.0  # spent growing trees, in n_fits steps
        self.n_fits = 0
        self._share_state()

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
            ValueError: if a gradient is NaN or infinite, or the initial learning rate is not
                positive; every ensemble and parameter is then as it was.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        try:
            if not self.lr > 0.0:
                raise ValueError(
                    "tree rates are relative to the initial learning rate, which must be > 0 "
                    f"to train, got {self.lr}"
                )
            batches = [ensemble.batch(self.reduction) for ensemble in self.ensembles]
            self._check_torch_gradients()
            scale = float(self.param_groups[0]["lr"]) / self.lr
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

    def _grow(self, batches: Sequence[Batch | None], scale: float) -> None:
        """Grow one tree in every ensemble with a batch, or, where one refuses, in none."""
        grown = []
        try:
            for ensemble, batch in zip(self.ensembles, batches, strict=True):
                if batch is not None:
                    source, rows, grads = batch
                    mark = ensemble.trees.mark()
                    ensemble.trees.step(source, grads, rows=rows, lr_scale=scale)
                    grown.append((ensemble.trees, mark))
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
        if lr is not None:
            for group in self.param_groups:
                group["lr"] = lr
        try:
            self.torch_optimizer.step()
        finally:
            for group, value in zip(self.param_groups, written, strict=True):
                group["lr"] = value

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the torch optimizer; the trees travel with the policy."""
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
            "fit_seconds": self.fit_seconds,
            "n_fits": self.n_fits,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share_state()
