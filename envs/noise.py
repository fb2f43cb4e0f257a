"""Noise on observations, and features that say nothing, around any environment of numbers."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from rlshare.compiled import compiled
from rlshare.envs.factory import make_env
from rlshare.envs.random_numbers import Streams, new_streams, normal, seed_streams

Scale = float | Sequence[float]
_KEY = 1  # of the streams that noise draws from


class NoisyObservations(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Adds Gaussian noise to observations, and appends features that are nothing but noise.

    Observations become float32 Boxes [d + n_features], flat. Rewards and dynamics stay as they are.

    Args:
        env: environment with Box observations.
        scale: standard deviation of the noise, in units of the observation: one for all of its d
            numbers or one each.
        n_features: standard normal features to append, drawn anew in every step.

    Raises:
        ValueError: for other observations, a negative scale or number, or a wrong number of scales.
    """

    def __init__(self, env: gym.Env[Any, Any], scale: Scale = 0.0, n_features: int = 0) -> None:
        RecordConstructorArgs.__init__(self, scale=scale, n_features=n_features)
        gym.Wrapper.__init__(self, env)
        self._noise = _Noise(env.observation_space, scale, n_features, 1)
        self.observation_space = self._noise.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; a seed begins the noise anew too."""
        obs, info = self.env.reset(seed=seed, options=options)
        seed_streams(self._noise.streams, [seed], _KEY)
        return self._noise.row(obs, 0), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and hide what there is to see."""
        obs, *rest = self.env.step(action)
        return (self._noise.row(obs, 0), *rest)  # type: ignore[return-value]


class VecNoisyObservations(VecEnvWrapper):
    """``NoisyObservations`` around a vector environment, equal to it step by step.

    Args:
        venv: vector environment with Box observations.
        scale: as of NoisyObservations.
        n_features: likewise.

    Raises:
        ValueError: likewise.
    """

    def __init__(self, venv: VecEnv, scale: Scale = 0.0, n_features: int = 0) -> None:
        self._noise = _Noise(venv.observation_space, scale, n_features, venv.num_envs)
        super().__init__(venv, observation_space=self._noise.space)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every copy."""
        seeds = list(self.venv.unwrapped._seeds)  # gone after the reset
        obs = self.venv.reset()
        seed_streams(self._noise.streams, seeds, _KEY)
        return self._noise(obs)

    def step_wait(self) -> VecEnvStepReturn:
        """Step; the last observation of an episode is as noisy as the others."""
        obs, rewards, dones, infos = self.venv.step_wait()
        for i in np.flatnonzero(dones).tolist():
            last = self._noise.row(infos[i]["terminal_observation"], i)
            infos[i]["terminal_observation"] = last
        return self._noise(obs), rewards, dones, infos


class _Noise:
    """The noise of n copies of an environment."""

    def __init__(
        self, space: spaces.Space[Any], scale: Scale, n_features: int, n_envs: int
    ) -> None:
        if not isinstance(space, spaces.Box):
            raise ValueError(f"observations must be a Box, got {space}")
        d = int(np.prod(space.shape))
        if np.shape(scale) not in ((), (d,)) or not np.all(np.asarray(scale) >= 0):
            raise ValueError(f"scale must be >= 0, one number or {d}, got {scale}")
        if n_features < 0:
            raise ValueError(f"n_features must be >= 0, got {n_features}")
        self.scale = np.concatenate([np.broadcast_to(scale, d), np.ones(n_features)])
        bounds = np.zeros((2, d + n_features), np.float32)
        bounds[:, :d] = space.low.ravel(), space.high.ravel()
        bounds[:, self.scale > 0] = [[-np.inf], [np.inf]]
        self.space = spaces.Box(*bounds, dtype=np.float32)
        self.streams = new_streams(n_envs)

    def __call__(self, obs: Any) -> NDArray[np.float32]:
        """Return noisy observations [n, d + n_features] of all copies."""
        return self._add(obs, self.streams)

    def row(self, obs: NDArray[Any], i: int) -> NDArray[np.float32]:
        """Return that of copy i alone [d + n_features]."""
        noisy: NDArray[np.float32] = self._add(obs[None], self.streams[i : i + 1])[0]
        return noisy

    def _add(self, obs: NDArray[Any], streams: Streams) -> NDArray[np.float32]:
        noisy = np.zeros((len(obs), len(self.scale)), np.float32)
        flat = obs.reshape(len(obs), -1)
        noisy[:, : flat.shape[1]] = flat
        _add_noise(noisy, self.scale, streams)
        return noisy


@compiled
def _add_noise(obs: NDArray[np.float32], scale: NDArray[np.float64], streams: Streams) -> None:
    for i in range(len(obs)):
        for j in range(len(scale)):
            if scale[j] > 0:
                obs[i, j] += scale[j] * normal(streams, i)


def make(env: str = "CartPole-v1", scale: Scale = 0.0, n_features: int = 0, **kwargs: Any) -> Any:
    """Return the environment ``env``, made with ``kwargs``, with noisy observations."""
    return NoisyObservations(make_env(env, kwargs), scale, n_features)


gym.register("rlshare/Noisy-v0", "rlshare.envs.noise:make")
