"""Several tasks as one environment, whose observations say which task it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean

from rlshare.envs.factory import EnvFactory

Schedule = Literal["mixed", "alternate"]
SCHEDULES = ("mixed", "alternate")


@dataclass(frozen=True)
class Task:
    """One task: a name for the logs, and how its environment is made."""

    name: str
    env: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)


class MultiTask(gym.Env[Any, Any]):
    """One of several tasks in each episode, its index one-hot at the end of the observation.

    Observations are float32 Boxes [d + n_tasks]. The tasks must have Box observations of one shape
    and the same actions. ``info["task"]`` is the name of the present task.

    Args:
        tasks: what to learn, at least one; names are distinct.
        schedule: "mixed", the tasks in turn, an episode each; "alternate", each for
            ``steps_per_task`` steps, until the episode under way then ends.
        first: index of the task of the first episode. Without it that is the seed of ``reset``
            modulo the number of tasks, so that the copies of a vector begin with different ones.
        steps_per_task: of "alternate".
        render_mode: passed to the tasks.

    Raises:
        ValueError: for an unknown schedule, no tasks, equal names, or tasks whose spaces differ.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        tasks: Sequence[Task],
        schedule: Schedule = "mixed",
        first: int | None = None,
        steps_per_task: int = 10_000,
        render_mode: str | None = None,
    ) -> None:
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
        names = [task.name for task in tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"tasks must have distinct names and be at least one, got {names}")
        if steps_per_task < 1:
            raise ValueError(f"steps_per_task must be >= 1, got {steps_per_task}")
        self.tasks, self.schedule, self.steps_per_task = list(tasks), schedule, steps_per_task
        self.render_mode = render_mode
        self._envs: dict[int, gym.Env[Any, Any]] = {}
        self._first = first
        self._steps: int | None = None  # of the task's turn, None before the first
        self.task = 0
        own = self._env(0)
        if not isinstance(own.observation_space, spaces.Box):
            raise ValueError(
                f"task {names[0]!r} must have a Box observation, got {own.observation_space}"
            )
        one_hot = spaces.Box(0.0, 1.0, (len(tasks),), np.float32)
        flat = own.observation_space
        self.observation_space = spaces.Box(
            np.concatenate([flat.low.ravel().astype(np.float32), one_hot.low]),
            np.concatenate([flat.high.ravel().astype(np.float32), one_hot.high]),
            dtype=np.float32,
        )
        self.action_space = own.action_space

    @property
    def n_tasks(self) -> int:
        """How many there are."""
        return len(self.tasks)

    @property
    def task_names(self) -> list[str]:
        """Their names, in the order of the one-hot index."""
        return [task.name for task in self.tasks]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode of the task whose turn it is, or of ``options["task"]``, an index."""
        super().reset(seed=seed)
        if seed is not None:
            self._begin(seed if self._first is None else self._first)
        elif self._steps is None:
            self._begin(int(self.np_random.integers(self.n_tasks)))
        elif self.schedule == "mixed" or self._steps >= self.steps_per_task:
            self._begin(self.task + 1)
        if options and "task" in options:
            self.task = int(options["task"])
        obs, info = self._env(self.task).reset(seed=int(self.np_random.integers(2**31)))
        return self._observe(obs), {**info, "task": self.tasks[self.task].name}

    def _begin(self, task: int) -> None:
        self.task, self._steps = task % self.n_tasks, 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the present task."""
        obs, reward, terminated, truncated, info = self._env(self.task).step(action)
        self._steps = (self._steps or 0) + 1
        info = {**info, "task": self.tasks[self.task].name}
        return self._observe(obs), float(reward), terminated, truncated, info

    def render(self) -> Any:
        """Draw the present task."""
        return self._env(self.task).render()

    def close(self) -> None:
        """Close the tasks."""
        for env in self._envs.values():
            env.close()

    def _observe(self, obs: Any) -> Any:
        one_hot = np.zeros(self.n_tasks, np.float32)
        one_hot[self.task] = 1
        return np.concatenate([np.asarray(obs, np.float32).ravel(), one_hot])

    def _env(self, index: int) -> gym.Env[Any, Any]:
        """The environment of a task, made when it is first needed."""
        if index not in self._envs:
            task = self.tasks[index]
            made = EnvFactory(task.env, dict(task.env_kwargs), self.render_mode)()
            first = self._envs.get(0, made)
            spaces_of = [(e.observation_space.shape, e.action_space) for e in (first, made)]
            if spaces_of[0] != spaces_of[1]:
                raise ValueError(
                    f"tasks must have observations of one shape and the same actions, got "
                    f"{spaces_of[0]} of {self.tasks[0].name!r} and {spaces_of[1]} of {task.name!r}"
                )
            self._envs[index] = made
        return self._envs[index]


class TaskReturns(BaseCallback):
    """Logs ``rollout/<task>/ep_rew_mean``, the mean of the task's last 20 episodes."""

    def __init__(self) -> None:
        super().__init__()
        self._returns: dict[str, list[float]] = {}

    def _on_step(self) -> bool:
        for info in self.locals.get("infos", ()):
            if "episode" in info and "task" in info:
                returns = self._returns.setdefault(info["task"], [])
                returns.append(info["episode"]["r"])
                del returns[:-20]
        return True

    def _on_rollout_end(self) -> None:
        for task, returns in self._returns.items():
            self.logger.record(f"rollout/{task}/ep_rew_mean", safe_mean(returns))
