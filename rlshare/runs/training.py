"""One run from its first or its next step to its end: what ``rlshare train`` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlshare.agents.registry import algorithm
from rlshare.envs import make_vec_env
from rlshare.files import write_atomically
from rlshare.runs.callbacks.checkpoints import Checkpoints
from rlshare.runs.callbacks.clock import Clock
from rlshare.runs.callbacks.evaluation import Evaluation
from rlshare.runs.callbacks.logs import LogRows
from rlshare.runs.callbacks.progress import ProgressReport
from rlshare.runs.callbacks.stop import Stop
from rlshare.runs.callbacks.tasks import TaskReturns
from rlshare.runs.checkpoint import (
    Checkpoint,
    RunState,
    generator_states,
    load_replay_buffer,
    model_bytes,
    restore_generators,
    save_checkpoint,
)
from rlshare.runs.errors import user_errors
from rlshare.runs.folder import view_of
from rlshare.runs.forecast import forecast
from rlshare.runs.logs import log_sizes, make_logger, rewind_logs
from rlshare.runs.models import build_model, read_model
from rlshare.runs.run import Run
from rlshare.runs.seeds import derived_seed
from rlshare.runs.signals import StopOnSignals

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    from rlshare.policies import GBTPolicy
    from rlshare.policies.gbt.budget import TreeBudget

_STEPS_PER_LOG_ROW = 2000


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    num_timesteps: int
    mean_return: float | None
    episodes: int
    steps_per_second: float
    wall_time_s: float
    best_evaluation: float | None
    n_trees: int | None
    interrupted: bool


class Training:
    """A run being trained: environments, model, logs and callbacks in one place."""

    def __init__(
        self, run: Run, bar: bool | None = None, callbacks: Sequence[BaseCallback] = ()
    ) -> None:
        """Set everything up; the run's checkpoint makes it go on from there.

        Without ``bar`` progress is lines, with None nothing. Further callbacks are called after
        the run's own.

        Raises:
            UserError: the environment, a setting or the checkpoint is not usable.
            OSError: the run folder cannot be written.
        """
        self.folder, self.config = run.folder, run.config
        self.recipe, self.checkpoint = run.recipe, run.checkpoint
        self.further = callbacks
        torch.set_num_threads(self.config.num_threads)
        checkpoint = self.checkpoint
        if checkpoint is not None:
            rewind_logs(self.folder, checkpoint.state.log_sizes, checkpoint.state.num_timesteps)
        self.env = self._normalized(self._make_env(self.config.n_envs, monitored=True), checkpoint)
        # Before the model, whose making seeds the generators: evaluating must not change training.
        self.evaluation = self._make_evaluation()
        self.model = self._make_model()
        self.clock = Clock()
        self.progress = (
            None if bar is None else ProgressReport(self.config.n_timesteps, bar, self.clock)
        )
        if checkpoint is not None:
            self._restore(checkpoint)

    def forecast(self) -> str | None:
        """Return what the run will grow; None for a policy without trees."""
        if self.config.policy != "gbt":
            return None
        policy = cast("GBTPolicy", self.model.policy)
        n_outputs = [ensemble.n_outputs for ensemble in policy.ensembles]
        return str(forecast(self.recipe, self.env.observation_space, n_outputs))

    def run(self) -> Outcome:
        """Train to the end or to a signal, saving as the options say."""
        signals = StopOnSignals()
        model: Any = self.model  # not every algorithm's learn takes None as log_interval
        model.set_logger(make_logger(self.folder, self.config.tensorboard_log, self.config.verbose))
        try:
            with signals:
                model.learn(
                    self.config.n_timesteps - model.num_timesteps,
                    callback=self._callbacks(signals),
                    log_interval=self._log_interval(),
                    reset_num_timesteps=False,
                )
                finished = model.num_timesteps >= self.config.n_timesteps
                if finished:
                    self._finish()
                self.save()
        finally:
            if self.progress is not None:
                self.progress.close()
            model.logger.close()
            self._close_envs()
        return self._outcome(interrupted=not finished)

    def finish_untrained(self) -> None:
        """Evaluate and save a model whose parameters came from elsewhere, before its first step."""
        self.model.set_logger(make_logger(self.folder, self.config.tensorboard_log, 0))
        try:
            if self.evaluation is not None:
                self.evaluation.init_callback(self.model)
            self._finish()
            self.save()
        finally:
            self.model.logger.close()
            self._close_envs()

    def _log_interval(self) -> int | None:
        """Return the rollouts of a row of the log; off-policy a callback counts the steps."""
        if not algorithm(self.config.algo).on_policy:
            return None
        model = cast("OnPolicyAlgorithm", self.model)
        return max(1, _STEPS_PER_LOG_ROW // (model.n_steps * model.n_envs))

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        spent = self.checkpoint.state.wall_time_s if self.checkpoint else 0.0
        callbacks = {"evaluation": self.evaluation.state()} if self.evaluation else {}
        state = RunState(
            num_timesteps=self.model.num_timesteps,
            wall_time_s=spent + self.clock.seconds,
            callbacks=callbacks,
            log_sizes=log_sizes(self.folder),
            generators=generator_states(self.model),
            normalizer=self.model.get_vec_normalize_env(),
            tree_budget=budget.state() if (budget := self._budget()) else None,
        )
        save_checkpoint(self.folder, self.model, state)

    def _make_env(self, n_envs: int, monitored: bool) -> VecEnv:
        # The schedule is of training: an evaluation takes the tasks in turn.
        schedule = self.config.task_schedule if monitored else None
        own = {"schedule": schedule} if schedule else {}
        with user_errors():
            return make_vec_env(
                self.config.env,
                n_envs,
                vec_env=self.config.vec_env if monitored else "dummy",
                env_kwargs=self.config.env_kwargs | own,
                monitor_dir=self.folder.path if monitored else None,
                view=view_of(self.config.policy),
            )

    def _normalized(self, env: VecEnv, checkpoint: Checkpoint | None) -> VecEnv:
        normalize = self.recipe.normalize
        if checkpoint is not None and checkpoint.state.normalizer is not None:
            checkpoint.state.normalizer.set_venv(env)
            return checkpoint.state.normalizer
        if not (normalize.norm_obs or normalize.norm_reward):
            return env
        gamma = 0.99 if self.recipe.gamma is None else self.recipe.gamma
        with user_errors("normalize: ", (ValueError, AssertionError)):
            return VecNormalize(env, gamma=gamma, **normalize.model_dump())

    def _make_model(self) -> BaseAlgorithm:
        config = self.config
        if self.checkpoint is not None:
            data, where = self.checkpoint.model_file, str(self.checkpoint.path)
            return read_model(config.algo, data, where, self.env, config.device)
        return build_model(
            config.algo, config.policy, self.recipe, self.env, config.seed, config.device
        )

    def _make_evaluation(self) -> Evaluation | None:
        config = self.config
        if config.eval_freq <= 0:
            return None
        env = self._make_env(1, monitored=False)
        if isinstance(self.env, VecNormalize):
            settings = self.recipe.normalize.model_dump() | {"norm_reward": False}
            env = VecNormalize(env, training=False, **settings)
        return Evaluation(env, self.folder.path, config)

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        if self.evaluation is not None and "evaluation" in state.callbacks:
            self.evaluation.restore(state.callbacks["evaluation"])
        # Episodes under way at the checkpoint are gone; new ones begin, always the same.
        self.env.seed(derived_seed(self.config.seed, state.num_timesteps))
        if state.tree_budget is not None and (budget := self._budget()):
            budget.restore(state.tree_budget)
        load_replay_buffer(checkpoint, self.model)
        restore_generators(self.model, state.generators)

    def _budget(self) -> "TreeBudget | None":
        return getattr(self.model.policy, "budget", None)

    def _callbacks(self, signals: StopOnSignals) -> list[BaseCallback]:
        callbacks: list[BaseCallback] = [self.clock, Stop(signals, self.config.n_timesteps)]
        if self.progress is not None:
            callbacks.append(self.progress)
        if self.config.policy == "gbt":
            from rlshare.policies import TreeCallback

            callbacks.append(TreeCallback())
        if self.config.policy == "moe":
            from rlshare.policies import MoECallback

            callbacks.append(MoECallback())
        if self.env.has_attr("task_names"):
            callbacks.append(TaskReturns())
        if self._log_interval() is None:
            callbacks.append(LogRows(_STEPS_PER_LOG_ROW))
        if self.evaluation is not None:
            callbacks.append(self.evaluation)
        callbacks.extend(self.further)
        # Last, so that a checkpoint holds what the others did at its step.
        callbacks.append(Checkpoints(self.save, self.config.save_freq))
        return callbacks

    def _finish(self) -> None:
        if self.evaluation is not None:
            self.evaluation.run()
        write_atomically(self.folder.final_model, model_bytes(self.model))

    def _close_envs(self) -> None:
        self.env.close()
        if self.evaluation is not None:
            self.evaluation.env.close()

    def _outcome(self, interrupted: bool) -> Outcome:
        returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        spent = self.checkpoint.state.wall_time_s if self.checkpoint else 0.0
        evaluated = self.evaluation is not None and bool(self.evaluation.history["results"])
        return Outcome(
            num_timesteps=self.model.num_timesteps,
            mean_return=float(np.mean(returns)) if returns else None,
            episodes=len(returns),
            steps_per_second=self.clock.steps_per_second,
            wall_time_s=spent + self.clock.seconds,
            best_evaluation=self.evaluation.best if evaluated and self.evaluation else None,
            n_trees=getattr(self.model.policy, "n_trees", None),
            interrupted=interrupted,
        )
