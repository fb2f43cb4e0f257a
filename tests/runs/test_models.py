"""Agents made of recipes: what they see, and what null turns off."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv

from rlshare.agents import ALGORITHMS, parse_recipe
from rlshare.runs.errors import UserError
from rlshare.runs.models import build_model

FEW = {"dqn": {"buffer_size": 8}, "sac": {"buffer_size": 8}, "td3": {"buffer_size": 8}}


class Seen(gym.Env[Any, Any]):
    """Shows samples of a space."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(2)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def policy_of(algo: str, policy: str, env: Any, **settings: Any) -> Any:
    data = {**FEW.get(algo, {}), **settings}
    vec_env = DummyVecEnv([lambda: env])
    model = build_model(algo, policy, parse_recipe(algo, policy, data, "mine"), vec_env, 0, "cpu")
    observation = model.get_env().reset()  # type: ignore[union-attr]
    assert len(model.predict(observation)[0]) == 1
    return model.policy


def extractor_of(policy: Any) -> Any:
    made = getattr(policy, "actor", getattr(policy, "q_net", policy)).features_extractor
    return getattr(made, "base", made)  # of experts


@pytest.mark.parametrize("channel_first", [True, False])
@pytest.mark.parametrize("policy", ["mlp", "moe"])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_cnn_sees_images(algo: str, policy: str, channel_first: bool) -> None:
    env = FakeImageEnv(
        screen_height=40,
        screen_width=36,
        n_channels=3,
        discrete=algo not in ("sac", "td3"),
        channel_first=channel_first,
    )
    if algo == "ppo_mask":
        pytest.importorskip("sb3_contrib")
    extractor = extractor_of(policy_of(algo, policy, env))
    assert isinstance(extractor, NatureCNN)
    assert extractor.cnn[0].in_channels == 3


IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (spaces.Box(0.0, 1.0, (3, 36, 40), np.float32), NatureCNN),  # scaled already
        (spaces.Box(0.0, 1.0, (36, 40, 3), np.float32), FlattenExtractor),  # SB3 moves bytes alone
        (spaces.Box(-1.0, 1.0, (3, 36, 40), np.float32), FlattenExtractor),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), FlattenExtractor),  # too small for it
        (spaces.Box(0, 255, (128,), np.uint8), FlattenExtractor),
        (spaces.Dict(image=IMAGE, speed=spaces.Box(-1, 1, (2,))), CombinedExtractor),
    ],
)
def test_what_else_an_mlp_sees(space: spaces.Space[Any], kind: type) -> None:
    policy = policy_of("ppo", "mlp", Seen(space), n_steps=8, batch_size=8)
    assert type(policy.features_extractor) is kind
    assert policy.normalize_images == (kind is not NatureCNN)
    if isinstance(policy.features_extractor, CombinedExtractor):
        assert isinstance(policy.features_extractor.extractors["image"], NatureCNN)


@pytest.mark.parametrize("algo", ["sac", "td3"])
@pytest.mark.parametrize("norm", [None, 0.5])
def test_null_turns_a_default_off(algo: str, norm: float | None) -> None:
    kwargs = {"policy_kwargs": {"max_policy_grad_norm": norm}}
    policy = policy_of(algo, "gbt", gym.make("Pendulum-v1"), **kwargs)
    assert policy.options.max_policy_grad_norm == norm


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_null_where_an_algorithm_needs_a_value(algo: str) -> None:
    if algo == "ppo_mask":
        pytest.importorskip("sb3_contrib")
    env = gym.make("Pendulum-v1" if algo in ("sac", "td3") else "CartPole-v1")
    with pytest.raises(UserError, match=r"gamma of .* must be a value, got null"):
        policy_of(algo, "gbt", env, gamma=None)


def test_null_where_it_takes_none() -> None:
    env = gym.make("CartPole-v1")
    policy_of("ppo", "gbt", env, target_kl=None, clip_range_vf=None, n_steps=8, batch_size=8)
