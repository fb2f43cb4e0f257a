"""The messages that the page of questions and errors quotes are those that users see."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO
from stable_baselines3 import DQN, PPO

from rlshare.envs import MultiTask, make_env
from rlshare.policies import GBTPolicy, MoEPolicy

BOX = spaces.Box(-1.0, 1.0, (3,))
PAGE = Path(__file__).parents[2] / "docs" / "faq.md"
QUOTED = re.findall(r"^### `(.*)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def ppo(**policy_kwargs: Any) -> PPO:
    return PPO("GBTPolicy", "CartPole-v1", n_steps=32, batch_size=32, policy_kwargs=policy_kwargs)


class Pairs(gym.Env[Any, Any]):
    """Observations of a kind that no policy takes."""

    observation_space = spaces.Tuple([spaces.Discrete(2)])
    action_space = spaces.Discrete(2)


def infinite_gradient() -> None:
    policy = ppo().policy
    policy.predict_values(torch.zeros(2, 4)).sum().mul(np.inf).backward()
    policy.optimizer.step()


def foreign_optimizer() -> None:
    policy = ppo().policy
    optimizer = torch.optim.Adam(policy.parameters())
    policy.predict_values(torch.zeros(2, 4)).sum().backward()
    optimizer.step()


def other_function() -> None:
    made, other = (
        MoEPolicy(BOX, spaces.Discrete(2), lambda _: 1e-3, moe={"activation": activation})
        for activation in ("relu", "tanh")
    )
    made.load_state_dict(other.state_dict())


PROVOKED: dict[str, Callable[[], Any]] = {
    "no option 'net_arch'": lambda: ppo(net_arch=[64]),
    "use_sde": lambda: PPO("GBTPolicy", "Pendulum-v1", use_sde=True),
    'bins="rollout"': lambda: ppo(tree={"bins": "rollout"}).learn(32),
    "tree_budget": lambda: DQN(
        "GBTPolicy", "CartPole-v1", buffer_size=10, policy_kwargs={"tree_budget": 100}
    ),
    "key 'depth'": lambda: ppo(tree={"depth": 4}),
    "max_depth": lambda: ppo(tree={"max_depth": 17}),
    "TRPO": lambda: TRPO("GBTPolicy", "CartPole-v1"),
    "DQN takes": lambda: DQN(GBTPolicy, "CartPole-v1"),
    "no option 'n_critics'": lambda: PPO(
        "MoEPolicy", "CartPole-v1", policy_kwargs={"n_critics": 2}
    ),
    "another function": other_function,
    "count from 0": lambda: GBTPolicy(BOX, spaces.Discrete(2, start=1), lambda _: 1e-3),
    "must be finite": infinite_gradient,
    "no torch parameters": foreign_optimizer,
    "CartPole-v9": lambda: make_env("CartPole-v9"),
    "space is not supported": lambda: PPO("GBTPolicy", Pairs()),
    "distinct names": lambda: MultiTask([]),
}


@pytest.mark.parametrize("part", PROVOKED)
def test_a_quoted_message_is_what_users_see(part: str) -> None:
    (quoted,) = (text for text in QUOTED if part in text)
    with pytest.raises((ValueError, RuntimeError), match=re.escape(quoted)):
        PROVOKED[part]()


def test_every_quoted_message_is_provoked() -> None:
    assert len(QUOTED) == len(PROVOKED)
