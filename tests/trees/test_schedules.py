"""Learning rates as functions of the boosting steps made so far."""

from typing import Any

import numpy as np
import pytest
from models import batch, empty, extend, leaves

from rlshare.trees import BoostedTrees, Linear, Table


def rates_of(model: BoostedTrees) -> list[list[float]]:
    return [model.tree_structure(t)["rates"].tolist() for t in range(model.n_trees)]


def test_linear_worked_example() -> None:
    schedule = Linear(0.5, 0.1, 2)
    assert [schedule(t) for t in range(5)] == pytest.approx([0.5, 0.3, 0.1, 0.1, 0.1])


def test_table_keeps_its_last_value() -> None:
    schedule = Table([0.4, 0.2])
    assert [schedule(t) for t in range(4)] == [0.4, 0.2, 0.2, 0.2]


def test_the_rate_is_fixed_when_the_tree_is_grown() -> None:
    model = empty(rate=[Linear(0.5, 0.1, 2), 0.25])
    extend(model, 4)
    expected = [[0.5, 0.25], [0.3, 0.25], [0.1, 0.25], [0.1, 0.25]]
    np.testing.assert_allclose(rates_of(model), expected, rtol=1e-7)


def test_a_depth_0_tree_moves_by_rate_times_mean() -> None:
    X, G = batch()
    model = empty(rate=Linear(0.5, 0.1, 2), max_depth=0)
    for rate in (0.5, 0.3, 0.1, 0.1):
        model.step(X, G)
        np.testing.assert_allclose(
            leaves(model, model.n_trees - 1)[0], -rate * G.mean(axis=0), rtol=1e-5
        )


def test_learning_rates_of_any_step() -> None:
    model = empty(rate=[Linear(0.5, 0.1, 2), Table([0.4, 0.2])])
    np.testing.assert_allclose(model.learning_rates(), [0.5, 0.4])
    np.testing.assert_allclose(model.learning_rates(1), [0.3, 0.2])
    extend(model, 2)
    np.testing.assert_allclose(model.learning_rates(), [0.1, 0.2])
    assert model.learning_rates().dtype == np.float64


@pytest.mark.parametrize(
    "rate",
    [
        0.1,
        [0.1, 0.1],
        (0.1, Linear(0.1, 0.1, 5)),
        np.array([0.1, 0.1]),
        np.float64(0.1),
        Linear(0.1, 0.1, 5),
        Table([0.1]),
        lambda t: 0.1,
    ],
)
def test_constant_rates_in_every_form_train_alike(rate: Any) -> None:
    X, _ = batch()
    plain, model = empty(rate=0.1), empty(rate=rate)
    extend(plain, 3)
    extend(model, 3)
    np.testing.assert_array_equal(plain.predict(X), model.predict(X))


def test_the_schedule_goes_on_after_load() -> None:
    model = empty(rate=[Linear(0.5, 0.1, 4), Table([0.4, 0.3, 0.2])])
    extend(model, 2)
    loaded = BoostedTrees.from_bytes(model.to_bytes())
    extend(model, 3, seed=1)
    extend(loaded, 3, seed=1)
    assert rates_of(loaded) == rates_of(model)
    assert loaded.n_steps_done == 5


def test_a_callable_trains_and_is_given_the_step() -> None:
    seen = []

    def rate(t: int) -> float:
        seen.append(t)
        return 0.1 / (1 + t)

    model = empty(n_outputs=1, rate=rate)
    extend(model, 3)
    assert sorted(set(seen)) == [0, 1, 2]
    np.testing.assert_allclose(np.ravel(rates_of(model)), [0.1, 0.05, 0.1 / 3], rtol=1e-6)


@pytest.mark.parametrize("rate", [lambda t: 0.1, [0.1, lambda t: 0.1]])
def test_a_callable_is_not_saved(rate: Any) -> None:
    model = empty(rate=rate)
    extend(model, 2)
    X, G = batch()
    loaded = BoostedTrees.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    before = loaded.to_bytes()
    with pytest.raises(ValueError, match="callable"):
        loaded.step(X, G)
    assert loaded.to_bytes() == before
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf, [0.1], [0.1, 0.1, 0.1], [0.1, -1]])
def test_impossible_rates_are_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"learning.rate"):
        empty(rate=rate)


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf])
def test_a_callable_that_returns_nonsense_leaves_the_model(rate: float) -> None:
    model = empty(rate=lambda t: 0.1 if t == 0 else rate)
    extend(model, 1)
    before = model.to_bytes()
    with pytest.raises(ValueError, match="learning rate"):
        model.step(*batch())
    assert model.to_bytes() == before
    assert model.n_steps_done == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(0.1, 0.1, 0),
        lambda: Linear(-0.1, 0.1, 5),
        lambda: Linear(0.1, np.nan, 5),
        lambda: Linear(0.1, 0.1, np.inf),
        lambda: Table([]),
        lambda: Table([0.1, -0.1]),
    ],
)
def test_impossible_schedules_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        make()


def test_a_rate_of_zero_grows_trees_that_add_nothing() -> None:
    model = empty(rate=[0.0, 0.1])
    extend(model, 3)
    predicted = model.predict(batch()[0])
    assert not predicted[:, 0].any()
    assert predicted[:, 1].any()
