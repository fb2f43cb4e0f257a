"""Rows of the log now and then."""

from stable_baselines3.common.callbacks import BaseCallback


class LogRows(BaseCallback):
    """Writes a row of the log now and then, which SB3 counts in episodes where it is off-policy."""

    def __init__(self, freq: int) -> None:
        super().__init__()
        self.freq = freq

    def _on_training_start(self) -> None:
        self.next_at = (self.num_timesteps // self.freq + 1) * self.freq

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps >= self.next_at:
            self.model.dump_logs()
            self.next_at = (self.num_timesteps // self.freq + 1) * self.freq
