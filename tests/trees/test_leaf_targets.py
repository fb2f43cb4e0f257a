"""Targets of a model whose leaves move: exact averages of leaf tables, also over new tests."""

from typing import Any

import numpy as np
import pytest
from models import Floats, batch, empty, extend, grown, structure
from numpy.typing import NDArray

from rlshare.trees import BoostedTrees, TargetTrees, TreeParams
from rlshare.trees.refitting import REDRAWN_AFTER

X, _ = batch(200, seed=3)
PER_STEP = 512
STEPS = REDRAWN_AFTER[0] // PER_STEP  # the next one draws other tests


def refitting(n_steps: int = 5, **settings: Any) -> BoostedTrees:
    model = empty(learner="refit", n_trees=20, random_state=1, **settings)
    extend(model, n_steps, n=PER_STEP)
    return model


def smooth(n: int = PER_STEP, seed: int = 0) -> tuple[Floats, Floats]:
    x, _ = batch(n, seed=seed)
    return x, np.stack([np.sin(2 * x[:, 0]) + x[:, 1], x[:, 1] * x[:, 2]], axis=1)


def table(target: TargetTrees) -> NDArray[np.float64]:
    found = target.leaf_table
    assert found is not None
    return found


def error(found: Floats, expected: Floats) -> float:
    """Mean squared error, in variances."""
    return float(np.square(found - expected).mean() / expected.var())


@pytest.mark.parametrize("n_before", [0, 3])
def test_updates_average_leaves_and_so_functions(n_before: int) -> None:
    """Begun before the first step, where there are no trees, or after it."""
    model = refitting(n_before, rate=3.0)
    target = TargetTrees(model)
    expected = model.predict(X).astype(np.float64)
    leaves = model.leaves.astype(np.float64)
    for k in range(6):
        extend(model, 2, seed=k)
        np.testing.assert_allclose(target.predict(X), expected, atol=1e-5)
        target.update(0.3)
        expected += 0.3 * (model.predict(X) - expected)
        leaves = 0.7 * (leaves if len(leaves) else 0.0) + 0.3 * model.leaves.astype(np.float64)
        np.testing.assert_allclose(table(target), leaves, rtol=1e-14)
    np.testing.assert_allclose(target.predict(X), expected, atol=1e-5)
    assert np.abs(model.predict(X) - expected).max() > 1e-2  # it follows, and is not there


def test_a_hard_update_is_the_model_of_that_moment_bit_for_bit() -> None:
    model = refitting()
    target = TargetTrees(model)
    for tau in (0.3, 1.0):
        extend(model, 1)
        target.update(tau)
    before = model.predict(X)
    np.testing.assert_array_equal(target.predict(X), before)
    extend(model, 3, seed=1)
    np.testing.assert_array_equal(target.predict(X), before)
    assert (model.predict(X) != before).any()


def test_small_updates_do_not_stall() -> None:
    model = refitting()
    target = TargetTrees(model)
    extend(model, 5, seed=2)
    for _ in range(10_000):
        target.update(0.002)
    np.testing.assert_allclose(table(target), model.leaves, rtol=0, atol=3e-9)


def test_a_target_keeps_its_function_where_tests_are_drawn_anew() -> None:
    model = refitting(0, rate=1.0, max_depth=6)
    target = TargetTrees(model)
    x, y = smooth()
    for _ in range(STEPS):
        model.step(x, model.predict(x) - y)
        target.update(0.04)
    before, online = target.predict(x), model.predict(x)
    tests = structure(model, 0)
    model.step(x, np.zeros_like(y))  # moves nothing
    assert structure(model, 0) != tests
    assert error(before, online) > 0.1  # two functions, and each is kept
    assert error(model.predict(x), online) < 0.02
    assert error(target.predict(x), before) < 0.02


def test_what_equals_the_model_is_drawn_like_it() -> None:
    model = refitting(STEPS)
    first, other = TargetTrees(model), TargetTrees(model)
    extend(model, 1, n=PER_STEP, seed=4)  # draws anew
    twin = refitting(STEPS)
    twin.step(batch(PER_STEP, seed=4000)[0], np.zeros((PER_STEP, 2)))
    np.testing.assert_array_equal(first.predict(X), twin.predict(X))
    np.testing.assert_array_equal(other.predict(X), twin.predict(X))
    first.update(1.0)
    np.testing.assert_array_equal(first.predict(X), model.predict(X))


@pytest.mark.parametrize("n_before", [0, 1, STEPS - 1])
def test_rewinding_takes_targets_back(n_before: int) -> None:
    """Over the first draw, and over the second."""
    model = refitting(n_before)
    target = TargetTrees(model)
    extend(model, 1, n=PER_STEP, seed=3)
    target.update(0.5)
    mark, before = model.mark(), target.predict(X)
    extend(model, 4, n=PER_STEP, seed=5)
    model.rewind(mark)
    np.testing.assert_array_equal(target.predict(X), before)
    target.update(1.0)
    np.testing.assert_array_equal(target.predict(X), model.predict(X))


@pytest.mark.parametrize("n_before", [0, STEPS])
def test_a_refused_step_changes_no_target(n_before: int) -> None:
    model = refitting(n_before)
    target = TargetTrees(model)
    before = target.predict(X)
    x, grads = batch(PER_STEP)
    with pytest.raises(ValueError, match="must be finite"):
        model.step(x, grads * np.inf)
    np.testing.assert_array_equal(target.predict(X), before)
    assert len(table(target)) == len(model.leaves)


@pytest.mark.parametrize(("model", "learner"), [(grown(3), "refit"), (refitting(), "grow")])
def test_a_target_binds_the_learner(model: BoostedTrees, learner: Any) -> None:
    target, before = TargetTrees(model), model.params
    params = TreeParams(learner=learner)
    with pytest.raises(ValueError, match=f"learner must be '{before.learner}'.*got '{learner}'"):
        model.train_on_with(params, model.schedules)
    assert model.params is before
    del target
    model.train_on_with(params, model.schedules)


def test_other_numbers_of_trees_are_followed() -> None:
    """They come with the next tests."""
    model = refitting(STEPS)
    target = TargetTrees(model)
    before = target.predict(X)
    params = TreeParams(learner="refit", n_trees=7, max_depth=5, random_state=1)
    model.train_on_with(params, model.schedules)
    np.testing.assert_array_equal(target.predict(X), before)
    extend(model, 1, n=PER_STEP, seed=4)
    assert len(table(target)) == len(model.leaves) == 7 * 2**5 * 2
    target.update(1.0)
    np.testing.assert_array_equal(target.predict(X), model.predict(X))


def test_forgotten_targets_cost_nothing() -> None:
    model = refitting()
    target = TargetTrees(model)
    assert target.n_full == 0
    del target
    assert model.mark().targets == []
