"""The linear part beside the trees: against numpy, and what must hold of it."""

import copy
import json
import pickle
import subprocess
import sys
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from model_files import OPTIONAL, REQUIRED, Section, join, split
from models import Floats, batch, empty, extend
from numpy.typing import NDArray

from rlshare.trees import (
    BoostedTrees,
    Linear,
    Table,
    TargetTrees,
    TreeParams,
    force_isa,
    supported_isas,
)

Doubles = NDArray[np.float64]
LEARNERS = ("grow", "refit")
RATE, RIDGE = 0.3, 1.0
every_learner = pytest.mark.parametrize("learner", LEARNERS)


def linear(
    d: int = 3, n_outputs: int = 2, rate: Any = 0.5, n_threads: int | None = None,
    how: dict[str, Any] | None = None, names: Any = None, **settings: Any,
) -> BoostedTrees:  # fmt: skip
    settings = {"random_state": 1, "n_trees": 5, **settings}
    how = {} if how is None else how
    return BoostedTrees(
        d, n_outputs, TreeParams(**settings), rate, n_threads=n_threads, linear=how,
        feature_names=names,
    )  # fmt: skip


def part_of(model: BoostedTrees) -> Any:
    part = model.linear_part
    assert part is not None
    return part


def state(model: BoostedTrees) -> list[Doubles]:
    part = part_of(model)
    return [part.coefficients, part.offsets, part.intercept, part.low, part.high]


def in_numpy(model: BoostedTrees, X: NDArray[Any]) -> Floats:
    """The linear part of rows, feature after feature in float64."""
    part = part_of(model)
    out = np.tile(part.intercept, (len(X), 1))
    for j in range(model.n_features):
        x = np.clip(X[:, j].astype(np.float64), part.low[j], part.high[j])[:, None]
        there = ~np.isnan(X[:, j].astype(np.float64)) & ~np.isnan(part.low[j])
        out += np.where(there[:, None], x * part.coefficients[j] + part.offsets[j], 0)
    return out.astype(np.float32)


class Reference:
    """The steps in numpy, over all rows seen so far, with one regression an output."""

    def __init__(self, d: int, n_outputs: int) -> None:
        self.rows: list[Floats] = []
        self.weights: list[Doubles] = []
        self.S = np.zeros((d + 1, d + 1))
        self.F = np.zeros((d + 1, n_outputs))  # in raw units, values of missing ones as their mean
        self.n_steps = 0

    def step(self, X: Floats, G: Floats, W: Doubles) -> None:
        """W: [n, n_outputs]."""
        kept = W.sum(1) > 0
        X, G, W = X[kept].astype(np.float64), G[kept].astype(np.float64), W[kept]
        self.rows.append(X)
        self.weights.append(W.mean(1))
        seen, w = np.concatenate(self.rows), np.concatenate(self.weights)
        there = np.isfinite(seen)
        part = w[:, None] * there / np.maximum((w[:, None] * there).sum(0), 1e-300)
        mean = (part * np.where(there, seen, 0)).sum(0)
        deviation = np.sqrt((part * np.where(there, seen - mean, 0) ** 2).sum(0))
        low = np.where(there, seen, np.inf).min(0)
        high = np.where(there, seen, -np.inf).max(0)
        varies = high > low
        z = (np.clip(X, low, high) - mean) / np.where(varies, deviation, 1)
        z = np.where(np.isnan(X) | ~varies, 0, z)
        Z = np.hstack([z, np.ones((len(z), 1))])
        r = W.mean(1)
        self.n_steps += 1
        share = max(0.01, 1 / self.n_steps)
        self.S += share * ((Z * r[:, None]).T @ Z / r.sum() - self.S)
        inverse = np.linalg.inv(self.S + RIDGE / r.sum() * np.eye(len(self.S)))
        for c in range(G.shape[1]):
            if W[:, c].sum() == 0:
                continue
            b = inverse @ Z.T @ (W[:, c] * G[:, c]) / W[:, c].sum()
            P = Z @ b
            fit = (W[:, c] * P * G[:, c]).sum() / (W[:, c] * P * P).sum()
            b *= RATE * min(1, fit)
            slope = b[:-1] / np.where(varies, deviation, 1) * varies
            self.F[:-1, c] -= slope
            self.F[-1, c] -= b[-1] - (slope * mean).sum()


