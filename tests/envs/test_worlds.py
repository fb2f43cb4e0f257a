"""Synthetic worlds: the vector form equals the single one, returns are those that are stated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from rlshare.envs import Selling, SpuriousCue, World, WorldEnv, WorldVecEnv, make_env

WORLDS: dict[str, Callable[[], World]] = {
    "selling": Selling,
    "one offer": lambda: Selling(n_kinds=3, n_offers=1),
    "cue": SpuriousCue,
    "no cue": lambda: SpuriousCue(correlation=0.0, n_steps=3),
}
IDS = ("rlshare/Selling-v0", "rlshare/SpuriousCue-v0")


def assert_equal(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, part in theirs.items():
            assert_equal(ours[key], part)
        return
    assert np.asarray(ours).dtype == np.asarray(theirs).dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_vector_equals_single_environments_step_by_step(world: Callable[[], World]) -> None:
    n = 5
    vector = WorldVecEnv(world(), n)
    single = DummyVecEnv([lambda: WorldEnv(world())] * n)
    rng = np.random.default_rng(0)
    for seed in (7, None, 8):  # the second reset goes on with the streams
        if seed is not None:
            vector.seed(seed)
            single.seed(seed)
        assert_equal(vector.reset(), single.reset())
        for _ in range(100):
            actions = rng.integers(vector.action_space.n, size=n)  # type: ignore[attr-defined]
            ours, theirs = vector.step(actions), single.step(actions)
            for mine, other in zip(ours[:3], theirs[:3], strict=True):
                assert_equal(mine, other)
            for mine, other in zip(ours[3], theirs[3], strict=True):
                assert_equal(mine, other)


@pytest.mark.parametrize("env_id", IDS)
def test_checkers_accept_the_single_form(env_id: str) -> None:
    env = make_env(env_id)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_of_sb3(env.unwrapped)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_observations_lie_in_the_space(world: Callable[[], World]) -> None:
    env = WorldEnv(world())
    obs, _ = env.reset(seed=1)
    for _ in range(200):
        assert env.observation_space.contains(obs)
        obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            obs, _ = env.reset()


def returns_of(world: World, act: Callable[[Any], NDArray[np.int64]], steps: int) -> Any:
    """Returns of the episodes of 4,000 copies that end within some steps, each copy's first only.

    All copies are followed to the end of their first episode, so that short ones do not count more.
    """
    env = WorldVecEnv(world, 4000)
    env.seed(3)
    obs = env.reset()
    returns, running = np.zeros(4000), np.ones(4000, bool)
    for _ in range(steps):
        obs, rewards, dones, _ = env.step(act(obs))
        returns += rewards * running
        running &= ~dones
    assert not running.any()
    return returns


@pytest.mark.parametrize(("n_kinds", "n_offers"), [(12, 10), (1, 4), (5, 1)])
def test_the_optimal_policy_of_selling_earns_what_is_stated(n_kinds: int, n_offers: int) -> None:
    world = Selling(n_kinds, n_offers)
    returns = returns_of(world, world.optimal_actions, n_offers)
    error = returns.std() / np.sqrt(len(returns))
    assert abs(returns.mean() - world.optimal_return) < 4 * error


def test_no_other_threshold_sells_better() -> None:
    world = Selling()
    best = returns_of(world, world.optimal_actions, 10).mean()
    for factor in (0.6, 0.8, 1.2):
        other = Selling()
        other.values = factor * world.values
        assert returns_of(world, other.optimal_actions, 10).mean() < best - 0.005
    greedy = returns_of(world, lambda obs: np.ones(4000, np.int64), 10)
    assert greedy.mean() == pytest.approx(world.weights.mean() / 2, rel=0.05)


def test_values_of_selling_by_hand() -> None:
    # One kind of weight 1: V_1 = 1/2, V_2 = (1 + 1/4) / 2, V_3 = (1 + 25/64) / 2.
    assert Selling(1, 3).values == pytest.approx([0, 1 / 2, 5 / 8, 89 / 128])


def test_kinds_are_weighed_without_a_trend() -> None:
    weights = Selling(12).weights
    assert sorted(weights) == pytest.approx(np.arange(1, 13) / 12)
    assert abs(np.corrcoef(np.arange(12), weights)[0, 1]) < 0.3


def quadrant(obs: NDArray[np.float32]) -> NDArray[np.int64]:
    return 2 * (obs[:, 0] > 0) + (obs[:, 1] > 0)


def cue(obs: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.rint((obs[:, 2] + 1) * 1.5).astype(np.int64)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_what_the_point_and_the_cue_are_worth(correlation: float) -> None:
    world = SpuriousCue(correlation)
    np.testing.assert_array_equal(returns_of(world, quadrant, 16), world.optimal_return)
    told = returns_of(world, cue, 16).mean()
    assert told == pytest.approx(world.cue_return, abs=0.15)


def test_episodes_of_the_cue_are_truncated() -> None:
    env = WorldVecEnv(SpuriousCue(n_steps=4), 2)
    env.reset()
    ends = [env.step(np.zeros(2, np.int64))[2:] for _ in range(4)]
    assert [dones.tolist() for dones, _ in ends] == [[False] * 2] * 3 + [[True] * 2]
    assert [infos[0]["TimeLimit.truncated"] for _, infos in ends] == [False] * 3 + [True]


def test_trees_train_in_the_vector() -> None:
    env = VecMonitor(WorldVecEnv(Selling(n_offers=5), 16))
    model = PPO("GBTPolicy", env, n_steps=64, batch_size=256, n_epochs=4, seed=0, device="cpu",
                policy_kwargs={"policy_lr": 0.3})  # fmt: skip
    model.learn(8192)
    episodes = [episode["r"] for episode in model.ep_info_buffer or ()]
    assert np.mean(episodes) > 1.15 * Selling().weights.mean() / 2  # better than the first offer
    assert model.policy.ensembles[0].params.categorical  # type: ignore[operator,union-attr]


def test_a_world_has_attributes_but_no_state_of_its_own() -> None:
    env = WorldVecEnv(Selling(), 3)
    assert env.get_attr("optimal_return", [0, 2]) == [Selling().optimal_return] * 2
    assert not env.has_attr("task_names")
    with pytest.raises(NotImplementedError, match="share one world"):
        env.set_attr("n_offers", 3)
    with pytest.raises(NotImplementedError, match="share one world"):
        env.env_method("reset")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Selling(n_kinds=0), "n_kinds must be >= 1, got 0"),
        (lambda: Selling(n_offers=0), "n_offers must be >= 1, got 0"),
        (lambda: SpuriousCue(1.5), r"correlation must be in \[0, 1\], got 1.5"),
        (lambda: SpuriousCue(n_steps=0), "n_steps must be >= 1, got 0"),
        (lambda: WorldVecEnv(Selling(), 0), "n_envs must be >= 1, got 0"),
        (lambda: make_env("rlshare/Selling-v0", {"n_kinds": 0}), "n_kinds must be >= 1, got 0"),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("actions", [[0, 2], [-1, 0], [0.0, 1.0], [0], [[0], [1]]])
def test_bad_actions(actions: Any) -> None:
    env = WorldVecEnv(Selling(), 2)
    env.reset()
    with pytest.raises(ValueError, match="actions must"):
        env.step(np.array(actions))
