"""Batches and models that the tests of the trees share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlshare.trees import BoostedTrees, TreeParams

Floats = NDArray[np.float32]
LARGE = {"n": 30_000, "d": 8, "n_outputs": 3}  # enough work for every loop to use threads


def batch(n: int = 64, d: int = 3, n_outputs: int = 2, seed: int = 0) -> tuple[Floats, Floats]:
    """Observations X [n, d] and gradients G [n, n_outputs]."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(np.float32)
    return X, rng.normal(size=(n, n_outputs)).astype(np.float32)


def empty(d: int = 3, n_outputs: int = 2, rate: Any = 0.5, **settings: Any) -> BoostedTrees:
    return BoostedTrees(d, n_outputs, params=TreeParams(**settings), learning_rate=rate)


def grown(n_trees: int = 5, /, n: int = 64, seed: int = 0, **settings: Any) -> BoostedTrees:
    """A model of 3 features and 2 outputs after `n_trees` steps on random gradients."""
    model = empty(**settings)
    extend(model, n_trees, n=n, seed=seed)
    return model


def extend(model: BoostedTrees, n_trees: int, n: int = 64, seed: int = 0) -> None:
    for k in range(n_trees):
        model.step(*batch(n, model.n_features, model.n_outputs, seed=1000 * seed + k))


def structure(model: BoostedTrees, tree: int) -> list[tuple[int, Any]]:
    """The (feature, threshold) tests of a tree, whichever way it was grown."""
    shape = model.tree_structure(tree)
    if "features" in shape:
        return list(zip(shape["features"], shape["thresholds"], strict=True))
    pairs = zip(shape["feature"], shape["threshold"], strict=True)
    return [(int(f), threshold) for f, threshold in pairs if f >= 0]


def leaves(model: BoostedTrees, tree: int) -> Floats:
    """Values a tree adds, [n_leaves, n_outputs]."""
    shape = model.tree_structure(tree)
    if "leaves" in shape:
        return np.asarray(shape["leaves"])
    return np.asarray(shape["leaf"])[np.asarray(shape["feature"]) < 0]


def predict_and_step(model: BoostedTrees) -> bytes:
    """Bytes of the prediction after one more large step; runs in worker processes too."""
    X, G = batch(**LARGE)
    model.step(X, G)
    return model.predict(X).tobytes()
