"""Holds the tree a learner grew, as `tree_structure(i)` shows it, against the reference.

A split may differ from the exact argmax only where the exact scores agree within 1e-5 relative,
so each split is judged on the path the learner itself has chosen so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from reference import Array, Floats, Mask, Problem

RELATIVE = 1e-5


def find(problem: Problem, feature: int, threshold: Any) -> int:
    """Index of a chosen test among the reference's candidates."""
    for index, test in enumerate(problem.tests):
        if test.feature == feature and test.threshold == threshold:
            return index
    raise AssertionError(f"({feature}, {threshold!r}) is no candidate of {problem.tests}")


def sides_of(problem: Problem, nodes: list[Mask], index: int) -> list[Any]:
    """What a score is computed from: per node, the unordered pair of (count, gradient sums)."""
    return [
        sorted(
            (int(side.sum()), *(side @ problem.scored))
            for side in (node & problem.sides[index], node & ~problem.sides[index])
        )
        for node in nodes
    ]


def check_choice(
    problem: Problem, nodes: list[Mask], used: set[int], chosen: int, *, exact: bool
) -> Floats:
    """The chosen candidate is valid and best; on exact arithmetic, the first among equals."""
    scores = problem.split_scores(nodes, used)
    assert np.isfinite(scores[chosen]), f"invalid split {problem.tests[chosen]}"
    best = scores.max()
    # Scores of rounding noise: every gradient sum is zero up to the last bit.
    noise = 1e-10 * max(1.0, float((problem.weights * problem.scored**2).sum()))
    assert scores[chosen] >= best - RELATIVE * abs(best) - noise, (
        f"split {problem.tests[chosen]} scores {scores[chosen]}, "
        f"the best {problem.tests[int(scores.argmax())]} scores {best}"
    )
    if exact:
        same = np.flatnonzero(np.isclose(scores[:chosen], scores[chosen], rtol=1e-9, atol=1e-12))
        for earlier in same:
            assert sides_of(problem, nodes, int(earlier)) != sides_of(problem, nodes, chosen), (
                f"{problem.tests[earlier]} comes before its equal {problem.tests[chosen]}"
            )
    return scores


def check_leaf(problem: Problem, rows: Mask, leaf: Array, rates: Array) -> None:
    expected = -np.asarray(rates, dtype=np.float64) * problem.leaf(rows)
    scale = float(np.abs(problem.G).max()) * np.abs(rates)
    assert np.all(np.abs(leaf - expected) <= 1e-5 * np.abs(expected) + 1e-6 * scale), (
        f"leaf {leaf}, expected {expected}"
    )


def check_oblivious(problem: Problem, tree: dict[str, Any], *, exact: bool = False) -> None:
    nodes, used = [np.ones(len(problem.X), dtype=bool)], set[int]()
    assert tree["depth"] == len(tree["features"]) == len(tree["thresholds"]) <= problem.max_depth
    for feature, threshold in zip(tree["features"], tree["thresholds"], strict=True):
        chosen = find(problem, feature, threshold)
        check_choice(problem, nodes, used, chosen, exact=exact)
        right = problem.sides[chosen]
        nodes = [half for node in nodes for half in (node & ~right, node & right)]
        used.add(chosen)
    if tree["depth"] < problem.max_depth and problem.tests:
        assert np.all(problem.split_scores(nodes, used) == -np.inf), "stopped before it had to"
    assert len(tree["leaves"]) == len(nodes)
    for rows, leaf in zip(nodes, tree["leaves"], strict=True):
        check_leaf(problem, rows, leaf, tree["rates"])


def check_greedy(problem: Problem, tree: dict[str, Any], *, exact: bool = False) -> None:
    def check(node: int, rows: Mask, used: set[int]) -> int:
        parent = problem.parent_score(rows)
        limit = -1e-6 * max(1.0, parent)
        slack = 2 * RELATIVE * max(1.0, parent)
        if tree["feature"][node] < 0:
            check_leaf(problem, rows, tree["leaf"][node], tree["rates"])
            if len(used) < problem.max_depth and rows.any() and problem.tests:
                gain = problem.split_scores([rows], used).max() - parent
                assert gain < limit + slack, f"node {node} is a leaf, a split gains {gain}"
            return 1
        assert rows.any(), f"node {node} holds no sample and is split"
        assert len(used) < problem.max_depth
        assert not tree["leaf"][node].any()
        chosen = find(problem, tree["feature"][node], tree["threshold"][node])
        scores = check_choice(problem, [rows], used, chosen, exact=exact)
        assert scores[chosen] - parent >= limit - slack, f"node {node} is split at a loss"
        right = problem.sides[chosen]
        return (
            1
            + check(tree["left"][node], rows & ~right, used | {chosen})
            + check(tree["right"][node], rows & right, used | {chosen})
        )

    everything = np.ones(len(problem.X), dtype=bool)
    assert check(0, everything, set()) == len(tree["feature"]), "nodes that no path reaches"


CHECKS = {"oblivious": check_oblivious, "greedy": check_greedy}
