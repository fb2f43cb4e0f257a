"""The learner as numpy users see it: one tree a step, on gradients the caller computes."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlshare import _core
from rlshare.checks import integer
from rlshare.files import write_atomically
from rlshare.trees import checks, model_file
from rlshare.trees.categories import CategoryEncoder
from rlshare.trees.params import TreeParams
from rlshare.trees.schedules import LearningRate, Schedule, as_schedules, rate_at

FloatArray = NDArray[np.float32]
Mark = tuple[int, int, list[float]]
_FLOAT32 = np.dtype(np.float32)


class Target(Protocol):
    """A weighted sum of the trees of a model, which a compaction must take along."""

    @property
    def n_full(self) -> int:
        """Oldest trees of weight 1; no others are compacted."""

    def trees_replaced(self, n_oldest: int, n_kept: int) -> None:
        """Follow a compaction of the model, whose ``n_oldest`` trees all had the weight 1."""


class Codes:
    """Rows binned by :meth:`BoostedTrees.bin`, to be fitted on as often as wanted."""

    def __init__(self, core: _core.Codes) -> None:
        self._core = core

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._core)

    def candidates(self, feature: int) -> list[float]:
        """Return the feature's candidate thresholds, or the numbers of its categories."""
        return self._core.candidates(feature)


