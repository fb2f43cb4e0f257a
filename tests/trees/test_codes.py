"""Codes belong to models that number categories as their maker does."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models import batch, empty

from rlshare.trees import BoostedTrees, TreeParams

X = np.array([["a", 1.0], ["b", 2.0], ["c", 3.0], ["c", 4.0]], dtype=object)
OTHER = np.array([["c", 1.0], ["a", 2.0], ["x", 3.0], ["y", 4.0]], dtype=object)
G = np.array([[1.0], [2.0], [3.0], [3.0]], np.float32)
COPIES: dict[str, Callable[[BoostedTrees], BoostedTrees]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "file": lambda model: BoostedTrees.from_bytes(model.to_bytes()),
}
every_copy = pytest.mark.parametrize("how", COPIES)


def model_of(**settings: Any) -> BoostedTrees:
    return BoostedTrees(2, 1, TreeParams(**{"categorical": [0], **settings}), learning_rate=1.0)


@pytest.mark.parametrize("rows", [None, [0, 2]])
@pytest.mark.parametrize("bins", ["batch", "rollout"])
def test_codes_of_another_model_are_refused(rows: Any, bins: str) -> None:
    maker, other, fresh = (model_of(bins=bins) for _ in range(3))
    other.bin(OTHER)
    codes = maker.bin(X)
    grads = G if rows is None else G[rows]
    for model in (other, fresh):
        before = model.to_bytes()
        with pytest.raises(ValueError, match="codes were made by another model"):
            model.step(codes, grads, rows=rows)
        assert model.to_bytes() == before
    maker.step(codes, grads, rows=rows)
    assert maker.n_trees == 1


def test_other_categorical_features_are_refused() -> None:
    codes = model_of().bin(X)
    for params in (TreeParams(), TreeParams(categorical=[0, 1])):
        with pytest.raises(ValueError, match="codes were made by another model"):
            BoostedTrees(2, 1, params).step(codes, G)


def test_other_numbers_of_features_are_refused() -> None:
    with pytest.raises(ValueError, match="codes must have 3 features, got those of a model with 2"):
        BoostedTrees(3, 1).step(BoostedTrees(2, 1).bin(X[:, [1, 1]]), G)


def test_codes_stay_good_as_their_maker_learns() -> None:
    plain, learning = model_of(), model_of()
    codes = learning.bin(X)
    learning.bin(OTHER)
    learning.step(codes, G)
    plain.step(X, G)
    np.testing.assert_array_equal(learning.predict(X), plain.predict(X))


@every_copy
def test_codes_of_before_a_copy_are_good_for_both(how: str) -> None:
    model = model_of()
    codes = model.bin(X)
    other = COPIES[how](model)
    other.bin(OTHER)  # what either learns later is its own
    model.bin(np.array([["z", 0.0]], dtype=object))
    for each in (model, other):
        each.step(codes, G)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    assert BoostedTrees.from_bytes(other.to_bytes()).n_trees == 1


@every_copy
def test_codes_of_after_a_copy_are_the_makers(how: str) -> None:
    model = model_of()
    model.bin(X)
    other = COPIES[how](model)
    other.bin(np.array([["p", 0.0], ["q", 0.0]], dtype=object))
    codes = model.bin(np.array([["q", 0.0], ["p", 1.0], ["a", 1.0], ["b", 1.0]], dtype=object))
    with pytest.raises(ValueError, match="codes were made by another model"):
        other.step(codes, G)
    model.step(codes, G)


def test_numbers_are_the_same_to_every_model() -> None:
    rows, grads = batch()
    maker, other = empty(), empty(max_depth=2, n_bins=7)
    other.step(maker.bin(rows), grads)
    assert other.n_trees == 1
