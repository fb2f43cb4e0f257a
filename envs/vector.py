"""Vector environments for training: monitored, seeded, in this process or in workers."""

import json
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from rlshare.envs.factory import EnvFactory
from rlshare.envs.suites import View, for_learning


@dataclass(frozen=True)
class _MonitoredEnv:
    """Makes one environment under SB3's Monitor; picklable, so that a worker can call it."""

    factory: EnvFactory
    monitor_file: Path | None
    in_worker: bool

    def __call__(self) -> "gym.Env[Any, Any]":
        if self.in_worker:  # Ctrl-C reaches the whole process group; only the trainer answers it
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        env = self._monitored(self.factory())
        return env if self.factory.view is None else for_learning(env)

    def _monitored(self, env: "gym.Env[Any, Any]") -> "Monitor[Any, Any]":
        if self.monitor_file is None:
            return Monitor(env)
        started = _start_time(self.monitor_file)
        path = str(self.monitor_file)
        monitor = Monitor(env, path, override_existing=started is None)
        if started is not None:  # episode times stay relative to the header's time
            monitor.t_start = started
        return monitor


def _start_time(path: Path) -> float | None:
    """Return the t_start of an existing monitor file that can be appended to."""
    if not path.is_file():
        return None
    header = path.read_text().partition("\n")[0]
    if not header.startswith("#{"):
        return None
    return float(json.loads(header[1:])["t_start"])


def make_vec_env(
    env: str,
    n_envs: int = 1,
    seed: int | None = None,
    vec_env: Literal["dummy", "subproc"] = "dummy",
    env_kwargs: dict[str, Any] | None = None,
    monitor_dir: Path | None = None,
    render_mode: str | None = None,
    view: View | None = None,
) -> VecEnv:
    """Make a vector of monitored environments.

    Args:
        env: gymnasium id, "module:EnvId" or "file.py:Class".
        n_envs: number of copies.
        seed: copy i begins with seed + i.
        vec_env: "dummy" steps them here, "subproc" one process each.
        env_kwargs: keyword arguments of the constructor.
        monitor_dir: where <i>.monitor.csv goes (appended to when it exists); None: nowhere.
        render_mode: None, "human" or "rgb_array".
        view: as of ``make_env``. With one, Atari games have the episodes and rewards of
            ``rlshare.envs.atari.learning_episodes``; monitors keep the true scores.

    Raises:
        ValueError: as ``make_env``, and for "subproc" where processes may not have children.
    """
    in_workers = vec_env == "subproc"
    if in_workers and multiprocessing.current_process().daemon:
        raise ValueError(
            'vec_env must be "dummy" in a daemonic process, such as a worker of '
            'multiprocessing.Pool, which may have no children, got "subproc"'
        )
    factory = EnvFactory(env, env_kwargs or {}, render_mode, view)
    makers: list[Callable[[], Any]] = [
        _MonitoredEnv(
            factory, monitor_dir / f"{i}.monitor.csv" if monitor_dir else None, in_workers
        )
        for i in range(n_envs)
    ]
    if in_workers:
        factory().close()  # a bad id or argument is an error here, not in a worker
        vector: VecEnv = SubprocVecEnv(makers)
    else:
        vector = DummyVecEnv(makers)
    vector.seed(seed)
    return vector
