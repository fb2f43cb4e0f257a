"""What a tree policy is where nothing, or little, is said."""

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import A2C, DQN, PPO

from rlshare.agents import AWR
from rlshare.policies import GBTPolicy


def policy(policy_kwargs: dict[str, Any] | None, algorithm: Any = PPO) -> GBTPolicy:
    model = algorithm("GBTPolicy", "Pendulum-v1", device="cpu", policy_kwargs=policy_kwargs)
    assert isinstance(model.policy, GBTPolicy)
    return model.policy


def rates(made: GBTPolicy) -> tuple[float, ...]:
    return tuple(made.ensembles[0].learning_rates(0))


@pytest.mark.parametrize("algorithm", [PPO, A2C, AWR])
@pytest.mark.parametrize("given", [None, {}, {"shared": True, "log_std_lr": 1e-3}])
def test_leaves_move_where_nothing_is_said_of_trees(algorithm: Any, given: Any) -> None:
    made = policy(given, algorithm)
    assert made.ensembles[0].refits
    assert rates(made) == (0.1 if algorithm is AWR else 1.0, 1.0)
    assert made.options.log_std_init == 0


def test_the_size_is_constant() -> None:
    model = PPO("GBTPolicy", "CartPole-v1", n_steps=32, batch_size=16, device="cpu").learn(32)
    n_trees = model.policy.n_trees  # type: ignore[operator]
    assert 0 < n_trees <= 500
    assert model.learn(32).policy.n_trees == n_trees  # type: ignore[operator]


@pytest.mark.parametrize(
    "given",
    [{"tree": {}}, {"tree": None}, {"tree": {"max_depth": 3}}, {"policy_lr": 0.05},
     {"value_lr": 0.005}, {"tree_budget": 100}],
)  # fmt: skip
def test_trees_are_added_where_something_is(given: dict[str, Any]) -> None:
    made = policy(given)
    assert not made.ensembles[0].refits
    assert rates(made) == (0.05, 0.005)
    assert made.options.log_std_init == -2


def test_rates_are_those_of_the_learner() -> None:
    tree = {"learner": "refit", "n_trees": 10}
    assert rates(policy({"tree": tree})) == (1.0, 1.0)
    assert rates(policy({"tree": tree}, AWR)) == (0.1, 1.0)
    assert rates(policy({"tree": tree, "policy_lr": 0.5})) == (0.5, 1.0)
    assert rates(policy({"tree": tree, "value_lr": 0.5, "log_std_init": -1})) == (1.0, 0.5)


@pytest.mark.parametrize("given", [None, {"optimizer_kwargs": {}}])
def test_leaves_of_dqn_move(given: Any) -> None:
    model = DQN("GBTPolicy", "CartPole-v1", device="cpu", policy_kwargs=given)
    assert model.policy.ensembles[0].refits  # type: ignore[index, union-attr]


@pytest.mark.parametrize("given", [{"tree": {}}, {"value_lr": 0.1}])
def test_dqn_adds_trees_where_something_is_said(given: Any) -> None:
    model = DQN("GBTPolicy", "CartPole-v1", device="cpu", policy_kwargs=given)
    assert not model.policy.ensembles[0].refits  # type: ignore[index, union-attr]


def test_added_trees_of_awr_have_its_own_rates() -> None:
    assert rates(policy({"tree": {}}, AWR)) == (0.01, 0.05)
    assert rates(policy({"value_lr": 0.2}, AWR)) == (0.01, 0.2)


@pytest.mark.parametrize(
    ("algorithm", "env"),
    [(PPO, "CartPole-v1"), (PPO, "Pendulum-v1"), (A2C, "Pendulum-v1"), (DQN, "CartPole-v1")],
)
def test_trees_that_were_added_by_default_go_on_so(
    algorithm: Any, env: str, tmp_path: Path
) -> None:
    """Policies saved with the defaults of before, when trees were added."""
    settings: dict[str, Any] = {"learning_starts": 8} if algorithm is DQN else {"n_steps": 64}
    options = {"device": "cpu", "seed": 0, **settings}
    old = algorithm("GBTPolicy", env, policy_kwargs={"tree": {}}, **options).learn(64)
    del old.policy_kwargs["tree"]
    old.save(tmp_path / "old")
    new = algorithm.load(tmp_path / "old", env=old.get_env(), device="cpu")
    for ours, theirs in zip(new.policy.ensembles, old.policy.ensembles, strict=True):
        assert ours.to_bytes() == theirs.to_bytes()
    new.learn(32, reset_num_timesteps=False)
    old.learn(32, reset_num_timesteps=False)
    assert new.policy.n_trees == old.policy.n_trees > 0
    new.policy.save(tmp_path / "policy")
    again = type(new.policy).load(tmp_path / "policy", device="cpu")
    assert again.n_trees == new.policy.n_trees
    assert not again.ensembles[0].refits
    if env == "Pendulum-v1":
        assert not new.policy.natural_gradient  # as of added trees
