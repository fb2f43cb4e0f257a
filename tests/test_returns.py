"""Advantages: the compiled loop against the sum that defines them, and against SB3's buffer."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from rlshare.policies import DictTreeRolloutBuffer, TreeRolloutBuffer
from rlshare.returns import gae


def rollout(T: int, n: int, seed: int = 0, dtype: type = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    dones = rng.random((T, n)) < 0.2
    return {
        "rewards": rng.normal(size=(T, n)).astype(dtype),
        "values": rng.normal(size=(T, n)).astype(dtype),
        "next_values": rng.normal(size=(T, n)).astype(dtype),
        "terminated": dones & (rng.random((T, n)) < 0.5),
        "dones": dones,
    }


def by_definition(data: dict[str, Any], gamma: float, gae_lambda: float) -> Any:
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, up to the end of the episode."""
    T, n = data["rewards"].shape
    deltas = data["rewards"] - data["values"]
    deltas = deltas + gamma * np.where(data["terminated"], 0.0, data["next_values"])
    advantages = np.zeros((T, n))
    for t in range(T):
        for i in range(n):
            for later in range(t, T):
                advantages[t, i] += (gamma * gae_lambda) ** (later - t) * deltas[later, i]
                if data["dones"][later, i]:
                    break
    return advantages


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0), (0.0, 1)])
@pytest.mark.parametrize("shape", [(1, 1), (17, 3), (40, 1), (0, 2)])
def test_it_is_the_sum_that_defines_it(
    gamma: float, gae_lambda: float, shape: tuple[int, int]
) -> None:
    data = rollout(*shape)
    found = gae(**data, gamma=gamma, gae_lambda=gae_lambda)
    np.testing.assert_allclose(found, by_definition(data, gamma, gae_lambda), atol=1e-12)


def test_monte_carlo_returns_of_whole_episodes() -> None:
    ends = np.array([[False], [True], [False], [False], [True]])
    rewards = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    values = np.arange(5.0)[:, None]
    found = gae(rewards, values, np.full((5, 1), np.nan), ends, ends, 0.5, 1.0) + values
    # NaN spreads from the next values that are read, and those after a termination are not.
    assert np.isnan(found).ravel().tolist() == [True, False, True, True, False]
    known = np.concatenate([values[1:], [[0.0]]])
    found = gae(rewards, values, known, ends, ends, 0.5, 1.0) + values
    assert found.ravel().tolist() == [2.0, 2.0, 6.25, 6.5, 5.0]


def test_a_truncated_episode_is_bootstrapped_and_a_terminated_one_is_not() -> None:
    def first(terminated: bool) -> float:
        one = np.ones((2, 1))
        ends = [[True], [False]]
        return float(gae(one, 0 * one, 10 * one, [[terminated], [False]], ends, 0.5, 1.0)[0, 0])

    assert first(terminated=False) == 6.0
    assert first(terminated=True) == 1.0


def test_layout_and_inputs_do_not_matter() -> None:
    data = rollout(9, 4)
    turned = {key: np.asfortranarray(part) for key, part in data.items()}
    turned["dones"] = turned["dones"].astype(np.float32)
    before = {key: part.copy() for key, part in turned.items()}
    np.testing.assert_array_equal(
        gae(**turned, gamma=0.9, gae_lambda=0.8), gae(**data, gamma=0.9, gae_lambda=0.8)
    )
    for key, part in before.items():
        np.testing.assert_array_equal(turned[key], part)


def filled(buffer: RolloutBuffer, dict_obs: bool) -> RolloutBuffer:
    rng = np.random.default_rng(1)
    n = buffer.n_envs
    for _ in range(buffer.buffer_size):
        obs = rng.normal(size=(n, 2)).astype(np.float32)
        buffer.add(
            {"x": obs} if dict_obs else obs,  # type: ignore[arg-type]
            rng.integers(3, size=n),
            rng.normal(size=n),
            rng.random(n) < 0.1,
            torch.tensor(rng.normal(size=(n, 1)), dtype=torch.float32),
            torch.zeros(n),
        )
    return buffer


@pytest.mark.parametrize("dict_obs", [False, True])
@pytest.mark.parametrize("gae_lambda", [0.95, 1.0])
def test_buffers_hold_what_those_of_sb3_hold(dict_obs: bool, gae_lambda: float) -> None:
    box = spaces.Box(-1.0, 1.0, (2,))
    space: Any = spaces.Dict({"x": box}) if dict_obs else box
    ours, theirs = (
        filled(kind(200, space, spaces.Discrete(3), "cpu", gae_lambda, 0.99, 6), dict_obs)
        for kind in (
            (DictTreeRolloutBuffer, DictRolloutBuffer)
            if dict_obs
            else (TreeRolloutBuffer, RolloutBuffer)
        )
    )
    for buffer in (ours, theirs):
        buffer.compute_returns_and_advantage(
            torch.linspace(-1, 1, 6)[:, None], np.array([True, False] * 3)
        )
    for name in ("advantages", "returns"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 1.1}, r"gamma must be in \[0, 1\], got 1.1"),
        ({"gae_lambda": -0.1}, r"gae_lambda must be in \[0, 1\], got -0.1"),
        ({"dones": np.zeros((3, 1), bool)}, r"one shape \[T, n\], got .*\(3, 1\)"),
        ({"rewards": np.zeros((3, 2), complex)}, "must be float32 or float64, got complex128"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gae(**{**rollout(3, 2), "gamma": 0.9, "gae_lambda": 0.9, **changes})


def test_one_axis_is_not_enough() -> None:
    flat = np.zeros(3)
    with pytest.raises(ValueError, match=r"one shape \[T, n\]"):
        gae(flat, flat, flat, flat, flat, 0.9, 0.9)
