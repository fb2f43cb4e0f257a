"""SB3 models from recipes and from files."""

import io
from typing import Any

from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from rlshare.agents import Linear, Recipe
from rlshare.cli.checkpoint import DAMAGE
from rlshare.cli.errors import UserError, user_errors
from rlshare.cli.forecast import boosting_steps

CLASSES: dict[str, type[OnPolicyAlgorithm]] = {"ppo": PPO, "a2c": A2C}
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}


def build_model(
    algo: str, policy: str, recipe: Recipe[Any], env: VecEnv, seed: int, device: str
) -> OnPolicyAlgorithm:
    """Make a new agent as its recipe says.

    Raises:
        UserError: the algorithm or the policy refuses a setting or a space.
    """
    settings: dict[str, Any] = {
        name: _sb3_schedule(value) if isinstance(value, Linear) else value
        for name, value in recipe.algorithm_settings().items()
    }
    if policy == "gbt":
        settings |= _tree_policy(recipe, env)
    elif policy == "moe":
        settings |= _moe_policy(recipe, env)
    else:
        settings |= _mlp_policy(recipe, env)
    # SB3 checks some arguments with assert.
    refusals = (ValueError, AssertionError, TypeError, RuntimeError)
    with user_errors(f"{algo} with {policy}: ", refusals):
        return CLASSES[algo](env=env, seed=seed, device=device, **settings)


def read_model(
    algo: str, data: bytes, where: str, env: VecEnv | None, device: str
) -> OnPolicyAlgorithm:
    """Load an agent from the bytes of a model file that ``read_archive`` has checked.

    Raises:
        UserError: the file holds something else, or its spaces are not the environment's.
    """
    try:
        return CLASSES[algo].load(io.BytesIO(data), env=env, device=device)
    except DAMAGE as error:
        sentence = " ".join(str(error).split())
        raise UserError(f"cannot load a {algo} model from {where}: {sentence}") from error


def _tree_policy(recipe: Recipe[Any], env: VecEnv) -> dict[str, Any]:
    from rlshare.policies import DictTreeRolloutBuffer, GBTPolicy, TreeRolloutBuffer

    kwargs = recipe.policy_kwargs.model_dump(exclude_none=True)
    for name, value in kwargs.items():
        if isinstance(value, dict) and "linear" in value:
            init, stop = value["linear"]
            kwargs[name] = {"init": init, "stop": stop, "T": boosting_steps(recipe)}
    is_dict = isinstance(env.observation_space, spaces.Dict)
    buffer = DictTreeRolloutBuffer if is_dict else TreeRolloutBuffer
    return {"policy": GBTPolicy, "policy_kwargs": kwargs, "rollout_buffer_class": buffer}


def _moe_policy(recipe: Recipe[Any], env: VecEnv) -> dict[str, Any]:
    from rlshare.policies import (
        DictTreeRolloutBuffer,
        MoECnnPolicy,
        MoEPolicy,
        TreeRolloutBuffer,
    )

    kwargs = recipe.policy_kwargs.model_dump(exclude_none=True)
    if env.has_attr("n_tasks"):
        kwargs["moe"].setdefault("n_tasks", env.get_attr("n_tasks")[0])
    cls = MoECnnPolicy if is_image_space(env.observation_space) else MoEPolicy
    settings: dict[str, Any] = {"policy": cls, "policy_kwargs": kwargs}
    if kwargs.get("store_routes"):
        is_dict = isinstance(env.observation_space, spaces.Dict)
        settings["rollout_buffer_class"] = DictTreeRolloutBuffer if is_dict else TreeRolloutBuffer
    return settings


def _mlp_policy(recipe: Recipe[Any], env: VecEnv) -> dict[str, Any]:
    kwargs = recipe.policy_kwargs.model_dump(exclude_none=True)
    if "activation_fn" in kwargs:
        kwargs["activation_fn"] = _ACTIVATIONS[kwargs["activation_fn"]]
    is_dict = isinstance(env.observation_space, spaces.Dict)
    return {"policy": "MultiInputPolicy" if is_dict else "MlpPolicy", "policy_kwargs": kwargs}


def _sb3_schedule(value: Linear) -> LinearSchedule:
    start, stop = value.linear
    return LinearSchedule(start, stop, 1.0)
