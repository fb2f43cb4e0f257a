"""Environments by id, ``module:EnvId`` or ``file.py:Class``, and their vector form."""

if __name__ != "rlshare.envs":
    raise ImportError(
        f'import this package as "rlshare.envs", got {__name__!r}: saved models store class paths'
    )

from typing import TYPE_CHECKING

from rlshare.lazy import names_of

if TYPE_CHECKING:
    from rlshare.envs.factory import EnvFactory, env_name, make_env
    from rlshare.envs.multitask import MultiTask, Task
    from rlshare.envs.noise import NoisyObservations, VecNoisyObservations
    from rlshare.envs.selling import Selling
    from rlshare.envs.spurious_cue import SpuriousCue
    from rlshare.envs.task_order import TaskOrder
    from rlshare.envs.vector import make_vec_env
    from rlshare.envs.world import World, WorldEnv, WorldVecEnv

__all__ = [
    "EnvFactory",
    "MultiTask",
    "NoisyObservations",
    "Selling",
    "SpuriousCue",
    "Task",
    "TaskOrder",
    "VecNoisyObservations",
    "World",
    "WorldEnv",
    "WorldVecEnv",
    "env_name",
    "make_env",
    "make_vec_env",
]

# Some need Stable-Baselines3, and torch.
__getattr__ = names_of(
    __name__,
    {
        "factory": ("EnvFactory", "env_name", "make_env"),
        "multitask": ("MultiTask", "Task"),
        "noise": ("NoisyObservations", "VecNoisyObservations"),
        "selling": ("Selling",),
        "spurious_cue": ("SpuriousCue",),
        "task_order": ("TaskOrder",),
        "vector": ("make_vec_env",),
        "world": ("World", "WorldEnv", "WorldVecEnv"),
    },
)
