"""Synthetic worlds: one set of compiled rules, as a gymnasium environment and as a VecEnv of SB3.

Both call the rules of a ``World`` on arrays with a row for each copy, the environment with one, so
that they cannot differ.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from rlshare.envs.random_numbers import Streams, new_streams, seed_streams

State = NDArray[np.float64]
Mask = NDArray[np.bool_]
_KEY = 0  # of the streams that worlds draw from
_ONE = np.ones(1, np.bool_)


class World(ABC):
    """The rules of an environment for n copies of it at once; it holds no state itself.

    ``optimal_return`` is the expected return of the best policy.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Discrete
    state_size: int
    optimal_return: float
    render_mode: str | None = None

    @abstractmethod
    def reset(self, state: State, streams: Streams, which: Mask) -> None:
        """Begin an episode in the copies ``which`` [n].

        Args:
            state: [n, state_size], changed in place.
            streams: random numbers of each copy [n], changed in place.
            which: copies to reset.
        """

    @abstractmethod
    def step(
        self, state: State, streams: Streams, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], Mask, Mask]:
        """Do ``actions`` [n] and return rewards, terminated and truncated, [n] each."""

    @abstractmethod
    def observe(self, state: State) -> Any:
        """Return new observations [n, ...], an array or a dict of arrays."""


class WorldEnv(gym.Env[Any, Any]):
    """A world as a gymnasium environment.

    Args:
        world: its rules.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.observation_space = world.observation_space
        self.action_space = world.action_space
        self._state = np.zeros((1, world.state_size))
        self._streams = new_streams(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        seed_streams(self._streams, [seed], _KEY)
        self.world.reset(self._state, self._streams, _ONE)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Do one action.

        Raises:
            ValueError: if it is not in the action space.
        """
        actions = _checked(np.asarray(action).reshape(-1), self.world.action_space, 1)
        reward, terminated, truncated = self.world.step(self._state, self._streams, actions)
        ends = bool(terminated[0]), bool(truncated[0])
        return self._observe(), float(reward[0]), *ends, {}

    def _observe(self) -> Any:
        return rows(self.world.observe(self._state), _ONE)[0]


class WorldVecEnv(VecEnv):
    """Copies of a world as a vector environment of Stable-Baselines3, stepped in one compiled call.

    It is equal, step by step, to a ``DummyVecEnv`` of as many ``WorldEnv`` with the same seed:
    copy i begins with seed + i. Put a ``VecMonitor`` around it for the returns of episodes.

    Args:
        world: its rules.
        n_envs: number of copies, at least 1.

    Raises:
        ValueError: for fewer.
    """

    def __init__(self, world: World, n_envs: int) -> None:
        if n_envs < 1:
            raise ValueError(f"n_envs must be >= 1, got {n_envs}")
        self.world = world
        super().__init__(n_envs, world.observation_space, world.action_space)
        self._state = np.zeros((n_envs, world.state_size))
        self._streams = new_streams(n_envs)
        self._actions = np.zeros(n_envs, np.int64)

    def reset(self) -> Any:
        """Begin an episode in every copy."""
        seed_streams(self._streams, self._seeds, _KEY)
        self._reset_seeds()
        self._reset_options()
        self.world.reset(self._state, self._streams, np.ones(self.num_envs, bool))
        return self.world.observe(self._state)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions [n_envs] of the next step.

        Raises:
            ValueError: if one is not in the action space, or there are more or fewer.
        """
        self._actions = _checked(actions, self.world.action_space, self.num_envs)

    def step_wait(self) -> VecEnvStepReturn:
        """Do them; episodes that end begin anew."""
        rewards, terminated, truncated = self.world.step(self._state, self._streams, self._actions)
        obs = self.world.observe(self._state)
        dones = terminated | truncated
        infos = [{"TimeLimit.truncated": cut} for cut in (truncated & ~terminated).tolist()]
        if dones.any():
            for i, last in zip(np.flatnonzero(dones).tolist(), rows(obs, dones), strict=True):
                infos[i]["terminal_observation"] = last
            self.world.reset(self._state, self._streams, dones)
            obs = self.world.observe(self._state)
        return obs, rewards, dones, infos

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the world, once for each copy."""
        return [getattr(self.world, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: the copies share one world.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"cannot set {attr_name!r}: the copies share one world")

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Refuse: the copies are rows of an array, and have no methods.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"cannot call {method_name!r}: the copies share one world")

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return False for each copy."""
        return [False] * len(self._indices(indices))

    def _indices(self, indices: VecEnvIndices) -> list[int]:
        chosen: Iterable[int] = self._get_indices(indices)
        return list(chosen)


def rows(obs: Any, which: Mask) -> list[Any]:
    """Return the observations of the copies ``which`` [n], each as the copy alone would show it."""
    if not isinstance(obs, dict):
        return list(obs[which])
    columns = [part[which] for part in obs.values()]
    return [dict(zip(obs, parts, strict=True)) for parts in zip(*columns, strict=True)]


def _checked(actions: Any, space: spaces.Discrete, n: int) -> NDArray[np.int64]:
    """Return actions as int64 [n]: the rules do not check their bounds."""
    array = np.asarray(actions)
    if array.shape != (n,):
        raise ValueError(f"actions must have shape [{n}], got {list(array.shape)}")
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= space.n:
        raise ValueError(f"actions must be integers in [0, {space.n - 1}], got {actions}")
    return array.astype(np.int64, copy=False)
