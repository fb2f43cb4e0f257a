"""Monotonic constraints: never violated, whatever the trees would rather learn."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from models import Floats, empty, grown, leaves, structure

from rlshare.trees import BoostedTrees, TreeParams

both_growths = pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
CONSTRAINTS = [(0, 0, 1), (1, 0, -1), (0, 2, -1), (2, 1, 1)]  # three outputs, the last one free: 2
PAIRS = 10_000


def problem(n: int = 600, seed: int = 0) -> tuple[Floats, Floats]:
    """Targets that rise and fall, against the constraints more often than not."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    waves = np.sin(3 * X[:, :3]) - X[:, :3] * [0.3, -0.3, 0.3]
    noise = rng.normal(size=(n, 3)) * 0.3
    return X, (waves + waves[:, [1, 0, 0]] * X[:, [3]] + noise).astype(np.float32)


def train(n_trees: int = 100, weights: Any = None, **settings: Any) -> BoostedTrees:
    model = empty(d=4, n_outputs=3, rate=0.3, **settings)
    for k in range(n_trees):
        X, Y = problem(seed=k % 7)
        G = (model.predict(X) - Y) * (1 + k % 3)
        model.step(X, G, sample_weight=None if weights is None else weights(X))
    return model


def violations(model: BoostedTrees, feature: int, output: int, sign: int) -> int:
    rng = np.random.default_rng(feature)
    X = rng.normal(size=(PAIRS, model.n_features), scale=1.5).astype(np.float32)
    higher = X.copy()
    higher[:, feature] += rng.exponential(size=PAIRS).astype(np.float32)
    rise = model.predict(higher)[:, output] - model.predict(X)[:, output]
    return int((sign * rise < 0).sum())


@both_growths
@pytest.mark.parametrize("score", ["cosine", "l2"])
@pytest.mark.parametrize("candidates", ["quantile", "uniform"])
def test_no_violations(grow_policy: str, score: str, candidates: str) -> None:
    settings = {"grow_policy": grow_policy, "score": score, "candidates": candidates}
    model = train(monotonic=CONSTRAINTS, **settings)
    free = train(**settings)
    for feature, output, sign in CONSTRAINTS:
        assert violations(model, feature, output, sign) == 0
        assert violations(free, feature, output, sign) > 100
    assert violations(model, 1, 1, 1) > 100  # an output without a constraint on the feature


@both_growths
@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({"l2_regularization": 5.0}, None),
        ({"min_samples_leaf": 20, "n_bins": 7}, None),
        ({"subsample": 0.5, "colsample": 0.5, "random_state": 0}, None),
        ({"max_depth": 7}, None),
        ({}, lambda X: np.abs(X[:, 3])),
        ({"l2_regularization": 2.0, "score": "l2"}, lambda X: (X[:, :3] > 0).astype(float)),
    ],
)
def test_no_violations_with(grow_policy: str, settings: dict[str, Any], weights: Any) -> None:
    model = train(60, weights, grow_policy=grow_policy, monotonic=CONSTRAINTS, **settings)
    for feature, output, sign in CONSTRAINTS:
        assert violations(model, feature, output, sign) == 0


@both_growths
@pytest.mark.parametrize("seed", range(5))
def test_every_pair_of_leaves_of_a_tree(grow_policy: str, seed: int) -> None:
    """All cells that the thresholds cut out of the space, each beside the next one up."""
    model = empty(d=4, n_outputs=3, grow_policy=grow_policy, monotonic=CONSTRAINTS, max_depth=5)
    X, Y = problem(80, seed)
    model.step(X, Y)
    tree = model.tree_structure(0)
    tests = (
        zip(tree["features"], tree["thresholds"], strict=True)
        if grow_policy == "oblivious"
        else zip(tree["feature"], tree["threshold"], strict=True)
    )
    cuts: list[set[float]] = [{-1e9, 1e9} for _ in range(4)]
    for feature, threshold in tests:
        if feature >= 0:
            cuts[feature].add(float(threshold))
    values = [sorted(cut) for cut in cuts]
    grid = np.array(list(product(*values)), np.float32)
    F = model.predict(grid).reshape(*(len(v) for v in values), 3)
    for feature, output, sign in CONSTRAINTS:
        assert (sign * np.diff(F[..., output], axis=feature) >= 0).all()


def test_two_sides_in_the_wrong_order_share_their_mean() -> None:
    """By hand: 10, 10 and 7 under a rising constraint are 9, while the other node is free."""
    X = np.array([[0, 0], [1, 0], [0, 1], [0, 1], [1, 1]], np.float32)
    G = -np.array([[-5.0], [5.0], [10.0], [10.0], [7.0]])
    model = empty(d=2, n_outputs=1, rate=1.0, max_depth=2, monotonic=[(0, 0, 1)])
    model.step(X, G)
    assert structure(model, 0) == [(1, 0.0), (0, 0.0)]
    np.testing.assert_array_equal(leaves(model, 0)[:, 0], [-5, 5, 9, 9])


