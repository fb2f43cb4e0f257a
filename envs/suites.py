"""Optional suites: which package an id needs, and its registration with gymnasium."""

import importlib

import gymnasium as gym

# id prefix -> (module that registers the ids, pip requirement)
_SUITES = {
    "rlshare/HalfCheetahTask": ("rlshare.envs.cheetah_tasks", "rlshare"),
    "ALE/": ("ale_py", "ale-py"),
    "MiniGrid-": ("minigrid", "minigrid"),
    "BabyAI-": ("minigrid", "minigrid"),
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
