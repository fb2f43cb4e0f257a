"""What is kept of rows that come again: sums over trees that are added, leaves that move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rlshare.trees import BoostedTrees, Codes
from rlshare.trees.torch.tape import Features, Rows

Margins = NDArray[np.float32]
# Adds trees [start, stop) onto ``out``, as ``BoostedTrees.predict``
AddTrees = Callable[[Features, int, int, Margins], Margins]


class RowCache:
    """F of the rows of one rollout, summed over the bias and the trees there were.

    A linear part changes everywhere in every step, and is added where F is asked for.

    Codes are made here, once, if the ensemble's bins are those of the rollout.

    Args:
        rollout: whose rows they are, compared by identity.
        x: the rows [n, n_features].
        trees: the ensemble.
        add_trees: its prediction.
        old: the cache before: a row that equals the earlier one in its place keeps its sum. In a
            replay buffer only what was collected since is new.
    """

    def __init__(
        self,
        rollout: object,
        x: Features,
        trees: BoostedTrees,
        add_trees: AddTrees,
        old: RowCache | None,
    ) -> None:
        self.rollout = rollout
        self.codes: Codes | None = trees.bin(x) if trees.params.bins == "rollout" else None
        self.version = trees.version  # a compaction changes it, and what was summed
        self._x = x.copy()  # the memory of a replay buffer is written over
        self._margins = np.empty((len(x), trees.n_outputs), np.float32)
        known = np.zeros(len(x), bool)
        self._n_trees = 0
        if old is not None and old.version is self.version:
            known = _equal_rows(old._x, x)
            self._n_trees = old._n_trees
            self._margins[known] = old._margins[known[: len(old._x)].nonzero()]
        new = np.tile(trees.bias, (len(x) - int(known.sum()), 1))
        self._margins[~known] = add_trees(x[~known], 0, self._n_trees, new)
        self._n_asked = len(x)  # rows asked for since the margins were brought up to date

    def renewed(self, trees: BoostedTrees, add_trees: AddTrees) -> RowCache:
        """Return the cache of the same rows for trees that were replaced."""
        return RowCache(self.rollout, self._x, trees, add_trees, None)

    def margins(self, rows: Rows, n_trees: int, add_trees: AddTrees) -> tuple[Margins, Features]:
        """Return the sums of the first ``n_trees`` trees [m, D] for ``rows`` [m], and these rows.

        New trees are added to these rows alone, and to all rows once as many rows were asked for
        as there are, that is once an epoch: two calls at most, whatever the order of the rows.
        """
        if self._n_asked >= len(self._x):
            if self._n_trees < n_trees:
                add_trees(self._x, self._n_trees, n_trees, self._margins)
            self._n_trees, self._n_asked = n_trees, 0
        self._n_asked += len(rows)
        margins, x = self._margins[rows], self._x[rows]
        if self._n_trees < n_trees:
            add_trees(x, self._n_trees, n_trees, margins)
        return margins, x


class LeafCache:
    """Leaves of the rows of one rollout, while the trees stay and their leaves move.

    Args:
        rollout: whose rows they are, compared by identity.
        x: the rows [n, n_features].
        trees: the ensemble.
    """

    def __init__(self, rollout: object, x: Features, trees: BoostedTrees) -> None:
        self.rollout = rollout
        self.leaf_ids = trees.leaf_ids(x)


def _equal_rows(old: Features, new: Features) -> NDArray[np.bool_]:
    """Return which rows of ``new`` [n, d] are those of ``old`` [m, d] in their place, [n]."""
    k = min(len(old), len(new))
    a, b = old[:k], new[:k]
    equal = np.zeros(len(new), bool)
    equal[:k] = ((a == b) | ((a != a) & (b != b))).all(axis=1)  # NaN is equal to NaN here
    return equal
