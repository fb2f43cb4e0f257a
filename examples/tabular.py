"""An environment of one's own with strings and missing values, and boosted trees on it.

Observations of gymnasium are numbers: a string becomes its number in a Discrete entry, which trees
split by equality; a missing number is NaN. ``rlshare.trees`` alone takes strings as they are.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import rlshare  # makes "GBTPolicy" known
from rlshare.trees import BoostedTrees, TreeParams

CITIES = ("Basel", "Bern", "Chur", "Genf")
FAR = ("Chur", "Genf")


class Parcels(gym.Env[Any, Any]):
    """Send a parcel by train (0) or by van (1): far ones by train, unless they are heavy."""

    observation_space = spaces.Dict(
        {"city": spaces.Discrete(len(CITIES)), "weight": spaces.Box(0.0, 30.0, (1,))}
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin with another parcel."""
        super().reset(seed=seed)
        self.city = str(self.np_random.choice(CITIES))
        self.weight = self.np_random.uniform(0, 30)
        weighed = self.np_random.random() < 0.8
        return {
            "city": CITIES.index(self.city),
            "weight": np.array([self.weight if weighed else np.nan], np.float32),
        }, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pay 1 for the right way, and end."""
        train = self.city in FAR and self.weight < 20
        return self.reset()[0], float((action == 0) == train), True, False, {}


trees = dict(tree=dict(max_depth=3), policy_lr=0.3, value_lr=0.1)
envs = make_vec_env(Parcels, n_envs=8)
model = PPO("GBTPolicy", envs, n_steps=32, n_epochs=4, policy_kwargs=trees, seed=1)
model.learn(4_096)
print("right:", evaluate_policy(model, model.get_env(), n_eval_episodes=200)[0])

# The trees alone: rows of strings and numbers, None where one is missing.
X = np.array([["Bern", 3.0], ["Chur", None], ["Chur", 25.0], ["Genf", 8.0]] * 20, dtype=object)
price = np.array([5.0, 9.0, 14.0, 9.5] * 20)
prices = BoostedTrees(2, 1, TreeParams(categorical=[0]), learning_rate=0.3).fit(X, price, 60)
print("prices:", prices.predict(X[:4])[:, 0].round(1))
