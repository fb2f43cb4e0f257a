"""One-step episodes with continuous actions, paid for coming near to an optimum that depends on s.

The reward is 1 - |a - best(s)|^2, so that a quadratic critic can be exact.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class QuadraticBandit(gym.Env[Floats, Floats]):
    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Box(-2.0, 2.0, (2,))  # not [-1, 1], to which SAC and TD3 scale

    @staticmethod
    def best(s: Floats) -> Floats:
        """Return the optimal actions [n, 2] in s [n, 2]."""
        left = s[:, 0] > 0
        return np.stack([np.where(left, 1.0, -0.6), np.where(left, 0.0, 0.8)], axis=1)

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        self.s = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.s, {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        reward = 1.0 - float(((action - self.best(self.s[None])[0]) ** 2).sum())
        return self.s, reward, True, False, {}
