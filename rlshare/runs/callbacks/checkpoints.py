"""Checkpoints now and then."""

from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback


class Checkpoints(BaseCallback):
    """Saves a checkpoint now and then, the first one before the first step."""

    def __init__(self, save: Callable[[], object], freq: int) -> None:
        super().__init__()
        self.save, self.freq = save, freq
        self.next_at = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.next_at:
            self.save()
            never = self.freq <= 0
            self.next_at = int(1e18) if never else (self.num_timesteps // self.freq + 1) * self.freq
