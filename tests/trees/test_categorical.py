"""Categorical features: equality tests, the dictionary, missing and new values."""

from typing import Any

import numpy as np
import pytest
from models import batch, structure
from scalar_predict import scalar_predict

from rlshare.trees import BoostedTrees, TreeParams

GROWTH = ["oblivious", "greedy"]
both_growths = pytest.mark.parametrize("grow_policy", GROWTH)


def model_of(d: int, categorical: list[int], n_outputs: int = 1, **settings: Any) -> BoostedTrees:
    params = TreeParams(categorical=categorical, **settings)
    return BoostedTrees(d, n_outputs, params=params, learning_rate=1.0)


def objects(*columns: list[Any]) -> np.ndarray:
    X = np.empty((len(columns[0]), len(columns)), dtype=object)
    for f, column in enumerate(columns):
        X[:, f] = column
    return X


@both_growths
@pytest.mark.parametrize("score", ["cosine", "l2"])
def test_a_separable_string_is_learnt_in_one_split(grow_policy: str, score: str) -> None:
    X = objects(["red", "green", "blue", "red", "green"], [1.0, 2.0, 3.0, 4.0, 5.0])
    G = np.array([[2], [-1], [-1], [2], [-1]], dtype=np.float32)
    model = model_of(2, [0], max_depth=1, grow_policy=grow_policy, score=score)
    model.step(X, G)
    assert structure(model, 0) == [(0, "red")]
    np.testing.assert_array_equal(model.predict(X), -G)


@both_growths
def test_renaming_categories_changes_nothing(grow_policy: str) -> None:
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d", "e"]
    codes = rng.integers(0, 5, (200, 2))
    other_names = ["zebra", "", "10", "\u732b", "x" * 300]
    predictions = []
    for chosen in (names, other_names, [7, -7, 2**60, 0, 5]):
        X = objects([chosen[c] for c in codes[:, 0]], [chosen[c] for c in codes[:, 1]])
        model = model_of(2, [0, 1], n_outputs=2, grow_policy=grow_policy)
        for seed in range(5):
            model.step(X, batch(200, seed=seed)[1])
        predictions.append(model.predict(X))
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])


@both_growths
@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), "never seen", 12345])
def test_missing_and_never_seen_go_left(grow_policy: str, missing: Any) -> None:
    X = objects(["a", "b", "a", "b"])
    G = np.array([[1], [-1], [1], [-1]], dtype=np.float32)
    model = model_of(1, [0], max_depth=1, grow_policy=grow_policy)
    model.step(X, G)
    assert structure(model, 0) == [(0, "a")]  # the first to appear, of two equal candidates
    np.testing.assert_array_equal(model.predict(objects([missing])), [[1]])


@both_growths
def test_missing_values_in_training(grow_policy: str) -> None:
    X = objects([None, "a", float("nan"), "a", "b"])
    G = np.array([[1], [-3], [1], [-3], [1]], dtype=np.float32)
    model = model_of(1, [0], max_depth=1, grow_policy=grow_policy)
    model.step(X, G)
    np.testing.assert_array_equal(model.predict(X), -G)


def test_prediction_learns_no_categories() -> None:
    model = model_of(1, [0])
    model.step(objects(["a", "b"]), np.array([[1], [2]], dtype=np.float32))
    before = model.to_bytes()
    model.predict(objects(["c", "d"]))
    assert model.to_bytes() == before


def test_categories_of_later_batches_join_the_dictionary() -> None:
    model = model_of(1, [0], max_depth=1)
    model.step(objects(["a", "b"]), np.array([[1], [-1]], dtype=np.float32))
    model.step(objects(["c", "b"]), np.array([[8], [-8]], dtype=np.float32))
    # "b" comes before "c" in the dictionary, and both candidates divide the batch alike.
    assert structure(model, 1) == [(0, "b")]
    np.testing.assert_array_equal(
        model.predict(objects(["a", "b", "c"])), [[-1 - 8], [1 + 8], [1 - 8]]
    )


@both_growths
def test_huge_integers_stay_distinct(grow_policy: str) -> None:
    values = [2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**62, 2**62 + 1]
    G = np.arange(6, dtype=np.float32)[:, None] ** 2
    for X in (np.array(values, dtype=np.int64)[:, None], objects(values)):
        model = model_of(1, [0], max_depth=6, grow_policy=grow_policy)
        model.step(X, G)
        np.testing.assert_array_equal(model.predict(X), -G)


