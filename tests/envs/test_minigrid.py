"""MiniGrid's own observations become categories and one-hot rows, and can be read back."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

from rlshare.envs import make_env, make_vec_env

pytest.importorskip("minigrid", reason="the minigrid extra is not installed")

from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT

from rlshare.envs.minigrid import MiniGridCategories, MiniGridOneHot

DOOR_KEY, GO_TO_DOOR = "MiniGrid-DoorKey-5x5-v0", "MiniGrid-GoToDoor-5x5-v0"
SUITE = (DOOR_KEY, GO_TO_DOOR, "MiniGrid-Unlock-v0", "MiniGrid-RedBlueDoors-6x6-v0")


def steps(env: gym.Env[Any, Any], n: int, seed: int = 3) -> list[tuple[dict[str, Any], Any]]:
    """The raw and the wrapped observation of n random steps, over episodes."""
    rng = np.random.default_rng(seed)
    found = []
    obs, _ = env.reset(seed=seed)
    for _ in range(n):
        found.append((env.unwrapped.gen_obs(), obs))  # type: ignore[attr-defined]
        obs, _, terminated, truncated, _ = env.step(int(rng.integers(7)))
        if terminated or truncated:
            obs, _ = env.reset()
    return found


@pytest.mark.parametrize("env_id", SUITE)
def test_categories_can_be_read_back(env_id: str) -> None:
    env = make_env(env_id, view="trees")
    assert isinstance(env, MiniGridCategories)
    for raw, codes in steps(env, 200):
        assert codes.shape == (51,)
        assert env.observation_space.contains(codes)
        names = [env.category_name(i, int(code)) for i, code in enumerate(codes)]
        for name, (kind, color, _) in zip(names, raw["image"].reshape(49, 3), strict=False):
            assert name.split(",")[:2] == [IDX_TO_OBJECT[kind], IDX_TO_COLOR[color]]
        assert names[49] == ("right", "down", "left", "up")[raw["direction"]]
        assert names[50] == raw["mission"]


@pytest.mark.parametrize("env_id", SUITE)
def test_distinct_strings_are_distinct_categories(env_id: str) -> None:
    env = make_env(env_id, view="trees")
    code_of: dict[tuple[int, ...], int] = {}
    for raw, codes in steps(env, 300):
        for cell, code in zip(raw["image"].reshape(49, 3), codes, strict=False):
            assert code_of.setdefault(tuple(cell), code) == code
    assert len(set(code_of.values())) == len(code_of) > 3


def test_every_cell_has_a_category_and_a_name_of_its_own() -> None:
    env = make_env(DOOR_KEY, view="trees")
    assert isinstance(env, MiniGridCategories)
    n = int(env.observation_space.nvec[0])  # type: ignore[attr-defined]
    assert len({env.category_name(0, code) for code in range(n)}) == n == 11 * 6 * 4
    assert "door,yellow,locked" in {env.category_name(0, code) for code in range(n)}


def test_cells_are_named_by_their_place_before_the_agent() -> None:
    env = make_env("MiniGrid-Empty-5x5-v0", view="trees")
    assert isinstance(env, MiniGridCategories)
    codes, _ = env.reset(seed=0)  # at (1, 1) looking right, the walls at 0 and 4
    at = dict(zip(env.feature_names, codes, strict=True))
    assert len(at) == 51
    wall = "wall,grey,0"
    assert env.category_name(0, at["1 ahead, 1 left"]) == wall
    assert env.category_name(0, at["3 ahead"]) == wall
    assert env.category_name(0, at["2 ahead"]) == "empty,red,0"
    assert env.category_name(0, at["2 ahead, 2 right"]) == "goal,green,0"


def test_missions_have_the_codes_of_their_texts_in_every_copy() -> None:
    env = make_vec_env(GO_TO_DOOR, 12, seed=0, view="trees")
    codes = np.asarray(env.reset())[:, 50]
    missions = env.get_attr("mission")
    assert len(set(missions)) > 2
    assert len(set(zip(missions, codes, strict=True))) == len(set(missions)) == len(set(codes))


def test_missions_that_cannot_be_listed_are_hashed() -> None:
    env = make_env("BabyAI-GoToObj-v0", view="trees")
    assert isinstance(env, MiniGridCategories)
    code_of: dict[str, int] = {}
    for seed in range(30):
        codes, _ = env.reset(seed=seed)
        assert env.observation_space.contains(codes)
        mission = env.unwrapped.mission  # type: ignore[attr-defined]
        assert code_of.setdefault(mission, int(codes[50])) == codes[50]
    assert len(set(code_of.values())) == len(code_of) > 5
    assert make_env("BabyAI-GoToObj-v0", view="trees").reset(seed=29)[0][50] == codes[50]


@pytest.mark.parametrize("env_id", SUITE)
def test_one_hot_rows_can_be_read_back(env_id: str) -> None:
    env = make_env(env_id, view="networks")
    assert isinstance(env, MiniGridOneHot)
    for raw, row in steps(env, 100):
        assert row.dtype == np.float32
        assert env.observation_space.contains(row)
        assert row.sum() == 49 * 3 + 2
        cells, rest = row[: 49 * 21].reshape(49, 21), row[49 * 21 :]
        found = [np.argmax(part, axis=1) for part in np.split(cells, [11, 17], axis=1)]
        np.testing.assert_array_equal(np.stack(found, axis=1), raw["image"].reshape(49, 3))
        assert np.argmax(rest[:4]) == raw["direction"]


@pytest.mark.filterwarnings("ignore:.*WARN:")  # gymnasium advises, we mean it
@pytest.mark.parametrize("view", ["trees", "networks"])
def test_checkers_accept_the_views(view: Any) -> None:
    env = make_env(DOOR_KEY, view=view)
    check_env(env, skip_render_check=True)
    check_env_of_sb3(env)


def test_views_have_other_sizes_too() -> None:
    env = make_env(DOOR_KEY, {"agent_view_size": 5}, view="trees")
    codes, _ = env.reset(seed=0)
    assert codes.shape == (27,)
    assert env.get_wrapper_attr("feature_names")[0] == "4 ahead, 2 left"


def test_trees_learn_what_they_carry() -> None:
    """All features are categories, and reach the splits as such."""
    env = make_vec_env(DOOR_KEY, 2, seed=0, view="trees")
    model = PPO("GBTPolicy", env, n_steps=64, batch_size=64, n_epochs=2, seed=0,
                policy_kwargs={"tree": {}})  # fmt: skip
    model.learn(256)
    params = model.policy.ensembles[0].params  # type: ignore[operator,union-attr]
    assert params.categorical == tuple(range(51))
    assert model.policy.n_trees == 8  # type: ignore[operator]


def test_without_a_view_it_is_minigrids_own() -> None:
    assert isinstance(make_env(DOOR_KEY).observation_space, gym.spaces.Dict)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="texts can be listed, got BabyAIMissionSpace"):
        make_env("BabyAI-GoToObj-v0", view="networks")
    with pytest.raises(ValueError, match="must be MiniGrid's image, direction, mission"):
        MiniGridCategories(gym.make("CartPole-v1"))
    env = make_env(DOOR_KEY, view="trees")
    assert isinstance(env, MiniGridCategories)
    raw = make_env(DOOR_KEY).reset(seed=0)[0]
    with pytest.raises(ValueError, match=r"must be < \(11, 6, 4\), got \[2 5 9\]"):
        env.observation({**raw, "image": np.full((7, 7, 3), (2, 5, 9), np.uint8)})
    with pytest.raises(ValueError, match="must be a text of the mission space, got 'dance'"):
        env.observation({**raw, "mission": "dance"})
    with pytest.raises(ValueError, match="feature 50 of 51 has no category 7"):
        env.category_name(50, 7)
