"""Fewer trees in place of the oldest, and who must be told."""

from __future__ import annotations

import weakref
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.checks import integer
from rlshare.trees.params import TreeParams


class Target(Protocol):
    """Weights of the trees of a model, or other leaves for them, which must follow its trees."""

    @property
    def n_full(self) -> int:
        """Oldest trees of weight 1; no others are compacted."""

    @property
    def leaf_table(self) -> NDArray[np.float64] | None:
        """Other leaves, as :attr:`rlshare.trees.BoostedTrees.leaves`; None of weights."""

    def trees_replaced(self, n_oldest: int, n_kept: int) -> None:
        """Follow a compaction of the model, whose ``n_oldest`` trees all had the weight 1."""

    def replace_leaves(self, leaves: NDArray[np.float64]) -> None:
        """Put other leaves in place of its own."""


LeafTables = list[tuple[Target, NDArray[np.float64]]]


class Targets:
    """Those who follow a model, for as long as they live."""

    def __init__(self) -> None:
        self._targets: weakref.WeakSet[Target] = weakref.WeakSet()

    def add(self, target: Target) -> None:
        """Let a target know where trees are replaced."""
        self._targets.add(target)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._targets)

    def leaf_tables(self) -> LeafTables:
        """Return the targets that have leaves of their own, with these."""
        found = [(target, target.leaf_table) for target in list(self._targets)]
        return [(target, leaves.copy()) for target, leaves in found if leaves is not None]

    def n_full(self, n_trees: int) -> int:
        """Return how many of the oldest trees have the weight 1 in every target."""
        return min([n_trees, *(target.n_full for target in list(self._targets))])

    def trees_replaced(self, n_oldest: int, n_kept: int) -> None:
        """Tell every target of a compaction."""
        for target in list(self._targets):
            target.trees_replaced(n_oldest, n_kept)


def compacted(
    forest: _core.Forest,
    params: TreeParams,
    n_compactable: int,
    X: NDArray[np.float32],
    n_oldest: int,
    n_kept: int,
) -> _core.Forest:
    """Return the forest of :meth:`rlshare.trees.BoostedTrees.compact`.

    Raises:
        ValueError: where 1 <= n_kept <= n_oldest <= n_compactable does not hold, X [n, n_features]
            is empty, or there are monotonic constraints, which refitted leaves would not keep.
    """
    if params.learner == "refit":
        raise ValueError("learner must be 'grow' where trees are compacted, got 'refit'")
    if params.monotonic:
        raise ValueError(
            "a model with monotonic constraints cannot be compacted, got "
            f"{len(params.monotonic)} of them"
        )
    n_oldest, n_kept = integer("n_oldest", n_oldest), integer("n_kept", n_kept)
    if not 1 <= n_kept <= n_oldest <= n_compactable:
        raise ValueError(
            "n_kept and n_oldest must obey 1 <= n_kept <= n_oldest <= n_compactable = "
            f"{n_compactable}, got {n_kept} and {n_oldest}"
        )
    if len(X) == 0:
        raise ValueError("X must have at least one row, got none")
    return forest.compacted(X, n_oldest, n_kept)
