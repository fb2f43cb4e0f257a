"""Candidate thresholds, reusable codes and unusual observations."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import batch, empty, leaves, structure

from rlshare.trees import BoostedTrees, TreeParams

GROWTH = ["oblivious", "greedy"]
both_growths = pytest.mark.parametrize("grow_policy", GROWTH)
both_kinds = pytest.mark.parametrize("candidates", ["quantile", "uniform"])


def chosen_threshold(x: list[float], boundary: float, **settings: object) -> float:
    """Threshold of the one test grown on gradients that jump at `boundary`."""
    X = np.array(x, dtype=np.float32)[:, None]
    G = np.where(boundary < X, 1, -1).astype(np.float32)
    model = BoostedTrees(1, 1, params=TreeParams(max_depth=1, **settings))  # type: ignore[arg-type]
    model.step(X, G)
    return float(structure(model, 0)[0][1])


@pytest.mark.parametrize("threshold", [2.0, 5.0, 7.0])
def test_worked_quantile_example(threshold: float) -> None:
    x = [float(v) for v in range(10)]
    assert chosen_threshold(x, threshold, n_bins=3) == threshold


def test_quantile_candidates_are_n_bins_and_no_more() -> None:
    X = np.arange(10, dtype=np.float32)[:, None]
    _, G = batch(10, n_outputs=1)
    model = empty(d=1, n_outputs=1, n_bins=3, max_depth=6)
    model.step(X, G)
    assert sorted(t for _, t in structure(model, 0)) == [2, 5, 7]


@pytest.mark.parametrize("boundary", range(8))
def test_few_values_are_all_candidates(boundary: int) -> None:
    x = [float(v * v) for v in range(9)] * 3
    assert chosen_threshold(x, boundary**2, n_bins=27) == boundary**2


@pytest.mark.parametrize("b", range(4))
def test_uniform_thresholds(b: int) -> None:
    threshold = -1 + b * 0.5
    x = np.linspace(-1, 1, 41).tolist()
    assert chosen_threshold(x, threshold, n_bins=4, candidates="uniform") == threshold


@both_kinds
def test_255_bins_and_one_more_value_than_that(candidates: str) -> None:
    for n in (255, 256, 257, 1000):
        X = np.arange(n, dtype=np.float32)[:, None]
        for boundary in (0, n // 2):
            G = np.where(boundary < X, 1, -1).astype(np.float32)
            model = empty(d=1, n_outputs=1, max_depth=1, candidates=candidates)
            model.step(X, G)
            assert abs(structure(model, 0)[0][1] - boundary) <= n / 255


@both_growths
@pytest.mark.parametrize("transform", [np.arcsinh, np.cbrt, lambda x: 1000 * x + 7])
def test_increasing_transform_leaves_quantile_predictions(grow_policy: str, transform) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    X = rng.integers(-40, 40, (500, 3)).astype(np.float32)
    T = transform(X).astype(np.float32)
    plain, other = (empty(grow_policy=grow_policy, n_bins=32) for _ in range(2))
    for _ in range(5):
        G = rng.normal(size=(500, 2)).astype(np.float32)
        plain.step(X, G)
        other.step(T, G)
    np.testing.assert_array_equal(plain.predict(X), other.predict(T))


@both_growths
@both_kinds
def test_codes_give_the_same_tree_as_the_observations(grow_policy: str, candidates: str) -> None:
    X, G = batch(500)
    X[::7, 1] = np.nan
    direct, coded = (empty(grow_policy=grow_policy, candidates=candidates) for _ in range(2))
    codes = coded.bin(X)
    assert len(codes) == 500
    for k in range(4):
        direct.step(X, (k + 1) * G)
        coded.step(codes, (k + 1) * G)
    assert direct.to_bytes() == coded.to_bytes()


@both_growths
def test_rows_choose_a_minibatch(grow_policy: str) -> None:
    X, G = batch(100)
    rows = np.random.default_rng(1).permutation(100)[:40].astype(np.int64)
    by_rows, by_hand = (empty(grow_policy=grow_policy) for _ in range(2))
    by_rows.step(X, G[rows], rows=rows)
    by_hand.step(X[rows], G[rows])
    np.testing.assert_array_equal(by_rows.predict(X), by_hand.predict(X))


def test_codes_rows_move_only_by_the_chosen_gradients() -> None:
    X, G = batch(100)
    rows = np.arange(0, 100, 3, dtype=np.int64)
    model = empty(max_depth=0, bins="rollout")
    model.step(model.bin(X), G[rows], rows=rows)
    np.testing.assert_allclose(leaves(model, 0)[0], -0.5 * G[rows].mean(axis=0), rtol=1e-5)


def test_repeated_rows_count_repeatedly() -> None:
    X, G = batch(4)
    model = empty(max_depth=0)
    rows = np.array([0, 0, 3], dtype=np.int64)
    model.step(model.bin(X), G[rows], rows=rows)
    np.testing.assert_allclose(leaves(model, 0)[0], -0.5 * G[rows].mean(axis=0), rtol=1e-5)


def test_rollout_bins_train_on_codes() -> None:
    X, G = batch(200)
    rollout, per_batch = empty(bins="rollout"), empty()
    rollout.step(rollout.bin(X), G)
    per_batch.step(X, G)
    assert structure(rollout, 0) == structure(per_batch, 0)
    np.testing.assert_array_equal(rollout.predict(X), per_batch.predict(X))


@both_growths
@both_kinds
def test_nan_goes_left(grow_policy: Any, candidates: Any) -> None:
    X = np.array([[np.nan], [0], [1], [2], [np.nan], [3]], dtype=np.float32)
    G = np.array([[1], [1], [1], [-2], [1], [-2]], dtype=np.float32)
    model = BoostedTrees(
        1,
        1,
        params=TreeParams(max_depth=1, grow_policy=grow_policy, candidates=candidates, n_bins=6),
        learning_rate=1.0,
    )
    model.step(X, G)
    np.testing.assert_array_equal(model.predict(X), -G)
    np.testing.assert_array_equal(model.predict([[-1e30]]), model.predict([[np.nan]]))


@both_growths
@both_kinds
def test_infinities_are_ordinary_ends_of_the_line(grow_policy: Any, candidates: Any) -> None:
    X = np.array([[-np.inf], [0], [1], [2], [3], [np.inf]], dtype=np.float32)
    G = np.array([[1], [1], [1], [1], [1], [-5]], dtype=np.float32)
    model = BoostedTrees(
        1,
        1,
        params=TreeParams(max_depth=3, grow_policy=grow_policy, candidates=candidates, n_bins=6),
        learning_rate=1.0,
    )
    model.step(X, G)
    predicted = model.predict(X)
    assert np.isfinite(predicted).all()
    assert np.isfinite([threshold for _, threshold in structure(model, 0)]).any()
    if candidates == "quantile":
        np.testing.assert_array_equal(predicted, -G)


@both_kinds
def test_the_widest_span_of_float32(candidates: str) -> None:
    big = float(np.finfo(np.float32).max)
    assert chosen_threshold([-big, -big, big], 0, candidates=candidates, n_bins=2) in (-big, 0.0)


def test_denormals_are_not_flushed_to_zero() -> None:
    threshold = chosen_threshold([1e-45, 3e-45, 1e-44, 2e-44], 4e-45)
    assert threshold == float(np.float32(3e-45))


def test_negative_zero_equals_zero() -> None:
    X = np.array([[-0.0], [0.0], [-0.0], [0.0]], dtype=np.float32)
    model = empty(d=1, n_outputs=1)
    model.step(X, np.array([[1], [2], [3], [4]], dtype=np.float32))
    assert structure(model, 0) == []


@both_growths
def test_any_layout_of_the_same_numbers(grow_policy: str) -> None:
    X, G = batch(130)
    wide = np.zeros((260, 6), dtype=np.float32)
    wide[::2, ::2] = X
    forms = [X.astype(np.float64), np.asfortranarray(X), wide[::2, ::2], X[::-1].copy()[::-1]]
    expected = empty(grow_policy=grow_policy)
    expected.step(X, G)
    for form in forms:
        model = empty(grow_policy=grow_policy)
        model.step(form, np.asfortranarray(G.astype(np.float64)))
        assert model.to_bytes() == expected.to_bytes()
        np.testing.assert_array_equal(model.predict(form), expected.predict(X))


def test_integer_and_boolean_observations() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (60, 3))
    _, G = batch(60)
    models = [empty() for _ in range(4)]
    for model, kind in zip(models, (np.float32, np.int64, np.uint8, bool), strict=True):
        model.step(X.astype(kind), G)
    assert len({model.to_bytes() for model in models}) == 1


@given(seed=st.integers(0, 2**32 - 1), n_bins=st.integers(1, 255), n=st.integers(1, 600))
def test_predictions_are_finite_on_any_observations(seed: int, n_bins: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 2**32, (n, 3), dtype=np.uint32).view(np.float32)  # every bit pattern
    for candidates in ("quantile", "uniform"):
        model = empty(n_bins=n_bins, candidates=candidates)
        model.step(X, rng.normal(size=(n, 2)).astype(np.float32))
        assert np.isfinite(model.predict(X)).all()
