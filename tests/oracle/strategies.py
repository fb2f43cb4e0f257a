"""Small random problems: every kind of column, gradient and setting the learner accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from reference import Array

NUMERIC = ("normal", "few", "constant", "nan", "missing", "inf", "copy", "signed_zero")
CATEGORICAL = ("strings", "integers")
COLORS = ["red", "green", "blue", None]


@dataclass(frozen=True)
class Batch:
    """X: [n, d] float32, or object where a column is categorical.  G: [n, D] float32."""

    X: Array
    G: Array
    settings: dict[str, Any]


def column(kind: str, n: int, rng: np.random.Generator, before: list[Array]) -> Array:
    normal = rng.normal(size=n).astype(np.float32)
    if kind == "few":
        return rng.integers(0, 4, n).astype(np.float32)
    if kind == "constant":
        return np.full(n, normal[0])
    if kind == "nan":
        return np.where(rng.random(n) < 0.3, np.float32(np.nan), normal)
    if kind == "missing":
        return rng.choice(np.array([np.nan, np.nan, -np.inf, 0, 1, np.inf], dtype=np.float32), n)
    if kind == "inf":
        return rng.choice(np.array([-np.inf, np.inf, -1, 0, 2], dtype=np.float32), n)
    if kind == "signed_zero":
        return rng.choice(np.array([-0.0, 0.0, 1e-42, -1e-42], dtype=np.float32), n)
    if kind == "copy" and before:
        return before[0]
    if kind == "strings":
        return np.array([COLORS[i] for i in rng.integers(0, 4, n)], dtype=object)
    if kind == "integers":
        return np.array([int(v) for v in rng.integers(-2, 3, n)], dtype=object)
    return normal


@st.composite
def batches(draw: st.DrawFn, *, integers: bool = False, numeric_only: bool = False) -> Batch:
    """`integers`: small-integer gradients and many equal columns, for ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n = draw(st.integers(1, 60), label="n")
    n_outputs = draw(st.integers(1, 5), label="D")
    kinds: tuple[str, ...] = ("few", "copy") if integers else NUMERIC
    kinds = kinds if numeric_only else kinds + CATEGORICAL
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4), label="columns")
    columns: list[Array] = []
    for kind in chosen:
        columns.append(column(kind, n, rng, columns))
    categorical = [f for f, c in enumerate(columns) if c.dtype == object]
    X = np.empty((n, len(columns)), dtype=object if categorical else np.float32)
    for f, values in enumerate(columns):
        X[:, f] = values
    if integers:
        G = rng.integers(-2, 3, (n, n_outputs)).astype(np.float32)
    else:
        G = (rng.normal(size=(n, n_outputs)) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)
    settings = {
        "max_depth": draw(st.integers(0, 4), label="max_depth"),
        "n_bins": draw(st.sampled_from([1, 2, 3, 7, 255]), label="n_bins"),
        "min_samples_leaf": draw(st.sampled_from([0, 0, 1, 3]), label="min_samples_leaf"),
        "categorical": categorical,
    }
    if not integers and draw(st.booleans(), label="weigh features"):
        settings["feature_weights"] = rng.choice([0.0, 0.5, 1.0, 2.0], len(columns)).tolist()
    return Batch(X, G, settings)
