"""What one boosting step does to the model."""

from typing import Any

import numpy as np
import pytest
from models import batch, empty, extend, grown, leaves, structure

from rlshare.trees import BoostedTrees, Linear, TreeParams

GROWTH = ["oblivious", "greedy"]
SCORES = ["cosine", "l2"]
both_growths = pytest.mark.parametrize("grow_policy", GROWTH)
both_scores = pytest.mark.parametrize("score", SCORES)


@both_growths
@both_scores
def test_leaf_is_the_mean_gradient_of_its_samples(grow_policy: str, score: str) -> None:
    X, G = batch(200)
    model = empty(rate=0.25, grow_policy=grow_policy, score=score)
    model.step(X, G)
    moved = model.predict(X)
    for leaf in np.unique(moved, axis=0):
        inside = (moved == leaf).all(axis=1)
        np.testing.assert_allclose(leaf, -0.25 * G[inside].mean(axis=0), rtol=1e-4, atol=1e-6)


@both_growths
def test_max_depth_zero_moves_everything_by_the_mean(grow_policy: str) -> None:
    X, G = batch()
    model = empty(max_depth=0, grow_policy=grow_policy)
    model.step(X, G)
    np.testing.assert_allclose(
        model.predict(X), np.broadcast_to(-0.5 * G.mean(axis=0), G.shape), rtol=1e-5
    )


@both_growths
@both_scores
@pytest.mark.parametrize("value", [0.0, 3.5, np.nan, np.inf, -np.inf])
def test_constant_observations_give_a_tree_without_tests(
    grow_policy: str, score: str, value: float
) -> None:
    _, G = batch()
    model = empty(grow_policy=grow_policy, score=score)
    model.step(np.full((64, 3), value, dtype=np.float32), G)
    assert structure(model, 0) == []
    assert len(leaves(model, 0)) == 1
    np.testing.assert_allclose(leaves(model, 0)[0], -0.5 * G.mean(axis=0), rtol=1e-5)


@both_growths
@both_scores
def test_a_single_sample_is_enough(grow_policy: str, score: str) -> None:
    X, G = batch(n=1)
    model = empty(grow_policy=grow_policy, score=score)
    model.step(X, G)
    assert model.n_trees == 1
    np.testing.assert_array_equal(model.predict(X), -np.float32(0.5) * G)


@both_growths
@both_scores
@pytest.mark.parametrize("least", [1, 5, 20, 1000])
def test_min_samples_leaf(grow_policy: str, score: str, least: int) -> None:
    X, G = batch(100)
    model = empty(min_samples_leaf=least, grow_policy=grow_policy, score=score)
    model.step(X, G)
    _, counts = np.unique(model.predict(X), axis=0, return_counts=True)
    assert counts.min() >= min(least, 100)


@both_scores
@pytest.mark.parametrize("max_depth", [1, 3, 6])
def test_oblivious_tree_asks_each_question_once(score: str, max_depth: int) -> None:
    X, G = batch(300)
    model = empty(max_depth=max_depth, score=score)
    model.step(X, G)
    tests = structure(model, 0)
    assert len(tests) == len(set(tests)) == max_depth
    assert leaves(model, 0).shape == (2**max_depth, 2)


def test_oblivious_root_is_the_most_significant_bit() -> None:
    X = np.array([[a, b] for a in (0, 1) for b in (0, 1) for _ in range(3)], dtype=np.float32)
    G = np.repeat([[8.0], [7.0], [-6.0], [-9.0]], 3, axis=0).astype(np.float32)
    model = BoostedTrees(2, 1, params=TreeParams(max_depth=2), learning_rate=1.0)
    model.step(X, G)
    assert structure(model, 0) == [(0, 0.0), (1, 0.0)]
    np.testing.assert_array_equal(leaves(model, 0)[:, 0], [-8, -7, 6, 9])


@pytest.mark.parametrize("seed", range(10))
def test_one_output_greedy_l2_and_cosine_grow_the_same_tree(seed: int) -> None:
    """Compared by the rows in each leaf: two features may divide a node alike."""
    X, G = batch(120, n_outputs=1, seed=seed)
    G -= G.mean()  # the l2 score sees centred gradients
    predictions = []
    for score in SCORES:
        model = empty(n_outputs=1, grow_policy="greedy", score=score)
        model.step(X, G)
        predictions.append(model.predict(X))
    np.testing.assert_allclose(predictions[0], predictions[1], rtol=1e-5)