class BoostedTrees:
    """One ensemble with `n_outputs` columns that share the structure of every tree.

    ``F_c(s) = bias_c - sum_t eta_c(t) * v_t[leaf_t(s), c]`` with v the mean per-sample gradient of
    a leaf (Fuhrer, Tessler, Dalal, arXiv 2407.08250). A prediction adds, in float32, the bias and
    then the trees in the order they were grown; the number of threads, the instruction set and the
    other rows of the batch never change it.

    Args:
        n_features: columns of X.
        n_outputs: columns of a prediction, D.
        params: shape of the trees.
        learning_rate: eta: one rate or schedule, or a sequence of one an output. A schedule is
            :class:`Linear`, :class:`Table` or any callable of t, the boosting steps made so far.
        bias: prediction of the empty ensemble [n_outputs]; zeros by default.
        n_threads: at most so many threads, where they pay; None for as many as there are cores.
        device: "cpu".

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
        device: str = "cpu",
    ) -> None:
        if n_features < 1 or n_outputs < 1:
            raise ValueError(
                f"n_features and n_outputs must be >= 1, got {n_features} and {n_outputs}"
            )
        if n_threads is not None and n_threads < 1:
            raise ValueError(f"n_threads must be >= 1 or None, got {n_threads}")
        if device != "cpu":
            raise ValueError(f"device must be cpu, the only back end built so far, got {device!r}")
        params = params or TreeParams()
        checks.shape(params, n_features, n_outputs)
        if params.random_state is None and (params.subsample < 1 or params.colsample < 1):
            params = replace(params, random_state=secrets.randbits(32))
        categorical = params.categorical or ()
        self.params = params
        self.n_features = int(n_features)
        self.n_outputs = int(n_outputs)
        self.n_threads = n_threads
        self.n_steps_done = 0
        self._schedules = as_schedules(learning_rate, n_outputs)
        self._targets: weakref.WeakSet[Target] = weakref.WeakSet()
        self._encoder = CategoryEncoder(self.n_features, {f: [] for f in categorical})
        self._forest = _core.Forest(
            greedy=params.grow_policy == "greedy",
            n_features=self.n_features,
            bias=checks.bias(bias, n_outputs).tolist(),
            categorical=[f in categorical for f in range(n_features)],
        )

    @property
    def n_trees(self) -> int:
        """Trees in the ensemble."""
        return self._forest.n_trees

    @property
    def nbytes(self) -> int:
        """Memory of the trees, in bytes."""
        return self._forest.n_bytes

    @property
    def bias(self) -> FloatArray:
        """Prediction of the empty ensemble [n_outputs]."""
        return np.asarray(self._forest.bias, np.float32)

    def learning_rates(self, t: int | None = None) -> NDArray[np.float64]:
        """Return the learning rates [n_outputs] of boosting step t, by default the next one."""
        t = self.n_steps_done if t is None else t
        return np.array([rate_at(schedule, t) for schedule in self._schedules])

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The learning rates [n_outputs] as functions of the boosting step."""
        return self._schedules

    def train_on_with(self, params: TreeParams, learning_rate: LearningRate) -> None:
        """Grow trees by other params and rates from here on; those there are stay as they are.

        Args:
            params: of the next trees.
            learning_rate: of the next trees, as in the constructor.

        Raises:
            ValueError: for params that contradict the trees: another ``grow_policy`` or
                ``categorical``, or ``monotonic`` constraints that they were not grown under.
        """
        self.check_params(params)
        checks.shape(params, self.n_features, self.n_outputs)
        self._schedules = as_schedules(learning_rate, self.n_outputs)
        self.params = params

    def check_params(self, params: TreeParams) -> None:
        """Refuse params under which these trees could not have been grown.

        Raises:
            ValueError: see :meth:`train_on_with`.
        """
        for name in ("grow_policy", "categorical"):
            own, other = getattr(self.params, name), getattr(params, name)
            if (own or None) != (other or None):
                raise ValueError(
                    f"{name} must be {own!r}, as of the trees there are, got {other!r}"
                )
        new = set(params.monotonic or ()) - set(self.params.monotonic or ())
        if new and self.n_trees:
            raise ValueError(
                f"monotonic must not constrain trees that were grown without, got {sorted(new)}"
            )

    def predict(
        self,
        X: Any,
        start: int = 0,
        stop: int | None = None,
        out: FloatArray | None = None,
        tree_weights: ArrayLike | None = None,
    ) -> FloatArray:
        """Return F(X) of trees [start, stop).

        The bias counts as part of the range that begins at 0, so that adjoining ranges add up.

        Args:
            X: observations [n, n_features]; NaN and +-Inf are legal.
            start: first tree.
            stop: tree after the last, None for all.
            out: float32 [n, n_outputs], C-contiguous: the trees, without the bias, are added onto
                it in place. Going on from ``predict(X, 0, k)`` so is bit-equal to one prediction.
            tree_weights: factors [stop] of the trees; None, or all 1, is the plain sum.

        Returns:
            float32 [n, n_outputs].

        Raises:
            ValueError: for a wrong shape, a range that is not in [0, n_trees], or a weight that is
                not finite.
        """
        n_trees = self._forest.n_trees
        stop = n_trees if stop is None else stop
        if not 0 <= start <= stop <= n_trees:
            raise ValueError(
                f"start and stop must obey 0 <= start <= stop <= {n_trees}, got {start} and {stop}"
            )
        encoded = self._encoder.encode(X)
        shape = (len(encoded), self.n_outputs)
        with_bias = out is None and start == 0
        if out is None:
            out = np.empty(shape, _FLOAT32) if with_bias else np.zeros(shape, _FLOAT32)
        elif out.shape != shape or out.dtype != np.float32 or not out.flags.carray:
            raise ValueError(
                f"out must be C-contiguous, writeable float32 of shape {list(shape)}, "
                f"got {out.dtype} of shape {list(out.shape)}"
            )
        weights = None if tree_weights is None else checks.tree_weights(tree_weights, stop)
        self._forest.add_trees(encoded, start, stop, out, with_bias, self.n_threads or 0, weights)
        return out

    def bin(self, X: Any) -> Codes:
        """Return codes of X [n, n_features] for :meth:`step`; new categories are learnt."""
        return Codes(self._bin(self._encoder.encode(X, learn=True)))

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

    def step(
        self,
        X: Any,
        grads: ArrayLike,
        rows: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        lr_scale: float = 1.0,
    ) -> None:
        """Grow one tree. Where this raises, the model is as it was.

        Args:
            X: observations [n, n_features], or codes from :meth:`bin`.
            grads: per-sample gradients dL/dF [n, n_outputs]. A loss that is a mean over n rows has
                gradients of 1/n of these: multiply by n.
            rows: indices [m] of the rows of X that grads [m, n_outputs] belongs to; None for all.
            sample_weight: weights >= 0, [m] or [m, n_outputs]; sums and means become weighted.
            lr_scale: multiplied onto every learning rate.

        Raises:
            ValueError: for wrong shapes, non-finite gradients, weights < 0, a learning rate < 0.
        """
        X = X if isinstance(X, Codes) else self._encoder.as_array(X)
        index = None if rows is None else checks.row_indices(rows, len(X))
        n = len(X) if index is None else len(index)
        grads = checks.gradients(grads, n, self.n_outputs)
        weights = checks.weights(sample_weight, n, self.n_outputs)
        rates = self._rates(lr_scale, grads)
        feature_weights, sample = self._draw(n)
        codes = self._codes(X, index)
        if sample is not None:
            codes = codes.take(sample)
            grads = grads[sample]
            weights = None if weights is None else weights[sample]
        self._forest.grow(codes, grads, weights, self._grow_params(rates, feature_weights))
        self.n_steps_done += 1

    def _codes(self, X: Any, index: NDArray[np.int64] | None) -> _core.Codes:
        if isinstance(X, Codes):
            return X._core if index is None else X._core.take(index)
        if self.params.bins == "rollout":
            raise ValueError(
                "bins='rollout' fits on codes that are made once: pass codes = model.bin(X) to step"
            )
        return self._bin(self._encoder.encode(X if index is None else X[index], learn=True))

    def _rates(self, lr_scale: float, grads: FloatArray) -> NDArray[np.float64]:
        if not (np.isfinite(lr_scale) and lr_scale >= 0):
            raise ValueError(f"lr_scale must be finite and >= 0, got {lr_scale!r}")
        rates = self.learning_rates() * lr_scale
        largest = max(float(grads.max()), -float(grads.min()))
        if rates.max() * max(largest, 1.0) > np.finfo(np.float32).max:
            raise ValueError(
                f"learning rate times gradient must fit float32, got {rates.max()} * {largest}"
            )
        return rates

    def _draw(self, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """Return the features' weights and the rows of the next tree (None for all)."""
        p, d = self.params, self.n_features
        weights = np.ones(d) if p.feature_weights is None else np.array(p.feature_weights)
        if p.subsample == 1 and p.colsample == 1:
            return weights, None
        # Seeded by the step, so that a loaded model goes on with the same draws.
        rng = np.random.default_rng([p.random_state or 0, self.n_steps_done])
        kept = rng.choice(d, max(1, round(p.colsample * d)), replace=False)
        weights = np.where(np.isin(np.arange(d), kept), weights, 0.0)
        if p.subsample == 1:
            return weights, None
        return weights, np.sort(rng.choice(n, max(1, round(p.subsample * n)), replace=False))

    def _grow_params(
        self, rates: NDArray[np.float64], feature_weights: NDArray[np.float64]
    ) -> _core.GrowParams:
        p = self.params
        return _core.GrowParams(
            greedy=p.grow_policy == "greedy",
            cosine=p.score == "cosine",
            max_depth=p.max_depth,
            min_samples_leaf=p.min_samples_leaf,
            l2=p.l2_regularization,
            feature_weights=feature_weights.tolist(),
            rates=rates.tolist(),
            monotonic=list(p.monotonic or ()),
            n_threads=self.n_threads or 0,
        )

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        n_trees: int,
        eval_set: tuple[Any, ArrayLike] | None = None,
        early_stopping_rounds: int | None = None,
    ) -> BoostedTrees:
        """Grow up to n_trees trees on the squared error ``|F(X) - y|^2 / 2`` and return self.

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
        if n_trees < 0:
            raise ValueError(f"n_trees must be >= 0, got {n_trees}")
        if (eval_set is None) != (early_stopping_rounds is None):
            raise ValueError(
                "eval_set and early_stopping_rounds must be given together, got "
                f"{'no ' if eval_set is None else ''}eval_set and "
                f"early_stopping_rounds={early_stopping_rounds!r}"
            )
        F = self.predict(X)
        target = checks.targets(y, len(F), self.n_outputs)
        validation = _Validation(self, eval_set, early_stopping_rounds)
        codes = self.bin(X)
        for _ in range(n_trees):
            self.step(codes, F - target)
            self.predict(X, self.n_trees - 1, self.n_trees, out=F)
            if validation.over():
                break
        validation.rewind()
        return self

    def feature_importances(
        self, kind: Literal["gain", "cover", "split"] = "gain"
    ) -> NDArray[np.float64]:
        """Return what every feature was worth in the trees grown so far [n_features].

        Compacted trees count as they were grown. The numbers are sums, not shares.

        Args:
            kind: "gain", the score that splits on the feature gained over not splitting; "cover",
                the rows they parted (an oblivious level parts all rows of its batch); "split",
                their number.

        Raises:
            ValueError: for another kind.
        """
        kinds = ("gain", "cover", "split")
        if kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(kinds)}, got {kind!r}")
        sums = np.array(self._forest.importances).reshape(3, self.n_features)
        return np.asarray(sums[kinds.index(kind)])

    @property
    def version(self) -> object:
        """Changes where trees are replaced, by a compaction; it does not where trees are added.

        Compare by identity: what was summed over the trees of another version is void.
        """
        return self._forest

    def follow(self, target: Target) -> None:
        """Let a target know of compactions, for as long as it lives; copies have no targets."""
        self._targets.add(target)

    def mark(self) -> Mark:
        """Return where the model is, for :meth:`rewind` after further steps."""
        return self.n_trees, self.n_steps_done, self._forest.importances

    def rewind(self, mark: Mark) -> None:
        """Drop the trees grown since a mark, as if they had never been."""
        n_trees, self.n_steps_done, importances = mark
        self._forest.truncate(n_trees)
        self._forest.importances = importances

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
        schedules and random draws go on as if nothing had happened; trees change their numbers.

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
        if self.params.monotonic:
            raise ValueError(
                "a model with monotonic constraints cannot be compacted, got "
                f"{len(self.params.monotonic)} of them"
            )
        if not 1 <= n_kept <= n_oldest <= self.n_compactable:
            raise ValueError(
                "n_kept and n_oldest must obey 1 <= n_kept <= n_oldest <= n_compactable = "
                f"{self.n_compactable}, got {n_kept} and {n_oldest}"
            )
        encoded = self._encoder.encode(X)
        if len(encoded) == 0:
            raise ValueError("X must have at least one row, got none")
        forest = self._forest.compacted(encoded, n_oldest, n_kept)
        candidate = self._restored(forest, self._metadata(), self.n_threads)
        if accept is not None and not accept(candidate):
            return False
        self._forest = forest
        for target in list(self._targets):
            target.trees_replaced(n_oldest, n_kept)
        return True

    @property
    def n_compactable(self) -> int:
        """Oldest trees that count in full in every target of this model."""
        return min([self.n_trees, *(target.n_full for target in list(self._targets))])

    def tree_structure(self, i: int) -> dict[str, Any]:
        """Return tree i as plain arrays: its tests, and its leaves as they are added to F.

        An oblivious tree has "depth", "features" and "thresholds" (one a level, the root's first;
        the category where the feature is categorical), "leaves" [2**depth, n_outputs] and "rates"
        [n_outputs]. A greedy tree has "feature" (-1 in a leaf), "threshold", "left", "right"
        [n_nodes], "leaf" [n_nodes, n_outputs] (zeros on inner nodes) and "rates".

        Raises:
            ValueError: where i is not in [0, n_trees).
        """
        if not 0 <= i < self.n_trees:
            raise ValueError(f"i must be in [0, {self.n_trees}), got {i}")
        tree = self._forest.tree(i)
        if not self._forest.greedy:
            tree["thresholds"] = self._values(tree["features"], tree["thresholds"])
            return tree
        leaf = np.array(tree["leaf"])
        inner = leaf < 0
        left = np.array(tree["left"])
        return {
            "feature": np.where(inner, tree["features"], -1),
            "threshold": self._values(tree["features"], tree["thresholds"]),
            "left": left,
            "right": np.where(inner, left + 1, left),
            "leaf": np.where(inner[:, None], np.float32(0), tree["leaves"][leaf]),
            "rates": tree["rates"],
        }

    def _values(self, features: list[int], thresholds: list[float]) -> list[Any]:
        categories = self._encoder.categories()
        return [
            categories[f][int(t)] if f in categories and np.isfinite(t) else t
            for f, t in zip(features, thresholds, strict=True)
        ]

    def copy(self) -> BoostedTrees:
        """Return an independent copy."""
        return self._restored(_core.Forest(self._forest), self._metadata(), self.n_threads)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> BoostedTrees:
        """Return an independent copy."""
        return self.copy()

    def to_bytes(self) -> bytes:
        """Return the model in the file format of :meth:`save`."""
        return self._forest.to_bytes(self._metadata().to_json())

    def _metadata(self) -> model_file.Metadata:
        return model_file.Metadata(
            self.params, self._schedules, self._encoder.categories(), self.n_steps_done
        )

    @classmethod
    def from_bytes(
        cls, data: bytes, learning_rate: LearningRate | None = None, n_threads: int | None = None
    ) -> BoostedTrees:
        """Undo :meth:`to_bytes`; see :meth:`load`."""
        try:
            forest, text = _core.Forest.from_bytes(data)
            metadata = model_file.Metadata.from_json(text, forest)
        except ValueError as error:
            raise ValueError(f"not a valid rlshare model file: {error}") from error
        if learning_rate is not None:
            schedules = as_schedules(learning_rate, len(forest.bias))
            metadata = replace(metadata, schedules=schedules)
        return cls._restored(forest, metadata, n_threads)

    @classmethod
    def _restored(
        cls, forest: _core.Forest, metadata: model_file.Metadata, n_threads: int | None
    ) -> BoostedTrees:
        model = cls.__new__(cls)
        model.params = metadata.params
        model.n_features = forest.n_features
        model.n_outputs = len(forest.bias)
        model.n_threads = n_threads
        model.n_steps_done = metadata.n_steps_done
        model._targets = weakref.WeakSet()
        model._schedules = metadata.schedules
        model._encoder = CategoryEncoder(forest.n_features, metadata.categories)
        model._forest = forest
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, whole or not at all.

        A callable learning rate is not saved: pass it to :meth:`load` again to train on.

        Raises:
            OSError: where the file cannot be written; a file of that name stays as it was.
        """
        write_atomically(Path(path), self.to_bytes())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        learning_rate: LearningRate | None = None,
        n_threads: int | None = None,
    ) -> BoostedTrees:
        """Read a model written by :meth:`save`.

        Args:
            path: the file.
            learning_rate: replaces the saved rates; needed to train on where one was a callable.
            n_threads: as in the constructor.

        Raises:
            OSError: where the file cannot be read.
            ValueError: where it is truncated, corrupt or no rlshare model.
        """
        return cls.from_bytes(Path(path).read_bytes(), learning_rate, n_threads)

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle keeps; callables stay, where they pickle."""
        return {
            "bytes": self.to_bytes(),
            "schedules": self._schedules,
            "n_threads": self.n_threads,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Undo :meth:`__getstate__`."""
        restored = self.from_bytes(state["bytes"], n_threads=state["n_threads"])
        restored._schedules = state["schedules"]
        self.__dict__.update(restored.__dict__)


