"""What the learner accepts: arrays made float32, or an error with the rule and the value."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlshare import _core
from rlshare.checks import integer
from rlshare.trees.params import TreeParams

FloatArray = NDArray[np.float32]


def shape(params: TreeParams, n_features: int, n_outputs: int) -> None:
    """Check that params fit the numbers of features and outputs."""
    if params.feature_weights is not None and len(params.feature_weights) != n_features:
        raise ValueError(
            f"feature_weights must hold one weight a feature, {n_features}, "
            f"got {len(params.feature_weights)}"
        )
    for index in params.categorical or ():
        if index >= n_features:
            raise ValueError(f"categorical must be in [0, {n_features}), got {index}")
    for feature, output, _ in params.monotonic or ():
        if feature >= n_features or output >= n_outputs:
            raise ValueError(
                f"monotonic must have features in [0, {n_features}) and outputs in "
                f"[0, {n_outputs}), got ({feature}, {output})"
            )


def compatible(new: TreeParams, own: TreeParams, n_trees: int) -> None:
    """Check that a model of n_trees trees, grown by its own params, may go on with new ones."""
    for name in ("grow_policy", "categorical"):
        was, asked = getattr(own, name), getattr(new, name)
        if (was or None) != (asked or None):
            raise ValueError(f"{name} must be {was!r}, as of the trees there are, got {asked!r}")
    unconstrained = set(new.monotonic or ()) - set(own.monotonic or ())
    if unconstrained and n_trees:
        raise ValueError(
            "monotonic must not constrain trees that were grown without, got "
            f"{sorted(unconstrained)}"
        )


def linear(is_there: bool, params: TreeParams) -> None:
    """Check that a model may have a linear part, where it has one."""
    if is_there and params.monotonic:
        raise ValueError(
            "linear must be None with monotonic constraints, which a line would not keep, got "
            f"{len(params.monotonic)} of them"
        )


def feature_names(names: Sequence[str] | None, n_features: int) -> tuple[str, ...] | None:
    """Return names of the features, None for none."""
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"feature_names must be non-empty strings, got {names!r}")
    if len(names) != n_features or len(set(names)) != n_features:
        raise ValueError(
            f"feature_names must be {n_features} different names, one a feature, got {names!r}"
        )
    return tuple(str(name) for name in names)


def bias(values: ArrayLike | None, n_outputs: int) -> FloatArray:
    """Return a bias of shape [n_outputs], zeros for None."""
    out = np.zeros(n_outputs, np.float32) if values is None else np.asarray(values, np.float32)
    if out.shape != (n_outputs,) or not np.isfinite(out).all():
        raise ValueError(f"bias must be {n_outputs} finite numbers, got {values!r}")
    return out


def tree_range(start: int, stop: int | None, n_trees: int) -> tuple[int, int]:
    """Return a range of trees, 0 <= start <= stop <= n_trees; None is n_trees."""
    start = integer("start", start)
    stop = n_trees if stop is None else integer("stop", stop)
    if not 0 <= start <= stop <= n_trees:
        raise ValueError(
            f"start and stop must obey 0 <= start <= stop <= {n_trees}, got {start} and {stop}"
        )
    return start, stop


def output(out: FloatArray, shape: tuple[int, int]) -> None:
    """Check that predictions of this shape can be added onto an array."""
    if out.shape != shape or out.dtype != np.float32 or not out.flags.carray:
        raise ValueError(
            f"out must be C-contiguous, writeable float32 of shape {list(shape)}, "
            f"got {out.dtype} of shape {list(out.shape)}"
        )


def row_indices(rows: ArrayLike, n_rows: int) -> NDArray[np.int64]:
    """Return indices of shape [m], all in [0, n_rows)."""
    index = np.asarray(rows)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(
            f"rows must be integers of shape [m], got {index.dtype} of shape {list(index.shape)}"
        )
    outside = (index < 0) | (index >= n_rows)
    if outside.any():
        raise ValueError(f"rows must be in [0, {n_rows}), got {index[outside][0]}")
    return np.ascontiguousarray(index, np.int64)


def gradients(values: ArrayLike, n: int, n_outputs: int) -> tuple[FloatArray, float]:
    """Return finite gradients of shape [n, n_outputs], n >= 1, and the largest magnitude."""
    with np.errstate(over="ignore"):  # what overflows is refused below
        out = np.ascontiguousarray(values, np.float32)
    if out.shape != (n, n_outputs):
        raise ValueError(f"grads must have shape [{n}, {n_outputs}], got {list(out.shape)}")
    if n == 0:
        raise ValueError("a step needs at least one row, got none")
    largest = _core.largest_magnitude(out)
    if not isfinite(largest):
        row, column = np.argwhere(~np.isfinite(out))[0]
        raise ValueError(
            f"gradients must be finite in float32, got {out[row, column]} in row {row}, "
            f"output {column}"
        )
    return out, largest


def weights(values: ArrayLike | None, n: int, n_outputs: int) -> FloatArray | None:
    """Return finite weights >= 0 of shape [n] or [n, n_outputs]; None stays None."""
    if values is None:
        return None
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(values, np.float32)
    if out.shape not in ((n,), (n, n_outputs)):
        raise ValueError(
            f"sample_weight must have shape [{n}] or [{n}, {n_outputs}], got {list(out.shape)}"
        )
    if not isfinite(_core.largest_magnitude(out)) or out.min() < 0:
        bad = out[~(np.isfinite(out) & (out >= 0))][0]
        raise ValueError(f"sample_weight must be finite and >= 0, got {bad}")
    return out


def tree_weights(values: ArrayLike, n_trees: int) -> FloatArray:
    """Return finite weights of shape [n_trees]."""
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(values, np.float32)
    if out.shape != (n_trees,) or not np.isfinite(out).all():
        raise ValueError(
            f"tree_weights must be {n_trees} finite numbers, got shape {list(out.shape)}"
        )
    return out


def targets(values: ArrayLike, n: int, n_outputs: int, name: str = "y") -> FloatArray:
    """Return targets of shape [n, n_outputs]; [n] will do where there is one output."""
    with np.errstate(over="ignore"):
        out = np.asarray(values, np.float32)
    out = out[:, None] if out.ndim == 1 and n_outputs == 1 else out
    if out.shape != (n, n_outputs):
        raise ValueError(f"{name} must have shape {[n, n_outputs]}, got {list(out.shape)}")
    if not np.isfinite(out).all():
        raise ValueError(f"{name} must be finite in float32, got {out[~np.isfinite(out)][0]}")
    return out
