"""Every command, run as a user runs it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import RLSHARE, TINY, new_process, rlshare, succeeds
from matplotlib import image
from stable_baselines3 import A2C, PPO

from rlshare.envs import env_name

RUN = Path("logs/ppo/CartPole-v1_1")


def test_a_run_folder_holds_what_users_of_the_zoo_expect(trained: Path) -> None:
    run = trained / RUN
    for name in (
        "best_model.zip", "CartPole-v1.zip", "evaluations.npz", "progress.csv", "run.json",
        "CartPole-v1/config.yml", "CartPole-v1/args.yml",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    assert list(run.glob("events.out.tfevents.*"))
    assert len(list(run.glob("*.monitor.csv"))) == 8
    assert list((run / "checkpoints").glob("*_steps.zip"))
    report = json.loads((run / "run.json").read_text())
    assert report["args"]["seed"] == 1
    assert report["versions"]["stable-baselines3"]
    assert report["results"]["num_timesteps"] == 3072
    assert report["results"]["n_trees"] == 200


def test_logged_keys_are_those_of_sb3_and_the_trees(trained: Path) -> None:
    with (trained / RUN / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = {"rollout/ep_rew_mean", "time/fps", "train/approx_kl", "train/n_trees"}
    assert keys | {"time/tree_fit_ms", "eval/mean_reward"} <= set(rows[0])
    logged = [int(row["train/n_trees"]) for row in rows if row["train/n_trees"]]
    assert logged == sorted(logged)
    assert logged[-1] > 0


def test_evaluations_are_counted_in_environment_steps(trained: Path) -> None:
    steps = np.load(trained / RUN / "evaluations.npz")["timesteps"]
    assert steps.tolist() == [512, 1024, 1536, 2048, 2560, 3072]


def test_a_stock_sb3_loads_the_model(trained: Path) -> None:
    model = PPO.load(trained / RUN / "CartPole-v1.zip")
    assert model.policy.n_trees == 200  # type: ignore[operator]
    assert model.num_timesteps == 3072


def test_eval_prints_a_score_or_json(trained: Path) -> None:
    assert "+-" in succeeds("eval", str(RUN), "-n", "2", cwd=trained)
    data = json.loads(succeeds("eval", str(RUN), "-n", "3", "--json", cwd=trained))
    assert len(data["returns"]) == 3
    assert data["mean"] == pytest.approx(np.mean(data["returns"]))


def test_plot_draws_a_curve(trained: Path) -> None:
    succeeds("plot", str(RUN), "--output", "curve.png", cwd=trained)
    pixels = image.imread(trained / "curve.png")[..., :3]
    assert min(pixels.shape[:2]) > 400
    colours = np.unique(pixels.reshape(-1, 3), axis=0)
    assert len(colours) > 50  # antialiased text, a grid and a coloured line
    assert (np.ptp(pixels, axis=2) > 0.3).sum() > 500  # the line is not grey


def test_enjoy_writes_a_video(trained: Path) -> None:
    succeeds("enjoy", str(RUN), "--video", "play.mp4", "-n", "1", cwd=trained)
    assert (trained / "play.mp4").stat().st_size > 2_000


def test_recipes_lists_and_shows(tmp_path: Path) -> None:
    listed = succeeds("recipes", cwd=tmp_path)
    for env in ("CartPole-v1", "LunarLander-v3", "Hopper-v5", "HalfCheetah-v5"):
        assert env in listed
    one = ["CartPole-v1", "--algo", "ppo", "--policy", "gbt"]
    assert "learner: refit" in succeeds("recipes", *one, cwd=tmp_path)
    assert "policy_lr: 0.029" in succeeds("recipes", *one, "--recipe", "paper", cwd=tmp_path)


@pytest.mark.parametrize(
    ("algo", "policy", "env"),
    [
        ("a2c", "gbt", "Pendulum-v1"),
        ("ppo", "mlp", "CartPole-v1"),
        ("ppo", "gbt", "FrozenLake-v1"),
        ("ppo", "gbt", "HalfCheetah-v5"),
        ("ppo", "gbt", "MiniGrid-DoorKey-5x5-v0"),
        ("ppo", "mlp", "ALE/Pong-v5"),
    ],
)
def test_combinations_train(algo: str, policy: str, env: str, tmp_path: Path) -> None:
    """FrozenLake observes integers, HalfCheetah is MuJoCo, Pendulum acts continuously.

    MiniGrid observes categories, Pong its RAM.
    """
    if "MiniGrid" in env:
        pytest.importorskip("minigrid")
    arguments = ["--algo", algo, "--policy", policy, "--env", env, *TINY, "--n-envs", "2"]
    succeeds("train", *arguments, cwd=tmp_path)
    name = env_name(env)
    model = tmp_path / "logs" / algo / f"{name}_1" / f"{name}.zip"
    loaded = {"ppo": PPO, "a2c": A2C}[algo].load(model)
    assert loaded.num_timesteps >= 512


def test_experts_are_drawn(tmp_path: Path) -> None:
    pairs = ["policy_kwargs.moe.n_experts:4", "policy_kwargs.moe.top_k:2"]
    succeeds("train", "--policy", "moe", "--hyperparams", *pairs, *TINY, cwd=tmp_path)
    succeeds("plot", RUN, "--experts", "--output", "experts.png", cwd=tmp_path)
    assert (tmp_path / "experts.png").read_bytes()[:4] == b"\x89PNG"
    assert PPO.load(tmp_path / RUN / "CartPole-v1.zip").num_timesteps >= 512
    two = rlshare("plot", RUN, RUN, "--experts", cwd=tmp_path)
    assert two.returncode == 2
    assert "--experts draws one run, got 2" in two.stderr


def test_experts_of_trees_are_not_drawn(trained: Path) -> None:
    refused = rlshare("plot", RUN, "--experts", cwd=trained)
    assert refused.returncode == 2
    assert "has no experts: it was trained with --policy gbt" in refused.stderr


def test_settings_of_the_command_line_reach_the_agent(tmp_path: Path) -> None:
    pairs = ["policy_kwargs.tree.max_depth:2", "gamma:0.5", "n_envs:3"]
    succeeds("train", "--hyperparams", *pairs, *TINY, cwd=tmp_path)
    model = PPO.load(tmp_path / RUN / "CartPole-v1.zip")
    assert model.gamma == 0.5
    assert model.policy.ensembles[0].params.max_depth == 2  # type: ignore[operator,union-attr]
    assert len(list((tmp_path / RUN).glob("*.monitor.csv"))) == 3


def test_an_environment_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from gymnasium.envs.classic_control import CartPoleEnv\n\n\nclass Mine(CartPoleEnv):\n"
        "    def step(self, action):\n        s, r, end, cut, info = super().step(action)\n"
        "        return s, 2 * r, end, cut, info\n"
    )
    succeeds("train", "--env", "mine.py:Mine", *TINY, cwd=tmp_path)
    assert list((tmp_path / "logs" / "ppo").glob("*_1"))


def test_info_names_versions_and_instruction_sets(tmp_path: Path) -> None:
    found = succeeds("info", cwd=tmp_path)
    for word in ("rlshare", "torch", "scalar"):
        assert word in found


@pytest.mark.parametrize("program", [[RLSHARE], ["-m", "rlshare"]], ids=["script", "-m"])
def test_a_process_of_its_own_is_the_command_line(program: list[str], tmp_path: Path) -> None:
    found = new_process(*program, "--help", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "recipes" in found.stdout


def test_help_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from rlshare.cli import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    found = new_process("-c", code, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "--hyperparams" in found.stdout


def test_without_arguments_the_help_is_shown(tmp_path: Path) -> None:
    found = rlshare(cwd=tmp_path)
    assert "train" in found.stdout + found.stderr
