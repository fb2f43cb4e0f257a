"""The reading form of a tree, one for both growths, and what its features were worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.checks import integer
from rlshare.trees.categories import Category

Importance = Literal["gain", "cover", "split"]
KINDS = ("gain", "cover", "split")


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """One tree as arrays: nodes with the root first, and a table of leaves.

    A row goes to ``right`` where ``x[feature] > threshold``, or, at a categorical feature, where
    its category's number equals ``threshold``; else, missing values included, to ``left``. -Inf
    counts as the lowest finite float32, so that the threshold -Inf parts the missing from all
    others. The children of a node are adjacent and come after it; an oblivious tree has all
    ``2 ** (depth + 1) - 1`` nodes, level by level.

    Attributes:
        feature: int32 [n_nodes], -1 in a leaf.
        threshold: float32 [n_nodes], +Inf in a leaf.
        left: int32 [n_nodes], a leaf's is itself.
        right: int32 [n_nodes], a leaf's is itself.
        leaf_row: int32 [n_nodes], the leaf's row of ``leaves``; -1 in an inner node.
        leaves: float32 [n_leaves, n_outputs], as they are added to F.
        rates: float32 [n_outputs], the learning rates that are in the leaves.
        depth: tests on the longest path.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf_row: NDArray[np.int32]
    leaves: NDArray[np.float32]
    rates: NDArray[np.float32]
    depth: int

    @classmethod
    def of(cls, forest: _core.Forest, i: int) -> TreeArrays:
        """Return tree i of a forest.

        Raises:
            ValueError: where i is not in [0, n_trees).
        """
        i = integer("i", i)
        if not 0 <= i < forest.n_trees:
            raise ValueError(f"i must be in [0, {forest.n_trees}), got {i}")
        return cls(**forest.arrays(i))


def as_dict(
    tree: TreeArrays, oblivious: bool, categories: dict[int, list[Category]]
) -> dict[str, Any]:
    """Return what :meth:`rlshare.trees.BoostedTrees.tree_structure` documents."""
    if oblivious:
        levels = [2**level - 1 for level in range(tree.depth)]
        features = tree.feature[levels].tolist()
        return {
            "depth": tree.depth,
            "features": features,
            "thresholds": _values(features, tree.threshold[levels].tolist(), categories),
            "leaves": tree.leaves,
            "rates": tree.rates,
        }
    inner = tree.leaf_row < 0
    return {
        "feature": tree.feature,
        "threshold": _values(tree.feature.tolist(), tree.threshold.tolist(), categories),
        "left": tree.left,
        "right": tree.right,
        "leaf": np.where(inner[:, None], np.float32(0), tree.leaves[tree.leaf_row]),
        "rates": tree.rates,
    }


def _values(
    features: list[int], thresholds: list[float], categories: dict[int, list[Category]]
) -> list[Any]:
    """Return thresholds with categories in place of their numbers."""
    return [
        categories[f][int(t)] if f in categories else t
        for f, t in zip(features, thresholds, strict=True)
    ]


def importances(forest: _core.Forest, kind: Importance) -> NDArray[np.float64]:
    """Return what every feature was worth [n_features].

    Raises:
        ValueError: for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return np.asarray(forest.importances[KINDS.index(kind)])
