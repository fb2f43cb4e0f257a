"""Prediction: ranges of trees, the order of the sum, growth of the store."""

from typing import Any

import numpy as np
import pytest
from models import batch, empty, extend, grown
from scalar_predict import scalar_predict

from rlshare.trees import BoostedTrees, TreeParams

GROWTH = ["oblivious", "greedy"]
both_growths = pytest.mark.parametrize("grow_policy", GROWTH)


def test_empty_model_predicts_the_bias() -> None:
    model = BoostedTrees(3, 2, bias=[1.5, -2.0])
    np.testing.assert_array_equal(model.predict(batch(5)[0]), np.tile([1.5, -2.0], (5, 1)))
    assert model.predict(batch(5)[0]).dtype == np.float32
    assert model.n_trees == model.n_steps_done == 0


def test_empty_model_costs_kilobytes() -> None:
    assert BoostedTrees(100, 10).nbytes < 10_000


def test_nbytes_grows_with_the_trees() -> None:
    small, large = grown(1), grown(100)
    leaves_alone = 100 * 16 * 2 * 4
    assert small.nbytes < leaves_alone < large.nbytes < 4 * leaves_alone


@both_growths
@pytest.mark.parametrize("n_outputs", [1, 2, 3, 4, 5, 8, 9, 13])
def test_the_canonical_sum_bit_for_bit(grow_policy: Any, n_outputs: int) -> None:
    bias = np.linspace(-1, 1, n_outputs)
    params = TreeParams(grow_policy=grow_policy, max_depth=3)
    model = BoostedTrees(3, n_outputs, params=params, bias=bias, learning_rate=0.3)
    extend(model, 40)
    X, _ = batch(25, seed=5)
    X[3, 1] = np.nan
    trees = [model.tree_structure(t) for t in range(40)]
    expected = [scalar_predict(model.bias, trees, row) for row in X]
    np.testing.assert_array_equal(model.predict(X), expected)


@both_growths
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 63, 64, 65, 200])
def test_a_row_predicts_alike_alone_and_in_a_batch(grow_policy: str, n: int) -> None:
    model = grown(50, grow_policy=grow_policy)
    X, _ = batch(n, seed=9)
    alone = np.concatenate([model.predict(row[None]) for row in X])
    np.testing.assert_array_equal(model.predict(X), alone)


@both_growths
def test_ranges_of_trees_add_up(grow_policy: Any) -> None:
    model = BoostedTrees(3, 2, params=TreeParams(grow_policy=grow_policy), bias=[3.0, -1.0])
    extend(model, 20)
    X, _ = batch()
    parts = [model.predict(X, 0, 7), model.predict(X, 7, 13), model.predict(X, start=13, stop=None)]
    np.testing.assert_allclose(sum(parts), model.predict(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.predict(X, 0, None), model.predict(X))
    np.testing.assert_array_equal(model.predict(X, 0, 0), np.tile([3.0, -1.0], (64, 1)))
    assert not model.predict(X, 7, 7).any()
    assert not model.predict(X, 20).any()


@both_growths
@pytest.mark.parametrize("k", [0, 1, 10, 20])
def test_out_continues_the_sum_bit_for_bit(grow_policy: str, k: int) -> None:
    model = grown(20, grow_policy=grow_policy)
    X, _ = batch(150)
    out = model.predict(X, 0, k)
    assert model.predict(X, k, out=out) is out
    np.testing.assert_array_equal(out, model.predict(X))


def test_out_takes_no_bias() -> None:
    model = BoostedTrees(3, 2, bias=[3.0, -1.0])
    extend(model, 3)
    X, _ = batch(10)
    out = np.zeros((10, 2), dtype=np.float32)
    model.predict(X, 0, out=out)
    np.testing.assert_allclose(out, model.predict(X) - model.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (0, 6), (4, 3), (6, None), (0, -1)])
def test_ranges_outside_the_forest_are_refused(start: int, stop: int | None) -> None:
    with pytest.raises(ValueError, match=r"start|stop"):
        grown(5).predict(batch()[0], start, stop)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((64, 3), dtype=np.float32),
        np.zeros((63, 2), dtype=np.float32),
        np.zeros((64, 2)),
        np.zeros((2, 64), dtype=np.float32).T,
        np.zeros(128, dtype=np.float32),
    ],
)
def test_unfit_out_is_refused(out: np.ndarray) -> None:
    with pytest.raises(ValueError, match="out"):
        grown(2).predict(batch()[0], out=out)


def test_read_only_out_is_refused() -> None:
    out = np.zeros((64, 2), dtype=np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        grown(2).predict(batch()[0], out=out)
    assert not out.any()


@both_growths
def test_no_rows_predict_nothing(grow_policy: str) -> None:
    assert grown(3, grow_policy=grow_policy).predict(np.zeros((0, 3))).shape == (0, 2)


def test_predictions_do_not_change_as_the_forest_grows() -> None:
    model = grown(3)
    X, _ = batch()
    before = model.predict(X)
    extend(model, 200, seed=4)
    np.testing.assert_array_equal(model.predict(X, 0, 3), before)
    assert model.n_trees == model.n_steps_done == 203


@both_growths
def test_deep_trees(grow_policy: str) -> None:
    X, G = batch(300, d=5)
    model = empty(d=5, max_depth=16, grow_policy=grow_policy)
    model.step(X, G)
    trees = [model.tree_structure(0)]
    expected = [scalar_predict(model.bias, trees, row) for row in X[:50]]
    np.testing.assert_array_equal(model.predict(X[:50]), expected)
    assert len(np.unique(model.predict(X), axis=0)) > 250


def test_the_prediction_belongs_to_the_caller() -> None:
    model = grown(3)
    X, _ = batch()
    first = model.predict(X)
    expected = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("tree", [-1, 5, 100])
def test_tree_structure_of_no_tree(tree: int) -> None:
    with pytest.raises((ValueError, IndexError)):
        grown(5).tree_structure(tree)
