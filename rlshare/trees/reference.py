"""A slow predictor over :class:`TreeArrays`, which the fast ones are held against."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from rlshare.trees.structure import TreeArrays

LOWEST = np.finfo(np.float32).min


def leaves_of(
    tree: TreeArrays, X: NDArray[np.float32], categorical: Collection[int] = ()
) -> NDArray[np.int32]:
    """Return the leaf, a row of ``tree.leaves``, of every row [n].

    Args:
        tree: whose nodes are walked.
        X: observations [n, n_features], NaN where missing; categories as their numbers.
        categorical: indices of the features whose tests are equalities.
    """
    X = np.maximum(X, LOWEST)  # -Inf is the lowest number, NaN stays NaN
    equality = np.isin(tree.feature, list(categorical))
    rows, node = np.arange(len(X)), np.zeros(len(X), np.int32)
    for _ in range(tree.depth):
        value, threshold = X[rows, tree.feature[node]], tree.threshold[node]
        right = np.where(equality[node], value == threshold, value > threshold)
        node = np.where(right & (tree.leaf_row[node] < 0), tree.right[node], tree.left[node])
    return tree.leaf_row[node]


def predict(
    bias: NDArray[np.float32],
    trees: Iterable[TreeArrays],
    X: NDArray[np.float32],
    categorical: Collection[int] = (),
) -> NDArray[np.float32]:
    """Return F(X) [n, n_outputs]: the bias, then the trees in their order, added in float32.

    Bit-equal to :meth:`rlshare.trees.BoostedTrees.predict`. Arguments as in :func:`leaves_of`.
    """
    F = np.tile(np.asarray(bias, np.float32), (len(X), 1))
    for tree in trees:
        F += tree.leaves[leaves_of(tree, X, categorical)]
    return F
