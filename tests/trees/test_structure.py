"""The reading form of a tree, and the slow predictor that walks it."""

from typing import Any

import numpy as np
import pytest
from models import batch, empty, grown

from rlshare.trees import BoostedTrees, TreeArrays, TreeParams
from rlshare.trees.reference import leaves_of, predict

both_growths = pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
INNER = ("feature", "threshold", "left", "right", "leaf_row")


def all_trees(model: BoostedTrees) -> list[TreeArrays]:
    return [model.tree_arrays(t) for t in range(model.n_trees)]


@both_growths
@pytest.mark.parametrize("max_depth", [0, 1, 3, 6])
def test_nodes_are_a_tree(grow_policy: str, max_depth: int) -> None:
    tree = grown(1, n=200, grow_policy=grow_policy, max_depth=max_depth).tree_arrays(0)
    n = len(tree.feature)
    assert all(len(getattr(tree, name)) == n for name in INNER)
    leaf = tree.leaf_row >= 0
    assert sorted(tree.leaf_row[leaf]) == list(range(len(tree.leaves)))
    assert (tree.feature[leaf] == -1).all()
    assert (tree.feature[~leaf] >= 0).all()
    children = np.concatenate([tree.left[~leaf], tree.right[~leaf]])
    assert sorted(children) == list(range(1, n))  # every node but the root has one parent
    assert (tree.left[~leaf] > np.flatnonzero(~leaf)).all()
    assert (tree.right[~leaf] == tree.left[~leaf] + 1).all()
    assert (tree.left[leaf] == np.flatnonzero(leaf)).all()
    assert tree.depth <= max_depth
    if grow_policy == "oblivious":
        assert n == 2 ** (tree.depth + 1) - 1
    assert tree.leaves.shape[1:] == tree.rates.shape == (2,)


def test_an_oblivious_tree_by_hand() -> None:
    X = np.array([[a, b] for a in (0, 1) for b in (0, 1) for _ in range(3)], dtype=np.float32)
    G = np.repeat([[8.0], [7.0], [-6.0], [-9.0]], 3, axis=0).astype(np.float32)
    model = BoostedTrees(2, 1, params=TreeParams(max_depth=2), learning_rate=1.0)
    model.step(X, G)
    tree = model.tree_arrays(0)
    assert tree.feature.tolist() == [0, 1, 1, -1, -1, -1, -1]
    assert tree.threshold.tolist() == [0, 0, 0, *[np.inf] * 4]
    assert tree.left.tolist() == [1, 3, 5, 3, 4, 5, 6]
    assert tree.right.tolist() == [2, 4, 6, 3, 4, 5, 6]
    assert tree.leaf_row.tolist() == [-1, -1, -1, 0, 1, 2, 3]
    assert tree.leaves.tolist() == [[-8], [-7], [6], [9]]


@both_growths
@pytest.mark.parametrize("n_outputs", [1, 4, 9])
def test_walking_is_predicting_bit_for_bit(grow_policy: str, n_outputs: int) -> None:
    """With categories, as numbers, and missing values of both kinds."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    X[:, 1] = rng.integers(0, 5, 300)
    X[:, 3] = rng.choice([-np.inf, 0, 1, np.inf], 300)
    X[rng.random(X.shape) < 0.2] = np.nan
    params = TreeParams(grow_policy=grow_policy, categorical=[1])  # type: ignore[arg-type]
    model = BoostedTrees(4, n_outputs, params, learning_rate=0.3, bias=np.arange(n_outputs))
    for k in range(20):
        model.step(X, batch(300, 4, n_outputs, seed=k)[1])
    encoded = X.copy()
    keys = list(dict.fromkeys(X[~np.isnan(X[:, 1]), 1]))  # in order of appearance
    for row in encoded:
        row[1] = np.nan if np.isnan(row[1]) else keys.index(row[1])
    np.testing.assert_array_equal(
        predict(model.bias, all_trees(model), encoded, [1]), model.predict(X)
    )


@both_growths
def test_leaves_of_rows(grow_policy: str) -> None:
    model = grown(1, grow_policy=grow_policy)
    X, _ = batch(50, seed=8)
    tree = model.tree_arrays(0)
    np.testing.assert_array_equal(tree.leaves[leaves_of(tree, X)], model.predict(X))


@both_growths
def test_the_dictionary_form_is_the_same_tree(grow_policy: str) -> None:
    model = grown(1, grow_policy=grow_policy)
    tree, shape = model.tree_arrays(0), model.tree_structure(0)
    np.testing.assert_array_equal(shape["rates"], tree.rates)
    if grow_policy == "oblivious":
        assert set(shape) == {"depth", "features", "thresholds", "leaves", "rates"}
        assert shape["features"] == [int(tree.feature[2**k - 1]) for k in range(tree.depth)]
        np.testing.assert_array_equal(shape["leaves"], tree.leaves)
    else:
        assert set(shape) == {"feature", "threshold", "left", "right", "leaf", "rates"}
        inner = tree.leaf_row < 0
        assert not shape["leaf"][inner].any()
        np.testing.assert_array_equal(shape["leaf"][~inner], tree.leaves[tree.leaf_row[~inner]])


@pytest.mark.parametrize("i", [-1, 2])
def test_no_such_tree(i: Any) -> None:
    with pytest.raises(ValueError, match=r"i must be in \[0, 2\)"):
        grown(2).tree_arrays(i)


def test_arrays_belong_to_the_caller() -> None:
    model = grown(1)
    before = model.to_bytes()
    tree = model.tree_arrays(0)
    tree.leaves[:] = 0
    tree.threshold[:] = 0
    assert model.to_bytes() == before
    empty().feature_importances()[:] = 1  # a copy too
