"""Atari games by their RAM: what is observed, how episodes begin and end, what is scored."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from rlshare.envs import make_env, make_vec_env

BREAKOUT, PONG = "ALE/Breakout-v5", "ALE/Pong-v5"


def play(env: VecEnv, n: int, seed: int = 0) -> tuple[list[Any], list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    observations, rewards, infos = [env.reset()[0]], [], []
    for _ in range(n):
        obs, reward, done, info = env.step(rng.integers(4, size=1))
        observations.append(np.asarray(obs)[0])
        rewards.append(reward[0])
        infos.append({**info[0], "done": done[0]})
    return observations, rewards, infos


def test_trees_see_the_bytes_and_networks_the_same_scaled() -> None:
    trees, networks = make_env(PONG, view="trees"), make_env(PONG, view="networks")
    assert trees.observation_space == spaces.Box(0, 255, (128,), np.uint8)
    assert networks.observation_space == spaces.Box(0, 1, (128,), np.float32)
    seen, scaled = trees.reset(seed=1)[0], networks.reset(seed=1)[0]
    np.testing.assert_array_equal(seen, trees.unwrapped.ale.getRAM())  # type: ignore[attr-defined]
    np.testing.assert_allclose(scaled * 255, seen, rtol=1e-6)


def test_a_step_is_four_frames() -> None:
    env = make_vec_env(PONG, 1, seed=0, view="trees")
    env.reset()
    frames = [int(env.step(np.array([0]))[3][0]["frame_number"]) for _ in range(5)]
    assert np.diff(frames).tolist() == [4] * 4


def test_games_begin_with_one_to_thirty_no_ops() -> None:
    env = make_vec_env(PONG, 1, view="trees")
    begins = []
    for seed in range(12):
        env.seed(seed)
        env.reset()
        begins.append(env.get_attr("ale")[0].getEpisodeFrameNumber() // 4 - 2)  # FIRE and another
    assert len(set(begins)) > 5
    assert min(begins) >= 1
    assert max(begins) <= 30


def test_a_seed_fixes_the_game() -> None:
    def game(seed: int) -> Any:
        return np.array(play(make_vec_env(BREAKOUT, 1, seed=seed, view="trees"), 150)[0])

    np.testing.assert_array_equal(game(4), game(4))
    assert (game(4) != game(5)).any()


def test_a_lost_life_ends_the_episode_but_not_the_game() -> None:
    _, _, infos = play(make_vec_env(BREAKOUT, 1, seed=0, view="trees"), 1500)
    ends = [info for info in infos if info["done"]]
    games = [info for info in ends if "episode" in info]
    assert [info["lives"] for info in ends[:5]] == [4, 3, 2, 1, 0]
    assert len(games) >= 2
    assert all(info["lives"] == 0 for info in games)


def test_rewards_are_signs_and_the_monitor_keeps_the_score(tmp_path: Path) -> None:
    # Ms. Pac-Man pays 10 for a dot.
    env = make_vec_env("ALE/MsPacman-v5", 1, seed=0, view="trees", monitor_dir=tmp_path)
    _, rewards, infos = play(env, 1200)
    env.close()
    assert set(rewards) == {0.0, 1.0}
    scores = [info["episode"]["r"] for info in infos if "episode" in info]
    assert scores
    assert min(scores) >= 60
    with (tmp_path / "0.monitor.csv").open() as file:
        file.readline()
        assert [float(row["r"]) for row in csv.DictReader(file)] == scores


def test_evaluation_counts_games() -> None:
    env = make_vec_env(BREAKOUT, 1, seed=0, view="trees")
    model = PPO("GBTPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu")
    found = evaluate_policy(model, env, 2, deterministic=False, return_episode_rewards=True)
    lengths = found[1]
    assert isinstance(lengths, list)
    assert len(lengths) == 2
    assert min(lengths) > 60  # five lives


def test_what_is_seen_can_be_chosen() -> None:
    pixels = make_env(PONG, {"obs_type": "rgb"}, view="trees")
    assert pixels.observation_space.shape == (210, 160, 3)
    assert make_env(PONG).observation_space.shape == (210, 160, 3)
    with pytest.raises(ValueError, match="cannot make environment"):
        make_env(PONG, {"obs_type": "smell"}, view="trees")
