"""Forests whose tests are drawn and whose leaves move: how they begin, and are drawn anew."""

from __future__ import annotations

import json
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

_MAX_PER_STEP = 512  # rows that count, so that large batches are several steps too
_MAX_ROWS = 2048
_UNIFORM = 0.05  # share of tests on features drawn alike, so that none is lost for ever
_SHARPNESS = 3.0  # what features are worth to this power is how often they are drawn
_FIT_STEPS = 100
_FIT_L2 = 1.0
_SCOUTS = TreeParams(max_depth=4)  # trees that tell what features are worth
_N_SCOUTS = 60
_SCOUT_RATE = 0.3
_NAME = "drawn_from"


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows that were stepped on, a uniform sample, from which tests will be drawn anew.

    Attributes:
        rows: [n <= 2048, n_features], categories as numbers.
        n_seen: rows stepped on, at most 512 of a step.
    """

    rows: FloatArray
    n_seen: int = 0

    def with_rows(self, rows: FloatArray, rng: np.random.Generator) -> Sample:
        """Return the sample after a step on rows [m, n_features] (reservoir sampling)."""
        if len(rows) > _MAX_PER_STEP:
            rows = rows[rng.choice(len(rows), _MAX_PER_STEP, replace=False)]
        kept = np.concatenate([self.rows, rows[: _MAX_ROWS - len(self.rows)]])
        later = np.arange(max(self.n_seen, _MAX_ROWS), self.n_seen + len(rows))
        places = rng.integers(0, later + 1)
        inside = places < _MAX_ROWS
        kept[places[inside]] = rows[len(rows) - len(later) :][inside]
        return Sample(kept, self.n_seen + len(rows))

    def to_sections(self) -> dict[str, bytes]:
        """Return the sample as a section of a model file."""
        head = json.dumps({"n_seen": self.n_seen}).encode()
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
            n_seen = json.loads(head)["n_seen"]
            rows = np.frombuffer(data, np.float32).reshape(-1, n_features).copy()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"its sample of rows is damaged: {error!r}") from error
        if type(n_seen) is not int or len(rows) != min(n_seen, _MAX_ROWS):
            raise ValueError(f"its sample of rows is damaged: {len(rows)} rows of {n_seen}")
        return cls(rows, n_seen)


def prepared(
    forest: _core.Forest,
    params: TreeParams,
    sample: Sample | None,
    rows: FloatArray,
    step: int,
    n_threads: int,
) -> tuple[_core.Forest, Sample | None]:
    """Return the forest whose leaves a step shall move, and the sample after it.

    Args:
        forest: as it is; where it has no trees they are drawn.
        params: of the trees.
        sample: of earlier rows; None for trees that were grown, or are drawn anew no more.
        rows: of the step [n, n_features].
        step: its number, which seeds the draws.
        n_threads: at most so many; 0 for as many as there are cores.
    """
    rng = np.random.default_rng([params.random_state or 0, step])
    seed = int(rng.integers(2**63))
    if forest.n_trees == 0:
        forest = drawn(forest, params, rows, np.ones(forest.n_features), seed)
        sample = Sample(rows[:0])
    if sample is None:
        return forest, None
    before = sample.n_seen
    sample = sample.with_rows(rows, rng)
    if any(before < n <= sample.n_seen for n in REDRAWN_AFTER):
        forest = redrawn(forest, params, sample.rows, seed, n_threads)
    return forest, sample if sample.n_seen < REDRAWN_AFTER[-1] else None


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
    _core.draw_trees(forest, rows, params.n_trees, depth, shares.tolist(), seed)
    return forest


def redrawn(
    forest: _core.Forest, params: TreeParams, rows: FloatArray, seed: int, n_threads: int
) -> _core.Forest:
    """Return a forest of other tests that is nearly the same function on rows [n, n_features].

    Features are drawn by what they are worth in that function.
    """
    target = np.empty((len(rows), forest.n_outputs), np.float32)
    forest.add_trees(rows, 0, forest.n_trees, target, True, n_threads)
    new = drawn(forest, params, rows, _worth(forest, rows, target, n_threads), seed)
    ids = _core.leaf_ids(new, rows, n_threads)
    rates = np.ones(forest.n_outputs, np.float32)
    for _ in range(_FIT_STEPS):  # they average over all trees, and so hardly fit noise
        error = _core.sum_leaves(new, ids, None, n_threads) - target
        _core.refit(new, ids, None, error, None, rates, _FIT_L2, n_threads)
    return new


def _worth(
    forest: _core.Forest, rows: FloatArray, target: FloatArray, n_threads: int
) -> NDArray[np.float64]:
    """Return the shares in which features are drawn: by the gain of trees grown on a function."""
    n_features, n_outputs = forest.n_features, forest.n_outputs
    scale = target.std(0)
    aim = (target - target.mean(0)) / np.where(scale > 0, scale, 1)
    scouts = _core.Forest(
        greedy=False,
        n_features=n_features,
        bias=[0.0] * n_outputs,
        categorical=[bool(flag) for flag in forest.categorical],
    )
    growing = Growing.of(_SCOUTS, n_features)
    codes = _core.bin(rows, forest.categorical, True, _SCOUTS.n_bins, n_threads)
    rates = np.full(n_outputs, _SCOUT_RATE, np.float32)
    sums = np.zeros_like(aim)
    for t in range(_N_SCOUTS):
        growing.grow(scouts, codes, sums - aim, None, rates, t, n_threads)
        scouts.add_trees(rows, t, t + 1, sums, False, n_threads)
    gain = np.asarray(scouts.importances[0])
    if not gain.sum() > 0:
        return np.ones(n_features)
    share = (gain / gain.sum()) ** _SHARPNESS
    return (1 - _UNIFORM) * share / share.sum() + _UNIFORM / n_features