def test_sides_in_order_are_parted_halfway_between_their_means() -> None:
    """By hand: what lies beyond (2 + 8) / 2 in a side is moved to it."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    G = -np.array([[-2.0], [6.0], [9.0], [7.0]])
    model = empty(d=2, n_outputs=1, rate=1.0, max_depth=2, grow_policy="greedy")
    bound = empty(
        d=2, n_outputs=1, rate=1.0, max_depth=2, grow_policy="greedy", monotonic=[(0, 0, 1)]
    )
    for one in (model, bound):
        one.step(X, G)
    np.testing.assert_array_equal(model.predict(X), -G)
    np.testing.assert_array_equal(bound.predict(X)[:, 0], [-2, 5, 9, 7])


def test_a_side_without_weight_is_in_any_order() -> None:
    X = np.array([[0.0], [1.0], [1.0]])
    model = empty(d=1, n_outputs=1, rate=1.0, grow_policy="greedy", monotonic=[(0, 0, 1)])
    model.step(X, np.full((3, 1), 3.0), sample_weight=[0, 1, 1])
    assert structure(model, 0) == [(0, 0.0)]
    np.testing.assert_array_equal(model.predict(X), np.full((3, 1), -3.0))


@both_growths
def test_a_monotone_target_is_learnt_as_well(grow_policy: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(3000, 3)).astype(np.float32)
    y = np.tanh(2 * X[:, 0]) - X[:, 1] ** 3 / 8 + 0.1 * rng.normal(size=3000)
    constrained, free = (
        empty(n_outputs=1, rate=0.2, grow_policy=grow_policy, monotonic=monotonic)
        for monotonic in ([(0, 0, 1), (1, 0, -1)], None)
    )
    errors = []
    for model in (constrained, free):
        model.fit(X[:2000], y[:2000], 100)
        errors.append(float(np.square(model.predict(X[2000:])[:, 0] - y[2000:]).mean()))
    assert errors[0] < 1.5 * errors[1]  # the noise alone is 0.01
    assert errors[0] < 0.02


@both_growths
def test_a_constraint_that_does_not_bind_changes_nothing(grow_policy: str) -> None:
    X = np.linspace(-1, 1, 200, dtype=np.float32)[:, None].repeat(2, axis=1)
    y = X[:, 0]
    constrained, free = (
        empty(d=2, n_outputs=1, grow_policy=grow_policy, monotonic=monotonic).fit(X, y, 1)
        for monotonic in ([(0, 0, 1), (1, 0, 1)], None)
    )
    np.testing.assert_array_equal(constrained.predict(X), free.predict(X))


def test_no_constraints_are_none() -> None:
    assert TreeParams(monotonic=()) == TreeParams(monotonic=[])
    assert train(5, monotonic=()).predict(problem()[0]).tobytes() == train(5).predict(
        problem()[0]
    ).tobytes()  # fmt: skip


@both_growths
def test_save_load_and_go_on(grow_policy: str) -> None:
    model = train(10, grow_policy=grow_policy, monotonic=CONSTRAINTS)
    loaded = BoostedTrees.from_bytes(model.to_bytes())
    assert loaded.params == model.params
    assert loaded.params.monotonic == tuple(sorted(CONSTRAINTS))
    X, Y = problem(seed=3)
    for one in (model, loaded):
        one.step(X, Y)
    assert loaded.to_bytes() == model.to_bytes()


@both_growths
def test_threads_change_nothing(grow_policy: str) -> None:
    X, Y = (np.tile(part, (60, 1)) for part in problem())
    results = []
    for n_threads in (1, 3):
        model = empty(d=4, n_outputs=3, grow_policy=grow_policy, monotonic=CONSTRAINTS)
        model.n_threads = n_threads
        for _ in range(3):
            model.step(X, model.predict(X) - Y)
        results.append(model.to_bytes())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("monotonic", "message"),
    [
        ([(4, 0, 1)], r"features in \[0, 3\) and outputs in \[0, 2\), got \(4, 0\)"),
        ([(0, 2, 1)], r"features in \[0, 3\) and outputs in \[0, 2\), got \(0, 2\)"),
    ],
)
def test_out_of_range(monotonic: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        empty(monotonic=monotonic)


def test_compaction_is_refused() -> None:
    model = grown(10, monotonic=[(0, 0, 1)])
    with pytest.raises(ValueError, match="monotonic constraints cannot be compacted, got 1"):
        model.compact(problem()[0][:, :3], 5, 2)