@both_growths
def test_long_strings_stay_distinct(grow_policy: str) -> None:
    X = objects(["x" * 300 + end for end in "abcd"])
    G = np.array([[1], [5], [-2], [9]], dtype=np.float32)
    model = model_of(1, [0], max_depth=4, grow_policy=grow_policy)
    model.step(X, G)
    np.testing.assert_array_equal(model.predict(X), -G)


def test_strings_and_integers_of_the_same_look_are_distinct() -> None:
    X = objects([1, "1", 1, "1"])
    G = np.array([[3], [-1], [3], [-1]], dtype=np.float32)
    model = model_of(1, [0])
    model.step(X, G)
    np.testing.assert_array_equal(model.predict(X), -G)


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.float32, np.float64, object])
def test_integral_numbers_in_any_type(kind: Any) -> None:
    numbers = np.array([[0, 3], [1, 4], [2, 3], [0, 4]])
    G = np.array([[1], [5], [-2], [9]], dtype=np.float32)
    expected = model_of(2, [0, 1])
    expected.step(numbers, G)
    model = model_of(2, [0, 1])
    model.step(numbers.astype(kind), G)
    np.testing.assert_array_equal(model.predict(numbers), expected.predict(numbers))
    np.testing.assert_array_equal(expected.predict(numbers.astype(kind)), model.predict(numbers))


@both_growths
@pytest.mark.parametrize("n", [255, 256, 257, 2000])
def test_more_categories_than_a_byte_counts(grow_policy: str, n: int) -> None:
    X = objects([f"item {k % n}" for k in range(2 * n)])
    G = np.where(np.arange(2 * n) % n == n - 1, 7, 0).astype(np.float32)[:, None]
    model = model_of(1, [0], max_depth=1, grow_policy=grow_policy)
    model.step(X, G)
    assert structure(model, 0) == [(0, f"item {n - 1}")]
    np.testing.assert_array_equal(model.predict(X), -G)


@both_growths
def test_mixed_columns_predict_as_the_scalar_loop_does(grow_policy: str) -> None:
    rng = np.random.default_rng(0)
    X = objects(
        [["r", "g", "b", None][k] for k in rng.integers(0, 4, 100)],
        [float(v) for v in rng.normal(size=100)],
        [int(v) for v in rng.integers(-3, 3, 100)],
    )
    model = model_of(3, [0, 2], n_outputs=2, grow_policy=grow_policy)
    for seed in range(10):
        model.step(X, batch(100, seed=seed)[1])
    trees = [model.tree_structure(t) for t in range(10)]
    expected = [scalar_predict(model.bias, trees, row, (0, 2)) for row in X]
    np.testing.assert_array_equal(model.predict(X), expected)
    codes = model_of(3, [0, 2], n_outputs=2, grow_policy=grow_policy)
    binned = codes.bin(X)
    for seed in range(10):
        codes.step(binned, batch(100, seed=seed)[1])
    assert codes.to_bytes() == model.to_bytes()


@pytest.mark.parametrize("value", [0.5, np.float32(1.25), np.inf, -np.inf, (1, 2), b"bytes"])
def test_a_value_that_is_no_category_is_refused(value: Any) -> None:
    model = model_of(2, [1])
    good = objects([0.0, 1.0], ["a", "b"])
    G = np.ones((2, 1), dtype=np.float32)
    model.step(good, G)
    before = model.to_bytes()
    bad = objects([0.0, 1.0, 2.0], ["new", "a", "b"])
    bad[2, 1] = value
    for call in (lambda: model.step(bad, np.ones((3, 1))), lambda: model.predict(bad)):
        with pytest.raises(ValueError, match=r"categorical feature .* feature 1 holds"):
            call()
    with pytest.raises(ValueError, match="categorical"):
        model.bin(bad)
    assert model.to_bytes() == before


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_fraction_in_a_numeric_array_is_refused(kind: Any) -> None:
    X = np.array([[0, 1], [0, 2.5]], dtype=kind)
    with pytest.raises(ValueError, match=r"feature 1 holds .*2\.5"):
        model_of(2, [1]).step(X, np.ones((2, 1), dtype=np.float32))


