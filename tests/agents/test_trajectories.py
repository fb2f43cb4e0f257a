"""Returns and advantages against a reference that follows every episode on its own."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from rlshare.agents import DictTrajectoryBuffer, TrajectoryBuffer

GAMMA = 0.9
NUMBER = spaces.Box(-100.0, 1e6, (1,))
DICT = spaces.Dict({"number": NUMBER, "kind": spaces.Discrete(3)})


def value(observations: Any) -> NDArray[np.float32]:
    """Any function of the observation will do."""
    number = observations["number"] if isinstance(observations, dict) else observations
    return np.sin(np.asarray(number)).astype(np.float32).reshape(len(number))


def filled(n_steps: int, n_envs: int, size: int, as_dict: bool = False) -> Any:
    """A buffer whose observations count up, with random ends, and its rows as they were added."""
    rng = np.random.default_rng(n_steps)
    cls, space = (DictTrajectoryBuffer, DICT) if as_dict else (TrajectoryBuffer, NUMBER)
    buffer = cls(size, space, spaces.Discrete(2), "cpu", n_envs)  # type: ignore[arg-type]
    added: list[Any] = []

    def observation(number: NDArray[Any]) -> Any:
        number = number.astype(np.float32).reshape(n_envs, 1)
        return {"number": number, "kind": np.zeros((n_envs, 1), int)} if as_dict else number

    for t in range(n_steps):
        number = 1000.0 * np.arange(n_envs) + t
        terminated, truncated = rng.random((2, n_envs)) < 0.1
        done = terminated | truncated
        following = np.where(done, -number / 100, number + 1)  # what ends an episode is no row
        reward = rng.normal(size=n_envs).astype(np.float32)
        infos = [{"TimeLimit.truncated": bool(x)} for x in truncated & ~terminated]
        action = np.full(n_envs, t % 2)
        buffer.add(observation(number), observation(following), action, reward, done, infos)
        added.append((number, following, reward, done, terminated))
    return buffer, added


def reference(added: list[Any], env: int, lam: float) -> list[float]:
    """Advantages of one environment's rows by the recursion of the definition."""
    advantages: list[float] = []
    later = 0.0
    for number, following, reward, done, terminated in reversed(added):
        after = 0.0 if terminated[env] else float(np.sin(np.float32(following[env])))
        delta = reward[env] + GAMMA * after - float(np.sin(np.float32(number[env])))
        later = delta + (0.0 if done[env] else GAMMA * lam * later)
        advantages.insert(0, later)
    return advantages


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(
    ("n_steps", "n_envs", "size"), [(1, 1, 50), (30, 1, 50), (75, 3, 90), (60, 2, 120), (41, 4, 4)]
)
def test_advantages_are_those_of_each_episode(
    n_steps: int, n_envs: int, size: int, lam: float, as_dict: bool
) -> None:
    buffer, added = filled(n_steps, n_envs, size, as_dict)
    kept = added[-(size // n_envs) :]
    data = buffer.trajectories()
    assert data.n_rows == len(kept) * n_envs
    values = value(data.observations_of(np.arange(data.n_rows)))
    following = value(data.next_observations)
    data.compute_returns_and_advantages(values, following, GAMMA, lam)
    data.weights = data.advantages
    everything = data.take(np.arange(data.n_rows))
    part = everything.observations
    number = (part["number"] if as_dict else part).numpy().flatten()
    for env in range(n_envs):
        for row, expected in zip(kept, reference(kept, env, lam), strict=True):
            (at,) = np.flatnonzero(number == np.float32(row[0][env]))
            assert data.advantages[at] == pytest.approx(expected, abs=1e-4)
            assert everything.returns[at] == pytest.approx(expected + values[at], abs=1e-4)
            assert everything.actions[at].item() == row[0][env] % 1000 % 2


def test_cut_episodes_count_as_truncated() -> None:
    buffer, _ = filled(20, 2, 100)
    buffer.dones[:], buffer.timeouts[:] = 0, 0
    buffer.dones[-1, 0] = 1
    buffer.end_episodes()
    assert buffer.dones[19].tolist() == [1, 1]
    assert buffer.timeouts[19].tolist() == [1, 1]
    data = buffer.trajectories()
    np.testing.assert_array_equal(data.end_rows, [38, 39])
    np.testing.assert_array_equal(data.next_observations.flatten(), [20, 1020])


def test_a_terminal_step_stays_terminal_when_episodes_are_cut() -> None:
    buffer, _ = filled(20, 2, 100)
    buffer.dones[:], buffer.timeouts[:] = 0, 0
    buffer.dones[19, 0] = 1
    buffer.end_episodes()
    assert buffer.timeouts[19].tolist() == [0, 1]
    assert buffer.trajectories().end_rows.tolist() == [39]


def test_samples_know_their_rows() -> None:
    buffer, _ = filled(20, 2, 100)
    rows = np.array([5, 0, 5])
    first, second = (buffer.trajectories() for _ in range(2))
    observations: Any = first.observations_of(rows)
    np.testing.assert_array_equal(observations.row_ids, rows)
    np.testing.assert_array_equal(observations.numpy(), observations.rollout[rows])
    other: Any = second.observations_of(rows)
    assert other.rollout is not observations.rollout  # another training phase, perhaps other rows
