"""Learning rates that begin at 0, end below it, or are 0, with every algorithm."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3

from rlshare.agents import AWR
from rlshare.policies import GBTPolicy
from rlshare.policies.gbt.base import reference_rate

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
_REPLAY = {"learning_starts": 32, "batch_size": 16, "train_freq": 16}
ALGORITHMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "ppo": (PPO, CARTPOLE, {"n_steps": 32, "batch_size": 32, "n_epochs": 1}),
    "a2c": (A2C, PENDULUM, {"n_steps": 16}),
    "awr": (AWR, CARTPOLE, {"train_freq": 32, "gradient_steps": 2, "batch_size": 16}),
    "dqn": (DQN, CARTPOLE, _REPLAY),
    "sac": (SAC, PENDULUM, {**_REPLAY, "policy_kwargs": {"net_arch": [8]}}),
    "sac-trees": (SAC, PENDULUM, {**_REPLAY, "policy_kwargs": {"critic": "tanh"}}),
    "td3": (TD3, PENDULUM, {**_REPLAY, "policy_kwargs": {"net_arch": [8]}}),
}


def warm_up(remaining: float) -> float:
    return 3e-4 * (1.0 - remaining)


def to_below_zero(remaining: float) -> float:
    return 3e-4 * (remaining - 0.25)


def make(name: str, learning_rate: Any) -> Any:
    algorithm, env, settings = ALGORITHMS[name]
    return algorithm(
        "GBTPolicy",
        env,
        learning_rate=learning_rate,
        seed=0,
        device="cpu",
        **{"policy_kwargs": {"tree": {}}, **settings},
    )


def rates(model: Any) -> list[float]:
    """The rate of each tree of the first ensemble, over the rate at its step."""
    trees = model.policy.ensembles[0]
    own = [trees.learning_rates(t)[0] for t in range(trees.n_trees)]
    used = [trees.tree_structure(t)["rates"][0] for t in range(trees.n_trees)]
    return [rate / of for rate, of in zip(used, own, strict=True)]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_warm_up_from_zero_comes_to_the_trees_own_rates(name: str) -> None:
    used = rates(make(name, warm_up).learn(128))
    assert used == sorted(used)
    assert 0 <= used[0] < 0.6
    assert used[-1] > 0.7
    assert max(used) < 1.001


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_rate_below_zero_is_zero(name: str) -> None:
    model = make(name, to_below_zero)
    if name in ("sac", "td3"):  # their critics are networks: SB3 moves them as it does its own
        model = make(name, lambda remaining: max(0.0, to_below_zero(remaining)))
    used = rates(model.learn(128))
    assert used[0] > 0
    assert used[-1] == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_rate_of_zero_trains_nothing_and_runs(name: str) -> None:
    model = make(name, 0.0)
    rows = np.random.default_rng(0).normal(size=(64, model.policy.ensembles[0].n_features))
    before = [trees.predict(rows) for trees in model.policy.ensembles]
    parameters = [
        parameter.tolist() for parameter in model.policy.parameters() if parameter.numel()
    ]
    model.learn(96)
    for trees, expected in zip(model.policy.ensembles, before, strict=True):
        np.testing.assert_array_equal(trees.predict(rows), expected)
    if name in ("ppo", "a2c", "awr"):
        assert [parameter.tolist() for parameter in model.policy.parameters()] == parameters


@pytest.mark.parametrize("name", ["ppo", "awr", "sac-trees"])
def test_a_loaded_warm_up_goes_on_at_the_same_rates(name: str) -> None:
    model, file = make(name, warm_up).learn(64), io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = type(model).load(file, env=model.get_env(), device="cpu")
    optimizers = zip(loaded.policy.tree_optimizers, model.policy.tree_optimizers, strict=True)
    assert all(ours.lr == theirs.lr == pytest.approx(3e-4) for ours, theirs in optimizers)
    before = loaded.policy.ensembles[0].n_trees
    loaded.learn(64, reset_num_timesteps=False)
    assert 0 < rates(loaded)[before] <= 1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda remaining: 0.01 * remaining, 0.01),
        (lambda remaining: 0.01 - 0.02 * (1 - remaining), 0.01),
        (warm_up, 3e-4),
        (lambda remaining: 0.4 * remaining * (1 - remaining), 0.1),
        (lambda remaining: remaining - 1, 1.0),
        (lambda remaining: 0.0, 1.0),
    ],
)
def test_trees_keep_their_rates_at_the_first_or_else_the_largest(
    schedule: Callable[[float], float], expected: float
) -> None:
    assert reference_rate(schedule) == pytest.approx(expected, rel=1e-5)


def test_a_rate_below_zero_moves_no_log_std() -> None:
    box = spaces.Box(-1.0, 1.0, (2,))
    policy = GBTPolicy(box, box, lambda _: 0.5, tree={})
    policy.optimizer.param_groups[0]["lr"] = -0.5
    _, log_prob, _ = policy.evaluate_actions(torch.zeros(4, 2), torch.ones(4, 2))
    log_prob.mean().backward()
    policy.optimizer.step()
    assert policy.log_std.tolist() == [-2.0, -2.0]


def test_a_schedule_that_is_nan_is_refused_when_it_comes_to_it() -> None:
    model = make("ppo", lambda remaining: 3e-4 if remaining > 0.5 else float("nan"))
    with pytest.raises(ValueError, match="learning rate must be finite, got nan"):
        model.learn(128)
    assert max(rates(model)) == pytest.approx(1.0)  # until then trees had their own rates
