"""Forests whose tests are drawn and whose leaves move: how they begin, and are drawn anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.trees.growing import Growing
from rlshare.trees.params import TreeParams

FloatArray = NDArray[np.float32]
# Rows stepped on, repetitions counted, after which tests are drawn anew: often while little is
# learnt, then no more, since each time something is lost.
REDRAWN_AFTER = (10_000, 20_000, 80_000)
# Where steps have fewer rows than 32, after these rows too: of few rows, which may be all alike,
# tests cannot be good. Of 32, DQN's default, they are good enough, and it learns more without.
OF_SMALL_STEPS = (64, 512)
_SMALL = 32

_MAX_PER_STEP = 512  # rows that count, so that large batches are several steps too
_MAX_ROWS = 2048
_FEW = 4  # features that are all tested alike; of more so many shares are drawn alike
_NOISE = 4.0  # times the gain of shuffled features that one must have to be worth something
_FIT_STEPS = 100
_FIT_L2 = 1.0
_SCOUT = TreeParams(max_depth=3, score="l2", n_bins=64)
_NAME = "drawn_from"


@dataclass(frozen=True, eq=False)
class Sample:
    """What was learnt about rows and features for the next time that tests are drawn.

    Attributes:
        rows: [n <= 2048, n_features], a uniform sample of those stepped on, categories as numbers.
        n_seen: rows stepped on, at most 512 of a step.
        gain: [2, n_features], sums over the steps of what tests of each feature gained in a tree
            grown on the gradients, and in the same tree those of a copy whose rows were shuffled.
    """

    rows: FloatArray
    n_seen: int
    gain: NDArray[np.float64]

    @classmethod
    def none(cls, n_features: int) -> Sample:
        """Return the sample before the first step."""
        return cls(np.empty((0, n_features), np.float32), 0, np.zeros((2, n_features)))

    def after(
        self,
        forest: _core.Forest,
        rows: FloatArray,
        grads: FloatArray,
        weights: FloatArray | None,
        rng: np.random.Generator,
        n_threads: int,
    ) -> Sample:
        """Return the sample after a step of a forest on rows [m, n_features]."""
        if len(rows) > _MAX_PER_STEP:
            some = rng.choice(len(rows), _MAX_PER_STEP, replace=False)
            rows, grads = rows[some], grads[some]
            weights = None if weights is None else weights[some]
        kept = np.concatenate([self.rows, rows[: _MAX_ROWS - len(self.rows)]])
        later = np.arange(max(self.n_seen, _MAX_ROWS), self.n_seen + len(rows))
        places = rng.integers(0, later + 1)  # reservoir sampling
        inside = places < _MAX_ROWS
        kept[places[inside]] = rows[len(rows) - len(later) :][inside]
        gain = self.gain + _gain(forest, rows, grads, weights, rng, n_threads)
        return Sample(kept, self.n_seen + len(rows), gain)

    def worth(self) -> NDArray[np.float64]:
        """Return how often each feature shall be tested: its gain beyond that of noise.

        Noise is what shuffled features gain (Kursa and Rudnicki, "Feature Selection with the Boruta
        Package", 2010). The root makes those that matter more alike: what matters little now may
        matter later.
        """
        n_features = self.gain.shape[1]
        excess = np.sqrt(np.maximum(self.gain[0] - _NOISE * self.gain[1].mean(), 0))
        if not excess.sum() > 0:
            return np.ones(n_features)
        uniform = min(1.0, _FEW / n_features)
        shares: NDArray[np.float64] = excess * ((1 - uniform) / excess.sum())
        shares += uniform / n_features
        return shares

    def to_sections(self) -> dict[str, bytes]:
        """Return the sample as a section of a model file."""
        head = json.dumps({"n_seen": self.n_seen, "gain": self.gain.tolist()}).encode()
        return {_NAME: head + b"\n" + self.rows.tobytes()}

    @classmethod
    def from_sections(cls, sections: dict[str, bytes], n_features: int) -> Sample | None:
        """Undo :meth:`to_sections`; None where there is no such section.

        Raises:
            ValueError: where it is damaged.
        """
        if _NAME not in sections:
            return None
        head, _, data = sections[_NAME].partition(b"\n")
        try:
            plain = json.loads(head)
            n_seen, gain = plain["n_seen"], np.array(plain["gain"], np.float64)
            rows = np.frombuffer(data, np.float32).reshape(-1, n_features).copy()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"its sample of rows is damaged: {error!r}") from error
        if type(n_seen) is not int or len(rows) != min(n_seen, _MAX_ROWS):
            raise ValueError(f"its sample of rows is damaged: {len(rows)} rows of {n_seen}")
        if gain.shape != (2, n_features) or not (np.isfinite(gain) & (gain >= 0)).all():
            raise ValueError("its sample of rows is damaged: gains must be two numbers a feature")
        return cls(rows, n_seen, gain)


def prepared(
    forest: _core.Forest,
    params: TreeParams,
    sample: Sample | None,
    rows: FloatArray,
    grads: FloatArray,
    weights: FloatArray | None,
    step: int,
    n_threads: int,
    targets: Sequence[FloatArray],
) -> tuple[_core.Forest, Sample | None, Sequence[FloatArray]]:
    """Return the forest whose leaves a step shall move, the sample after it, and its targets.

    The sample is None at the end. Where tests are drawn anew, the leaves of the targets are others
    too, so that each remains nearly the same function.

    Args:
        forest: as it is, drawn before or without trees.
        params: of the trees.
        sample: of earlier rows; None where there are no trees.
        rows: of the step [n, n_features].
        grads: theirs [n, n_outputs].
        weights: theirs, [n] or [n, n_outputs], or None.
        step: its number, which seeds the draws.
        n_threads: at most so many; 0 for as many as there are cores.
        targets: other leaves for the tests of the forest, none where there are no trees.
    """
    rng = np.random.default_rng([params.random_state or 0, step])
    seed = int(rng.integers(2**63))
    if sample is None:
        forest = drawn(forest, params, rows, np.ones(forest.n_features), seed)
        sample = Sample.none(forest.n_features)
        targets = [forest.leaves for _ in targets]
    before = sample.n_seen
    sample = sample.after(forest, rows, grads, weights, rng, n_threads)
    early = OF_SMALL_STEPS if len(rows) < _SMALL else ()
    if any(before < n <= sample.n_seen for n in (*early, *REDRAWN_AFTER)):
        forest, targets = redrawn(forest, params, sample, seed, n_threads, targets)
    return forest, sample if sample.n_seen < REDRAWN_AFTER[-1] else None, targets


def drawn(
    like: _core.Forest, params: TreeParams, rows: FloatArray, worth: NDArray[np.float64], seed: int
) -> _core.Forest:
    """Return a forest of ``params.n_trees`` random trees whose leaves are 0.

    Args:
        like: a forest of the same features, categories and bias.
        params: of the trees.
        rows: [n, n_features], which the tests part.
        worth: of each feature, how often it is tested relative to others; ``feature_weights`` are
            multiplied onto it.
        seed: of the draws.
    """
    forest = _core.Forest(like)
    forest.truncate(0)
    shares = worth * np.array(params.feature_weights or 1.0)
    depth = params.max_depth if shares.any() else 0
    if params.candidates == "uniform":
        rows = _spread(rows, forest.categorical, seed)
    _core.draw_trees(forest, rows, params.n_trees, depth, shares.tolist(), seed)
    return forest


def redrawn(
    forest: _core.Forest,
    params: TreeParams,
    sample: Sample,
    seed: int,
    n_threads: int,
    targets: Sequence[FloatArray],
) -> tuple[_core.Forest, Sequence[FloatArray]]:
    """Return a forest of other tests that is nearly the same function on the rows of a sample.

    Args:
        forest: as it is.
        params: of its trees.
        sample: of the rows stepped on.
        seed: of the draws.
        n_threads: at most so many; 0 for as many as there are cores.
        targets: other leaves for the forest's tests.

    Returns:
        The forest, and for each of the targets the leaves for the new tests with which it is nearly
        the same function likewise.
    """
    new = drawn(forest, params, sample.rows, sample.worth(), seed)
    ids = _core.leaf_ids(new, sample.rows, n_threads)
    fitted = [
        _fitted(new, ids, _sums(forest, leaves, sample.rows, n_threads), n_threads)
        for leaves in (forest.leaves, *targets)
    ]
    new.leaves = fitted[0]
    new.importances = np.stack([sample.gain[0], np.zeros_like(sample.gain[0]), _tests(new)])
    return new, fitted[1:]


def _spread(rows: FloatArray, categorical: Sequence[int], seed: int) -> FloatArray:
    """Return rows whose numbers are spread uniformly over the range of their feature."""
    rng = np.random.default_rng(seed)
    spread = rows.copy()
    for column, is_category in zip(spread.T, categorical, strict=True):
        numbers = column[np.isfinite(column)].astype(np.float64)
        if not is_category and len(numbers):
            column[np.isfinite(column)] = rng.uniform(numbers.min(), numbers.max(), len(numbers))
    return spread


def with_leaves(forest: _core.Forest, leaves: FloatArray) -> _core.Forest:
    """Return a copy of a forest with other leaves, as many."""
    other = _core.Forest(forest)
    other.leaves = leaves
    return other


def _sums(forest: _core.Forest, leaves: FloatArray, rows: FloatArray, n_threads: int) -> FloatArray:
    """Return F of rows with other leaves for the tests of a forest."""
    out = np.empty((len(rows), forest.n_outputs), np.float32)
    with_leaves(forest, leaves).add_trees(rows, 0, forest.n_trees, out, True, n_threads)
    return out


def _fitted(
    new: _core.Forest, ids: _core.LeafIds, target: FloatArray, n_threads: int
) -> FloatArray:
    """Return leaves of a forest, all of which are 0, with which it is nearly a target."""
    forest = _core.Forest(new)
    rates = np.ones(forest.n_outputs, np.float32)
    for _ in range(_FIT_STEPS):  # they average over all trees, and so hardly fit noise
        with np.errstate(invalid="ignore"):  # of infinities, which the core refuses
            error = _core.sum_leaves(forest, ids, None, n_threads) - target
        _core.refit(forest, ids, None, error, None, rates, _FIT_L2, n_threads)
    return forest.leaves


def _tests(forest: _core.Forest) -> NDArray[np.float64]:
    """Return how many tests of a forest are of each feature [n_features]."""
    inner = [forest.arrays(t) for t in range(forest.n_trees)]
    levels = [tree["feature"][[2**k - 1 for k in range(tree["depth"])]] for tree in inner]
    return np.bincount(np.concatenate(levels), minlength=forest.n_features).astype(np.float64)


def _gain(
    forest: _core.Forest,
    rows: FloatArray,
    grads: FloatArray,
    weights: FloatArray | None,
    rng: np.random.Generator,
    n_threads: int,
) -> NDArray[np.float64]:
    """Return the shares [2, n_features] in the gain of a tree, of features and shuffled ones."""
    n_features, n_outputs = forest.n_features, forest.n_outputs
    beside = np.concatenate([rows, rows[rng.permutation(len(rows))]], axis=1)
    scout = _core.Forest(
        greedy=False,
        n_features=2 * n_features,
        bias=[0.0] * n_outputs,
        categorical=[bool(flag) for flag in forest.categorical] * 2,
    )
    codes = _core.bin(beside, scout.categorical, True, _SCOUT.n_bins, n_threads)
    rates = np.ones(n_outputs, np.float32)
    Growing.of(_SCOUT, 2 * n_features).grow(scout, codes, grads, weights, rates, 0, n_threads)
    gain = np.asarray(scout.importances[0]).reshape(2, n_features)
    return gain / gain.sum() if gain.sum() > 0 else np.zeros_like(gain)
