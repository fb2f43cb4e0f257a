"""Policies of forests whose leaves move, in the stock algorithms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from rlshare.agents import AWR
from rlshare.policies import DictTreeRolloutBuffer, TreeRolloutBuffer

TREE = {"learner": "refit", "n_trees": 50}


def bandit(observation: str = "box", action: str = "discrete", n_envs: int = 16) -> Any:
    kwargs = {"observation": observation, "action": action}
    return make_vec_env(ContextualBandit, n_envs=n_envs, seed=1, env_kwargs=kwargs)


def ppo(env: Any, tree: dict[str, Any] | None = None, **options: Any) -> PPO:
    policy_kwargs = {"policy_lr": 2.0, "value_lr": 0.3, "tree": {**TREE, **(tree or {})}}
    return PPO("GBTPolicy", env, n_steps=16, batch_size=64, n_epochs=4, seed=0, device="cpu",
               policy_kwargs={**policy_kwargs, **options.pop("policy_kwargs", {})},
               **options)  # fmt: skip


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("observation", ["box", "discrete", "dict"])
def test_ppo_learns_in_bounded_size(observation: str, shared: bool) -> None:
    buffer = DictTreeRolloutBuffer if observation == "dict" else TreeRolloutBuffer
    model = ppo(
        bandit(observation), policy_kwargs={"shared": shared}, rollout_buffer_class=buffer
    ).learn(3072)
    assert {trees.n_trees for trees in model.policy.ensembles} == {50}
    assert all(trees.n_steps_done > 100 for trees in model.policy.ensembles)
    assert evaluate_policy(model, bandit(observation), 200, warn=False)[0] > 0.85


def test_rows_that_are_kept_change_nothing() -> None:
    policies = [
        ppo(bandit(), rollout_buffer_class=buffer).learn(768).policy
        for buffer in (None, TreeRolloutBuffer)
    ]
    one, other = ([trees.to_bytes() for trees in policy.ensembles] for policy in policies)
    assert one == other


def test_a_loaded_model_goes_on_alike(tmp_path: Path) -> None:
    model = ppo(bandit()).learn(768)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", device="cpu")
    x = torch.randn(50, 3)
    action = torch.zeros(50)
    for each in (model, loaded):
        each.policy.set_training_mode(True)
        values, log_prob, _ = each.policy.evaluate_actions(x, action)
        (log_prob.mean() + values.square().mean()).backward()
        each.policy.optimizer.step()
    one, other = (each.policy.ensembles[0].predict(x.numpy()) for each in (model, loaded))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("algorithm", [A2C, AWR])
def test_other_algorithms_keep_the_size(algorithm: Any) -> None:
    settings = {A2C: {"n_steps": 4}, AWR: {"train_freq": 64, "batch_size": 64}}[algorithm]
    model = algorithm("GBTPolicy", bandit(n_envs=4), seed=0, device="cpu",
                      policy_kwargs={"tree": TREE}, **settings).learn(1024)  # fmt: skip
    (trees,) = model.policy.ensembles
    assert trees.n_trees == 50
    assert trees.n_steps_done > 30


def test_a_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="tree_budget must be None with learner='refit'"):
        ppo(bandit(), policy_kwargs={"tree_budget": 100})


@pytest.mark.parametrize("learner", ["grow", "refit"])
def test_gradients_of_means_are_natural_where_leaves_move(learner: str) -> None:
    tree = TREE if learner == "refit" else {}
    model = PPO("GBTPolicy", "Pendulum-v1", n_steps=64, batch_size=64, device="cpu",
                policy_kwargs={"tree": tree, "log_std_init": -1.0})  # fmt: skip
    policy, actions = model.policy, torch.randn(5, 1)
    _, log_prob, _ = policy.evaluate_actions(torch.randn(5, 3), actions)
    (-log_prob.mean()).backward()
    batch = policy.tree_modules[0].batch("mean")
    assert batch is not None
    # d(-log p)/d(mean) = -(a - mean) / variance, and the means are 0 at first
    divisor = 1.0 if learner == "refit" else np.exp(-2.0)
    assert np.allclose(batch[2][:, :1], -actions.numpy() / divisor, rtol=1e-5)
