"""Selling: an optimal stopping problem with a category and numbers, solved in closed form."""

from math import gcd
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlshare.compiled import compiled
from rlshare.envs.random_numbers import Streams, uniform
from rlshare.envs.world import Mask, State, World, WorldEnv

_KIND, _PRICE, _LEFT = range(3)  # columns of the state


class Selling(World):
    """Offers come one after another; take one, or wait for a better one until none is left.

    An offer has a kind, equally likely ones, and a price, uniform in [0, 1]. Taking it (action 1)
    pays weight[kind] * price and ends the episode; after declining (action 0) the last one the
    episode ends unpaid. The order of the kinds says nothing about their weights, 1/n_kinds to 1.

    Observations: "kind", Discrete, and "offer", float32 [price, share of the offers that are left,
    this one included]. The value V_n of n offers left is that of optimal stopping,
    V_n = E max(weight * price, V_{n-1}), V_0 = 0, whose expectation over a uniform price is
    (w^2 + V^2) / (2 w) for V < w, V otherwise.

    Args:
        n_kinds: number of kinds, at least 1.
        n_offers: offers in an episode, at least 1.

    Raises:
        ValueError: for fewer of either.
    """

    state_size = 3

    def __init__(self, n_kinds: int = 12, n_offers: int = 10) -> None:
        for name, value in (("n_kinds", n_kinds), ("n_offers", n_offers)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        self.n_offers = n_offers
        self.weights = _scrambled(n_kinds)
        offer = spaces.Box(0.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Dict({"kind": spaces.Discrete(n_kinds), "offer": offer})
        self.action_space = spaces.Discrete(2)
        self.values = _values(self.weights, n_offers)
        self.optimal_return = float(self.values[-1])

    def optimal_actions(self, obs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return the best actions [n] for observations of n copies."""
        left = np.rint(obs["offer"][:, 1] * self.n_offers).astype(np.int64)
        pays = self.weights[obs["kind"]] * obs["offer"][:, 0]
        return np.where(pays > self.values[left - 1], 1, 0)

    def reset(self, state: State, streams: Streams, which: Mask) -> None:
        """Begin with the first offer."""
        _reset(state, streams, which, len(self.weights), self.n_offers)

    def step(
        self, state: State, streams: Streams, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], Mask, Mask]:
        """Take or decline."""
        rewards = np.zeros(len(state), np.float32)
        terminated = np.zeros(len(state), np.bool_)
        _step(state, streams, actions, self.weights, rewards, terminated)
        return rewards, terminated, np.zeros(len(state), np.bool_)

    def observe(self, state: State) -> dict[str, NDArray[Any]]:
        """Return the offers."""
        offer = np.empty((len(state), 2), np.float32)
        kind = np.empty(len(state), np.int64)
        _observe(state, self.n_offers, kind, offer)
        return {"kind": kind, "offer": offer}


def _scrambled(n: int) -> NDArray[np.float64]:
    """Return 1/n to 1 in an order without a trend: multiples modulo n."""
    stride = next(s for s in range(max(1, round(0.618 * n)), 2 * n + 1) if gcd(s, n) == 1)
    return np.array([(k * stride % n + 1) / n for k in range(n)])


def _values(weights: NDArray[np.float64], n_offers: int) -> NDArray[np.float64]:
    """Return V_0 to V_n_offers."""
    values = [0.0]
    for _ in range(n_offers):
        v = values[-1]
        values.append(float(np.where(v < weights, (weights**2 + v**2) / (2 * weights), v).mean()))
    return np.array(values)


@compiled
def _offer(state: State, streams: Streams, i: int, n_kinds: int) -> None:
    state[i, _KIND] = int(uniform(streams, i) * n_kinds)
    state[i, _PRICE] = uniform(streams, i)


@compiled
def _reset(state: State, streams: Streams, which: Mask, n_kinds: int, n_offers: int) -> None:
    for i in range(len(state)):
        if which[i]:
            state[i, _LEFT] = n_offers
            _offer(state, streams, i, n_kinds)


@compiled
def _step(
    state: State,
    streams: Streams,
    actions: NDArray[np.int64],
    weights: NDArray[np.float64],
    rewards: NDArray[np.float32],
    terminated: Mask,
) -> None:
    for i in range(len(state)):
        if actions[i] == 1:
            rewards[i] = weights[int(state[i, _KIND])] * state[i, _PRICE]
            terminated[i] = True
            continue
        state[i, _LEFT] -= 1
        terminated[i] = state[i, _LEFT] <= 0
        if not terminated[i]:
            _offer(state, streams, i, len(weights))


@compiled
def _observe(
    state: State, n_offers: int, kind: NDArray[np.int64], offer: NDArray[np.float32]
) -> None:
    for i in range(len(state)):
        kind[i] = int(state[i, _KIND])
        offer[i, 0] = state[i, _PRICE]
        offer[i, 1] = state[i, _LEFT] / n_offers


def make(**kwargs: Any) -> WorldEnv:
    """Return the world as an environment; arguments as of Selling."""
    return WorldEnv(Selling(**kwargs))


gym.register("rlshare/Selling-v0", "rlshare.envs.selling:make")
