"""The policy's score now and then, and its best model."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from rlshare.files import write_atomically
from rlshare.runs.checkpoint import model_bytes
from rlshare.runs.config import RunConfig
from rlshare.runs.infos import LastInfos
from rlshare.runs.masks import evaluator
from rlshare.runs.seeds import derived_seed


class Evaluation(BaseCallback):
    """Evaluates the policy now and then and keeps the best model."""

    def __init__(self, env: VecEnv, folder: Path, config: RunConfig) -> None:
        super().__init__()
        self.env, self.folder, self.seed = env, folder, config.seed
        self.freq, self.episodes = config.eval_freq, config.eval_episodes
        self.evaluate = evaluator(config.algo)
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
