"""Boosted trees as a torch module.

The ensemble's output theta = F(X) enters the graph as a leaf tensor, backward stops there, and
``BoostingOptimizer`` turns theta.grad into per-sample gradients and grows one tree (Fuhrer,
Tessler, Dalal, "Gradient Boosting Reinforcement Learning", arXiv 2407.08250, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlshare.trees import BoostedTrees
from rlshare.trees.torch.row_cache import LeafCache, RowCache
from rlshare.trees.torch.tape import Batch, Features, GradClip, Rows, Source, Tape

_NO_EXPORT = (
    "trees are evaluated outside of torch, and a traced, scripted or exported policy would be a "
    "constant: ship the model file and rlshare.trees in its place, which predicts by numpy alone"
)


def refuse_export() -> None:
    """Refuse to be traced (``torch.jit.trace``, ``torch.export``, ``torch.onnx.export``).

    Raises:
        RuntimeError: while torch records operations in order to export them.
    """
    tracing = torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    if tracing or torch.compiler.is_exporting():
        raise RuntimeError(_NO_EXPORT)


class TreeEnsemble(nn.Module):
    """A ``BoostedTrees`` as a torch module, without torch parameters.

    With gradients enabled, in either mode, a forward pass that receives a gradient is kept until
    ``BoostingOptimizer.step`` or ``train(False)``. The trees travel in the ``state_dict`` as a
    uint8 tensor, so that ``torch.load(weights_only=True)`` reads them. Copies and pickles start
    without gradients and cached rows. Trees with ``n_threads=None`` use as many threads as torch
    is set to when they come here.

    Args:
        trees: the ensemble, D output columns.
        grad_clips: norms to which blocks of columns of each gradient row are clipped.
    """

    def __init__(self, trees: BoostedTrees, grad_clips: Sequence[GradClip] = ()) -> None:
        super().__init__()
        if trees.n_threads is None:
            trees.n_threads = torch.get_num_threads()
        self.trees = trees
        self.grad_clips = tuple(grad_clips)
        self.n_evaluations = 0  # (row, tree) pairs walked so far
        self._tape = Tape()
        self._cache: RowCache | LeafCache | None = None

    def forward(self, x: Features) -> Tensor:
        """Return F(x), float32 [n, D] on the CPU, for features ``x`` [n, n_features]."""
        refuse_export()
        return self._record(self._predict(x, 0, self.trees.n_trees), x, None)

    def has_cached(self, rollout: object) -> bool:
        """Whether the cached rows are those of ``rollout``, compared by identity."""
        return self._cache is not None and self._cache.rollout is rollout

    def cache_rows(self, rollout: object, x: Features) -> None:
        """Cache the rows ``x`` [n, n_features] of ``rollout`` in place of any earlier ones.

        A row that equals the earlier one in its place keeps its sum over the trees.
        """
        if self.trees.refits:
            self._cache = LeafCache(rollout, x, self.trees)
            return
        old = self._cache if isinstance(self._cache, RowCache) else None
        self._cache = RowCache(rollout, x, self.trees, self._predict, old)

    def forward_rows(self, rows: Rows) -> Tensor:
        """Return F of the cached rows ``rows`` [m], float32 [m, D]: bit-equal to ``forward``.

        Raises:
            ValueError: if no rows are cached.
        """
        if self._cache is None:
            raise ValueError("forward_rows needs rows: call cache_rows first")
        if isinstance(self._cache, LeafCache):
            self.n_evaluations += len(rows) * self.trees.n_trees
            ids = self._cache.leaf_ids
            return self._record(self.trees.predict_leaves(ids, rows), ids, rows)
        if self._cache.version is not self.trees.version:
            self._cache = self._cache.renewed(self.trees, self._predict)
        theta, x = self._cache.margins(rows, self.trees.n_trees, self._predict)
        theta = self.trees.add_linear(x, theta)
        if self._cache.codes is None:
            return self._record(theta, x, None)
        return self._record(theta, self._cache.codes, rows)

    def _predict(
        self, x: Features, start: int, stop: int, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        self.n_evaluations += len(x) * (stop - start)
        return self.trees.predict(x, start, stop, out)

    def _record(self, f: NDArray[np.float32], source: Source, rows: Rows | None) -> Tensor:
        theta = torch.from_numpy(f)
        if torch.is_grad_enabled():
            return self._tape.record(theta, source, rows)
        return theta

    @property
    def has_gradients(self) -> bool:
        """Whether gradients wait for the next tree."""
        return len(self._tape) > 0

    def batch(self, reduction: str) -> Batch | None:
        """Return what the next tree is fitted to, see :meth:`Tape.batch`."""
        return self._tape.batch(reduction, self.grad_clips)

    def sample_weight(self, grads: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return weights of the rows of a batch [n] or [n, D], from its gradients [n, D]."""
        return None

    def trees_changed(self) -> None:
        """Follow a change of the trees; nothing here depends on it."""

    def clear_tape(self) -> None:
        """Forget the forward passes, with their gradients."""
        self._tape.clear()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, but not the forward passes that may still receive one."""
        super().zero_grad(set_to_none)
        self._tape.zero_grad()

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; leaving training clears the tape."""
        if not mode:
            self.clear_tape()
        return super().train(mode)

    def get_extra_state(self) -> Tensor:
        """Return the serialised ensemble, uint8."""
        return torch.frombuffer(bytearray(self.trees.to_bytes()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Replace the ensemble by a serialised one; its learning rates come with it.

        Raises:
            RuntimeError: if the bytes are not an ensemble of the same numbers of features and
                outputs, growth, categories and constraints (a ValueError would be hidden by
                Stable-Baselines3).
        """
        try:
            data = state.cpu().numpy().tobytes()
            trees = BoostedTrees.from_bytes(data, n_threads=self.trees.n_threads)
            self.check_trees(trees)
        except ValueError as error:
            raise RuntimeError(str(error)) from error
        self.trees = trees
        self.clear_tape()
        self._cache = None
        self.trees_changed()

    def adopt(self, like: BoostedTrees) -> None:
        """Begin anew by the params and rates of other trees, so that these can be loaded."""
        ours = self.trees
        self.trees = BoostedTrees(
            ours.n_features, ours.n_outputs, like.params, like.schedules, ours.bias, ours.n_threads
        )
        self.clear_tape()
        self._cache = None

    def check_trees(self, trees: BoostedTrees) -> None:
        """Refuse trees that cannot take the place of these.

        Raises:
            ValueError: for other numbers of features and outputs, growth, categories or
                constraints.
        """
        ours, theirs = ((t.n_features, t.n_outputs) for t in (self.trees, trees))
        if ours != theirs:
            raise ValueError(
                f"the saved trees must have (n_features, n_outputs) = {ours}, got {theirs}"
            )
        trees.check_params(self.trees.params)

    def __prepare_scriptable__(self) -> None:
        """Refuse ``torch.jit.script``.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(_NO_EXPORT)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tape": Tape(), "_cache": None}
