"""Students and critics, against sums in numpy and tables of a small chain."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlshare.distill.actions import ActionColumns
from rlshare.distill.agent import returns_rms
from rlshare.distill.critic import Rollout, fit_values
from rlshare.distill.rounds import States
from rlshare.distill.students import fit_forest, fit_tree
from rlshare.trees import TreeParams

OBLIVIOUS = TreeParams(max_depth=3, score="l2")
GREEDY = TreeParams(max_depth=3, score="l2", grow_policy="greedy")


def states(targets: np.ndarray, weights: Any = None, seed: int = 0) -> States:
    """Rows whose group is their first feature, and whose second is noise."""
    rng = np.random.default_rng(seed)
    group = rng.integers(len(targets), size=600)
    rows = np.stack([group, rng.normal(size=600)], axis=1).astype(np.float32)
    own = np.ones(600) if weights is None else np.asarray(weights)[group]
    return States(rows, targets[group].astype(np.float32), own.astype(np.float32))


def test_a_forest_has_the_teacher_s_distribution() -> None:
    columns = ActionColumns(spaces.MultiDiscrete([2, 3]))
    targets = np.array([[0.3, 0.7, 0.5, 0.3, 0.2], [0.9, 0.1, 0.1, 0.1, 0.8]])
    given = states(targets)
    model = fit_forest(given, columns, OBLIVIOUS, 80, seed=0)
    assert model.n_trees == 80
    np.testing.assert_allclose(columns.link(model.predict(given.rows)), given.targets, atol=0.01)


def test_a_forest_of_many_states_draws_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlshare.distill.students._ROWS", 100)
    columns = ActionColumns(spaces.Box(-5, 5, (2,)))
    given = states(np.array([[1.0, -2.0], [3.0, 0.5], [0.0, 1.0]]))
    models = [fit_forest(given, columns, OBLIVIOUS, 60, seed=seed) for seed in (1, 1, 2)]
    assert np.abs(models[0].predict(given.rows) - given.targets).mean() < 0.02
    assert models[0].to_bytes() == models[1].to_bytes()
    assert models[0].to_bytes() != models[2].to_bytes()


def test_leaves_of_a_tree_are_weighted_frequencies() -> None:
    """A tree without tests is one leaf: the frequency of each best action, times one factor."""
    columns = ActionColumns(spaces.Discrete(2))
    given = states(np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]]), weights=[3.0, 1.0, 0.5])
    model = fit_tree(given, columns, TreeParams(max_depth=0, score="l2", grow_policy="greedy"))
    best = columns.one_hot(given.targets)
    frequency = (given.weights[:, None] * best).sum(axis=0) / given.weights.sum()
    leaf = model.predict(given.rows[:1])[0]
    np.testing.assert_allclose(leaf / leaf.sum(), frequency, rtol=1e-5)


def test_weights_decide_what_a_small_tree_splits_on() -> None:
    """One test is left: it parts the states that matter, although there are fewer of them."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 4000))
    matters = rng.random(4000) < 0.2
    best = np.where(matters, a, b)
    rows = np.stack([a, b], axis=1).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[best]
    one = TreeParams(max_depth=1, score="l2", grow_policy="greedy")
    columns = ActionColumns(spaces.Discrete(2))
    for weight, feature in ((1.0, 1), (30.0, 0)):
        weights = np.where(matters, weight, 1.0).astype(np.float32)
        model = fit_tree(States(rows, targets, weights), columns, one)
        assert model.tree_arrays(0).feature[0] == feature


@pytest.mark.parametrize(
    ("space", "targets"),
    [
        (spaces.Discrete(3), [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]]),
        (spaces.MultiBinary(2), [[0.9, 0.1], [0.1, 0.9], [0.9, 0.9]]),
    ],
    ids=str,
)
def test_a_tree_is_about_as_sure_as_its_teacher(space: Any, targets: Any) -> None:
    columns = ActionColumns(space)
    given = states(np.array(targets))
    model = fit_tree(given, columns, GREEDY)
    F = model.predict(given.rows)
    assert model.n_trees == 1
    assert columns.agreement(F, given.targets) == 1
    np.testing.assert_allclose(columns.link(F), given.targets, atol=0.03)


def test_a_tree_of_means() -> None:
    columns = ActionColumns(spaces.Box(-5, 5, (2,)))
    given = states(np.array([[1.0, -2.0], [3.0, 0.5], [0.0, 1.0]]))
    F = fit_tree(given, columns, GREEDY).predict(given.rows)
    np.testing.assert_allclose(F, given.targets, atol=1e-5)


def chain(T: int, truncate: bool) -> Rollout:
    """Two environments in a circle of 4 states, reward 1 in each step; every 10th step is cut."""
    state = (np.arange(T + 1)[:, None] + [0, 1]) % 4
    rows = state[..., None].astype(np.float32)
    ends = np.zeros((T, 2), bool)
    ends[9::10] = True
    return Rollout(rows[:-1], rows[1:], np.ones((T, 2), np.float32), ends, ends & truncate)


def test_values_go_on_where_a_time_limit_cuts() -> None:
    params = TreeParams(max_depth=2, score="l2")
    cut = fit_values(chain(400, truncate=True), 0.5, 1.0, params, 100).predict([[0], [1], [2], [3]])
    np.testing.assert_allclose(cut, 2.0, atol=0.05)  # 1 / (1 - gamma)
    scaled = fit_values(chain(400, truncate=True), 0.5, 3.0, params, 100)
    np.testing.assert_allclose(scaled.predict([[0]]), 6.0, atol=0.15)
    ended = fit_values(chain(400, truncate=False), 0.5, 1.0, params, 100).predict([[0], [1]])
    assert (ended < 1.95).all()


def test_rewards_are_divided_as_by_vec_normalize() -> None:
    from stable_baselines3.common.running_mean_std import RunningMeanStd

    rollout = chain(30, truncate=False)
    expected, total = RunningMeanStd(shape=()), np.zeros(2)
    for t in range(30):  # VecNormalize.step_wait
        total = total * 0.9 + rollout.rewards[t]
        expected.update(total)
        total[rollout.dones[t]] = 0
    found = returns_rms(rollout, 0.9)
    assert (found.mean, found.var, found.count) == (expected.mean, expected.var, expected.count)
