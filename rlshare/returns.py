"""Advantages of rollouts, compiled."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


def gae(
    rewards: Floats,
    values: Floats,
    next_values: Floats,
    terminated: ArrayLike,
    dones: ArrayLike,
    gamma: float,
    gae_lambda: float,
) -> Floats:
    """Return generalised advantage estimates (Schulman et al., arXiv 1506.02438, equation 16).

        delta_t = r_t + gamma * V(s_{t+1}) * (1 - terminated_t) - V(s_t)
        A_t = delta_t + gamma * gae_lambda * (1 - done_t) * A_{t+1}

    with A_T = 0: the rollout's last step is bootstrapped by its next value. Adding the values gives
    TD(lambda) returns; ``gae_lambda=1`` those of Monte Carlo, bootstrapped where a rollout or a
    time limit cuts an episode. A value after termination is not read, and may be anything.

    Args:
        rewards: of T steps in n environments, float32 or float64 [T, n].
        values: of the observations that the steps began with [T, n].
        next_values: of the observations that they led to [T, n]; where an episode ends, that is
            its own last observation, not the first of the next episode.
        terminated: whether the episode ended in a terminal state [T, n]; no value follows.
        dones: whether it ended at all, terminated or truncated [T, n]; no advantage follows.
        gamma: discount factor, in [0, 1].
        gae_lambda: in [0, 1].

    Returns:
        Advantages [T, n], in the widest of the arrays' types, computed in it.

    Raises:
        ValueError: if the arrays do not have one shape [T, n], hold no floats, or a factor is out
            of its range.
    """
    for name, factor in (("gamma", gamma), ("gae_lambda", gae_lambda)):
        if not 0.0 <= factor <= 1.0:
            raise ValueError(f"{name} must be in [0, 1], got {factor}")
    dtype = np.result_type(rewards, values, next_values)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"rewards and values must be float32 or float64, got {dtype}")
    r, v, next_v = (np.ascontiguousarray(x, dtype) for x in (rewards, values, next_values))
    no_value, no_trace = (np.ascontiguousarray(x, np.bool_) for x in (terminated, dones))
    shapes = [np.shape(x) for x in (rewards, values, next_values, terminated, dones)]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ValueError(f"all arrays must have one shape [T, n], got {shapes}")
    advantages = np.empty_like(r)
    # Factors in the arrays' type, as numpy would multiply them: results are then those of SB3.
    discount, decay = dtype.type(gamma), dtype.type(gamma * gae_lambda)
    _compiled_gae()(r, v, next_v, no_value, no_trace, discount, decay, advantages)
    return advantages


@cache
def _compiled_gae() -> Callable[..., None]:
    from rlshare.compiled import compiled  # numba is heavy, and only training needs it

    return compiled(_gae)


def _gae(
    rewards: Floats,
    values: Floats,
    next_values: Floats,
    terminated: Mask,
    dones: Mask,
    gamma: float,
    decay: float,
    advantages: Floats,
) -> None:
    n_steps, n_envs = rewards.shape
    for t in range(n_steps - 1, -1, -1):
        for i in range(n_envs):
            target = rewards[t, i]
            if not terminated[t, i]:
                target += gamma * next_values[t, i]
            advantages[t, i] = target - values[t, i]
            if t + 1 < n_steps and not dones[t, i]:
                advantages[t, i] += decay * advantages[t + 1, i]
