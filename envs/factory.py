"""One environment from a string: a gymnasium id, ``module:EnvId`` or ``file.py:Class``."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.error import DependencyNotInstalled, NameNotFound, NamespaceNotFound
from gymnasium.error import Error as GymnasiumError

from rlshare.envs.suites import View, register_suite, view_kwargs, with_view
from rlshare.messages import nearest

Env = gym.Env[Any, Any]


def env_name(env: str) -> str:
    """Return the name of an environment in paths: ``ALE/Pong-v5`` is ``ALE-Pong-v5``."""
    return env.rpartition(":")[2].replace("/", "-")


@dataclass(frozen=True)
class EnvFactory:
    """A picklable recipe for one environment, called where the environment shall live."""

    env: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    render_mode: str | None = None
    view: View | None = None

    def __call__(self) -> Env:
        """Make the environment; raises as ``make_env``."""
        return make_env(self.env, self.env_kwargs, self.render_mode, self.view)


def make_env(
    env: str,
    env_kwargs: dict[str, Any] | None = None,
    render_mode: str | None = None,
    view: View | None = None,
) -> Env:
    """Make one environment.

    Args:
        env: gymnasium id ("CartPole-v1"), "module:EnvId" or "path/to/file.py:Class".
        env_kwargs: keyword arguments of the environment's constructor.
        render_mode: None, "human" or "rgb_array".
        view: "trees" or "networks" for the observations that they learn from: MiniGrid as
            categories or one-hot, Atari games by their RAM, as bytes or scaled to [0, 1]. None for
            the environment's own.

    Raises:
        ValueError: the environment is unknown, its package is missing, it refuses its arguments,
            or it has no such view.
    """
    kwargs = view_kwargs(env.rpartition(":")[2], view) | (env_kwargs or {})
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    path, colon, name = env.rpartition(":")
    make = _class_in_file(Path(path), name) if colon and path.endswith(".py") else _registered(env)
    try:
        made = make(**kwargs)
    except DependencyNotInstalled as error:
        raise ValueError(f"environment {env!r} needs a package: {error}") from None
    except (GymnasiumError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot make environment {env!r} with {kwargs}: {error}") from error
    if not isinstance(made, gym.Env):
        raise ValueError(f"{env!r} must make a gymnasium.Env, got {type(made).__name__}")
    return made if view is None else with_view(made, view)


def _registered(env: str) -> Callable[..., Env]:
    module, _, env_id = env.rpartition(":")
    if module:
        _import_module(module, env)
    else:
        register_suite(env_id)
    try:
        spec = gym.spec(env_id)
    except (NameNotFound, NamespaceNotFound):
        raise ValueError(
            f"unknown environment {env!r}{nearest(env_id, gym.registry)} It must be an id known to "
            "gymnasium, module:EnvId or file.py:Class"
        ) from None
    except GymnasiumError as error:  # a version that is gone, a malformed id
        raise ValueError(f"unknown environment {env!r}: {error}") from None
    return lambda **kwargs: gym.make(spec, **kwargs)


def _import_module(module: str, env: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"environment {env!r}: cannot import {module!r}: {error}") from None


def _class_in_file(path: Path, name: str) -> Callable[..., Env]:
    if not path.is_file():
        raise ValueError(f"environment file not found: {path}")
    module = _load_file(path.resolve())
    cls = getattr(module, name, None)
    if cls is None:
        classes = [
            k for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, gym.Env)
        ]
        raise ValueError(
            f"{path} has no class {name!r}; its environments: {', '.join(classes) or 'none'}"
        )
    if not callable(cls):
        raise ValueError(f"{path}:{name} must be a gymnasium.Env class, got {type(cls).__name__}")
    made: Callable[..., Env] = cls
    return made


def _load_file(path: Path) -> ModuleType:
    # In sys.modules under a name of its own, so that objects of the file can be pickled.
    name = f"rlshare_env_file_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"environment file cannot be loaded as Python: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"cannot import environment file {path}: {error}") from error
    return module
