"""Noise around environments: what it adds, and that the vector form adds the same."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from rlshare.envs import (
    NoisyObservations,
    SpuriousCue,
    VecNoisyObservations,
    WorldEnv,
    WorldVecEnv,
    make_env,
)


def short_cartpole() -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1", max_episode_steps=9)


def cue() -> gym.Env[Any, Any]:
    return WorldEnv(SpuriousCue(n_steps=5))


PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], VecEnv]]] = {
    "cartpole": (short_cartpole, lambda: DummyVecEnv([short_cartpole] * 3)),
    "compiled": (cue, lambda: WorldVecEnv(SpuriousCue(n_steps=5), 3)),
}


@pytest.mark.parametrize(("single", "vector"), PAIRS.values(), ids=PAIRS)
def test_the_vector_form_equals_the_single_one(single: Any, vector: Any) -> None:
    kwargs = {"scale": 0.3, "n_features": 4}
    ours = VecNoisyObservations(vector(), **kwargs)
    theirs = DummyVecEnv([lambda: NoisyObservations(single(), **kwargs)] * 3)
    rng = np.random.default_rng(0)
    for seed in (5, None):
        if seed is not None:
            ours.seed(seed)
            theirs.seed(seed)
        np.testing.assert_array_equal(ours.reset(), theirs.reset())
        for _ in range(40):
            actions = rng.integers(2, size=3)
            mine, other = ours.step(actions), theirs.step(actions)
            for a, b in zip(mine[:3], other[:3], strict=True):
                np.testing.assert_array_equal(a, b)
            for a, b in zip(mine[3], other[3], strict=True):
                np.testing.assert_array_equal(
                    a.get("terminal_observation", 0), b.get("terminal_observation", 0)
                )


def test_features_are_appended_and_nothing_else_changes() -> None:
    env, plain = NoisyObservations(short_cartpole(), n_features=100), short_cartpole()
    obs, _ = env.reset(seed=2)
    np.testing.assert_array_equal(obs[:4], plain.reset(seed=2)[0])
    seen = []
    for _ in range(9):
        obs, *rest = env.step(1)
        same, *others = plain.step(1)
        np.testing.assert_array_equal(obs[:4], same)
        assert rest == others
        seen.append(obs[4:])
    noise = np.array(seen)
    assert env.observation_space.contains(obs)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.corrcoef(noise[:, :50].ravel(), noise[:, 50:].ravel())[0, 1]) < 0.2


def test_noise_has_the_scale_of_each_number() -> None:
    scale = [0.0, 0.5, 2.0]
    env = VecNoisyObservations(WorldVecEnv(SpuriousCue(), 4000), scale)
    env.seed(1)
    noisy = np.asarray(env.reset())
    plain = WorldVecEnv(SpuriousCue(), 4000)
    plain.seed(1)
    noise = noisy - np.asarray(plain.reset())
    np.testing.assert_allclose(noise.std(axis=0), scale, rtol=0.05)
    assert np.abs(noise.mean(axis=0)).max() < 0.15
    assert np.isfinite(env.observation_space.low).tolist() == [True, False, False]  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*WARN:")  # gymnasium advises, we mean it
def test_checkers_accept_it() -> None:
    env = NoisyObservations(cue(), scale=0.1, n_features=3)
    check_env(env, skip_render_check=True)
    check_env_of_sb3(env)


def test_the_command_lines_form() -> None:
    kwargs = {"env": "CartPole-v1", "n_features": 6, "max_episode_steps": 5}
    env = make_env("rlshare/Noisy-v0", kwargs)
    assert env.reset(seed=0)[0].shape == (10,)
    assert [env.step(0)[3] for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        ("CartPole-v1", {"scale": -1.0}, "scale must be >= 0, one number or 4, got -1.0"),
        ("CartPole-v1", {"scale": [1.0, 2.0]}, "scale must be >= 0, one number or 4"),
        ("CartPole-v1", {"n_features": -1}, "n_features must be >= 0, got -1"),
        ("FrozenLake-v1", {}, "observations must be a Box, got Discrete"),
    ],
)
def test_bad_arguments(env_id: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoisyObservations(gym.make(env_id), **kwargs)
