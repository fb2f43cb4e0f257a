"""An ensemble as it is read: what it predicts, what it looks like."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlshare import _core
from rlshare.checks import integer
from rlshare.trees import checks, refitting
from rlshare.trees.categories import CategoryEncoder
from rlshare.trees.codes import Codes
from rlshare.trees.compaction import Targets
from rlshare.trees.growing import Growing
from rlshare.trees.leaf_ids import LeafIds
from rlshare.trees.linear import LinearPart
from rlshare.trees.model_file import Metadata
from rlshare.trees.schedules import Rates, Schedule
from rlshare.trees.storage import Parts, Stored
from rlshare.trees.structure import Importance, TreeArrays, as_dict, importances

FloatArray = NDArray[np.float32]
_FLOAT32 = np.dtype(np.float32)


class Ensemble(Stored):
    """The trees of a :class:`rlshare.trees.BoostedTrees`, and all that only reads them."""

    def _set_parts(self, parts: Parts) -> None:
        forest, metadata = parts.forest, parts.metadata
        self.params = metadata.params
        self.n_features = forest.n_features
        self.n_outputs = forest.n_outputs
        self.feature_names = metadata.feature_names
        self.n_threads = parts.n_threads
        self.n_steps_done = metadata.n_steps_done
        self._rates = Rates(metadata.schedules)
        self._encoder = CategoryEncoder(
            forest.n_features, metadata.categories, metadata.feature_names
        )
        self._targets = Targets()
        self._forest = forest
        self._growing = Growing.of(self.params, self.n_features)
        self._sample = parts.sample
        self._linear = parts.linear
        self._version = self._structure = object()

    def _parts(self) -> Parts:
        metadata = Metadata(
            self.params,
            self._rates.schedules,
            self._encoder.categories(),
            self.n_steps_done,
            self.feature_names,
        )
        return Parts(self._forest, metadata, self.n_threads, self._sample, self._linear)

    @property
    def n_trees(self) -> int:
        """Trees in the ensemble."""
        return self._forest.n_trees

    @property
    def refits(self) -> bool:
        """Whether a step moves the leaves of the trees there are, rather than add one."""
        return self.params.learner == "refit"

    @property
    def nbytes(self) -> int:
        """Memory of the trees, and of the linear part where there is one, in bytes."""
        return self._forest.n_bytes + (0 if self._linear is None else self._linear.nbytes)

    @property
    def bias(self) -> FloatArray:
        """Prediction of the empty ensemble [n_outputs]."""
        return self._forest.bias

    @property
    def leaves(self) -> FloatArray:
        """What the leaves of all trees add to F, tree by tree [sum of n_leaves * n_outputs]."""
        return self._forest.leaves

    def learning_rates(self, t: int | None = None) -> NDArray[np.float64]:
        """Return the learning rates [n_outputs] of boosting step t, by default the next one."""
        step = self.n_steps_done if t is None else integer("t", t, 0)
        return self._rates.at(step).copy()

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The learning rates [n_outputs] as functions of the boosting step."""
        return self._rates.schedules

    @property
    def version(self) -> object:
        """Changes where trees are replaced or their leaves move; not where trees are added.

        Compare by identity: what was summed over the trees of another version is void. A linear
        part moves in every step and is in no such sum: :meth:`add_linear` comes last.
        """
        return self._version

    @property
    def linear_part(self) -> LinearPart | None:
        """What is added to the trees in closed form, as it is now; None without ``linear``."""
        return self._linear

    def predict(
        self,
        X: Any,
        start: int = 0,
        stop: int | None = None,
        out: FloatArray | None = None,
        tree_weights: ArrayLike | None = None,
        leaves: FloatArray | None = None,
    ) -> FloatArray:
        """Return F(X) of trees [start, stop).

        The bias and the linear part belong to the range that begins at 0, so that adjoining ranges
        add up: the bias comes first, then the trees as they were grown, the linear part last.

        Args:
            X: observations [n, n_features], an array, masked array or data frame. NaN, None, NaT,
                pandas.NA and what is masked are missing; -Inf counts as the lowest number.
            start: first tree.
            stop: tree after the last, None for all.
            out: float32 [n, n_outputs], C-contiguous: the trees, without the bias and the linear
                part, are added onto it in place. Going on from ``predict(X, 0, k)`` so is bit-equal
                to one prediction, and with a linear part equal up to rounding.
            tree_weights: factors [stop] of the trees; None, or all 1, is the plain sum.
            leaves: in place of the trees' own :attr:`leaves`, float32 of the same length.

        Returns:
            float32 [n, n_outputs].

        Raises:
            ValueError: for a wrong shape, a range that is not in [0, n_trees], or a weight that is
                not finite.
        """
        forest = self._forest if leaves is None else refitting.with_leaves(self._forest, leaves)
        n_trees = self._forest.n_trees
        if start != 0 or stop is not None:
            start, stop = checks.tree_range(start, stop, n_trees)
        else:  # what acting calls
            start, stop = 0, n_trees
        encoded = self._encoder.encode(X)
        shape = (len(encoded), self.n_outputs)
        with_bias = out is None and start == 0
        if out is None:
            out = np.empty(shape, _FLOAT32) if with_bias else np.zeros(shape, _FLOAT32)
        else:
            checks.output(out, shape)
        weights = None if tree_weights is None else checks.tree_weights(tree_weights, stop)
        forest.add_trees(encoded, start, stop, out, with_bias, self.n_threads or 0, weights)
        if with_bias and self._linear is not None:
            self._linear.add(encoded, out, self.n_threads or 0)
        return out

    def add_linear(self, X: Any, out: FloatArray) -> FloatArray:
        """Add the linear part of F(X), where there is one, onto sums over trees, and return them.

        The bias, and trees added onto it by :meth:`predict`, so become the bits of a prediction.

        Args:
            X: observations [n, n_features].
            out: float32 [n, n_outputs], C-contiguous, added onto in place.

        Raises:
            ValueError: for a wrong shape.
        """
        if self._linear is not None:
            encoded = self._encoder.encode(X)
            checks.output(out, (len(encoded), self.n_outputs))
            self._linear.add(encoded, out, self.n_threads or 0)
        return out

    def bin(self, X: Any) -> Codes:
        """Return codes of X [n, n_features] for :meth:`step`; new categories are learnt."""
        encoded = self._encoder.encode(X, learn=True)
        rows = None if self._linear is None else encoded.copy()  # the caller may write over his
        return Codes(self._bin(encoded), self._encoder, rows)

    def leaf_ids(self, X: Any) -> LeafIds:
        """Return the leaves of X [n, n_features], for :meth:`step` and :meth:`predict_leaves`."""
        rows = self._encoder.encode(X, learn=True).copy()  # the caller may write over his
        return LeafIds(rows, self._encoder)

    def predict_leaves(self, leaf_ids: LeafIds, rows: ArrayLike | None = None) -> FloatArray:
        """Return F of rows whose leaves are known, the bits of :meth:`predict`.

        Args:
            leaf_ids: from :meth:`leaf_ids`.
            rows: indices [m] of its rows; None for all.

        Returns:
            float32 [m, n_outputs].

        Raises:
            ValueError: for leaf_ids of a model of other categories, and rows that are not there.
        """
        index = None if rows is None else checks.row_indices(rows, len(leaf_ids))
        n_threads = self.n_threads or 0
        out = _core.sum_leaves(self._forest, self._find(leaf_ids), index, n_threads)
        if self._linear is not None:
            self._linear.add(
                leaf_ids.rows if index is None else leaf_ids.rows[index], out, n_threads
            )
        return out

    def _find(self, leaf_ids: LeafIds) -> _core.LeafIds:
        return leaf_ids.of(self._forest, self._structure, self._encoder, self.n_threads or 0)

    def _bin(self, encoded: FloatArray) -> _core.Codes:
        if len(encoded) == 0:
            raise ValueError("X must have at least one row, got none")
        return _core.bin(
            encoded,
            self._forest.categorical,
            self.params.candidates == "quantile",
            self.params.n_bins,
            self.n_threads or 0,
        )

    def feature_importances(self, kind: Importance = "gain") -> NDArray[np.float64]:
        """Return what every feature was worth in the trees grown so far [n_features].

        A linear part is not among them: see :attr:`linear_part`. Compacted trees count as they were
        grown. Of ``learner="refit"`` it is what was known when the trees were last drawn: gains of
        trees grown on the gradients until then, the numbers of tests, and no cover. The numbers are
        sums, not shares.

        Args:
            kind: "gain", the score that splits on the feature gained over not splitting; "cover",
                the rows they parted (an oblivious level parts all rows of its batch); "split",
                their number.

        Raises:
            ValueError: for another kind.
        """
        return importances(self._forest, kind)

    def tree_arrays(self, i: int) -> TreeArrays:
        """Return tree i, in one form for both growths.

        Raises:
            ValueError: where i is not in [0, n_trees).
        """
        return TreeArrays.of(self._forest, i)

    def tree_structure(self, i: int) -> dict[str, Any]:
        """Return tree i as plain arrays: its tests, and its leaves as they are added to F.

        An oblivious tree has "depth", "features" and "thresholds" (one a level, the root's first;
        the category where the feature is categorical), "leaves" [2**depth, n_outputs] and "rates"
        [n_outputs]. A greedy tree has "feature" (-1 in a leaf), "threshold", "left", "right"
        [n_nodes], "leaf" [n_nodes, n_outputs] (zeros on inner nodes) and "rates".

        Raises:
            ValueError: where i is not in [0, n_trees).
        """
        categories = self._encoder.categories()
        return as_dict(self.tree_arrays(i), not self._forest.greedy, categories)
