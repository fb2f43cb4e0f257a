"""Missing values: told from every number, in every spelling."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_files import version_2, with_checksum
from models import empty, structure

from rlshare.trees import BoostedTrees, TreeParams

both_growths = pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
both_kinds = pytest.mark.parametrize("candidates", ["quantile", "uniform"])
LOWEST = float(np.finfo(np.float32).min)


def columns(n: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "always 1": np.ones(n),
        "0 or 1": rng.integers(0, 2, n).astype(float),
        "mostly 0": np.where(rng.random(n) < 0.8, 0.0, rng.random(n)),
        "-inf": np.where(rng.random(n) < 0.5, -np.inf, 1.0),
        "lowest": np.full(n, LOWEST),
        "many": rng.normal(size=n),
    }


@both_growths
@both_kinds
@pytest.mark.parametrize("score", ["cosine", "l2"])
@pytest.mark.parametrize("name", columns(1, np.random.default_rng()))
def test_one_test_tells_missing_from_numbers(
    name: str, score: Any, candidates: Any, grow_policy: Any
) -> None:
    rng = np.random.default_rng(0)
    missing = rng.random(2000) < 0.4
    X = np.where(missing, np.nan, columns(2000, rng)[name])[:, None]
    params = TreeParams(max_depth=1, score=score, candidates=candidates, grow_policy=grow_policy)
    model = BoostedTrees(1, 1, params, learning_rate=1.0)
    model.step(X, np.where(missing, 1.0, -1.0)[:, None])
    assert structure(model, 0) == [(0, -np.inf)]
    np.testing.assert_array_equal(model.predict(X)[:, 0], np.where(missing, -1, 1))
    np.testing.assert_array_equal(model.predict([[-np.inf], [LOWEST], [np.inf]]), [[1]] * 3)
    for row in X[:3]:  # few rows have kernels of their own
        assert model.predict(row[None]) == (-1 if np.isnan(row[0]) else 1)


@both_kinds
def test_the_parting_test_is_an_extra_one(candidates: Any) -> None:
    X = np.arange(600, dtype=np.float32)[:, None]
    with_missing = np.where(X % 7 == 0, np.nan, X)
    for n_bins, beside in ((1, 1), (10, 10), (254, 254), (255, 254)):
        model = empty(d=1, n_outputs=1, n_bins=n_bins, candidates=candidates)
        found = model.bin(with_missing).candidates(0)
        assert found[0] == -np.inf
        assert len(found) == 1 + beside
        assert np.isfinite(model.bin(X).candidates(0)).all()
        assert len(model.bin(X).candidates(0)) == n_bins


@both_kinds
def test_a_column_of_nothing_has_no_test(candidates: str) -> None:
    assert empty(d=1, candidates=candidates).bin(np.full((5, 1), np.nan)).candidates(0) == []


@both_growths
def test_minus_infinity_is_the_lowest_number(grow_policy: str) -> None:
    X = np.array([[-np.inf], [-np.inf], [0.0], [1.0], [np.nan]])
    G = np.array([[3.0], [3.0], [-1.0], [-1.0], [-1.0]])
    model = empty(d=1, n_outputs=1, rate=1.0, grow_policy=grow_policy)
    model.step(X, G)
    np.testing.assert_array_equal(model.predict(X), -G)
    np.testing.assert_array_equal(model.predict([[LOWEST]]), [[-3]])


@both_growths
def test_minus_infinity_in_a_file_of_version_2(grow_policy: str) -> None:
    """There it was a threshold that -Inf and missing values do not exceed."""
    X = np.array([[-np.inf], [0.0], [1.0], [5.0]], np.float32)
    model = empty(d=1, n_outputs=1, rate=1.0, grow_policy=grow_policy, max_depth=1)
    model.step(X, np.array([[3.0], [-1.0], [-1.0], [-1.0]]))
    data = version_2(model.to_bytes())[:-8]
    old = data.replace(np.float32(LOWEST).tobytes(), np.float32(-np.inf).tobytes())
    assert old != data
    loaded = BoostedTrees.from_bytes(with_checksum(old))
    rows = np.array([[-np.inf], [np.nan], [LOWEST / 2], [3.0]])
    np.testing.assert_array_equal(loaded.predict(rows), [[-3], [-3], [1], [1]])
    assert loaded.to_bytes() == model.to_bytes()


@both_growths
@pytest.mark.parametrize("sign", [1, -1])
def test_monotonic_constraints_let_missing_values_be(grow_policy: str, sign: int) -> None:
    """The numbers are in order, and what is missing lies where its gradients want it."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 1000)
    y = np.where(np.arange(1000) % 3 == 0, 5.0 * sign, sign * x + rng.normal(size=1000) * 0.5)
    X = np.where(np.arange(1000) % 3 == 0, np.nan, x)[:, None]
    X = np.hstack([X, rng.normal(size=(1000, 1))])
    model = empty(d=2, n_outputs=1, rate=0.3, grow_policy=grow_policy, monotonic=[(0, 0, sign)])
    model.fit(X, y, 60)
    line = np.linspace(-2, 2, 200)
    for other in (-1.0, 0.0, 1.0, np.nan):
        rows = np.stack([line, np.full(200, other)], axis=1)
        assert (sign * np.diff(model.predict(rows)[:, 0]) >= 0).all()
    np.testing.assert_allclose(model.predict([[np.nan, 0.0]]), [[5.0 * sign]], atol=0.3)


