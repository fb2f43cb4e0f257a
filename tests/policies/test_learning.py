"""Every combination of algorithm, action and observation space learns, not merely runs."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from contextual_bandit import ACTIONS, OBSERVATIONS, ContextualBandit
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import rlshare  # noqa: F401  registers the alias

ENOUGH = 0.85  # the best policy earns 1, the best constant action at most .7
SHARED = {name: i % 2 == 0 for i, name in enumerate(OBSERVATIONS)}


def trained(algorithm: str, observation: str, action: str, shared: bool) -> BaseAlgorithm:
    kwargs = {"observation": observation, "action": action}
    env = make_vec_env(ContextualBandit, n_envs=32, seed=1, env_kwargs=kwargs)
    policy_kwargs: dict[str, Any] = {"policy_lr": 0.5, "value_lr": 0.1, "shared": shared}
    if action == "box":  # gradients of a Gaussian are noisy: smaller, falling steps
        rate = {"init": 0.02, "stop": 0.002, "T": 80 if algorithm == "PPO" else 52}
        policy_kwargs |= {"tree": {"min_samples_leaf": 10}, "policy_lr": rate, "log_std_init": -1}
    if algorithm == "PPO":
        ppo = PPO("GBTPolicy", env, n_steps=8, batch_size=128, n_epochs=4, seed=0, device="cpu",
                  policy_kwargs=policy_kwargs)  # fmt: skip
        return ppo.learn(2560)
    a2c = A2C("GBTPolicy", env, n_steps=4, normalize_advantage=True, seed=0, device="cpu",
              policy_kwargs=policy_kwargs)  # fmt: skip
    return a2c.learn(6656)


def combinations() -> Iterator[Any]:
    """All of them; only 12 are not slow: each algorithm with every space of either kind."""
    for (i, algorithm), (j, observation) in product(
        enumerate(("PPO", "A2C")), enumerate(OBSERVATIONS)
    ):
        for k, action in enumerate(ACTIONS):
            marks = () if k == (j + 2 * i) % len(ACTIONS) else pytest.mark.slow
            yield pytest.param(algorithm, action, observation, marks=marks)


@pytest.mark.parametrize(("algorithm", "action", "observation"), list(combinations()))
def test_learns_the_bandit(algorithm: str, action: str, observation: str) -> None:
    shared = SHARED[observation] == (algorithm == "PPO")  # both kinds meet every space
    model = trained(algorithm, observation, action, shared)
    env = make_vec_env(
        ContextualBandit, seed=2, env_kwargs={"observation": observation, "action": action}
    )
    mean_return, _ = evaluate_policy(model, env, n_eval_episodes=60)
    assert mean_return >= ENOUGH
