"""Compaction: fewer trees in place of the oldest, and targets that share a model's trees."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from models import Floats, batch, empty, extend, grown, structure
from scalar_predict import leaf_of, scalar_predict

from rlshare.trees import BoostedTrees, Linear, TargetTrees

both_growths = pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])


def smooth(n: int, seed: int) -> tuple[Floats, Floats]:
    X, _ = batch(n, 3, seed=seed)
    return X, np.stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 1] * X[:, 2]], axis=1)


def fitted(n_trees: int = 400, **settings: Any) -> BoostedTrees:
    return empty(rate=0.05, **settings).fit(*smooth(2000, 1), n_trees)


def relative_error(model: BoostedTrees, X: Floats, before: Floats) -> float:
    return float(((model.predict(X) - before).std(0) / before.std(0)).max())


@both_growths
def test_a_fourth_of_the_trees_keeps_the_function(grow_policy: str) -> None:
    model = fitted(grow_policy=grow_policy)
    X, Y = smooth(1000, 2)
    before = model.predict(X)
    own_error = (before - Y).std()
    assert model.compact(smooth(2000, 3)[0], 400, 100)
    assert model.n_trees == 100
    assert relative_error(model, X, before) < 0.25
    assert (model.predict(X) - Y).std() < 2 * own_error


@both_growths
def test_keeping_every_tree_changes_only_roundings(grow_policy: str) -> None:
    model = grown(30, grow_policy=grow_policy)
    X, _ = batch(200, seed=4)
    before = model.predict(X)
    model.compact(X, 30, 30)
    np.testing.assert_allclose(model.predict(X), before, atol=1e-5)


@both_growths
def test_keeping_every_tree_of_categories_changes_only_roundings(grow_policy: str) -> None:
    """Their numbers are no order: a test is for one of them."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 6, (300, 3)).astype(np.float32)
    model = empty(grow_policy=grow_policy, categorical=[0, 2])
    for k in range(30):
        model.step(X, batch(300, seed=k)[1])
    before = model.predict(X)
    model.compact(X, 30, 30)
    np.testing.assert_allclose(model.predict(X), before, atol=1e-6)


@both_growths
def test_draws_count_steps_not_trees(grow_policy: str) -> None:
    settings = {"colsample": 0.4, "subsample": 0.6, "random_state": 5, "grow_policy": grow_policy}
    twin, model = (grown(12, **settings) for _ in range(2))
    model.compact(batch(100)[0], 10, 2)
    for one in (twin, model):
        extend(one, 4, seed=9)
    for k in range(1, 5):
        assert structure(model, model.n_trees - k) == structure(twin, twin.n_trees - k)


@both_growths
def test_kept_trees_keep_their_tests_and_newer_trees_everything(grow_policy: str) -> None:
    model = grown(20, grow_policy=grow_policy)
    before = [model.tree_structure(t) for t in range(20)]
    model.compact(batch(200, seed=4)[0], 12, 3)
    after = [model.tree_structure(t) for t in range(model.n_trees)]
    assert len(after) == 11
    for tree, kept in zip(after[:3], (before[2], before[6], before[10]), strict=True):
        for key in set(kept) - {"leaf", "leaves"}:
            np.testing.assert_array_equal(tree[key], kept[key])
    for tree, newer in zip(after[3:], before[12:], strict=True):
        for key, value in newer.items():
            np.testing.assert_array_equal(tree[key], value)


@both_growths
def test_one_tree_for_two_by_hand(grow_policy: str) -> None:
    """Three rounds: the leaf takes a quarter of the mean of what is missing, damped by 20 rows."""
    model = grown(2, grow_policy=grow_policy, max_depth=2)
    kept = model.tree_structure(1)
    X, _ = batch(300, seed=4)
    target = model.predict(X)
    values = np.array([leaf_of(kept, row) for row in X], np.float64)
    bias = (target - values).mean(0)
    groups = np.unique(values, axis=0, return_inverse=True)[1].ravel()
    for _ in range(3):
        missing = target - bias - values
        for group in range(groups.max() + 1):
            rows = groups == group
            values[rows] += 0.25 * missing[rows].sum(0) / (rows.sum() + 20)
    model.compact(X, 2, 1)
    np.testing.assert_allclose(model.bias, bias, atol=1e-6)
    np.testing.assert_allclose(model.predict(X), values + bias, atol=1e-5)


def test_a_refused_compaction_leaves_the_model_as_it_was() -> None:
    model = grown(20)
    before = model.to_bytes()
    seen: list[BoostedTrees] = []

    def refuse(candidate: BoostedTrees) -> bool:
        seen.append(candidate)
        return False

    assert not model.compact(batch(100)[0], 20, 5, refuse)
    assert model.to_bytes() == before
    assert seen[0].n_trees == 5


def test_an_accepted_compaction_is_the_candidate() -> None:
    model = grown(20)
    seen: list[bytes] = []
    assert model.compact(batch(100)[0], 20, 5, lambda c: not seen.append(c.to_bytes()))  # type: ignore[func-returns-value]
    assert model.to_bytes() == seen[0]


def test_an_error_in_accept_leaves_the_model_as_it_was() -> None:
    model = grown(20)
    before = model.to_bytes()

    def fail(_: BoostedTrees) -> bool:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        model.compact(batch(100)[0], 20, 5, fail)
    assert model.to_bytes() == before


def test_compaction_depends_on_nothing_but_model_and_rows() -> None:
    results = []
    for n_threads in (1, 3):
        model = grown(40)
        model.n_threads = n_threads
        model.compact(batch(500)[0], 30, 10)
        results.append(model.to_bytes())
    assert results[0] == results[1]


