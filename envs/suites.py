"""Suites: which package an id needs, its registration, and the views that agents learn from."""

import importlib
import sys
from typing import Any, Literal

import gymnasium as gym

View = Literal["trees", "networks"]
Env = gym.Env[Any, Any]

# id prefix -> (module that registers the ids, what to pip install)
_SUITES = {
    "rlshare/HalfCheetahTask": ("rlshare.envs.cheetah_tasks", "rlshare"),
    "rlshare/SpuriousCue-": ("rlshare.envs.spurious_cue", "rlshare"),
    "rlshare/Selling-": ("rlshare.envs.selling", "rlshare"),
    "rlshare/Noisy-": ("rlshare.envs.noise", "rlshare"),
    "ALE/": ("ale_py", "ale-py"),
    "MiniGrid-": ("minigrid", "rlshare[minigrid]"),
    "BabyAI-": ("minigrid", "rlshare[minigrid]"),
    "rlshare/MetaWorldTask": ("rlshare.envs.metaworld_tasks", "rlshare[metaworld]"),
    "rlshare/MT10": ("rlshare.envs.metaworld_tasks", "rlshare[metaworld]"),
    "Meta-World/": ("metaworld", "rlshare[metaworld]"),
    "dm_control/": ("shimmy", "shimmy[dm-control]"),
}


def register_suite(env_id: str) -> None:
    """Register the suite that an id belongs to, when it comes from an optional package.

    Raises:
        ValueError: the package is not installed; the message names it.
    """
    for prefix, (module, requirement) in _SUITES.items():
        if env_id.startswith(prefix):
            try:
                gym.register_envs(importlib.import_module(module))
            except ModuleNotFoundError as error:
                package = str(error.name).partition(".")[0]
                raise ValueError(
                    f"environment {env_id!r} needs the package {package}: "
                    f"pip install '{requirement}'"
                ) from None
    if env_id.startswith("ALE/"):  # one banner for each copy of the environment otherwise
        ale_py = importlib.import_module("ale_py")
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def view_kwargs(env_id: str, view: View | None) -> dict[str, Any]:
    """Return the arguments of an environment that a view wants where the user gives none."""
    return {"obs_type": "ram"} if view is not None and env_id.startswith("ALE/") else {}


def with_view(env: Env, view: View) -> Env:
    """Return an environment with the observations that trees or networks learn from.

    MiniGrid's are categories for trees and one-hot for networks, Atari's RAM is scaled for
    networks; all others stay as they are.
    """
    if "minigrid" in sys.modules:
        from rlshare.envs.minigrid import MiniGridCategories, MiniGridOneHot, is_minigrid

        if is_minigrid(env.observation_space):
            return MiniGridCategories(env) if view == "trees" else MiniGridOneHot(env)
    if "ale_py" in sys.modules:
        from rlshare.envs.atari import ScaledRam, is_ram

        if is_ram(env) and view == "networks":
            return ScaledRam(env)
    return env


def for_learning(env: Env) -> Env:
    """Return an environment with the episodes and rewards that agents learn from.

    Those differ from the true ones in Atari games; what measures the true ones goes below.
    """
    if "ale_py" in sys.modules:
        from rlshare.envs.atari import learning_episodes

        if isinstance(env.unwrapped, sys.modules["ale_py"].AtariEnv):
            return learning_episodes(env)
    return env
