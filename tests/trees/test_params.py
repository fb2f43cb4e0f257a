"""Bad input: one sentence with the rule and the value, and the model as it was."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from models import batch, grown

from rlshare.trees import BoostedTrees, TreeParams

WRONG_PARAMS: list[tuple[dict[str, Any], str]] = [
    ({"n_bins": 0}, r"n_bins must be .*\[1, 255\], got 0"),
    ({"n_bins": 256}, r"n_bins must be .*\[1, 255\], got 256"),
    ({"n_bins": 2.5}, r"n_bins must be .*\[1, 255\], got 2\.5"),
    ({"n_bins": "9"}, r"n_bins must be .*\[1, 255\], got '9'"),
    ({"max_depth": -1}, r"max_depth must be .*\[0, 16\], got -1"),
    ({"max_depth": 17}, r"max_depth must be .*\[0, 16\], got 17"),
    ({"max_depth": None}, r"max_depth must be .*got None"),
    ({"max_depth": True}, r"max_depth must be .*got True"),
    ({"grow_policy": "leafwise"}, r"grow_policy must be .*oblivious.*greedy.*got 'leafwise'"),
    ({"score": "L2"}, r"score must be .*cosine.*l2.*got 'L2'"),
    ({"candidates": "random"}, r"candidates must be .*quantile.*uniform.*got 'random'"),
    ({"bins": "epoch"}, r"bins must be .*batch.*rollout.*got 'epoch'"),
    ({"min_samples_leaf": -1}, r"min_samples_leaf must be .*got -1"),
    ({"l2_regularization": -0.5}, r"l2_regularization must be finite and >= 0, got -0\.5"),
    ({"l2_regularization": np.nan}, r"l2_regularization must be finite and >= 0, got nan"),
    ({"l2_regularization": np.inf}, r"l2_regularization must be .*got inf"),
    ({"subsample": 0.0}, r"subsample must be .*\(0, 1\], got 0\.0"),
    ({"subsample": 1.5}, r"subsample must be .*\(0, 1\], got 1\.5"),
    ({"colsample": np.nan}, r"colsample must be .*\(0, 1\], got nan"),
    ({"feature_weights": [1, -1, 1]}, r"feature_weights must be .*>= 0, got -1"),
    ({"feature_weights": [1, np.nan, 1]}, r"feature_weights must be .*>= 0, got nan"),
    ({"categorical": [-1]}, r"categorical must be .*got -1"),
    ({"categorical": [0.5]}, r"categorical must be .*got 0\.5"),
    ({"monotonic": [1, 0, 0]}, r"monotonic must hold .* triples, sign 1 or -1, got 1"),
    ({"monotonic": [(0, 0, 2)]}, r"sign 1 or -1, got \(0, 0, 2\)"),
    ({"monotonic": [(0, 0)]}, r"triples, .*got \(0, 0\)"),
    ({"monotonic": [(-1, 0, 1)]}, r"monotonic must be an integer .*got -1"),
    ({"monotonic": [(0, 0.5, 1)]}, r"monotonic must be an integer .*got 0\.5"),
    ({"monotonic": [(0, 0, 1), (0, 0, -1)]}, r"one sign, got both for \(0, 0\)"),
    ({"monotonic": [(1, 0, 1)], "categorical": [1]}, r"must be numeric, got feature 1"),
    ({"random_state": -1}, r"random_state must be .*got -1"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG_PARAMS)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeParams(**settings)


WRONG_MODELS: list[tuple[dict[str, Any], str]] = [
    ({"n_features": 0}, "n_features"),
    ({"n_outputs": 0}, "n_outputs"),
    ({"n_outputs": -3}, "n_outputs"),
    ({"bias": [1.0]}, r"bias must .*2"),
    ({"bias": [1.0, np.nan]}, "bias must"),
    ({"bias": [[1.0, 2.0]]}, "bias must"),
    ({"n_threads": 0}, "n_threads must be"),
    ({"device": "cuda"}, "device must be .*cuda"),
    ({"params": TreeParams(feature_weights=[1.0])}, "feature_weights"),
    ({"params": TreeParams(categorical=[3])}, "categorical"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_MODELS)
def test_wrong_models(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoostedTrees(**{"n_features": 3, "n_outputs": 2, **arguments})


def with_value(value: float, shape: tuple[int, ...] = (64, 2)) -> np.ndarray:
    array = np.ones(shape)
    array.flat[-1] = value
    return array


X, G = batch()
INDEX = np.arange(10)
WRONG_CALLS: dict[str, tuple[Callable[[BoostedTrees], object], str]] = {
    "X of 2 features": (lambda m: m.step(X[:, :2], G), r"X must have shape \[n, 3\].*\[64, 2\]"),
    "X of one axis": (lambda m: m.step(X[0], G), "X must have shape"),
    "X of three axes": (lambda m: m.step(X[None], G), "X must have shape"),
    "X without rows": (lambda m: m.step(X[:0], G[:0]), "at least one row"),
    "X of strings": (lambda m: m.step(np.full((64, 3), "a"), G), "X must hold numbers"),
    "X of complex numbers": (lambda m: m.step(X.astype(complex), G), "X must hold numbers"),
    "ragged X": (lambda m: m.step([[1, 2, 3], [1, 2]], G[:2]), "X|shape"),
    "G of 3 outputs": (lambda m: m.step(X, np.ones((64, 3))), r"grads must have shape \[64, 2\]"),
    "G of fewer rows": (lambda m: m.step(X, G[:63]), r"grads must have shape .*\[63, 2\]"),
    "G of one axis": (lambda m: m.step(X, G[:, 0]), "grads must have shape"),
    "NaN in G": (lambda m: m.step(X, with_value(np.nan)), r"gradients must be finite"),
    "Inf in G": (lambda m: m.step(X, with_value(np.inf)), r"gradients must be finite"),
    "-Inf in G": (lambda m: m.step(X, with_value(-np.inf)), r"gradients must be finite"),
    "G beyond float32": (lambda m: m.step(X, with_value(1e300)), r"gradients must be finite"),
    "weights of another length": (
        lambda m: m.step(X, G, sample_weight=np.ones(63)),
        "sample_weight must have shape",
    ),
    "weights of 3 outputs": (
        lambda m: m.step(X, G, sample_weight=np.ones((64, 3))),
        "sample_weight must have shape",
    ),
    "negative weight": (
        lambda m: m.step(X, G, sample_weight=with_value(-1, (64,))),
        "sample_weight must be",
    ),
    "NaN weight": (
        lambda m: m.step(X, G, sample_weight=with_value(np.nan, (64,))),
        "sample_weight must be",
    ),
    "negative row": (lambda m: m.step(X, G[:10], rows=INDEX - 1), "rows must be"),
    "row beyond the end": (lambda m: m.step(X, G[:10], rows=INDEX + 60), "rows must be"),
    "row of codes beyond the end": (
        lambda m: m.step(m.bin(X), G[:10], rows=INDEX + 60),
        "rows must be",
    ),
    "fractional rows": (lambda m: m.step(X, G[:10], rows=INDEX + 0.5), "rows must be"),
    "no rows": (lambda m: m.step(X, G[:0], rows=INDEX[:0]), "row"),
    "rows without their gradients": (lambda m: m.step(X, G, rows=INDEX), "grads must have shape"),
    "NaN lr_scale": (lambda m: m.step(X, G, lr_scale=np.nan), "lr_scale|learning rate"),
    "negative lr_scale": (lambda m: m.step(X, G, lr_scale=-1.0), "lr_scale|learning rate"),
    "foreign codes": (
        lambda m: m.step(BoostedTrees(2, 2).bin(X[:, :2]), G),
        "codes|features",
    ),
    "predict on 2 features": (lambda m: m.predict(X[:, :2]), r"X must have shape \[n, 3\]"),
    "predict on one row without its axis": (lambda m: m.predict(X[0]), "X must have shape"),
    "bin nothing": (lambda m: m.bin(X[:0]), "at least one row"),
    "fit on y of 3 outputs": (lambda m: m.fit(X, np.ones((64, 3)), 2), "shape"),
    "fit on NaN": (lambda m: m.fit(X, with_value(np.nan), 2), "finite"),
    "fit fewer than no trees": (lambda m: m.fit(X, G, -1), "n_trees"),
    **{
        f"{name} {value!r}": (partial(call, number=value), f"{name} must be")
        for name, call in {
            "n_trees": lambda m, number: m.fit(X, G, number),
            "early_stopping_rounds": lambda m, number: m.fit(X, G, 1, (X, G), number),
            "start": lambda m, number: m.predict(X, start=number),
            "stop": lambda m, number: m.predict(X, stop=number),
            "i": lambda m, number: m.tree_structure(number),
            "n_oldest": lambda m, number: m.compact(X, number, 1),
            "n_kept": lambda m, number: m.compact(X, 2, number),
            "feature": lambda m, number: m.bin(X).candidates(number),
            "lr_scale": lambda m, number: m.step(X, G, lr_scale=number),
            "t": lambda m, number: m.learning_rates(number),
        }.items()
        for value in ("1", [1], True, np.nan)
    },
}


@pytest.mark.parametrize("what", WRONG_CALLS)
@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
def test_wrong_calls_leave_the_model_untouched(what: str, grow_policy: str) -> None:
    model = grown(3, grow_policy=grow_policy)
    before = model.to_bytes()
    call, message = WRONG_CALLS[what]
    with pytest.raises(ValueError, match=message):
        call(model)
    assert model.to_bytes() == before
    assert model.n_trees == model.n_steps_done == 3


def test_a_step_that_overflows_leaves_the_model_untouched() -> None:
    model = BoostedTrees(3, 2, learning_rate=1e30)
    before = model.to_bytes()
    with pytest.raises(ValueError, match=r"float32|finite"):
        model.step(X, np.full((64, 2), 1e30))
    assert model.to_bytes() == before


def test_rollout_bins_want_codes() -> None:
    model = BoostedTrees(3, 2, params=TreeParams(bins="rollout"))
    with pytest.raises(ValueError, match=r"codes.*bin\(X\)"):
        model.step(X, G)
    model.step(model.bin(X), G)
    assert model.n_trees == 1


def test_numpy_numbers_choose_trees_like_any_other() -> None:
    model, two, arrays = grown(3), np.int64(2), np.array(2)
    np.testing.assert_array_equal(model.predict(X, 1, two), model.predict(X, 1, 2))
    np.testing.assert_array_equal(model.learning_rates(arrays), model.learning_rates(2))
    assert model.tree_structure(two)["depth"] == model.tree_structure(2)["depth"]
    assert model.bin(X).candidates(two) == model.bin(X).candidates(2)
    assert model.compact(X, two, arrays)
    assert model.n_trees == 3


def test_params_are_values() -> None:
    assert TreeParams(categorical=[2, 0]) == TreeParams(categorical=(0, 2))
    with pytest.raises(AttributeError):
        TreeParams().max_depth = 3  # type: ignore[misc]


def test_the_bias_is_not_the_callers_array() -> None:
    bias = np.array([1.0, 2.0])
    model = BoostedTrees(3, 2, bias=bias)
    bias[:] = 9
    np.testing.assert_array_equal(model.predict(X[:1]), [[1, 2]])


def test_numpy_numbers_are_settings_like_any_other() -> None:
    settings: dict[str, Any] = {
        "max_depth": np.int64(3),
        "n_bins": np.uint8(7),
        "min_samples_leaf": np.int32(2),
        "l2_regularization": np.float32(0.5),
        "subsample": np.float32(0.5),
        "feature_weights": np.array([1, 2, 1], dtype=np.float32),
        "categorical": np.array([1]),
        "monotonic": np.array([[0, 1, 1]]),
        "random_state": np.int64(3),
    }
    rows = np.round(X)
    n_features: Any = np.int64(3)
    n_outputs: Any = np.int64(2)
    rate: Any = np.float32(0.5)
    model = BoostedTrees(n_features, n_outputs, TreeParams(**settings), rate)
    plain = BoostedTrees(3, 2, TreeParams(**{k: v.tolist() for k, v in settings.items()}), 0.5)
    for each in (model, plain):
        each.step(rows, G)
    assert model.to_bytes() == plain.to_bytes()
    assert BoostedTrees.from_bytes(model.to_bytes()).params == plain.params