@both_growths
def test_training_goes_on_after_it_and_after_a_file(grow_policy: str) -> None:
    """Schedules and draws count boosting steps, which a compaction leaves alone."""
    rate = Linear(0.5, 0.1, 40)
    model = empty(rate=rate, grow_policy=grow_policy, subsample=0.5, random_state=3)
    extend(model, 20)
    model.compact(batch(100)[0], 16, 4)
    assert model.n_steps_done == 20
    np.testing.assert_allclose(model.learning_rates(), 0.3)
    loaded = BoostedTrees.from_bytes(model.to_bytes())
    for one in (model, loaded):
        extend(one, 5, seed=9)
    assert model.n_trees == 13
    assert loaded.to_bytes() == model.to_bytes()
    X, _ = batch(20)
    trees = [model.tree_structure(t) for t in range(13)]
    np.testing.assert_array_equal(
        model.predict(X), [scalar_predict(model.bias, trees, row) for row in X]
    )


@pytest.mark.parametrize(("n_oldest", "n_kept"), [(0, 0), (5, 0), (5, 6), (21, 3), (-1, 1)])
def test_counts_out_of_range(n_oldest: int, n_kept: int) -> None:
    with pytest.raises(ValueError, match=r"1 <= n_kept <= n_oldest <= n_compactable = 20"):
        grown(20).compact(batch()[0], n_oldest, n_kept)


def test_rows_are_needed() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        grown(4).compact(np.zeros((0, 3)), 4, 2)


class TestTargets:
    def test_a_new_target_is_the_model_bit_for_bit(self) -> None:
        model = grown(10)
        X, _ = batch(80)
        np.testing.assert_array_equal(TargetTrees(model).predict(X), model.predict(X))

    @both_growths
    @pytest.mark.parametrize("n_outputs", [1, 4, 5, 9])
    def test_updates_average_functions(self, grow_policy: str, n_outputs: int) -> None:
        model = empty(n_outputs=n_outputs, grow_policy=grow_policy)
        target = TargetTrees(model)
        X, _ = batch(90)
        expected = target.predict(X).astype(np.float64)
        for k in range(6):
            extend(model, 2, seed=k)
            np.testing.assert_allclose(target.predict(X), expected, atol=1e-5)
            target.update(0.3)
            expected += 0.3 * (model.predict(X) - expected)
        np.testing.assert_allclose(target.predict(X), expected, atol=1e-5)

    def test_weights_reach_one(self) -> None:
        model = grown(3)
        target = TargetTrees(model, weights=[1.0])
        np.testing.assert_array_equal(target.weights, [1, 0, 0])
        for _ in range(300):
            target.update(0.05)
        np.testing.assert_array_equal(target.weights, [1, 1, 1])
        target.update(0.0)
        assert target.n_full == 3

    def test_only_trees_that_count_in_full_everywhere_are_compacted(self) -> None:
        model = grown(30)
        target = TargetTrees(model)
        extend(model, 10, seed=5)
        target.update(0.5)
        extend(model, 5, seed=6)
        assert model.n_compactable == 30
        with pytest.raises(ValueError, match="n_compactable = 30, got 5 and 31"):
            model.compact(batch(300)[0], 31, 5)
        X, _ = batch(300, seed=8)
        before, online_before = target.predict(X), model.predict(X)
        model.compact(X, 30, 15)
        assert model.n_trees == 30
        np.testing.assert_array_equal(target.weights, [1.0] * 15 + [0.5] * 10 + [0.0] * 5)
        # Both moved by the same difference, that of the compacted part.
        np.testing.assert_allclose(
            target.predict(X) - before, model.predict(X) - online_before, atol=1e-5
        )
        target.update(1.0)
        np.testing.assert_array_equal(target.predict(X), model.predict(X))

    def test_a_forgotten_target_does_not_bind(self) -> None:
        model = grown(5)
        target = TargetTrees(model)
        extend(model, 5)
        assert model.n_compactable == 5
        del target
        assert model.n_compactable == 10

    def test_a_copied_model_has_no_targets(self) -> None:
        model = grown(5)
        target = TargetTrees(model)
        extend(model, 5)
        for other in (model.copy(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert other.n_compactable == 10
        assert target.n_full == 5

    @pytest.mark.parametrize("tau", [-0.1, 1.1, np.nan])
    def test_tau_out_of_range(self, tau: float) -> None:
        with pytest.raises(ValueError, match=r"tau must be in \[0, 1\]"):
            TargetTrees(grown(2)).update(tau)

    @pytest.mark.parametrize("weights", [[1.0] * 6, [[1.0]], [1.5], [-0.1], [np.nan]])
    def test_bad_weights(self, weights: Any) -> None:
        with pytest.raises(ValueError, match="weights must"):
            TargetTrees(grown(5), weights)


@both_growths
def test_tree_weights_by_hand(grow_policy: str) -> None:
    model = grown(6, grow_policy=grow_policy)
    X, _ = batch(40)
    weights = np.array([0.5, 1, 0, -2, 0.25, 1], np.float32)
    expected = np.zeros((40, 2), np.float32)
    for t, weight in enumerate(weights):
        expected += weight * model.predict(X, t, t + 1) if t else weight * model.predict(X, 0, 1)
    np.testing.assert_array_equal(model.predict(X, tree_weights=weights), expected)
    np.testing.assert_array_equal(model.predict(X, 0, 4, tree_weights=weights[:4]), model.predict(
        X, tree_weights=np.where(np.arange(6) < 4, weights, 0)))  # fmt: skip
    with pytest.raises(ValueError, match="tree_weights must be 6 finite numbers"):
        model.predict(X, tree_weights=weights[:4])
