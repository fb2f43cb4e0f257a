"""Environments by id, ``module:EnvId`` or ``file.py:Class``, and their vector form."""

if __name__ != "rlshare.envs":
    raise ImportError(
        f'import this package as "rlshare.envs", got {__name__!r}: saved models store class paths'
    )

from rlshare.envs.factory import EnvFactory, env_name, make_env
from rlshare.envs.multitask import MultiTask, Task, TaskReturns
from rlshare.envs.vector import make_vec_env

__all__ = [
    "EnvFactory",
    "MultiTask",
    "Task",
    "TaskReturns",
    "env_name",
    "make_env",
    "make_vec_env",
]
