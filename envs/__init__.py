"""Environments by id, ``module:EnvId`` or ``file.py:Class``, and their vector form."""

if __name__ != "rlshare.envs":
    raise ImportError(
        f'import this package as "rlshare.envs", got {__name__!r}: saved models store class paths'
    )

from rlshare.envs.factory import EnvFactory, env_name, make_env
from rlshare.envs.multitask import MultiTask, Task, TaskReturns
from rlshare.envs.noise import NoisyObservations, VecNoisyObservations
from rlshare.envs.selling import Selling
from rlshare.envs.spurious_cue import SpuriousCue
from rlshare.envs.vector import make_vec_env
from rlshare.envs.world import World, WorldEnv, WorldVecEnv

__all__ = [
    "EnvFactory",
    "MultiTask",
    "NoisyObservations",
    "Selling",
    "SpuriousCue",
    "Task",
    "TaskReturns",
    "VecNoisyObservations",
    "World",
    "WorldEnv",
    "WorldVecEnv",
    "env_name",
    "make_env",
    "make_vec_env",
]
