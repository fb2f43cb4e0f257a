"""The end of training after a signal."""

from stable_baselines3.common.callbacks import BaseCallback

from rlshare.runs.signals import StopOnSignals


class Stop(BaseCallback):
    """Ends training at the next environment step after a signal.

    Where only the rest of the last rollout is missing, the run ends as it would have without the
    signal: stopped there, it would have no step left to resume with.
    """

    def __init__(self, signals: StopOnSignals, n_timesteps: int) -> None:
        super().__init__()
        self.signals, self.n_timesteps = signals, n_timesteps

    def _on_step(self) -> bool:
        return not self.signals.received or self.num_timesteps >= self.n_timesteps