@both_growths
@both_scores
@pytest.mark.parametrize("scale", [0.25, 2.0, 1024.0])
def test_scaling_the_gradients_scales_the_leaves(
    grow_policy: str, score: str, scale: float
) -> None:
    X, G = batch(150)
    plain, scaled = (empty(grow_policy=grow_policy, score=score) for _ in range(2))
    plain.step(X, G)
    scaled.step(X, np.float32(scale) * G)
    if score == "cosine":  # a power of two changes no rounding
        assert structure(plain, 0) == structure(scaled, 0)
        np.testing.assert_array_equal(leaves(scaled, 0), scale * leaves(plain, 0))
    else:
        np.testing.assert_allclose(scaled.predict(X), scale * plain.predict(X), rtol=1e-5)


@both_growths
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_gradients_of_any_magnitude(grow_policy: str, scale: float) -> None:
    X, G = batch(150)
    model = empty(grow_policy=grow_policy)
    model.step(X, (G * scale).astype(np.float32))
    assert len(structure(model, 0)) >= 4
    assert np.isfinite(model.predict(X)).all()


@both_growths
def test_rates_scale_columns_exactly_and_leave_the_structure(grow_policy: str) -> None:
    X, G = batch(150)
    ones = empty(rate=[1.0, 1.0], grow_policy=grow_policy)
    own = empty(rate=[0.125, 0.75], grow_policy=grow_policy)
    for model in (ones, own):
        model.step(X, G)
    assert structure(ones, 0) == structure(own, 0)
    np.testing.assert_array_equal(
        leaves(own, 0), leaves(ones, 0) * np.array([0.125, 0.75], dtype=np.float32)
    )
    np.testing.assert_array_equal(own.tree_structure(0)["rates"], [0.125, 0.75])


@both_growths
def test_policy_and_value_move_at_the_same_boundaries(grow_policy: str) -> None:
    X, G = batch(300, n_outputs=4)
    model = empty(n_outputs=4, rate=[0.1, 0.1, 0.1, 0.01], grow_policy=grow_policy)
    model.step(X, G)
    moved = model.predict(X)
    _, policy = np.unique(moved[:, :3], axis=0, return_inverse=True)
    _, value = np.unique(moved[:, 3], return_inverse=True)
    _, both = np.unique(moved, axis=0, return_inverse=True)
    assert policy.max() == value.max() == both.max() > 0


@both_growths
@pytest.mark.parametrize("colsample", [1.0, 0.7])
def test_feature_of_weight_zero_is_never_used(grow_policy: str, colsample: float) -> None:
    settings = {"colsample": colsample, "random_state": 0, "grow_policy": grow_policy}
    model = grown(10, feature_weights=[1.0, 0.0, 1.0], **settings)
    used = {feature for tree in range(10) for feature, _ in structure(model, tree)}
    assert used == {0, 2}


@both_growths
def test_heavier_feature_is_preferred(grow_policy: str) -> None:
    model = grown(10, grow_policy=grow_policy, feature_weights=[0.01, 1.0, 0.01])
    assert {structure(model, tree)[0][0] for tree in range(10)} == {1}


@both_growths
def test_all_features_of_weight_zero_give_the_mean(grow_policy: str) -> None:
    model = grown(1, grow_policy=grow_policy, feature_weights=[0.0, 0.0, 0.0])
    assert structure(model, 0) == []


@both_growths
@both_scores
def test_weights_of_one_change_nothing_but_rounding(grow_policy: str, score: str) -> None:
    X, G = batch(100)
    plain, weighted = (empty(grow_policy=grow_policy, score=score) for _ in range(2))
    plain.step(X, G)
    weighted.step(X, G, sample_weight=np.ones(100, dtype=np.float32))
    assert structure(plain, 0) == structure(weighted, 0)
    np.testing.assert_allclose(leaves(plain, 0), leaves(weighted, 0), rtol=1e-6, atol=1e-9)


def test_a_sample_of_weight_two_counts_twice_in_the_mean() -> None:
    G = np.array([[3.0], [9.0]], dtype=np.float32)
    X = np.zeros((2, 1), dtype=np.float32)
    model = BoostedTrees(1, 1, learning_rate=1.0)
    model.step(X, G, sample_weight=np.array([2, 1], dtype=np.float32))
    np.testing.assert_allclose(model.predict(X[:1]), [[-5.0]])


def test_l2_regularization_shrinks_the_leaves() -> None:
    G = np.array([[3.0], [9.0]], dtype=np.float32)
    X = np.zeros((2, 1), dtype=np.float32)
    model = BoostedTrees(1, 1, params=TreeParams(l2_regularization=2.0), learning_rate=1.0)
    model.step(X, G)
    np.testing.assert_allclose(model.predict(X[:1]), [[-3.0]])


