"""How fast a run is."""

import time

from stable_baselines3.common.callbacks import BaseCallback


class Clock(BaseCallback):
    """Counts this session's environment steps and seconds of training."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.perf_counter()
        self.first_step = 0

    def _on_training_start(self) -> None:
        self.began = time.perf_counter()
        self.first_step = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    @property
    def seconds(self) -> float:
        """Seconds since training began."""
        return time.perf_counter() - self.began

    @property
    def steps_per_second(self) -> float:
        """Environment steps per second of this session, updates included."""
        return (self.num_timesteps - self.first_step) / max(self.seconds, 1e-9)
