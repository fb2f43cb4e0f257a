"""The learner as numpy users see it: one tree a step, on gradients the caller computes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlshare import _core
from rlshare.checks import integer, non_negative
from rlshare.trees import checks, refitting
from rlshare.trees.codes import Codes
from rlshare.trees.compaction import LeafTables, Target, compacted
from rlshare.trees.early_stopping import Validation
from rlshare.trees.ensemble import Ensemble
from rlshare.trees.growing import Growing
from rlshare.trees.leaf_ids import LeafIds
from rlshare.trees.linear import LinearPart
from rlshare.trees.linear_params import LinearParams
from rlshare.trees.model_file import Metadata
from rlshare.trees.params import TreeParams
from rlshare.trees.refitting import Sample
from rlshare.trees.running import RunningPrediction
from rlshare.trees.schedules import LearningRate, Rates, as_schedules
from rlshare.trees.storage import Parts

FloatArray = NDArray[np.float32]
Index = NDArray[np.int64] | None
_FLOAT32 = np.dtype(np.float32)
_MAX = float(np.finfo(np.float32).max)


class Mark(NamedTuple):
    """Where a model was."""

    forest: _core.Forest
    n_trees: int
    n_steps_done: int
    importances: NDArray[np.float64]
    leaves: FloatArray | None  # where they are refitted
    sample: Sample | None
    linear: LinearPart | None
    targets: LeafTables


class BoostedTrees(Ensemble):
    """One ensemble with `n_outputs` columns that share the structure of every tree.

    ``F_c(s) = bias_c - sum_t eta_c(t) * v_t[leaf_t(s), c]`` with v the mean per-sample gradient of
    a leaf (Fuhrer, Tessler, Dalal, arXiv 2407.08250). A prediction adds, in float32, the bias and
    then the trees in the order they were grown; the number of threads, the instruction set and the
    other rows of the batch never change it.

    With ``linear`` each step also regresses the gradients on the numeric features, by ridge
    regression with running second moments, and takes the result times its rate from F. Linear
    policies walk (Rajeswaran et al., arXiv 1703.02660; Mania et al., arXiv 1803.07055), and all
    steps together are one matrix: :attr:`linear_part`. Trees and regression are fitted to the same
    gradients: what one of them leaves over would be another gradient only if the curvature of the
    loss were known. The regression sees all rows, also with ``subsample``, and neither features
    whose ``feature_weights`` are 0 nor ``colsample``.

    Args:
        n_features: columns of X.
        n_outputs: columns of a prediction, D.
        params: shape of the trees.
        learning_rate: eta: one rate or schedule, or a sequence of one an output. A schedule is
            :class:`Linear`, :class:`Table` or any callable of t, the boosting steps made so far.
        bias: prediction of the empty ensemble [n_outputs]; zeros by default.
        n_threads: at most so many threads, where they pay; None for as many as there are cores.
        linear: None, or ``{"rate": .3, "ridge": 1.}``, which are the defaults of ``{}``: the rate
            of the regression, > 0, a number or one an output, and its penalty in rows, > 0. Its
            step on a column is the rate times ``lr_scale`` times the share of the column's first
            learning rate that is left, at most 1; so it is 0 where the learning rate is 0.
        device: "cpu".
        feature_names: of the columns of X, for messages and explanations; None for none.

    Raises:
        ValueError: where an argument breaks its rule; the message states both.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        params: TreeParams | None = None,
        learning_rate: LearningRate = 0.1,
        bias: ArrayLike | None = None,
        n_threads: int | None = None,
        linear: Mapping[str, Any] | None = None,
        device: str = "cpu",
        feature_names: Sequence[str] | None = None,
    ) -> None:
        n_features = integer("n_features", n_features, 1)
        n_outputs = integer("n_outputs", n_outputs, 1)
        if n_threads is not None:
            n_threads = integer("n_threads", n_threads, 1)
        if device != "cpu":
            raise ValueError(f"device must be cpu, the only back end built so far, got {device!r}")
        params = params or TreeParams()
        checks.shape(params, n_features, n_outputs)
        draws = params.subsample < 1 or params.colsample < 1 or params.learner == "refit"
        if params.random_state is None and draws:
            params = replace(params, random_state=secrets.randbits(32))
        categorical = params.categorical or ()
        forest = _core.Forest(
            greedy=params.grow_policy == "greedy",
            n_features=n_features,
            bias=checks.bias(bias, n_outputs).tolist(),
            categorical=[f in categorical for f in range(n_features)],
        )
        schedules = as_schedules(learning_rate, n_outputs)
        names = checks.feature_names(feature_names, n_features)
        metadata = Metadata(params, schedules, {f: [] for f in categorical}, 0, names)
        how = LinearParams.of(linear)
        checks.linear(how is not None, params)
        part = None if how is None else LinearPart.none(how, forest)
        self._set_parts(Parts(forest, metadata, n_threads, None, part))

    def train_on_with(
        self,
        params: TreeParams,
        learning_rate: LearningRate,
        linear: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on by other params and rates; the tests of the trees there are stay as they are.

        Args:
            params: of the next steps.
            learning_rate: of the next steps, as in the constructor.
            linear: of the next steps, as in the constructor; with None a linear part that is there
                stays as it is.

        Raises:
            ValueError: for params that contradict the trees: another ``grow_policy`` or
                ``categorical``, or ``monotonic`` constraints that they were not grown under;
                another ``learner`` while a target follows; or a linear part that may not be.
        """
        self.check_params(params)
        if params.learner != self.params.learner and len(self._targets):
            raise ValueError(
                f"learner must be {self.params.learner!r}, as it was when a target began to "
                f"follow, got {params.learner!r}"
            )
        checks.shape(params, self.n_features, self.n_outputs)
        how = LinearParams.of(linear)
        checks.linear(how is not None, params)
        part = self._linear
        if how is not None:
            how.check_outputs(self.n_outputs)
        if part is not None:
            part = replace(part, params=how)
        elif how is not None:
            if len(self._targets):
                raise ValueError("linear must be None where a target follows the trees")
            part = LinearPart.none(how, self._forest)
        self._rates = Rates(as_schedules(learning_rate, self.n_outputs))
        self.params, self._linear = params, part

    def check_params(self, params: TreeParams) -> None:
        """Refuse params under which these trees could not have been grown.

        Raises:
            ValueError: see :meth:`train_on_with`.
        """
        checks.compatible(params, self.params, self.n_trees)
        checks.linear(self._linear is not None, params)

    def step(
        self,
        X: Any,
        grads: ArrayLike,
        rows: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        lr_scale: float = 1.0,
    ) -> None:
        """Grow one tree, or where the model :attr:`refits` move the leaves of all.

        A linear part moves too. Where this raises, the model is as it was.

        Args:
            X: observations [n, n_features]; or codes from :meth:`bin`, of which a tree is grown;
                or leaves from :meth:`leaf_ids`, which move.
            grads: per-sample gradients dL/dF [n, n_outputs]. A loss that is a mean over n rows has
                gradients of 1/n of these: multiply by n.
            rows: indices [m] of the rows of X that grads [m, n_outputs] belongs to; None for all.
            sample_weight: weights >= 0, [m] or [m, n_outputs]; sums and means become weighted.
            lr_scale: multiplied onto every learning rate.

        Raises:
            ValueError: for wrong shapes, non-finite gradients, weights < 0, a learning rate < 0.
        """
        X = X if isinstance(X, (Codes, LeafIds)) else self._encoder.as_array(X)
        index = None if rows is None else checks.row_indices(rows, len(X))
        n = len(X) if index is None else len(index)
        grads, largest = checks.gradients(grads, n, self.n_outputs)
        weights = checks.weights(sample_weight, n, self.n_outputs)
        rates = self._next_rates(lr_scale, largest)
        if self._growing.params is not self.params:
            self._growing = Growing.of(self.params, self.n_features)
        change = self._move_leaves if self.refits else self._grow
        change(X, index, grads, weights, rates, lr_scale)
        self.n_steps_done += 1

    def _grow(
        self,
        X: Any,
        index: Index,
        grads: FloatArray,
        weights: FloatArray | None,
        rates: FloatArray,
        lr_scale: float,
    ) -> None:
        codes, rows = self._codes(X, index)
        linear = self._next_linear(rows, grads, weights, lr_scale)
        self._growing.grow(
            self._forest, codes, grads, weights, rates, self.n_steps_done, self.n_threads or 0
        )
        # What was learnt for drawing tests anew goes: they would replace those of the new tree too.
        self._structure, self._linear, self._sample = object(), linear, None

    def _move_leaves(
        self,
        X: Any,
        index: Index,
        grads: FloatArray,
        weights: FloatArray | None,
        rates: FloatArray,
        lr_scale: float,
    ) -> None:
        if isinstance(X, Codes):
            raise ValueError(
                "leaves move by rows or by their leaf_ids, got codes: pass model.leaf_ids(X) to "
                "step"
            )
        if not isinstance(X, LeafIds):
            encoded = self._encoder.encode(X if index is None else X[index], learn=True)
            X, index = LeafIds(encoded, self._encoder), None  # for this step alone: no copy
        if len(X) == 0:
            raise ValueError("X must have at least one row, got none")
        X.check(self._encoder)
        n_threads = self.n_threads or 0
        is_drawn = self._sample is not None or self.n_trees == 0
        rows = X.rows
        if index is not None and (is_drawn or self._linear is not None):
            rows = X.rows[index]
        linear = self._next_linear(rows, grads, weights, lr_scale)
        forest, sample, structure = self._forest, self._sample, self._structure
        followers = self._targets.leaf_tables() if is_drawn else []
        tables: Sequence[FloatArray] = ()
        if is_drawn:
            forest, sample, tables = refitting.prepared(
                self._forest,
                self.params,
                self._sample,
                rows,
                grads,
                weights,
                self.n_steps_done,
                n_threads,
                [leaves.astype(_FLOAT32) for _, leaves in followers],
            )
            if forest is not self._forest:
                structure = object()
        ids = X.of(forest, structure, self._encoder, n_threads)
        _, drawn = self._growing.draw(len(grads), self.n_steps_done)
        if drawn is not None:
            index = drawn if index is None else index[drawn]
            grads = grads[drawn]
            weights = None if weights is None else weights[drawn]
        l2 = self.params.l2_regularization or 0.0
        _core.refit(forest, ids, index, grads, weights, rates, l2, n_threads)
        if forest is not self._forest:
            for (target, _), table in zip(followers, tables, strict=True):
                target.replace_leaves(table.astype(np.float64))
        self._forest, self._sample, self._structure = forest, sample, structure
        self._version, self._linear = object(), linear

    def _next_linear(
        self, rows: FloatArray | None, grads: FloatArray, weights: FloatArray | None, scale: float
    ) -> LinearPart | None:
        """Return the linear part after a step on rows [m, n_features], which this one stays."""
        if self._linear is None:
            return None
        if rows is None:
            raise ValueError(
                "codes must come from a model with a linear part, which regresses on their rows: "
                "let model.bin(X) make them"
            )
        rates = scale * self._rates.relative(self.n_steps_done)
        used = self._growing.feature_weights > 0
        return self._linear.after(rows, grads, weights, rates, used)

    def _codes(self, X: Any, index: Index) -> tuple[_core.Codes, FloatArray | None]:
        """Return what a tree is grown of, and its rows where they are known."""
        if isinstance(X, Codes):
            rows = X.rows if X.rows is None or index is None else X.rows[index]
            return X.of(self._encoder, index), rows
        if isinstance(X, LeafIds):
            raise ValueError(
                "a tree is grown from rows or their codes, got leaf_ids: pass model.bin(X) to step"
            )
        if self.params.bins == "rollout":
            raise ValueError(
                "bins='rollout' fits on codes that are made once: pass codes = model.bin(X) to step"
            )
        encoded = self._encoder.encode(X if index is None else X[index], learn=True)
        return self._bin(encoded), encoded

    def _next_rates(self, lr_scale: float, largest: float) -> FloatArray:
        rates = self._rates.at(self.n_steps_done) * non_negative("lr_scale", lr_scale)
        fastest = float(rates.max())
        if fastest * max(largest, 1.0) > _MAX:
            raise ValueError(
                f"learning rate times gradient must fit float32, got {fastest} * {largest}"
            )
        return rates.astype(_FLOAT32)

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        n_trees: int,
        eval_set: tuple[Any, ArrayLike] | None = None,
        early_stopping_rounds: int | None = None,
    ) -> BoostedTrees:
        """Make up to n_trees steps on the squared error ``|F(X) - y|^2 / 2`` and return self.

        Args:
            X: observations [n, n_features].
            y: targets [n, n_outputs], or [n] where there is one output.
            n_trees: boosting steps.
            eval_set: (X, y) to validate on, for early stopping.
            early_stopping_rounds: stop once so many trees did not lower the mean error on
                eval_set, and keep the trees up to its minimum; needs eval_set.

        Raises:
            ValueError: for wrong shapes, non-finite targets, or one of eval_set and
                early_stopping_rounds without the other; the model is then as it was.
        """
        n_trees = integer("n_trees", n_trees, 0)
        if (eval_set is None) != (early_stopping_rounds is None):
            raise ValueError(
                "eval_set and early_stopping_rounds must be given together, got "
                f"{'no ' if eval_set is None else ''}eval_set and "
                f"early_stopping_rounds={early_stopping_rounds!r}"
            )
        F = RunningPrediction(self, X)
        target = checks.targets(y, len(F), self.n_outputs)
        validation = Validation(self, eval_set, early_stopping_rounds)
        known = self.leaf_ids(X) if self.refits else self.bin(X)
        for _ in range(n_trees):
            now = self.predict_leaves(known) if isinstance(known, LeafIds) else F.now()
            self.step(known, now - target)
            if validation.over():
                break
        validation.rewind()
        return self

    def follow(self, target: Target) -> None:
        """Let a target know where trees are replaced, while it lives; copies have no targets."""
        self._targets.add(target)

    def mark(self) -> Mark:
        """Return where the model is, for :meth:`rewind` after further steps."""
        forest = self._forest
        leaves = forest.leaves if self.refits else None
        return Mark(
            forest=forest,
            n_trees=self.n_trees,
            n_steps_done=self.n_steps_done,
            importances=forest.importances,
            leaves=leaves,
            sample=self._sample,
            linear=self._linear,
            targets=self._targets.leaf_tables(),
        )

    def rewind(self, mark: Mark) -> None:
        """Drop the trees grown since a mark and move all back, as if no step had been made.

        Targets that have leaves of their own are where they were too.

        Raises:
            ValueError: for a mark that does not know the leaves, from before ``learner="refit"``.
        """
        if mark.leaves is None and self.refits:
            raise ValueError("a mark must be of learner='refit', got one of learner='grow'")
        self.n_steps_done, self._sample = mark.n_steps_done, mark.sample
        self._linear = mark.linear
        self._forest = mark.forest
        self._forest.truncate(mark.n_trees)
        self._forest.importances = mark.importances
        if mark.leaves is not None:
            self._forest.leaves = mark.leaves
            self._version = self._structure = object()
        for target, table in mark.targets:
            target.replace_leaves(table)

    def compact(
        self,
        X: Any,
        n_oldest: int,
        n_kept: int,
        accept: Callable[[BoostedTrees], bool] | None = None,
    ) -> bool:
        """Replace the n_oldest oldest trees by n_kept of them, refitted to the sum of them all.

        The kept trees are evenly spaced. Their tests stay; their leaves, and the bias, are moved by
        backfitting (Friedman and Stuetzle, "Projection Pursuit Regression", 1981) towards that sum
        on X. Away from X the replacement may differ from what it replaces: measure it on other
        observations and refuse it through ``accept``. ``n_steps_done`` does not change, so
        schedules and random draws go on as if nothing had happened; trees change their numbers. A
        linear part stays as it is.

        Args:
            X: observations [n, n_features].
            n_oldest: how many trees to replace, at most :attr:`n_compactable`.
            n_kept: how many of them stay.
            accept: sees the compacted copy; the model is as it was where it returns False.

        Returns:
            Whether the model was compacted.

        Raises:
            ValueError: where 1 <= n_kept <= n_oldest <= n_compactable does not hold, X is empty, or
                the model has monotonic constraints, which refitted leaves would not keep.
        """
        encoded = self._encoder.encode(X)
        forest = compacted(self._forest, self.params, self.n_compactable, encoded, n_oldest, n_kept)
        candidate = self._of(replace(self._parts(), forest=forest))
        if accept is not None and not accept(candidate):
            return False
        self._forest = forest
        self._version = self._structure = object()
        self._targets.trees_replaced(n_oldest, n_kept)
        return True

    @property
    def n_compactable(self) -> int:
        """Oldest trees that count in full in every target of this model."""
        return self._targets.n_full(self.n_trees)
