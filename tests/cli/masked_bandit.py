"""An environment file with masks: see a context, do what it asks; to do what it forbids ends it."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class MaskedBandit(gym.Env[Any, Any]):
    """Episodes of one step. In context c, action c is paid 1 and action c + 1 is forbidden."""

    def __init__(self, render_mode: str | None = None, dictionary: bool = False) -> None:
        self.render_mode, self.dictionary = render_mode, dictionary
        box = spaces.Box(0.0, 2.0, (1,))
        self.observation_space = spaces.Dict({"context": box}) if dictionary else box
        self.action_space = spaces.Discrete(3)

    def action_masks(self) -> np.ndarray[Any, Any]:
        return np.arange(3) != (self.context + 1) % 3

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.context = int(self.np_random.integers(3))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self.action_masks()[action]:
            raise AssertionError(f"action {action} is masked in context {self.context}")
        return self._observe(), float(action == self.context), True, False, {}

    def render(self) -> Any:
        return np.full((32, 32, 3), 100 * self.context, np.uint8)

    def _observe(self) -> Any:
        box = np.array([self.context], np.float32)
        return {"context": box} if self.dictionary else box
