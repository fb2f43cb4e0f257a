"""fit: squared error, and early stopping on other rows."""

from typing import Any

import numpy as np
import pytest
from models import Floats, batch, empty, extend, grown

from rlshare.trees import BoostedTrees


def noisy(n: int, seed: int) -> tuple[Floats, Floats]:
    """A little signal in much noise: trees soon fit what is not there."""
    X, noise = batch(n, 3, 2, seed=seed)
    return X, X[:, :2] + 2 * noise


def error(model: BoostedTrees, X: Floats, Y: Floats) -> float:
    return float(np.square(model.predict(X) - Y, dtype=np.float64).sum(1).mean() / 2)


@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
@pytest.mark.parametrize("before", [0, 3])
def test_it_stops_at_the_least_error_as_if_never_gone_on(grow_policy: str, before: int) -> None:
    settings: dict[str, Any] = {"rate": 0.2, "grow_policy": grow_policy}
    (X, Y), valid = noisy(300, 0), noisy(200, 1)
    errors = []
    for n_trees in range(60):
        model = empty(**settings)
        extend(model, before)
        errors.append(error(model.fit(X, Y, n_trees), *valid))
    best = int(np.argmin(errors))
    assert 1 < best < 40
    stopped = empty(**settings)
    extend(stopped, before)
    stopped.fit(X, Y, 1000, eval_set=valid, early_stopping_rounds=20)
    assert stopped.n_trees == stopped.n_steps_done == before + best
    assert error(stopped, *valid) == pytest.approx(min(errors), rel=1e-6)
    expected = empty(**settings)
    extend(expected, before)
    assert stopped.to_bytes() == expected.fit(X, Y, best).to_bytes()
    for model in (stopped, expected):
        extend(model, 2, seed=5)
    assert stopped.to_bytes() == expected.to_bytes()


def test_it_goes_to_the_end_while_the_error_falls() -> None:
    X, _ = batch(300)
    model = empty(rate=0.05).fit(X, X[:, :2], 30, eval_set=(X, X[:, :2]), early_stopping_rounds=3)
    assert model.n_trees == 30


def test_rounds_count_trees_without_improvement() -> None:
    """Validation targets opposite to the training's: no tree helps."""
    X, Y = noisy(100, 0)
    model = empty().fit(X, Y, 50, eval_set=(X, -Y), early_stopping_rounds=4)
    assert model.n_trees == 0


def test_one_output_takes_flat_targets() -> None:
    X, _ = batch(50)
    y = X[:, 0]
    model = empty(n_outputs=1).fit(X, y, 20, eval_set=(X, y), early_stopping_rounds=2)
    assert error(model, X, y[:, None]) < 0.1


X_, Y_ = batch(20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_trees": -1}, "n_trees must be an integer >= 0, got -1"),
        ({"y": Y_[:, 0]}, r"y must have shape \[20, 2\], got \[20\]"),
        ({"y": np.full_like(Y_, np.nan)}, "y must be finite in float32, got nan"),
        ({"eval_set": (X_, Y_)}, "given together, got eval_set and early_stopping_rounds=None"),
        ({"early_stopping_rounds": 3}, "got no eval_set and early_stopping_rounds=3"),
        ({"eval_set": (X_, Y_), "early_stopping_rounds": 0}, "must be an integer >= 1, got 0"),
        ({"eval_set": (X_, Y_), "early_stopping_rounds": 1.5}, "must be an integer >= 1, got 1.5"),
        ({"eval_set": (X_, Y_[:5]), "early_stopping_rounds": 1}, r"eval_set's y must have shape"),
        ({"eval_set": (X_,), "early_stopping_rounds": 1}, r"pair \(X, y\), got 1 items"),
        ({"eval_set": (X_[:0], Y_[:0]), "early_stopping_rounds": 1}, "at least one row, got none"),
    ],
)
def test_bad_arguments_leave_the_model_as_it_was(arguments: dict[str, Any], message: str) -> None:
    model = grown(3)
    before = model.to_bytes()
    with pytest.raises(ValueError, match=message):
        model.fit(**({"X": X_, "y": Y_, "n_trees": 5} | arguments))
    assert model.to_bytes() == before
