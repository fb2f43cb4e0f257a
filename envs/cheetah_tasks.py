"""Variants of HalfCheetah-v5: direction, target speed, gravity, length of the legs."""

import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
from gymnasium.envs.mujoco import half_cheetah_v5

from rlshare.envs.multitask import MultiTask, Task

_LEGS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")


class HalfCheetahTask(gym.Wrapper[Any, Any, Any, Any]):
    """HalfCheetah-v5 with another goal or another body.

    The reward of a step is that of the goal minus the usual control cost: the velocity along
    ``direction``, or, with a ``speed``, minus the distance of the velocity from it, in m/s.

    Args:
        direction: 1 forward, -1 backward.
        speed: to keep, in m/s, or None to run as fast as possible.
        gravity: multiple of the usual.
        legs: multiple of the usual length of all leg segments, at the same mass of the whole body.
        render_mode: as of HalfCheetah-v5.

    Raises:
        ValueError: for a direction that is not 1 or -1, or a multiple that is not positive.
    """

    def __init__(
        self,
        direction: int = 1,
        speed: float | None = None,
        gravity: float = 1.0,
        legs: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        if direction not in (1, -1):
            raise ValueError(f"direction must be 1 or -1, got {direction}")
        for name, value in (("gravity", gravity), ("legs", legs)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        with tempfile.TemporaryDirectory() as folder:  # the model is read while env is made
            kwargs: dict[str, Any] = (
                {} if legs == 1.0 else {"xml_file": _with_legs(legs, Path(folder))}
            )
            env = gym.make("HalfCheetah-v5", render_mode=render_mode, **kwargs)
        super().__init__(env)
        env.unwrapped.model.opt.gravity[:] *= gravity  # type: ignore[attr-defined]
        self.direction, self.speed = direction, speed

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and reward the goal."""
        obs, _, terminated, truncated, info = self.env.step(action)
        velocity = info["x_velocity"]
        goal = self.direction * velocity if self.speed is None else -abs(velocity - self.speed)
        return obs, float(goal + info["reward_ctrl"]), terminated, truncated, info


def _with_legs(scale: float, folder: Path) -> str:
    """Write HalfCheetah's model with longer or shorter legs, and return its path."""
    assets = Path(half_cheetah_v5.__file__).parent / "assets" / "half_cheetah.xml"
    spec = mujoco.MjSpec.from_file(str(assets))
    for name in _LEGS:
        body = spec.body(name)
        if not name.endswith("thigh"):  # thighs hang at the torso, the others at the segment above
            body.pos = body.pos * scale
        for geom in body.geoms:
            geom.pos = geom.pos * scale
            geom.size = [geom.size[0], geom.size[1] * scale, geom.size[2]]
    spec.compile()
    xml = spec.to_xml()  # which leaves the total mass out
    path = folder / "half_cheetah.xml"
    path.write_text(
        xml.replace("<compiler ", f'<compiler settotalmass="{spec.compiler.settotalmass}" ', 1)
    )
    return str(path)


_TASKS: dict[str, dict[str, Any]] = {
    "forward": {},
    "backward": {"direction": -1},
    "speed-1": {"speed": 1.0},
    "speed-3": {"speed": 3.0},
    "gravity-0.5": {"gravity": 0.5},
    "gravity-1.5": {"gravity": 1.5},
    "legs-0.7": {"legs": 0.7},
    "legs-1.3": {"legs": 1.3},
}


def make_tasks(**kwargs: Any) -> MultiTask:
    """Return the eight tasks as one environment; arguments as of MultiTask."""
    tasks = [Task(name, "rlshare/HalfCheetahTask-v0", task) for name, task in _TASKS.items()]
    return MultiTask(tasks, **kwargs)


gym.register("rlshare/HalfCheetahTask-v0", "rlshare.envs.cheetah_tasks:HalfCheetahTask")
gym.register("rlshare/HalfCheetahTasks-v0", "rlshare.envs.cheetah_tasks:make_tasks")