class _Validation:
    """The error of a model on other rows while it is fitted, and the way back to its minimum."""

    def __init__(
        self, model: BoostedTrees, eval_set: tuple[Any, ArrayLike] | None, rounds: int | None
    ) -> None:
        self._model = model
        self._rounds = 0 if rounds is None else integer("early_stopping_rounds", rounds, 1)
        if eval_set is None:
            return
        if len(eval_set) != 2:
            raise ValueError(f"eval_set must be a pair (X, y), got {len(eval_set)} items")
        self._X = eval_set[0]
        self._F = model.predict(self._X)
        if len(self._F) == 0:
            raise ValueError("eval_set must have at least one row, got none")
        self._target = checks.targets(eval_set[1], len(self._F), model.n_outputs, "eval_set's y")
        self._least, self._best = self._error(), model.mark()

    def _error(self) -> float:
        return float(np.square(self._F - self._target, dtype=np.float64).sum(1).mean() / 2)

    def over(self) -> bool:
        """Take the newest tree into account; return whether the error has long been rising."""
        if not self._rounds:
            return False
        self._model.predict(self._X, self._model.n_trees - 1, out=self._F)
        error = self._error()
        if error < self._least:
            self._least, self._best = error, self._model.mark()
        return self._model.n_trees - self._best[0] >= self._rounds

    def rewind(self) -> None:
        """Drop the trees beyond the minimum, as if they had never been grown."""
        if self._rounds:
            self._model.rewind(self._best)
