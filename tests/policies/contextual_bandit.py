"""One-step episodes: see a context in {0, 1, 2}, act, be paid for acting as it asks.

A deterministic policy that knows the context earns 1; one that ignores it at most 0.67.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-2.0, 2.0, (3,)),
    "discrete": spaces.Discrete(9),
    "multidiscrete": spaces.MultiDiscrete([5, 3]),
    "multibinary": spaces.MultiBinary(3),
    "dict": spaces.Dict({"number": spaces.Box(-1.0, 1.0, (2,)), "kind": spaces.Discrete(2)}),
    "image": spaces.Box(0, 255, (4, 4, 1), np.uint8),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "multibinary": spaces.MultiBinary(2),
    "box": spaces.Box(-3.0, 3.0, (2,)),  # wide: clipped noise would pay for overshooting
}
CONTEXT_OF_CATEGORY = np.array([2, 0, 1, 1, 2, 0, 0, 1, 2])  # the order of categories says nothing


class ContextualBandit(gym.Env[Any, Any]):
    def __init__(self, observation: str = "box", action: str = "discrete") -> None:
        self.observation, self.action = observation, action
        self.observation_space = OBSERVATIONS[observation]
        self.action_space = ACTIONS[action]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.context = int(self.np_random.integers(3))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._observe(), self._reward(action), True, False, {}

    def _observe(self) -> Any:
        c, rng = self.context, self.np_random
        if self.observation == "box":
            noise = rng.uniform(-1, 1, 3)
            return np.array([noise[0], c - 1 + 0.4 * noise[1], noise[2]], np.float32)
        if self.observation == "discrete":
            return int(rng.choice(np.flatnonzero(c == CONTEXT_OF_CATEGORY)))
        if self.observation == "multidiscrete":
            return np.array([rng.integers(5), (c + 1) % 3])
        if self.observation == "multibinary":
            return np.array([c & 1, rng.integers(2), c >> 1], np.int8)
        if self.observation == "image":
            image = rng.integers(0, 50, (4, 4, 1), np.uint8)
            image[1, 2] += np.uint8(100 * c)
            return image
        side = 1.0 if c == 1 else -1.0 if c == 0 else rng.choice([-1.0, 1.0])
        number = np.array([rng.uniform(-1, 1), side * rng.uniform(0.1, 1)], np.float32)
        return {"number": number, "kind": int(c == 2)}

    def _reward(self, action: Any) -> float:
        c = self.context
        if self.action == "discrete":
            return float(action == c)
        if self.action == "multidiscrete":
            return float(np.mean(np.asarray(action) == (c, c % 2)))
        if self.action == "multibinary":
            return float(np.mean(np.asarray(action) == (c & 1, c >> 1)))
        return float(1.0 - np.abs(np.asarray(action) - (0.6 * (c - 1), 0.3 * c)).mean())