@both_growths
def test_a_constraint_says_nothing_of_an_empty_missing_side(grow_policy: str) -> None:
    """By hand: no row is missing where g is 1; -10 there must not become what is said of it."""
    X = np.array([[np.nan, 0], [1, 0], [1, 1], [1, 1], [1, 1]])
    G = np.array([[-1.0], [1.0], [10.0], [10.0], [10.0]])
    model = empty(
        d=2, n_outputs=1, rate=1.0, max_depth=2, grow_policy=grow_policy, monotonic=[(0, 0, 1)]
    )
    model.step(X, G)
    rows = [[np.nan, 0], [1, 0], [np.nan, 1], [1, 1]]
    np.testing.assert_array_equal(model.predict(rows)[:, 0], [1, -1, 0, -10])


@both_growths
def test_a_compaction_keeps_them(grow_policy: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.choice([np.nan, -np.inf, 0.0, 1.0], (500, 2))
    y = np.where(np.isnan(X[:, 0]), 2.0, np.where(np.isneginf(X[:, 1]), -1.0, 0.0))
    model = empty(d=2, n_outputs=1, rate=0.1, grow_policy=grow_policy).fit(X, y, 80)
    before = model.predict(X)
    model.compact(X, 80, 80)
    np.testing.assert_allclose(model.predict(X), before, atol=1e-5)


# --- spellings

NUMBERS: list[Any] = [1.0, None, 3.0, 2.0, None, 5.0]
WORDS: list[Any] = ["a", None, "b", None, "a", "c"]
G = np.arange(6, dtype=np.float32)[:, None] ** 2 - 5


def objects(missing: Any) -> Any:
    rows = [
        [missing if number is None else number, missing if word is None else word]
        for number, word in zip(NUMBERS, WORDS, strict=True)
    ]
    array = np.empty((6, 2), object)
    for i, row in enumerate(rows):
        for f in range(2):
            array[i, f] = row[f]
    return array


def masked() -> Any:
    mask = np.array([[n is None, w is None] for n, w in zip(NUMBERS, WORDS, strict=True)])
    return np.ma.MaskedArray(
        [[n or 77.0, w or "hidden"] for n, w in zip(NUMBERS, WORDS, strict=True)],
        mask,
        dtype=object,
    )


def frame(number: str, word: str) -> Callable[[], Any]:
    def make() -> Any:
        pd = pytest.importorskip("pandas")
        return pd.DataFrame(
            {"number": pd.array(NUMBERS, dtype=number), "word": pd.Series(WORDS, dtype=word)}
        )

    return make


def pandas_missing(name: str) -> Callable[[], Any]:
    return lambda: objects(getattr(pytest.importorskip("pandas"), name))


SPELLINGS: dict[str, Callable[[], Any]] = {
    "NaN": lambda: objects(float("nan")),
    "float32 NaN": lambda: objects(np.float32("nan")),
    "NaT of numpy": lambda: objects(np.datetime64("NaT")),
    "masked": masked,
    "a list": lambda: objects(None).tolist(),
    "pandas.NA": pandas_missing("NA"),
    "pandas.NaT": pandas_missing("NaT"),
    "Int64 and string": frame("Int64", "string"),
    "Float64 and category": frame("Float64", "category"),
    "float64 and object": frame("float64", "object"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_missing(spelling: str) -> None:
    X = SPELLINGS[spelling]()
    reference, model, coded = (
        BoostedTrees(2, 1, TreeParams(categorical=[1]), learning_rate=1.0) for _ in range(3)
    )
    reference.step(objects(None), G)
    model.step(X, G)
    coded.step(coded.bin(X), G)
    assert model.to_bytes() == coded.to_bytes() == reference.to_bytes()
    np.testing.assert_array_equal(model.predict(X), reference.predict(objects(None)))
    fits = [
        BoostedTrees(2, 1, TreeParams(categorical=[1])).fit(x, G, 3) for x in (X, objects(None))
    ]
    assert fits[0].to_bytes() == fits[1].to_bytes()


def number_forms() -> dict[str, Callable[[], Any]]:
    table = [[1.0, 0.0], [np.nan, 1.0], [3.0, np.nan], [2.0, 1.0], [np.nan, 0.0], [5.0, 1.0]]
    plain = np.array(table)
    mask = np.isnan(plain)

    def nullable() -> Any:
        pd = pytest.importorskip("pandas")
        flags = pd.array([None if v != v else bool(v) for v in plain[:, 1]], dtype="boolean")
        return pd.DataFrame({"number": pd.array(NUMBERS, dtype="Int64"), "flag": flags})

    return {
        "float64": lambda: plain,
        "None": lambda: [[None if v != v else v for v in row] for row in table],
        "masked floats": lambda: np.ma.MaskedArray(np.where(mask, 9, plain), mask),
        "masked integers": lambda: np.ma.MaskedArray(np.where(mask, 9, plain).astype(int), mask),
        "masked float32": lambda: np.ma.MaskedArray(np.where(mask, 9, plain).astype("f4"), mask),
        "Int64 and boolean": nullable,
        "a frame of floats": lambda: pytest.importorskip("pandas").DataFrame(plain),
    }


@pytest.mark.parametrize("form", number_forms())
@pytest.mark.parametrize("categorical", [None, [1], [0, 1]])
def test_every_form_of_numbers(form: str, categorical: Any) -> None:
    plain, X = number_forms()["float64"](), number_forms()[form]()
    models = [BoostedTrees(2, 1, TreeParams(categorical=categorical)) for _ in range(2)]
    for model, rows in zip(models, (plain, X), strict=True):
        model.step(rows, G)
        model.step(rows, G[::-1], rows=[5, 3, 1, 0, 2, 4])
    assert models[0].to_bytes() == models[1].to_bytes()
    np.testing.assert_array_equal(models[0].predict(plain), models[0].predict(X))


def test_integral_floats_among_objects_are_categories() -> None:
    """As a column of integers becomes where one is missing."""
    models = [BoostedTrees(1, 1, TreeParams(categorical=[0])) for _ in range(2)]
    for model, values in zip(models, ([3, 5, None], [3.0, 5.0, np.nan]), strict=True):
        model.step(np.array(values, object)[:, None], G[:3])
    assert models[0].to_bytes() == models[1].to_bytes()


@pytest.mark.parametrize("value", ["two", (1, 2), object, np.datetime64("2020-01-01"), 1j])
@pytest.mark.parametrize("categorical", [None, [1]])
def test_what_is_neither_number_nor_missing_is_named(value: Any, categorical: Any) -> None:
    X = np.empty((3, 2), object)
    X[:] = 1
    X[0, 0], X[1, 0] = None, value
    model = BoostedTrees(2, 1, TreeParams(categorical=categorical))
    for call in (lambda: model.predict(X), lambda: model.bin(X), lambda: model.step(X, G[:3])):
        with pytest.raises(ValueError, match=r"numbers in its numeric columns, feature 0 holds"):
            call()


def test_pandas_is_not_needed() -> None:
    code = """
import sys
sys.modules["pandas"] = None
import numpy as np
from rlshare.trees import BoostedTrees, TreeParams
model = BoostedTrees(2, 1, TreeParams(categorical=[1]))
model.step(np.array([[None, "a"], [1.0, None]], object), [[1.0], [2.0]])
print(model.n_trees)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "1", run.stderr
