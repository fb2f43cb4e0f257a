"""A slow reference for one boosting step: float64, brute force, one candidate after the other.

It is written from the definition of the method alone and imports nothing from the library:
candidates, scores, validity, the choice of splits, leaf values and prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
LOWEST = np.finfo(np.float32).min  # what -Inf counts as
MOST = 255  # thresholds of a column


@dataclass(frozen=True)
class Candidate:
    """A test: `x > threshold`, or `x == threshold` for a categorical feature, goes right."""

    feature: int
    threshold: Any
    categorical: bool = False

    def right(self, X: Array) -> Mask:
        column = X[:, self.feature]
        if self.categorical:  # a missing value equals nothing
            return np.array([bool(value == self.threshold) for value in column], dtype=bool)
        return np.asarray(
            np.maximum(column.astype(np.float32), LOWEST) > np.float32(self.threshold)
        )


def drop_repeats(values: Array) -> Array:
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def quantile_thresholds(x: Array, n_bins: int) -> Array:
    """The last value of each of the first n_bins of n_bins + 1 bins of nearly equal count."""
    x = np.sort(np.maximum(x[~np.isnan(x)], LOWEST))
    sizes = np.full(n_bins + 1, len(x) // (n_bins + 1))
    sizes[: len(x) % (n_bins + 1)] += 1
    ends = np.cumsum(sizes)[:n_bins]
    return drop_repeats(x[ends[ends > 0] - 1])


def uniform_thresholds(x: Array, n_bins: int) -> Array:
    """`min + b * step` for b = 0 .. n_bins - 1, over the finite values."""
    x = x[np.isfinite(x)]
    if len(x) == 0:
        return x
    low, high = float(x.min()), float(x.max())
    step = float(np.float32(high / n_bins - low / n_bins))
    return drop_repeats(np.array([low + b * step for b in range(n_bins)]).astype(np.float32))


def is_missing(value: Any) -> bool:
    return value is None or value != value


def categories(column: Array) -> list[Any]:
    """Distinct values in the order of first appearance."""
    return list(dict.fromkeys(value for value in column.tolist() if not is_missing(value)))


@dataclass
class Problem:
    """One batch and the settings of one tree.

    X: [n, d], float32 or object.  G: [n, D], dL/dF per sample.  W: [n, D] weights or None.
    edges_from: [m, d], the rows thresholds are taken from; the batch itself by default.
    """

    X: Array
    G: Array
    W: Array | None = None
    edges_from: Array | None = None
    score: str = "cosine"
    candidates: str = "quantile"
    n_bins: int = 255
    max_depth: int = 4
    min_samples_leaf: int = 0
    l2_regularization: float = 0.0
    feature_weights: Sequence[float] | None = None
    categorical: Sequence[int] = ()
    tests: list[Candidate] = field(init=False)
    weights: Floats = field(init=False)
    scored: Floats = field(init=False)
    sides: Mask = field(init=False)

    def __post_init__(self) -> None:
        self.G = self.G.astype(np.float64)
        self.weights = np.ones_like(self.G) if self.W is None else self.W.astype(np.float64)
        self.scored = standardised(self.G, self.weights) if self.score == "l2" else self.G
        offered = self._candidates()
        sides = [test.right(self.X) for test in offered]
        self.tests = [t for t, s in zip(offered, sides, strict=True) if 0 < s.sum() < len(s)]
        self.sides = np.array([s for s in sides if 0 < s.sum() < len(s)], dtype=bool)

    def feature_weight(self, feature: int) -> float:
        return 1.0 if self.feature_weights is None else float(self.feature_weights[feature])

    def _candidates(self) -> list[Candidate]:
        source = self.X if self.edges_from is None else self.edges_from
        thresholds = {"quantile": quantile_thresholds, "uniform": uniform_thresholds}
        found = []
        for f in range(source.shape[1]):
            if self.feature_weight(f) == 0.0:
                continue
            if f in self.categorical:
                found += [Candidate(f, value, True) for value in categories(source[:, f])]
                continue
            x = source[:, f].astype(np.float32)
            n_bins, missing = self.n_bins, np.isnan(x)
            if missing.any() and not missing.all():  # the first test parts missing from numbers
                found.append(Candidate(f, -np.inf))
                n_bins = min(n_bins, MOST - 1)
            values = thresholds[self.candidates](x, n_bins)
            found += [Candidate(f, float(value)) for value in values]
        return found

    def side_scores(self, members: Mask) -> Floats:
        """(n + l2) * |mean|^2 of each row of `members` [..., n]; 0 where it is empty."""
        l2 = self.l2_regularization
        n = members.sum(axis=-1)
        total = members @ self.weights
        sums = members @ (self.weights * self.scored)
        mean = np.divide(sums, total + l2, out=np.zeros_like(sums), where=total > 0)
        return np.where(n > 0, (n + l2) * (mean**2).sum(axis=-1), 0.0)

    def finish(self, sum_of_sides: Floats) -> Floats:
        return np.sqrt(sum_of_sides) if self.score == "cosine" else sum_of_sides

    def split_scores(self, nodes: Sequence[Mask], used: set[int]) -> Floats:
        """Weighted score of every candidate summed over `nodes`; -inf where it is invalid."""
        scores = np.zeros(len(self.tests))
        for node in nodes:
            right, left = self.sides & node, ~self.sides & node
            scores += self.finish(self.side_scores(left) + self.side_scores(right))
            fewest = np.minimum(left.sum(axis=1), right.sum(axis=1))
            scores[fewest < self.min_samples_leaf] = -np.inf
        weights = np.array([self.feature_weight(test.feature) for test in self.tests])
        scores = np.where(np.isfinite(scores), weights * scores, -np.inf)
        scores[list(used)] = -np.inf
        return scores

    def parent_score(self, node: Mask) -> float:
        """0 at the root, the score of the unsplit node below it."""
        return 0.0 if node.all() else float(self.finish(self.side_scores(node)))

    def leaf(self, node: Mask) -> Floats:
        """Mean raw gradient of the samples in `node`, [D]."""
        total = node @ self.weights
        sums = node @ (self.weights * self.G)
        return np.divide(
            sums, total + self.l2_regularization, out=np.zeros_like(sums), where=total > 0
        )


def standardised(G: Floats, W: Floats) -> Floats:
    """(g - mean) / (std_{n-1} + 1e-8) per column; 0 where the column does not vary."""
    n = len(G)
    result = np.zeros_like(G)
    for c in range(G.shape[1]):
        g, w = G[:, c], W[:, c]
        if n == 1 or w.sum() == 0 or np.ptp(g[w > 0]) == 0:
            continue
        mean = (w * g).sum() / w.sum()
        std = np.sqrt((w * (g - mean) ** 2).sum() / w.sum() * n / (n - 1))
        result[:, c] = (g - mean) / (std + 1e-8)
    return result


@dataclass
class Node:
    """A node of a grown tree: `rows` of the batch in it, and a test unless it is a leaf."""

    rows: Mask
    value: Floats
    test: Candidate | None = None
    left: Node | None = None
    right: Node | None = None

    def predict(self, row: Array) -> Floats:
        if self.test is None or self.left is None or self.right is None:
            return self.value
        return (self.right if self.test.right(row[None])[0] else self.left).predict(row)


def grow(problem: Problem, grow_policy: str) -> Node:
    """The exact tree; predict with `bias - eta * grow(...).predict(row)`."""
    everything = np.ones(len(problem.X), dtype=bool)
    root = Node(everything, problem.leaf(everything))
    if grow_policy == "greedy":
        grow_greedy(problem, root, set())
    else:
        grow_oblivious(problem, root)
    return root


def divide(problem: Problem, node: Node, best: int) -> list[Node]:
    node.test = problem.tests[best]
    left, right = node.rows & ~problem.sides[best], node.rows & problem.sides[best]
    node.left = Node(left, problem.leaf(left))
    node.right = Node(right, problem.leaf(right))
    return [node.left, node.right]


def grow_greedy(problem: Problem, node: Node, used: set[int]) -> None:
    if len(used) == problem.max_depth or not node.rows.any() or not problem.tests:
        return
    scores = problem.split_scores([node.rows], used)
    best, parent = int(np.argmax(scores)), problem.parent_score(node.rows)
    if scores[best] - parent >= -1e-6 * max(1.0, parent):
        for child in divide(problem, node, best):
            grow_greedy(problem, child, used | {best})


def grow_oblivious(problem: Problem, root: Node) -> None:
    leaves, used = [root], set[int]()
    while len(used) < problem.max_depth and problem.tests:
        scores = problem.split_scores([leaf.rows for leaf in leaves], used)
        best = int(np.argmax(scores))
        if scores[best] == -np.inf:
            return
        leaves = [child for leaf in leaves for child in divide(problem, leaf, best)]
        used.add(best)