@every_learner
@pytest.mark.parametrize("weights", [None, (64,), (64, 2)])
def test_steps_are_regressions_of_the_gradients(
    learner: str, weights: tuple[int, ...] | None
) -> None:
    model, reference = linear(learner=learner), Reference(3, 2)
    for seed in range(7):
        X, G = batch(seed=seed)
        X = X * np.float32([1, 100, 0.01]) + np.float32([5, -3000, 0])
        X[:, 1] += X[:, 0] * 50
        rng = np.random.default_rng(seed)
        w = None
        if weights is not None:
            w = rng.uniform(0, 2, weights) * rng.integers(0, 2, weights)
            w = w.astype(np.float32)
        W = np.ones((64, 2)) if w is None else np.broadcast_to(w.reshape(64, -1), (64, 2))
        reference.step(X, G, W.astype(np.float64))
        model.step(X, G, sample_weight=w)
        got = part_of(model)
        np.testing.assert_allclose(got.coefficients, reference.F[:-1], rtol=1e-6, atol=1e-9)
        together = got.intercept + got.offsets.sum(0)
        np.testing.assert_allclose(together, reference.F[-1], rtol=1e-6, atol=1e-6)


def test_missing_values_and_infinities_in_training() -> None:
    model, reference = linear(), Reference(3, 2)
    for seed in range(5):
        X, G = batch(seed=seed)
        X[::5, 0], X[3::7, 1], X[2::11, 2], X[1::13, 2] = np.nan, np.nan, np.inf, -np.inf
        reference.step(X, G, np.ones((64, 2)))
        model.step(X, G)
    coefficients = part_of(model).coefficients
    np.testing.assert_allclose(coefficients, reference.F[:-1], rtol=1e-6, atol=1e-9)
    assert np.isfinite(np.concatenate([part_of(model).low, part_of(model).high])).all()


def strange_rows(n: int, seed: int = 3) -> Floats:
    """Rows with missing values, infinities, and values far beyond those of training."""
    X = batch(n, seed=seed)[0] * 2
    X[::3, 0], X[1::5, 1], X[2::7, 2], X[3::11, 2] = np.nan, np.inf, -np.inf, 3e38
    X[4::13] = np.nan
    return X


def trained(**settings: Any) -> BoostedTrees:
    model = linear(**settings)
    extend(model, 6)
    return model


@every_learner
@pytest.mark.parametrize("n", [0, 1, 5, 400])
def test_a_prediction_ends_with_the_linear_part(learner: str, n: int) -> None:
    """Bit for bit: the bias, the trees, and then the linear part as one number."""
    model, X = trained(learner=learner), strange_rows(n)
    sums = model.predict(X, out=np.tile(model.bias, (n, 1)))
    expected = sums + in_numpy(model, X)
    F = model.predict(X)
    assert F.tobytes() == expected.tobytes() == model.add_linear(X, sums).tobytes()
    assert np.isfinite(F).all()


def test_ranges_of_trees_add_up() -> None:
    model, X = trained(), strange_rows(60)
    first = model.predict(X, 0, 2)
    alone = model.predict(X, 0, 0)
    assert alone.tobytes() == model.add_linear(X, np.tile(model.bias, (60, 1))).tobytes()
    whole = model.predict(X, 2, out=first)
    np.testing.assert_allclose(whole, model.predict(X), rtol=1e-5, atol=1e-6)
    trees = model.predict(X, 2)
    np.testing.assert_allclose(model.predict(X, 0, 2) + trees, whole, rtol=1e-5, atol=1e-6)


@every_learner
def test_threads_batches_and_instruction_sets_change_no_bit(learner: str) -> None:
    X, G = batch(20_000, d=8, n_outputs=3, seed=2)
    X[::7, 3] = np.nan
    found = set()
    for isa, n_threads in product(supported_isas(), (1, 2, 5)):
        force_isa(isa)
        model = linear(8, 3, learner=learner, n_threads=n_threads)
        for _ in range(2):
            model.step(X, G)
        F = model.predict(X)
        cuts = [0, 1, 2, 65, 1000, 19_999, 20_000]
        parts = [model.predict(X[i:j]) for i, j in pairwise(cuts)]
        assert np.concatenate(parts).tobytes() == F.tobytes()
        found.add((model.to_bytes(), F.tobytes()))
    force_isa(supported_isas()[-1])
    assert len(found) == 1


