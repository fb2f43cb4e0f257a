"""Gradients on their way from a torch loss to the next tree."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rlshare.trees import Codes, LeafIds

Features = NDArray[Any]
Rows = NDArray[np.int64]
Grads = NDArray[np.float32]
Source = Features | Codes | LeafIds
Batch = tuple[Source, Rows | None, Grads]


class GradClip(NamedTuple):
    """Columns [start, stop) of a row of gradients are scaled to ``max_norm`` if they exceed it."""

    start: int
    stop: int
    max_norm: float


@dataclass(frozen=True)
class _Pass:
    """One forward pass that has received a gradient: theta = F(source[rows])."""

    theta: Tensor
    source: Source
    rows: Rows | None


class Tape:
    """The forward passes whose outputs have received a gradient.

    A pass waits for its gradient in a hook of its own output. What no loss can reach any more is
    therefore gone with that output, and any number of passes without a loss leave nothing behind.
    """

    def __init__(self) -> None:
        self._n_recorded = 0
        self._cleared = 0  # passes recorded before the last ``clear``
        self._received: dict[int, _Pass] = {}

    def __len__(self) -> int:
        """Return the number of passes that have received a gradient."""
        return len(self._received)

    def record(self, theta: Tensor, source: Source, rows: Rows | None) -> Tensor:
        """Make theta = F(source[rows]), [n, D], a leaf whose gradient comes here."""
        number, tape = self._n_recorded, weakref.ref(self)  # no circle of theta, hook and tape
        self._n_recorded += 1

        def receive(theta: Tensor) -> None:
            found = tape()
            if found is not None and number >= found._cleared:
                found._received[number] = _Pass(theta, source, rows)

        theta.requires_grad_()
        theta.register_post_accumulate_grad_hook(receive)  # type: ignore[no-untyped-call]
        return theta

    def clear(self) -> None:
        """Forget the gradients, and the passes that may still receive one."""
        self._cleared = self._n_recorded
        self._received.clear()

    def zero_grad(self) -> None:
        """Forget the gradients; a pass may still receive another."""
        for entry in self._received.values():
            entry.theta.grad = None
        self._received.clear()

    def batch(self, reduction: str, clips: Sequence[GradClip]) -> Batch | None:
        """Return what the next tree is fitted to: (source, rows, per-sample gradients [n, D]).

        None if no pass has received a gradient.

        Args:
            reduction: of the loss: "mean" multiplies by the rows of the pass, "sum" by 1.
            clips: norms to which blocks of columns of each gradient row are clipped.
        """
        entries = [self._received[number] for number in sorted(self._received)]
        entries = [entry for entry in entries if entry.theta.grad is not None]
        if not entries:
            return None
        grads = np.concatenate([_per_sample(entry.theta, reduction) for entry in entries])
        for start, stop, max_norm in clips:
            clip_rows(grads[:, start:stop], max_norm)
        source, rows = _joined(entries)
        return source, rows, grads


def clip_rows(grads: Grads, max_norm: float) -> None:
    """Scale, in place, the rows of ``grads`` [n, d] whose l2 norm exceeds ``max_norm`` to it."""
    norms = np.linalg.norm(grads.astype(np.float64), axis=1, keepdims=True)  # squares may be large
    norms[~np.isfinite(norms)] = max_norm  # what is not finite stays, for the step to refuse
    grads *= max_norm / np.maximum(norms, max_norm)


def _per_sample(theta: Tensor, reduction: str) -> Grads:
    """dL_i/dF_i from the gradient of the reduced loss: boosting has no hidden factor 1/n."""
    grads: Grads = np.asarray(theta.grad, dtype=np.float32)
    return grads * np.float32(len(grads)) if reduction == "mean" else grads.copy()


def _joined(entries: Sequence[_Pass]) -> tuple[Source, Rows | None]:
    """The training rows of several forward passes before one step, one after the other."""
    source = entries[0].source
    if len(entries) == 1:
        return source, entries[0].rows
    if all(isinstance(entry.source, np.ndarray) for entry in entries):
        return np.concatenate([entry.source for entry in entries]), None
    if any(entry.source is not source for entry in entries):
        raise ValueError("forward passes on different rollouts must not share one step")
    return source, np.concatenate([entry.rows for entry in entries if entry.rows is not None])
