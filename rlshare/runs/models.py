"""SB3 models from recipes and from files."""

import inspect
import io
from types import NoneType
from typing import Any, get_args

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from rlshare.agents import Recipe, RunLinear
from rlshare.agents.registry import algorithm
from rlshare.runs.checkpoint import DAMAGE
from rlshare.runs.errors import UserError, user_errors

_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}
_NOISES = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}
_SMALLEST_IMAGE = 36  # pixels a side that SB3's NatureCNN can see


def algorithm_class(algo: str) -> type[BaseAlgorithm]:
    """Return the class of one of ``rlshare.agents.ALGORITHMS``.

    Raises:
        UserError: its package is not installed.
    """
    record = algorithm(algo)
    try:
        found: type[BaseAlgorithm] = record.load()
    except ImportError as error:
        package = record.path.partition(":")[0]
        raise UserError(
            f"--algo {algo} needs {package}: pip install 'rlshare[{record.extra}]'"
        ) from error
    return found


def build_model(
    algo: str, policy: str, recipe: Recipe[Any], env: VecEnv, seed: int, device: str
) -> BaseAlgorithm:
    """Make a new agent as its recipe says.

    Raises:
        UserError: the algorithm or the policy refuses a setting or a space.
    """
    settings: dict[str, Any] = {
        name: _sb3_schedule(value) if isinstance(value, RunLinear) else value
        for name, value in recipe.algorithm_settings().items()
    }
    kwargs = recipe.policy_kwargs.model_dump()
    alias = _POLICIES[policy](recipe, env.observation_space, kwargs)
    if policy == "moe" and env.has_attr("n_tasks"):
        kwargs["moe"] = {"n_tasks": env.get_attr("n_tasks")[0], **(kwargs["moe"] or {})}
    buffer = algorithm(algo).rows_buffer(isinstance(env.observation_space, spaces.Dict))
    if buffer is not None and (policy == "gbt" or kwargs.get("store_routes")):
        settings["rollout_buffer_class"] = buffer
    if noise_type := getattr(recipe, "noise_type", None):
        settings["action_noise"] = _noise(noise_type, recipe, env)
    # SB3 checks some arguments with assert.
    refusals = (ValueError, AssertionError, TypeError, RuntimeError)
    make: Any = algorithm_class(algo)  # every algorithm has arguments of its own
    _check_nulls(make, settings)
    with user_errors(f"{algo} with {policy}: ", refusals):
        model: BaseAlgorithm = make(
            alias, env, policy_kwargs=kwargs, seed=seed, device=device, **settings
        )
    return model


def read_model(
    algo: str, data: bytes, where: str, env: VecEnv | None, device: str
) -> BaseAlgorithm:
    """Load an agent from the bytes of a model file that ``read_archive`` has checked.

    Raises:
        UserError: the file holds something else, or its spaces are not the environment's.
    """
    # As when the agent was made: SB3 stores the class that it chose for n-step returns, and then
    # takes it for one that the user chose, whose n_steps it leaves alone.
    chosen = {"replay_buffer_class": None}
    of_file = algorithm_class(algo)
    try:
        return of_file.load(io.BytesIO(data), env=env, device=device, custom_objects=chosen)
    except DAMAGE as error:
        sentence = " ".join(str(error).split())
        raise UserError(f"cannot load a {algo} model from {where}: {sentence}") from error


def _check_nulls(make: Any, settings: dict[str, Any]) -> None:
    """Refuse a None that the algorithm's constructor does not take: it would fail in training."""
    takes = inspect.signature(make).parameters
    for name, value in settings.items():
        if value is None and NoneType not in get_args(takes[name].annotation):
            raise UserError(f"{name} of {make.__name__} must be a value, got null")


def _tree_policy(recipe: Recipe[Any], space: spaces.Space[Any], kwargs: dict[str, Any]) -> str:
    for name, value in kwargs.items():
        if isinstance(value, dict) and "linear" in value:
            init, stop = value["linear"]
            kwargs[name] = {"init": init, "stop": stop, "T": recipe.optimizer_steps()}
    return "GBTPolicy"


def _moe_policy(recipe: Recipe[Any], space: spaces.Space[Any], kwargs: dict[str, Any]) -> str:
    return "MoECnnPolicy" if _takes_images(space, kwargs) else "MoEPolicy"


def _mlp_policy(recipe: Recipe[Any], space: spaces.Space[Any], kwargs: dict[str, Any]) -> str:
    if kwargs.get("activation_fn") is not None:
        kwargs["activation_fn"] = _ACTIVATIONS[kwargs["activation_fn"]]
    if _takes_images(space, kwargs):
        return "CnnPolicy"
    return "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"


_POLICIES = {"gbt": _tree_policy, "moe": _moe_policy, "mlp": _mlp_policy}


def _takes_images(space: spaces.Space[Any], kwargs: dict[str, Any]) -> bool:
    """Return whether a CNN can see an observation; with images in [0, 1] that is one option more.

    SB3 moves the channels of bytes to the front, but not those of floats.
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return False
    if sorted(space.shape)[1] < _SMALLEST_IMAGE:
        return False
    if is_image_space(space):
        return True
    is_float = np.issubdtype(space.dtype, np.floating)
    scaled = is_float and bool(np.all(space.low == 0) and np.all(space.high == 1))
    if scaled and is_image_space_channels_first(space):
        kwargs["normalize_images"] = False
        return True
    return False


def _noise(noise_type: str, recipe: Any, env: VecEnv) -> Any:
    mean = np.zeros(spaces.flatdim(env.action_space))
    std = 0.1 if recipe.noise_std is None else recipe.noise_std
    return _NOISES[noise_type](mean, std * np.ones_like(mean))


def _sb3_schedule(value: RunLinear) -> LinearSchedule:
    start, stop = value.linear
    return LinearSchedule(start, stop, 1.0)
