"""Several tasks as one environment, whose observations say which task it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlshare.checks import one_of
from rlshare.envs.factory import EnvFactory
from rlshare.envs.task_order import TaskOrder


@dataclass(frozen=True)
class Task:
    """One task: a name for the logs, and how its environment is made."""

    name: str
    env: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)


class MultiTask(gym.Env[Any, Any]):
    """One of several tasks in each episode, its index one-hot at the end of the observation.

    Observations are float32 Boxes [d + n_tasks], within the bounds of all tasks together. The tasks
    must have Box observations of one shape and the same actions. ``info["task"]`` is the name of
    the present task.

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

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        tasks: Sequence[Task],
        schedule: TaskOrder = "mixed",
        first: int | None = None,
        steps_per_task: int = 10_000,
        render_mode: str | None = None,
    ) -> None:
        one_of("schedule", schedule, get_args(TaskOrder))
        names = [task.name for task in tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"tasks must have distinct names and be at least one, got {names}")
        if steps_per_task < 1:
            raise ValueError(f"steps_per_task must be >= 1, got {steps_per_task}")
        self.tasks, self.schedule, self.steps_per_task = list(tasks), schedule, steps_per_task
        self.render_mode = render_mode
        self._first = first
        self._steps: int | None = None  # of the task's turn, None before the first
        self.task = 0
        self._envs = [
            EnvFactory(task.env, dict(task.env_kwargs), render_mode)() for task in self.tasks
        ]
        own = self._envs[0]
        self.action_space = own.action_space
        self.observation_space = self._joint_observations()
        self.metadata = {**self.metadata, "render_fps": own.metadata.get("render_fps", 30)}

    def _joint_observations(self) -> spaces.Box:
        """Check that the tasks belong together; the bounds of all, then those of the one-hot."""
        boxes: list[spaces.Box] = []
        kinds = [(env.observation_space.shape, env.action_space) for env in self._envs]
        for task, env, kind in zip(self.tasks, self._envs, kinds, strict=True):
            box = env.observation_space
            if not isinstance(box, spaces.Box):
                raise ValueError(f"task {task.name!r} must have a Box observation, got {box}")
            if kind != kinds[0]:
                raise ValueError(
                    f"tasks must have observations of one shape and the same actions, got "
                    f"{kinds[0]} of {self.tasks[0].name!r} and {kind} of {task.name!r}"
                )
            boxes.append(box)
        low = np.min([box.low.ravel() for box in boxes], axis=0)
        high = np.max([box.high.ravel() for box in boxes], axis=0)
        n = len(boxes)
        return spaces.Box(
            np.concatenate([low, np.zeros(n)]).astype(np.float32),
            np.concatenate([high, np.ones(n)]).astype(np.float32),
        )

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
        obs, info = self._envs[self.task].reset(seed=int(self.np_random.integers(2**31)))
        return self._observe(obs), {**info, "task": self.tasks[self.task].name}

    def _begin(self, task: int) -> None:
        self.task, self._steps = task % self.n_tasks, 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the present task."""
        obs, reward, terminated, truncated, info = self._envs[self.task].step(action)
        self._steps = (self._steps or 0) + 1
        info = {**info, "task": self.tasks[self.task].name}
        return self._observe(obs), float(reward), terminated, truncated, info

    def render(self) -> Any:
        """Draw the present task."""
        return self._envs[self.task].render()

    def close(self) -> None:
        """Close the tasks."""
        for env in self._envs:
            env.close()

    def _observe(self, obs: Any) -> Any:
        one_hot = np.zeros(self.n_tasks, np.float32)
        one_hot[self.task] = 1
        return np.concatenate([np.asarray(obs, np.float32).ravel(), one_hot])