@both_growths
@pytest.mark.parametrize("setting", [{"subsample": 0.5}, {"colsample": 0.4}])
def test_random_parts_repeat_with_the_same_seed(grow_policy: str, setting: dict[str, Any]) -> None:
    first, again, other = (
        grown(5, grow_policy=grow_policy, random_state=seed, **setting) for seed in (1, 1, 2)
    )
    assert first.to_bytes() == again.to_bytes()
    assert not np.array_equal(first.predict(batch()[0]), other.predict(batch()[0]))


def test_colsample_restricts_a_tree_to_some_features() -> None:
    X, G = batch(200, d=10)
    model = empty(d=10, colsample=0.1, random_state=0)
    for _ in range(20):
        model.step(X, G)
    used = [{feature for feature, _ in structure(model, tree)} for tree in range(20)]
    assert all(len(features) == 1 for features in used)
    assert len(set.union(*used)) > 3


def test_subsample_takes_the_leaf_from_some_rows() -> None:
    """A quarter of the rows: the depth-0 leaf is the mean of that many distinct gradients."""
    G = (2.0 ** np.arange(8, dtype=np.float32))[:, None]  # sums name the rows they hold
    X = np.zeros((8, 1), dtype=np.float32)
    params = TreeParams(subsample=0.25, random_state=3)
    model = BoostedTrees(1, 1, params=params, learning_rate=1.0)
    for _ in range(20):
        model.step(X, G)
    sums = {-2 * float(leaves(model, tree)[0, 0]) for tree in range(20)}
    assert all(value.is_integer() and int(value).bit_count() == 2 for value in sums)
    assert len(sums) > 5


@both_growths
def test_lr_scale_multiplies_the_step(grow_policy: str) -> None:
    X, G = batch(100)
    plain, halved = (empty(grow_policy=grow_policy) for _ in range(2))
    plain.step(X, G)
    halved.step(X, G, lr_scale=0.5)
    assert structure(plain, 0) == structure(halved, 0)
    np.testing.assert_array_equal(leaves(halved, 0), leaves(plain, 0) * np.float32(0.5))


@both_growths
def test_fit_reduces_the_error(grow_policy: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 2)).astype(np.float32)
    y = np.stack([np.sin(3 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1).astype(np.float32)
    model = empty(d=2, rate=0.3, grow_policy=grow_policy)
    model.fit(X, y, 60)
    assert model.n_trees == 60
    assert ((model.predict(X) - y) ** 2).mean() < 0.01 * y.var()


@both_growths
@both_scores
def test_caller_arrays_are_unchanged(grow_policy: str, score: str) -> None:
    X, G = batch()
    weight = np.full(64, 0.3, dtype=np.float32)
    before = [a.copy() for a in (X, G, weight)]
    model = empty(grow_policy=grow_policy, score=score)
    for array in (X, G, weight):
        array.flags.writeable = False
    model.step(X, G, sample_weight=weight)
    model.predict(X)
    for array, copy in zip((X, G, weight), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_greedy_node_is_split_though_nothing_is_gained() -> None:
    """What b and c say together, neither says alone."""
    X = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], np.float32)
    xor = np.where(X[:, 1] == X[:, 2], 1.0, -1.0)
    G = np.where(X[:, 0] == 1, 10.0, xor)[:, None]
    model = empty(n_outputs=1, rate=1.0, grow_policy="greedy", max_depth=3)
    model.step(X, G)
    np.testing.assert_array_equal(model.predict(X), -G)


@both_growths
def test_a_rewound_step_has_never_been(grow_policy: str) -> None:
    """Rates of every tree, draws and importances included."""
    settings = {"subsample": 0.5, "colsample": 0.7, "random_state": 1, "grow_policy": grow_policy}
    straight, model = (empty(rate=[Linear(0.5, 0.1, 8), 0.2], **settings) for _ in range(2))
    for one in (straight, model):
        extend(one, 3)
    mark = model.mark()
    for k in range(4):
        model.step(*batch(seed=100 + k), lr_scale=0.5)
    model.rewind(mark)
    assert model.to_bytes() == straight.to_bytes()
    rates = model.learning_rates()
    for one in (straight, model):
        extend(one, 1, seed=2)
    np.testing.assert_array_equal(model.tree_structure(3)["rates"], rates.astype(np.float32))
    assert model.to_bytes() == straight.to_bytes()
