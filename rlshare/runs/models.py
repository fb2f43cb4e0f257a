"""SB3 models from recipes and from files."""

import io
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from rlshare.agents import AWR, Linear, Recipe
from rlshare.runs.checkpoint import DAMAGE
from rlshare.runs.errors import UserError, user_errors
from rlshare.runs.masks import MASKED, maskable_ppo

_CLASSES: dict[str, type[BaseAlgorithm]] = {
    "ppo": PPO,
    "a2c": A2C,
    "awr": AWR,
    "dqn": DQN,
    "sac": SAC,
    "td3": TD3,
}
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}
_NOISES = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}


def algorithm_class(algo: str) -> type[BaseAlgorithm]:
    """Return the class of one of ``rlshare.agents.ALGORITHMS``.

    Raises:
        UserError: its package is not installed.
    """
    found: type[BaseAlgorithm] = maskable_ppo() if algo == MASKED else _CLASSES[algo]
    return found


def build_model(
    algo: str, policy: str, recipe: Recipe[Any], env: VecEnv, seed: int, device: str
) -> BaseAlgorithm:
    """Make a new agent as its recipe says.

    Raises:
        UserError: the algorithm or the policy refuses a setting or a space.
    """
    settings: dict[str, Any] = {
        name: _sb3_schedule(value) if isinstance(value, Linear) else value
        for name, value in recipe.algorithm_settings().items()
    }
    kwargs = recipe.policy_kwargs.model_dump(exclude_none=True)
    if policy == "gbt":
        alias = _tree_policy(recipe, kwargs)
    elif policy == "moe":
        alias = _moe_policy(env, kwargs)
    else:
        alias = _mlp_policy(env, kwargs)
    make: Any = algorithm_class(algo)  # every algorithm has arguments of its own
    if issubclass(make, OnPolicyAlgorithm) and _needs_rows(policy, kwargs):
        settings["rollout_buffer_class"] = _rows_buffer(algo, env)
    if noise_type := getattr(recipe, "noise_type", None):
        settings["action_noise"] = _noise(noise_type, recipe, env)
    # SB3 checks some arguments with assert.
    refusals = (ValueError, AssertionError, TypeError, RuntimeError)
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


def _tree_policy(recipe: Recipe[Any], kwargs: dict[str, Any]) -> str:
    for name, value in kwargs.items():
        if isinstance(value, dict) and "linear" in value:
            init, stop = value["linear"]
            kwargs[name] = {"init": init, "stop": stop, "T": recipe.optimizer_steps()}
    return "GBTPolicy"


def _moe_policy(env: VecEnv, kwargs: dict[str, Any]) -> str:
    if env.has_attr("n_tasks"):
        kwargs["moe"].setdefault("n_tasks", env.get_attr("n_tasks")[0])
    return "MoECnnPolicy" if is_image_space(env.observation_space) else "MoEPolicy"


def _mlp_policy(env: VecEnv, kwargs: dict[str, Any]) -> str:
    if "activation_fn" in kwargs:
        kwargs["activation_fn"] = _ACTIVATIONS[kwargs["activation_fn"]]
    is_dict = isinstance(env.observation_space, spaces.Dict)
    return "MultiInputPolicy" if is_dict else "MlpPolicy"


def _needs_rows(policy: str, kwargs: dict[str, Any]) -> bool:
    return policy == "gbt" or bool(kwargs.get("store_routes"))


def _rows_buffer(algo: str, env: VecEnv) -> type[Any]:
    is_dict = isinstance(env.observation_space, spaces.Dict)
    if algo == MASKED:
        from rlshare.policies import maskable

        return (
            maskable.MaskableDictTreeRolloutBuffer
            if is_dict
            else maskable.MaskableTreeRolloutBuffer
        )
    from rlshare.policies import DictTreeRolloutBuffer, TreeRolloutBuffer

    return DictTreeRolloutBuffer if is_dict else TreeRolloutBuffer


def _noise(noise_type: str, recipe: Any, env: VecEnv) -> Any:
    mean = np.zeros(spaces.flatdim(env.action_space))
    std = 0.1 if recipe.noise_std is None else recipe.noise_std
    return _NOISES[noise_type](mean, std * np.ones_like(mean))


def _sb3_schedule(value: Linear) -> LinearSchedule:
    start, stop = value.linear
    return LinearSchedule(start, stop, 1.0)
