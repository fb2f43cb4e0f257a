"""What features were worth: gain, cover and number of splits."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from models import batch, extend, grown, structure

from rlshare.trees import BoostedTrees, TreeParams

both_growths = pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])


def cosine(G: Any) -> float:
    """The score of a node as a whole, sqrt(n) |mean|."""
    return float(np.sqrt(len(G)) * np.linalg.norm(G.mean(0))) if len(G) else 0.0


@both_growths
def test_splits_are_counted(grow_policy: str) -> None:
    model = grown(12, grow_policy=grow_policy)
    expected = np.zeros(3)
    for t in range(12):
        for feature, _ in structure(model, t):
            expected[feature] += 1
    np.testing.assert_array_equal(model.feature_importances("split"), expected)


@both_growths
def test_gain_and_cover_of_one_tree_by_hand(grow_policy: str) -> None:
    model = BoostedTrees(3, 2, TreeParams(grow_policy=grow_policy, max_depth=2))
    X, G = batch(100)
    model.step(X, G)
    gain, cover = np.zeros(3), np.zeros(3)
    tests = structure(model, 0)

    def split(rows: Any, test: tuple[int, float]) -> tuple[Any, Any]:
        right = X[:, test[0]] > np.float32(test[1])
        return rows & ~right, rows & right

    everything = np.ones(100, bool)
    if grow_policy == "oblivious":
        nodes = [everything]
        for test in tests:
            children = [side for node in nodes for side in split(node, test)]
            # A level's gain: what its nodes' scores add up to, above that of the nodes unsplit.
            scores = sum(pair_score(G, *split(node, test)) for node in nodes)
            gain[test[0]] += scores - sum(cosine(G[node]) for node in nodes)
            cover[test[0]] += 100
            nodes = children
    else:
        shape = model.tree_structure(0)
        rows = {0: everything}
        for i, feature in enumerate(shape["feature"]):
            if feature < 0:
                continue
            left, right = split(rows[i], (feature, shape["threshold"][i]))
            rows[shape["left"][i]], rows[shape["right"][i]] = left, right
            gain[feature] += pair_score(G, left, right) - cosine(G[rows[i]])
            cover[feature] += rows[i].sum()
    np.testing.assert_allclose(model.feature_importances("gain"), gain, rtol=1e-4)
    np.testing.assert_array_equal(model.feature_importances("cover"), cover)


def pair_score(G: Any, left: Any, right: Any) -> float:
    """sqrt(n_L |mean_L|^2 + n_R |mean_R|^2)."""
    return float(np.sqrt(cosine(G[left]) ** 2 + cosine(G[right]) ** 2))


@both_growths
@pytest.mark.parametrize("score", ["cosine", "l2"])
def test_the_feature_that_matters_gains_most(grow_policy: str, score: str) -> None:
    X, _ = batch(500, seed=2)
    model = BoostedTrees(3, 1, TreeParams(grow_policy=grow_policy, score=score))  # type: ignore[arg-type]
    model.fit(X, np.sign(X[:, 1]) + 0.1 * X[:, 2], 20)
    gain = model.feature_importances()
    assert gain.shape == (3,)
    assert gain.dtype == np.float64
    assert gain.argmax() == 1
    assert (gain >= 0).all()


def test_an_excluded_feature_has_none() -> None:
    model = grown(20, feature_weights=[1.0, 0.0, 1.0])
    for kind in ("gain", "cover", "split"):
        assert model.feature_importances(kind)[1] == 0  # type: ignore[arg-type]
        assert model.feature_importances(kind).sum() > 0  # type: ignore[arg-type]


def test_copies_and_files_keep_them_and_go_on() -> None:
    model = grown(10)
    others = [model.copy(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    others.append(BoostedTrees.from_bytes(model.to_bytes()))
    for other in others:
        extend(other, 5, seed=3)
    extend(model, 5, seed=3)
    for other in others:
        for kind in ("gain", "cover", "split"):
            np.testing.assert_array_equal(
                other.feature_importances(kind), model.feature_importances(kind)  # type: ignore[arg-type]
            )  # fmt: skip


def test_compaction_leaves_them() -> None:
    model = grown(20)
    before = model.feature_importances("split")
    model.compact(batch(100)[0], 15, 5)
    np.testing.assert_array_equal(model.feature_importances("split"), before)


def test_an_empty_model_has_none() -> None:
    np.testing.assert_array_equal(BoostedTrees(3, 1).feature_importances(), np.zeros(3))


def test_wrong_kind() -> None:
    with pytest.raises(ValueError, match="kind must be one of gain, cover, split, got 'weight'"):
        grown(2).feature_importances("weight")  # type: ignore[arg-type]