def test_a_failed_step_learns_no_categories() -> None:
    model = model_of(1, [0])
    before = model.to_bytes()
    with pytest.raises(ValueError, match="gradients"):
        model.step(objects(["a", "b"]), np.array([[1], [np.nan]], dtype=np.float32))
    assert model.to_bytes() == before


def test_too_many_categories_leave_the_model_untouched() -> None:
    model = model_of(1, [0])
    before = model.to_bytes()
    X = objects([f"item {k}" for k in range(65_536)])
    with pytest.raises(ValueError, match=r"at most 65535 categories .* has 65536"):
        model.step(X, np.ones((65_536, 1), dtype=np.float32))
    assert model.to_bytes() == before


def test_an_array_of_strings_where_all_features_are_categories() -> None:
    G = np.array([[1], [2], [4]], dtype=np.float32)
    models = [model_of(2, [0, 1]) for _ in range(2)]
    X = objects(["a", "b", "a"], ["x", "y", "z"])
    for model, form in zip(models, (X, X.astype(str)), strict=True):
        model.step(form, G)
    assert models[0].to_bytes() == models[1].to_bytes()


def test_a_string_in_a_numeric_column_is_refused() -> None:
    model = model_of(2, [0])
    before = model.to_bytes()
    with pytest.raises(ValueError, match="numeric"):
        model.step(objects(["a", "b"], [1.0, "two"]), np.ones((2, 1), dtype=np.float32))
    assert model.to_bytes() == before


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint64, bool])
def test_integer_columns_are_the_same_categories_in_an_object_array(dtype: type) -> None:
    rng = np.random.default_rng(3)
    values = {
        np.int64: [-(2**63), -5, 0, 7, 2**62, 2**63 - 1],
        np.int8: [-128, -1, 0, 127],
        np.uint64: [0, 1, 2**63, 2**64 - 1],
        bool: [False, True],
    }[dtype]
    X = np.array(values, dtype)[rng.integers(len(values), size=(200, 3))]
    unseen = np.array([[values[0]] * 3], dtype)
    seen = X[(unseen != X).any(axis=1)]
    grads = rng.normal(size=(len(seen), 2)).astype(np.float32)
    models = []
    for array in (seen, seen.astype(object)):
        model = BoostedTrees(3, 2, TreeParams(categorical=[0, 1, 2], random_state=0))
        for start in range(0, len(seen), 40):  # later batches know some of the categories
            model.step(array[start : start + 40], grads[start : start + 40])
        models.append(model)
    ours, theirs = models
    assert ours.to_bytes() == theirs.to_bytes()
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X.astype(object)))
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_integers_are_known_beside_strings() -> None:
    X = np.array([["a"], [3], ["3"], [4]] * 5, dtype=object)
    model = BoostedTrees(1, 1, TreeParams(categorical=[0]), learning_rate=1.0)
    model.fit(X, np.array([0.0, 1.0, 2.0, 3.0] * 5), 60)
    np.testing.assert_allclose(model.predict(np.array([[3], [4]])), [[1.0], [3.0]], atol=1e-3)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize(
    "values",
    [
        [[-3, 0, 4], [5], [0, 1, 7], [2**50 - 1, 2**50], [-(2**62)]],
        [[-3, 0, 4], [5], [0, 2**61, -(2**61)], [2**50 - 1, 2**50], [-(2**62)]],
    ],
    ids=["narrow", "wide"],
)
def test_integers_are_told_from_those_never_seen(dtype: type, values: list[list[int]]) -> None:
    rng = np.random.default_rng(0)
    X = np.array([rng.choice(v, 60) for v in values]).T
    unseen = [-(2**63), -(2**62), -4, -1, 1, 5, 6, 2**50 + 1, 2**61 + 2**20, 2**62, 2**63 - 2**10]
    queries = np.array([rng.choice([*v, *unseen], 300) for v in values]).T
    number = rng.integers(-9, 9, 300)
    X, queries = np.insert(X, 1, number[:60], axis=1), np.insert(queries, 1, number, axis=1)
    model = model_of(6, [0, 2, 3, 4, 5], n_outputs=2)
    model.fit(X.astype(dtype), rng.normal(size=(60, 2)), 20)
    expected = model.predict(queries.astype(object))
    assert len(np.unique(expected, axis=0)) > 20
    np.testing.assert_array_equal(model.predict(queries.astype(dtype)), expected)
