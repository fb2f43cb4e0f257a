"""Atari games by their RAM: 128 bytes, and episodes made for learning."""

from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray
from stable_baselines3.common.atari_wrappers import (
    ClipRewardEnv,
    EpisodicLifeEnv,
    FireResetEnv,
    NoopResetEnv,
)


class ScaledRam(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Bytes divided by 255, for networks: a float32 Box [n] in [0, 1].

    Args:
        env: environment whose observations are uint8.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        self.observation_space = spaces.Box(0.0, 1.0, env.observation_space.shape, np.float32)

    def observation(self, observation: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scaled bytes."""
        return observation.astype(np.float32) / np.float32(255)


class LifeEpisodes(EpisodicLifeEnv):
    """SB3's ``EpisodicLifeEnv``, except that a reset with a seed begins a game anew."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin the next life, or a game."""
        if kwargs.get("seed") is not None:
            self.was_real_done = True
        return super().reset(**kwargs)


def is_ram(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment is an Atari game observed by its RAM."""
    return isinstance(env.unwrapped, ale_py.AtariEnv) and env.observation_space.shape == (128,)


def learning_episodes(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Wrap an Atari game as V. Mnih et al. (Nature 518, 2015) train on it.

    An episode begins with 1 to 30 no-ops and, where the game waits for it, FIRE; it ends with the
    loss of a life, and the game goes on in the next one; rewards are their signs. The frames
    skipped are those of the game's own ``frameskip``, 4 in v5, and nothing is added to them. With
    a ``Monitor`` below, ``info["episode"]`` and the monitor file hold the true scores of games.
    """
    env = LifeEpisodes(NoopResetEnv(env, noop_max=30))
    if "FIRE" in env.unwrapped.get_action_meanings():  # type: ignore[attr-defined]
        env = FireResetEnv(env)
    return ClipRewardEnv(env)
