"""SB3 callbacks of a run. Frequencies count environment steps.

Evaluations and checkpoints happen where a rollout begins: the policy has just been updated and
changes nowhere else, and no half-filled buffer needs saving.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from rlshare.files import write_atomically
from rlshare.runs.checkpoint import model_bytes
from rlshare.runs.folder import TrainArgs
from rlshare.runs.infos import LastInfos
from rlshare.runs.masks import evaluator
from rlshare.runs.signals import StopOnSignals


def derived_seed(seed: int, *keys: int) -> int:
    """Return a seed that depends on the run's seed and on when it is used."""
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1)[0] % 2**31)


class Evaluation(BaseCallback):
    """Evaluates the policy now and then and keeps the best model."""

    def __init__(self, env: VecEnv, folder: Path, args: TrainArgs) -> None:
        super().__init__()
        self.env, self.folder, self.seed = env, folder, args.seed
        self.freq, self.episodes = args.eval_freq, args.eval_episodes
        self.evaluate = evaluator(args.algo)
        self.next_at = self.freq
        self.best = -np.inf
        self.history: dict[str, list[Any]] = {"timesteps": [], "results": [], "ep_lengths": []}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of this callback."""
        return {"best": self.best, "history": self.history}

    def restore(self, state: dict[str, Any]) -> None:
        """Undo ``state``; the next evaluation is due by the present frequency."""
        self.best, self.history = state["best"], state["history"]
        last = self.history["timesteps"][-1] if self.history["timesteps"] else 0
        self.next_at = (last // self.freq + 1) * self.freq

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.next_at:
            self.run()
            self.next_at = (self.num_timesteps // self.freq + 1) * self.freq

    def run(self) -> None:
        """Evaluate now, unless this was done at the same step."""
        if self.history["timesteps"][-1:] == [self.num_timesteps]:
            return
        if self.model.get_vec_normalize_env() is not None:
            sync_envs_normalization(self.training_env, self.env)
        # Seeded by the step, so that a resumed run evaluates on the same episodes.
        self.env.seed(derived_seed(self.seed, self.num_timesteps, 1))
        infos = LastInfos()
        returns, lengths = self.evaluate(
            self.model, self.env, self.episodes, callback=infos, return_episode_rewards=True
        )
        successes = infos.values("is_success")
        self._remember(returns, lengths, successes)
        mean = float(np.mean(returns))
        if mean > self.best:
            self.best = mean
            write_atomically(self.folder / "best_model.zip", model_bytes(self.model))
        self.logger.record("eval/mean_reward", mean)
        self.logger.record("eval/mean_ep_length", float(np.mean(lengths)))
        if successes:
            self.logger.record("eval/success_rate", float(np.mean(successes)))
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _remember(self, returns: Any, lengths: Any, successes: list[Any]) -> None:
        found = {"timesteps": self.num_timesteps, "results": returns, "ep_lengths": lengths}
        if successes:
            found["successes"] = successes
        for key, value in found.items():
            self.history.setdefault(key, []).append(value)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in self.history.items()}
        np.savez(buffer, **arrays)
        write_atomically(self.folder / "evaluations.npz", buffer.getvalue())


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