def test_sums_of_leaves_are_predictions() -> None:
    model, X = trained(learner="refit"), strange_rows(300)
    ids, rows = model.leaf_ids(X), np.array([5, 2, 299, 2])
    assert model.predict_leaves(ids).tobytes() == model.predict(X).tobytes()
    assert model.predict_leaves(ids, rows).tobytes() == model.predict(X[rows]).tobytes()
    X[:] = 0  # of the caller, not of the ids
    assert model.predict_leaves(ids).tobytes() == model.predict(strange_rows(300)).tobytes()


@every_learner
@pytest.mark.parametrize("by", ["codes", "rows"])
def test_rows_by_index_are_rows(learner: str, by: str) -> None:
    X, G = batch(200, seed=4)
    rows = np.random.default_rng(0).permutation(200)[:50]
    plain, other = (linear(learner=learner, max_depth=0) for _ in range(2))
    known: Any = X
    if by == "codes":
        known = other.leaf_ids(X) if learner == "refit" else other.bin(X)
        written_over, X = X, X.copy()
        written_over[:] = 0  # by the caller
    for _ in range(3):
        plain.step(X[rows], G[rows])
        other.step(known, G[rows], rows=rows)
    assert plain.to_bytes() == other.to_bytes()


def test_rows_of_weight_0_are_not_there() -> None:
    X, G = batch(seed=1)
    X[0], X[1], X[2] = 1e30, np.inf, np.nan  # of no weight: neither ranges nor means know them
    kept = np.arange(64) > 2
    one, other = linear(max_depth=0), linear(max_depth=0)
    one.step(X, G, sample_weight=kept.astype(np.float32))
    other.step(X[kept], G[kept])
    for ours, theirs in zip(state(one), state(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    before = state(one)
    one.step(X, G, sample_weight=np.zeros(64))
    for ours, theirs in zip(state(one), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_output_of_weight_0_stays() -> None:
    X, G = batch(seed=1)
    model = linear()
    model.step(X, G, sample_weight=np.tile(np.float32([1, 0]), (64, 1)))
    part = part_of(model)
    assert part.coefficients[:, 0].all()
    assert not part.coefficients[:, 1].any()
    assert part.intercept[0] != 0 == part.intercept[1]


def test_large_features_lose_no_digits() -> None:
    """Coefficients cancel with offsets: x is 1e6 with a deviation of 1."""
    X, _ = batch(512, seed=0)
    X += np.float32([0, 1e6, -1e6])
    y = (X[:, [1]] - 1e6 + 0.5 * (X[:, [2]] + 1e6)).astype(np.float64)
    model = linear(3, 1, rate=1e-9, max_depth=0, learner="refit")
    for _ in range(60):
        model.step(X, model.predict(X) - y)
    assert np.abs(model.predict(X) - y).max() < 0.01


@every_learner
def test_a_line_is_learnt_and_trees_take_the_rest(learner: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 6)).astype(np.float32) * 10 + 3
    y = X @ rng.normal(size=(6, 2)) + np.where(X[:, :1] > 3, 5, -5)
    settings: dict[str, Any] = {"learner": learner, "n_trees": 50, "score": "l2"}
    with_line, without = (
        BoostedTrees(6, 2, TreeParams(**settings, random_state=0), 0.3, linear=how)
        for how in ({}, None)
    )
    errors = []
    for model in (with_line, without):
        model.fit(X, y, 60)
        errors.append(np.square(model.predict(X) - y).mean() / y.var())
    assert errors[0] < 0.03
    assert errors[0] < errors[1] / 3


def test_a_step_goes_no_further_than_the_gradients() -> None:
    """A feature that begins to vary late has small second moments: they would overshoot wildly."""
    rng = np.random.default_rng(0)
    model = linear(4, 2, how={"rate": 1.0}, max_depth=0, rate=1e-9, learner="refit")
    for k in range(160):
        X = rng.normal(size=(50, 4)).astype(np.float32)
        X[:, 3] = (rng.random(50) < 0.2) if k > 150 else 0
        G = rng.normal(size=(50, 2)).astype(np.float32) + X[:, 3:]
        before = model.predict(X)
        model.step(X, G)
        moved = np.sqrt(np.square(model.predict(X) - before).mean(0))
        assert (moved <= 1.001 * np.sqrt(np.square(G).mean(0))).all()
    assert part_of(model).coefficients[3].all()


def test_many_features_by_the_diagonal() -> None:
    """Strongly correlated ones, where the diagonal alone would overshoot a thousandfold."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 1100))
    y = X[:, :1]
    model = linear(1100, 1, rate=1e-9, max_depth=0, learner="refit")
    for _ in range(40):
        model.step(X, model.predict(X) - y)
    assert np.square(model.predict(X) - y).mean() < 0.02 * y.var()
    assert model.linear_part is not None
    assert model.linear_part.statistics.moments.shape == (1101,)
    assert BoostedTrees.from_bytes(model.to_bytes()).to_bytes() == model.to_bytes()


def test_features_that_cannot_take_part() -> None:
    """Constant, never there, categorical, excluded by a weight of 0."""
    rng = np.random.default_rng(0)
    X = np.empty((100, 6), object)
    X[:, 0], X[:, 1], X[:, 2] = rng.normal(size=100), 0.1, None
    X[:, 3], X[:, 4] = rng.choice(["a", "b"], 100), rng.normal(size=100)
    X[:, 5] = rng.normal(size=100)
    model = linear(
        6, 1, categorical=[3], feature_weights=[1, 1, 1, 1, 0, 1], score="l2", rate=[0.5]
    )
    for _ in range(3):
        model.step(X, (X[:, [0]] + X[:, [4]]).astype(np.float64))
    part = part_of(model)
    assert np.flatnonzero(part.coefficients[:, 0]).tolist() == [0, 5]
    assert np.flatnonzero(part.offsets[:, 0]).tolist() == [0, 5]
    assert np.isnan(part.low).tolist() == [False, False, True, True, False, False]
    wild = X.copy()
    wild[:, [1, 2, 4]] = np.inf
    np.testing.assert_array_equal(model.predict(wild) - model.predict(X) == 0, True)


def test_a_constant_that_is_no_binary_fraction_does_not_vary() -> None:
    model = linear(2, 1, max_depth=0)
    for n in (3, 7, 1000):
        X = np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32)
        X[:, 1] = 0.1
        model.step(X, X[:, :1])
    assert part_of(model).coefficients[1] == 0


def test_values_beyond_training_count_as_its_outermost() -> None:
    model = trained(max_depth=0)
    part = part_of(model)
    edge = np.stack([part.low, part.high]).astype(np.float32)
    outermost = np.float32([[-np.inf] * 3, [3e38] * 3])
    for far in (edge + np.float32([[-1], [1]]), edge * 1e6, outermost):
        np.testing.assert_array_equal(model.predict(far), model.predict(edge))
    assert np.abs(model.predict(edge)).max() < 10


@pytest.mark.parametrize("scale", [1e-38, 1e30, 3e38])
def test_huge_values_make_no_nan(scale: float) -> None:
    rng = np.random.default_rng(0)
    X = (rng.uniform(-1, 1, (100, 3)) * scale).astype(np.float32)
    G = (rng.uniform(-1, 1, (100, 2)) * 1e38).astype(np.float32)
    model = linear(rate=0.1)
    for _ in range(5):
        model.step(X, G)
        assert np.isfinite(model.predict(X)).all()
        assert not np.isnan(model.predict(X * np.float32(-0.5))).any()
    assert all(np.isfinite(each).all() for each in state(model))


def test_a_step_that_fails_changes_nothing() -> None:
    model, (X, G) = trained(), batch()
    before, version = model.to_bytes(), model.version
    wrong: list[tuple[Any, str]] = [
        ((X, G * np.nan), "must be finite"),
        ((X[:, :2], G), "X must have shape"),
        ((empty().bin(X), G), "codes must come from a model with a linear part"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            model.step(*arguments)
    tiny = linear(1, 1, how={"rate": 1e180, "ridge": 1e-300})
    column = np.float32([[0], [1e-45]])
    tiny_before = tiny.to_bytes()
    with pytest.raises(ValueError, match="coefficients of the linear part must be within"):
        tiny.step(column, np.float32([[1e30], [-1e30]]) * 1e-30)
    assert (model.to_bytes(), model.version) == (before, version)
    assert tiny.to_bytes() == tiny_before


def test_outputs_may_have_rates_of_their_own() -> None:
    one, two = linear(how={"rate": 0.2}), linear(how={"rate": np.array([0.2, 0.4])})
    two = BoostedTrees.from_bytes(two.to_bytes())
    for model in (one, two):
        model.step(*batch())
    ratio = part_of(two).coefficients / part_of(one).coefficients
    np.testing.assert_allclose(ratio, np.tile([1.0, 2.0], (3, 1)), rtol=1e-9)


@pytest.mark.parametrize(
    ("rate", "shares"),
    [
        (0.5, [1, 1, 1]),
        (Linear(0.4, 0.0, 4), [1, 0.75, 0.5]),
        (Linear(0.0, 0.4, 4), [0, 1, 1]),
        (Table([0.2, 0.1, 0.4]), [1, 0.5, 1]),
        (lambda t: 0.3 / (t + 1), [1, 1 / 2, 1 / 3]),
        (0.0, [0, 0, 0]),
    ],
)
def test_the_rate_follows_that_of_the_column(rate: Any, shares: list[float]) -> None:
    fixed, driven, scaled = (linear(rate=[0.5, r], max_depth=0) for r in (0.5, rate, rate))
    for seed, share in enumerate(shares):
        X, G = batch(seed=seed)
        steps = []
        for model, lr_scale in ((fixed, 1.0), (driven, 1.0), (scaled, 0.5)):
            before = part_of(model).coefficients
            model.step(X, G, lr_scale=lr_scale)
            steps.append(part_of(model).coefficients - before)
        np.testing.assert_allclose(steps[1][:, 0], steps[0][:, 0], rtol=1e-9)
        np.testing.assert_allclose(steps[1][:, 1], share * steps[0][:, 1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(steps[2], 0.5 * steps[1], rtol=1e-9, atol=1e-12)


CARRIED: dict[str, Any] = {
    "copy": BoostedTrees.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "file": lambda model: BoostedTrees.from_bytes(model.to_bytes()),
}


@every_learner
@pytest.mark.parametrize("how", CARRIED)
def test_copies_go_on_alike(learner: str, how: str) -> None:
    model = linear(learner=learner, categorical=[1], how={"rate": 0.2, "ridge": 3}, subsample=0.5)
    X, G = batch()
    X[:, 1], X[::4, 2] = np.arange(64) % 3, np.nan
    model.step(X, G)
    twin, before = CARRIED[how](model), model.to_bytes()
    twin.step(X[::-1], G)
    assert model.to_bytes() == before  # and alone
    model.step(X[::-1], G)
    assert twin.to_bytes() == model.to_bytes()
    assert twin.predict(X).tobytes() == model.predict(X).tobytes()
    assert twin.linear_part.params == model.linear_part.params  # type: ignore[union-attr]


@every_learner
@pytest.mark.parametrize("n_before", [0, 4])
def test_rewinding(learner: str, n_before: int) -> None:
    model = linear(learner=learner)
    extend(model, n_before)
    before, mark = model.to_bytes(), model.mark()
    extend(model, 3, seed=5)
    assert model.to_bytes() != before
    model.rewind(mark)
    assert model.to_bytes() == before


@every_learner
def test_fitting_is_stepping(learner: str) -> None:
    X, y = batch(300, seed=1)
    y = (X @ np.ones((3, 2)) + y).astype(np.float32)
    fitted, stepped = linear(learner=learner), linear(learner=learner)
    fitted.fit(X, y, 12)
    known = stepped.leaf_ids(X) if learner == "refit" else stepped.bin(X)
    for _ in range(12):
        sums = stepped.predict(X, out=np.tile(stepped.bias, (300, 1)))
        stepped.step(known, stepped.add_linear(X, sums) - y)
    assert fitted.to_bytes() == stepped.to_bytes()


@every_learner
def test_early_stopping_keeps_the_best(learner: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 20)).astype(np.float32)
    y = X[:, :1] + rng.normal(size=(100, 1)) * 3
    model = linear(20, 1, learner=learner, rate=0.5, how={"rate": 0.5}, max_depth=6)
    twin, errors = model.copy(), []
    codes = twin.leaf_ids(X[:50]) if learner == "refit" else twin.bin(X[:50])
    for _ in range(30):
        twin.step(codes, twin.predict(X[:50]) - y[:50])
        errors.append(np.square(twin.predict(X[50:]) - y[50:]).mean())
    model.fit(X[:50], y[:50], 30, (X[50:], y[50:]), early_stopping_rounds=30)
    assert model.n_steps_done in (0, 1 + int(np.argmin(errors)))
    least = min(errors) if model.n_steps_done else np.square(y[50:]).mean()
    assert np.square(model.predict(X[50:]) - y[50:]).mean() == pytest.approx(least, rel=1e-4)


def test_compaction_keeps_it() -> None:
    model, (X, _) = linear(), batch(500, seed=7)
    extend(model, 8)
    before, part, seen = model.predict(X), model.linear_part, []
    assert model.compact(X, 6, 6, lambda candidate: seen.append(candidate.predict(X)) is None)
    assert model.linear_part is part
    np.testing.assert_allclose(model.predict(X), before, rtol=0.2, atol=0.2)
    np.testing.assert_array_equal(seen[0], model.predict(X))


def test_it_is_part_of_the_size() -> None:
    assert linear().nbytes > empty().nbytes
    model = trained(learner="refit")
    size = model.nbytes
    extend(model, 5)
    assert model.nbytes == size


class TestGoingOn:
    def test_with_another_rate(self) -> None:
        model, twin = trained(), trained()
        model.train_on_with(model.params, model.schedules, {"rate": 0.6})
        X, G = batch(seed=9)
        before = part_of(model).coefficients
        model.step(X, G)
        twin.step(X, G)
        step, single = (part_of(each).coefficients - before for each in (model, twin))
        np.testing.assert_allclose(step, 2 * single, rtol=1e-9)

    def test_without_it_stays_as_it_is(self) -> None:
        model = trained()
        model.train_on_with(model.params, model.schedules)
        before = state(model)
        extend(model, 2, seed=4)
        model = BoostedTrees.from_bytes(model.to_bytes())
        model.step(*batch(seed=8))
        for now, then in zip(state(model), before, strict=True):
            np.testing.assert_array_equal(now, then)
        model.train_on_with(model.params, model.schedules, {})
        model.step(*batch(seed=8))
        assert (part_of(model).coefficients != before[0]).all()

    def test_trees_may_get_one(self) -> None:
        model = empty()
        extend(model, 3)
        X, _ = batch()
        before = model.predict(X)
        model.train_on_with(model.params, model.schedules, {})
        np.testing.assert_array_equal(model.predict(X), before)
        extend(model, 1)
        assert part_of(model).coefficients.all()


def test_nobody_writes_to_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        part_of(trained()).coefficients[0] = 1


def test_trees_alone_do_without_scipy() -> None:
    code = """
import sys
import numpy as np
from rlshare.trees import BoostedTrees
BoostedTrees(2, 1).step(np.ones((4, 2)), np.ones((4, 1)))
print([name for name in sys.modules if name.split(".")[0] in ("scipy", "torch")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr


MONOTONIC = TreeParams(monotonic=[(0, 0, 1)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear(how={"rate": 0}), "rate of linear must be finite and > 0, got 0"),
        (lambda: linear(how={"rate": np.inf}), "rate of linear must be finite and > 0, got inf"),
        (lambda: linear(how={"rate": [0.1]}), "must be a number or one for each output, 2, got"),
        (lambda: linear(how={"rate": [0.1, 0]}), "rate of linear must be finite and > 0, got 0"),
        (lambda: empty().train_on_with(TreeParams(), 0.1, {"rate": [1, 2, 3]}), "each output, 2"),
        (lambda: linear().train_on_with(TreeParams(), 0.1, {"rate": [1, 2, 3]}), "each output, 2"),
        (lambda: linear(how={"ridge": -1}), "ridge of linear must be finite and > 0, got -1"),
        (lambda: linear(how={"ridge": "1"}), "ridge of linear must be finite and > 0, got '1'"),
        (lambda: linear(how={"rte": 1}), "linear has no key 'rte', did you mean 'rate'"),
        (lambda: BoostedTrees(3, 2, linear=0.3), "linear must be None or a dict"),  # type: ignore[arg-type]
        (lambda: linear(2, categorical=[0, 1]), "linear must be None where no feature is numeric"),
        (lambda: linear(monotonic=[(0, 0, 1)]), "linear must be None with monotonic constraints"),
        (lambda: linear().train_on_with(MONOTONIC, 0.1), "must be None with monotonic"),
        (lambda: empty().train_on_with(MONOTONIC, 0.1, {}), "must be None with monotonic"),
        (lambda: TargetTrees(linear()), "linear must be None where a target follows"),
        (lambda: linear().add_linear(np.ones((2, 3)), np.ones((2, 2))), "out must be"),
        (lambda: linear().add_linear(np.ones((2, 4)), np.ones((2, 2), np.float32)), "X must have"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_followed_model_gets_none() -> None:
    model = empty()
    target = TargetTrees(model)
    with pytest.raises(ValueError, match="linear must be None where a target follows"):
        model.train_on_with(model.params, 0.1, {})
    assert target.n_full == 0
    assert model.linear_part is None


INVALID = r"^not a valid rlshare model file: "


class TestFile:
    def test_older_readers_must_refuse_it(self) -> None:
        flags = {section.name: section.flags for section in split(trained().to_bytes())}
        assert flags == {"forest": REQUIRED, "metadata": REQUIRED, "linear": REQUIRED}

    def section(self) -> tuple[list[Section], dict[str, Any], Doubles]:
        model, (X, G) = linear(categorical=[1]), batch()
        X[:, 1] = np.arange(64) % 3
        model.step(X, G)
        *others, last = split(model.to_bytes())
        assert last.name == "linear"
        head, _, data = last.data.partition(b"\n")
        return others, json.loads(head), np.frombuffer(data).copy()

    def load(self, others: list[Section], head: Any, numbers: bytes) -> BoostedTrees:
        data = json.dumps(head).encode() + b"\n" + numbers
        return BoostedTrees.from_bytes(join([*others, Section("linear", REQUIRED, data)]))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("n_steps", -1),
            ("n_steps", 1.5),
            ("n_steps", True),
            ("params", {"rate": -1}),
            ("params", {"speed": 1}),
            ("params", {"rate": [0.1, 0.1, 0.1]}),
            ("params", 3),
        ],
    )
    def test_a_damaged_head_is_refused(self, key: str, value: Any) -> None:
        others, head, numbers = self.section()
        with pytest.raises(ValueError, match=INVALID + "its linear part is damaged"):
            self.load(others, head | {key: value}, numbers.tobytes())
        with pytest.raises(ValueError, match=INVALID + "its linear part is damaged"):
            self.load(others, {k: v for k, v in head.items() if k != key}, numbers.tobytes())

    @pytest.mark.parametrize("cut", [1, 8, 80])
    def test_other_sizes_are_refused(self, cut: int) -> None:
        others, head, numbers = self.section()
        for data in (numbers.tobytes()[:-cut], numbers.tobytes() + bytes(cut)):
            with pytest.raises(ValueError, match=INVALID + "its linear part is damaged"):
                self.load(others, head, data)

    # 6 coefficients, 6 offsets, 2 intercepts; then of 2 features low, high, weight, mean, square,
    # and 3 x 3 second moments
    @pytest.mark.parametrize(
        ("at", "value"),
        [
            (0, np.nan),
            (7, np.inf),
            (12, 1e300),
            (2, 1.0),  # of the categorical feature
            (14, np.nan),  # a range that is half known
            (14, 1e300),
            (14, 1e30),  # above the highest
            (18, -1.0),
            (20, np.nan),
            (22, -1.0),
            (24, np.inf),
        ],
    )
    def test_damaged_numbers_are_refused(self, at: int, value: float) -> None:
        others, head, numbers = self.section()
        numbers[at] = value
        with pytest.raises(ValueError, match=INVALID + "its linear part is damaged"):
            self.load(others, head, numbers.tobytes())

    def test_moments_that_are_none_refuse_to_train(self) -> None:
        others, head, numbers = self.section()
        numbers[24:] = -1e6
        model = self.load(others, head, numbers.tobytes())
        before = model.to_bytes()
        X = np.ones((4, 3))
        with pytest.raises(ValueError, match="second moments of the linear part must be positive"):
            model.step(X, np.ones((4, 2)))
        assert model.to_bytes() == before

    def test_constraints_refuse_it(self) -> None:
        *_, last = split(linear().to_bytes())
        constrained = split(BoostedTrees(3, 2, MONOTONIC).to_bytes())
        with pytest.raises(ValueError, match=INVALID + "linear must be None with monotonic"):
            BoostedTrees.from_bytes(join([*constrained, last]))

    def test_an_optional_one_is_read_too(self) -> None:
        """Its flag is for readers that do not know it."""
        sections = [s._replace(flags=OPTIONAL) if s.name == "linear" else s
                    for s in split(trained().to_bytes())]  # fmt: skip
        assert BoostedTrees.from_bytes(join(sections)).to_bytes() == trained().to_bytes()
