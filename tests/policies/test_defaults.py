"""What a tree policy is where nothing, or little, is said."""

from typing import Any

import pytest
from stable_baselines3 import A2C, PPO

from rlshare.agents import AWR
from rlshare.policies import GBTPolicy


def policy(policy_kwargs: dict[str, Any] | None, algorithm: Any = PPO) -> GBTPolicy:
    model = algorithm("GBTPolicy", "Pendulum-v1", device="cpu", policy_kwargs=policy_kwargs)
    assert isinstance(model.policy, GBTPolicy)
    return model.policy


def rates(made: GBTPolicy) -> tuple[float, ...]:
    return tuple(made.ensembles[0].learning_rates(0))


@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("given", [None, {}, {"shared": True, "log_std_lr": 1e-3}])
def test_leaves_move_where_nothing_is_said_of_trees(algorithm: Any, given: Any) -> None:
    made = policy(given, algorithm)
    assert made.ensembles[0].refits
    assert rates(made) == (1.0, 1.0)
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
    assert rates(policy({"tree": tree}, AWR)) == (1.0, 1.0)
    assert rates(policy({"tree": tree, "policy_lr": 0.5})) == (0.5, 1.0)
    assert rates(policy({"tree": tree, "value_lr": 0.5, "log_std_init": -1})) == (1.0, 0.5)


def test_awr_adds_trees() -> None:
    made = policy(None, AWR)
    assert not made.ensembles[0].refits
    assert rates(made) == (0.01, 0.05)


def test_trees_that_were_added_by_default_act_alike_and_learn_on(tmp_path: Any) -> None:
    """Policies saved with the defaults of before, {} and trees that are added."""
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 16, "device": "cpu", "seed": 0}
    old = PPO("GBTPolicy", "CartPole-v1", policy_kwargs={"tree": {}}, **settings).learn(64)
    old.policy_kwargs = {}
    old.save(tmp_path / "old")
    new = PPO.load(tmp_path / "old", env=old.get_env(), device="cpu")
    observations = old.get_env().observation_space.sample()[None]  # type: ignore[union-attr]
    tensor, _ = old.policy.obs_to_tensor(observations)
    assert (old.policy.predict_values(tensor) == new.policy.predict_values(tensor)).all()
    n_trees = new.policy.n_trees  # type: ignore[operator]
    new.learn(32, reset_num_timesteps=False)
    assert new.policy.n_trees >= n_trees > 0  # type: ignore[operator]
