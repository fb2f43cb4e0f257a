"""Meta-World (Yu et al., CoRL 2019, arXiv 1910.10897): its tasks, and MT10 as one environment."""

from functools import cache
from typing import Any

import gymnasium as gym
import metaworld
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, MT10_V3

from rlshare.envs.multitask import MultiTask, Task


class MetaWorldTask(gym.Wrapper[Any, Any, Any, Any]):
    """A task of Meta-World, in each episode with another of its goals.

    The goals are the 50 of ``metaworld.MT1(task, seed=0)``; which one it is, the seed of ``reset``
    decides. Observations [39] hold the goal. An episode has 500 steps: it is truncated then, and
    never terminates. ``info["is_success"]`` says whether it was solved at any step so far, which is
    what Meta-World's success rates count.

    Args:
        task: name of one of its 50 tasks, such as "reach-v3".
        render_mode: None, "human", "rgb_array" or "depth_array".

    Raises:
        ValueError: for an unknown task.
    """

    def __init__(self, task: str, render_mode: str | None = None) -> None:
        if task not in metaworld.MT1.ENV_NAMES:
            raise ValueError(f"task must be one of metaworld.MT1.ENV_NAMES, got {task!r}")
        env: Any = ALL_V3_ENVIRONMENTS[task](render_mode=render_mode)
        super().__init__(env)
        # Of the goal, the last three features, the environment says 0 until it is given one.
        hidden, goal = env.observation_space, env.goal_space
        self.observation_space = spaces.Box(
            np.concatenate([hidden.low[:-3], goal.low]),
            np.concatenate([hidden.high[:-3], goal.high]),
            dtype=np.float64,
        )
        self._name, self._solved = task, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode with a goal drawn at random."""
        if seed is not None:  # which Meta-World's own reset ignores
            self.np_random = seeding.np_random(seed)[0]
        goals = _goals(self._name)
        goal = goals[self.np_random.integers(len(goals))]
        self.env.unwrapped.set_task(goal)  # type: ignore[attr-defined]
        self._solved = False
        return self.env.reset(options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and remember success."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._solved = self._solved or bool(info["success"])
        return obs, float(reward), terminated, truncated, {**info, "is_success": self._solved}


@cache
def _goals(task: str) -> list[Any]:
    """The goals of a task, which take half a second to make: once in a process."""
    goals: list[Any] = metaworld.MT1(task, seed=0).train_tasks
    return goals


def make_task(**kwargs: Any) -> MetaWorldTask:
    """Return a task; gymnasium before 1.4 makes no wrapper by its class."""
    return MetaWorldTask(**kwargs)


def make_mt10(**kwargs: Any) -> MultiTask:
    """Return the ten tasks of MT10 as one environment; arguments as of MultiTask."""
    tasks = [Task(name, "rlshare/MetaWorldTask-v0", {"task": name}) for name in MT10_V3]
    return MultiTask(tasks, **kwargs)


gym.register("rlshare/MetaWorldTask-v0", "rlshare.envs.metaworld_tasks:make_task")
gym.register("rlshare/MT10-v0", "rlshare.envs.metaworld_tasks:make_mt10")
