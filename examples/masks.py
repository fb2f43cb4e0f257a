"""Masks: actions that are not allowed in a state. Needs the extra sb3-contrib."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from stable_baselines3.common.env_util import make_vec_env

import rlshare  # makes "GBTPolicy" known
from rlshare.policies.maskable import MaskableTreeRolloutBuffer

N = 6


class Shelf(gym.Env[Any, Any]):
    """Fill the free places of a shelf, the leftmost first: a taken place cannot be filled."""

    observation_space = spaces.MultiBinary(N)
    action_space = spaces.Discrete(N)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin with a shelf that is half full."""
        super().reset(seed=seed)
        self.taken = self.np_random.permutation(np.arange(N) % 2).astype(np.int8)
        return self.taken.copy(), {}

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which places are free."""
        return self.taken == 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pay 1 for the leftmost free place."""
        reward = float(action == np.argmin(self.taken))
        self.taken[action] = 1
        return self.taken.copy(), reward, bool(self.taken.all()), False, {}


model = MaskablePPO(
    "GBTPolicy",
    make_vec_env(Shelf, n_envs=8),
    n_steps=32,
    n_epochs=4,
    rollout_buffer_class=MaskableTreeRolloutBuffer,
    policy_kwargs=dict(tree=dict(bins="rollout"), policy_lr=0.3, value_lr=0.1),
    seed=1,
)
model.learn(4_096)
print("return of 3:", evaluate_policy(model, model.get_env(), n_eval_episodes=50)[0])
