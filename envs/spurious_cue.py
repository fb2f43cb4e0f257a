"""A cue that agrees with the right action while training, and need not when evaluated."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlshare.compiled import compiled
from rlshare.envs.random_numbers import Streams, uniform
from rlshare.envs.world import Mask, State, World, WorldEnv

_X, _Y, _CUE, _TIME = range(4)  # columns of the state
_ACTIONS = 4


class SpuriousCue(World):
    """Name the quadrant of a point, beside a cue that often names it too.

    Each of ``n_steps`` steps shows a new point (x, y), uniform in [-1, 1)^2; the right action,
    2 [x > 0] + [y > 0], pays 1, the others 0. The cue is the right action with probability
    ``correlation``, else any of the four, scaled to [-1, 1]. Episodes are truncated, not
    terminated: there is always another point.

    Train with one correlation and evaluate with 0: who has learnt the point still earns
    ``optimal_return``, who has learnt the cue earned ``cue_return`` and now gets n_steps / 4.

    Args:
        correlation: in [0, 1].
        n_steps: of an episode, at least 1.

    Raises:
        ValueError: for a value out of its range.
    """

    state_size = 4

    def __init__(self, correlation: float = 0.9, n_steps: int = 16) -> None:
        if not 0.0 <= correlation <= 1.0:
            raise ValueError(f"correlation must be in [0, 1], got {correlation}")
        if n_steps < 1:
            raise ValueError(f"n_steps must be >= 1, got {n_steps}")
        self.correlation, self.n_steps = correlation, n_steps
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(_ACTIONS)
        self.optimal_return = float(n_steps)
        self.cue_return = n_steps * (correlation + (1 - correlation) / _ACTIONS)

    def reset(self, state: State, streams: Streams, which: Mask) -> None:
        """Begin with the first point."""
        _reset(state, streams, which, self.correlation)

    def step(
        self, state: State, streams: Streams, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], Mask, Mask]:
        """Judge the actions and show the next points."""
        rewards = np.zeros(len(state), np.float32)
        _step(state, streams, actions, self.correlation, rewards)
        return rewards, np.zeros(len(state), np.bool_), state[:, _TIME] >= self.n_steps

    def observe(self, state: State) -> NDArray[np.float32]:
        """Return points and cues, float32 [n, 3]."""
        obs = np.empty((len(state), 3), np.float32)
        _observe(state, obs)
        return obs


@compiled
def _quadrant(state: State, i: int) -> int:
    return 2 * int(state[i, _X] > 0) + int(state[i, _Y] > 0)


@compiled
def _show(state: State, streams: Streams, i: int, correlation: float) -> None:
    state[i, _X] = 2 * uniform(streams, i) - 1
    state[i, _Y] = 2 * uniform(streams, i) - 1
    told = uniform(streams, i) < correlation
    other = int(uniform(streams, i) * _ACTIONS)
    state[i, _CUE] = _quadrant(state, i) if told else other


@compiled
def _reset(state: State, streams: Streams, which: Mask, correlation: float) -> None:
    for i in range(len(state)):
        if which[i]:
            state[i, _TIME] = 0
            _show(state, streams, i, correlation)


@compiled
def _step(
    state: State,
    streams: Streams,
    actions: NDArray[np.int64],
    correlation: float,
    rewards: NDArray[np.float32],
) -> None:
    for i in range(len(state)):
        rewards[i] = actions[i] == _quadrant(state, i)
        state[i, _TIME] += 1
        _show(state, streams, i, correlation)


@compiled
def _observe(state: State, obs: NDArray[np.float32]) -> None:
    for i in range(len(state)):
        obs[i, 0] = state[i, _X]
        obs[i, 1] = state[i, _Y]
        obs[i, 2] = 2 * state[i, _CUE] / (_ACTIONS - 1) - 1


def make(**kwargs: Any) -> WorldEnv:
    """Return the world as an environment; arguments as of SpuriousCue."""
    return WorldEnv(SpuriousCue(**kwargs))


gym.register("rlshare/SpuriousCue-v0", "rlshare.envs.spurious_cue:make")
