"""``rlshare distill``: from a run of a network to a run of trees."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import PATIENCE, RLSHARE, Program, refuses, rlshare, succeeds
from stable_baselines3 import PPO

from rlshare.runs.trained import load_agent

TEACHER = Path("logs/ppo/CartPole-v1_1")
STUDENT = Path("logs/ppo/CartPole-v1_2")
TINY = ["--trees", "20", "--depth", "4", "--rounds", "3", "--frames", "240", "-n", "6"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a network was trained on CartPole, to be read only."""
    folder = tmp_path_factory.mktemp("teacher")
    options = ["--seed", "1", "-n", "3000", "--eval-freq", "2000", "--eval-episodes", "1"]
    succeeds("train", "--policy", "mlp", *options, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def distilled(teacher: Path) -> tuple[Path, str]:
    """The same folder with a student beside the teacher, and what was printed."""
    return teacher, succeeds("distill", TEACHER, *TINY, "--seed", "3", cwd=teacher)


@pytest.fixture
def copied(distilled: tuple[Path, str], tmp_path: Path) -> Path:
    shutil.copytree(distilled[0] / "logs", tmp_path / "logs")
    return tmp_path


def test_it_says_what_came_of_it(distilled: tuple[Path, str]) -> None:
    folder, out = distilled
    report = json.loads((folder / STUDENT / "distillation.json").read_text())
    for number, each in enumerate(report["rounds"]):
        assert (
            f"round {number}: {each['n_states']:,} states, return {each['mean_return']:.2f}" in out
        )
    assert [each["n_states"] for each in report["rounds"]] == [240, 480, 720]
    best = max(report["rounds"], key=lambda r: (r["mean_return"], r["agreement"]))
    assert report["rounds"][report["best_round"]] == best
    means = {k: np.mean(report[f"{k}_returns"]) for k in ("student", "teacher", "random")}
    kept = (means["student"] - means["random"]) / (means["teacher"] - means["random"])
    assert report["kept"] == pytest.approx(kept)
    low, high = report["kept_interval"]
    assert low <= kept <= high
    assert f"kept {kept:.2f} [{low:.2f}, {high:.2f}]" in out
    assert "20 trees, 320 leaves" in out
    assert (report["n_trees"], report["n_leaves"]) == (20, 320)


def test_the_student_plays_as_it_was_scored(distilled: tuple[Path, str]) -> None:
    folder, _ = distilled
    agent = load_agent(folder / STUDENT, False, "cpu")
    policy: Any = agent.model.policy
    assert [trees.n_trees for trees in policy.ensembles] == [20, 20]
    assert [trees.n_steps_done for trees in policy.ensembles] == [0, 0]
    assert PPO.load(folder / STUDENT / "CartPole-v1.zip").policy.n_trees == 40  # type: ignore[operator]
    report = json.loads((folder / STUDENT / "distillation.json").read_text())
    played = json.loads(succeeds("eval", STUDENT, "-n", "8", "--json", cwd=folder))
    spread = np.std(report["student_returns"]) + np.std(played["returns"]) + 1
    assert abs(played["mean"] - np.mean(report["student_returns"])) < 2 * spread


@pytest.mark.parametrize("options", [["-n", "2"], ["-n", "2", "--load-best"]], ids=str)
def test_eval_takes_the_folder(options: list[str], distilled: tuple[Path, str]) -> None:
    assert "+-" in succeeds("eval", STUDENT, *options, cwd=distilled[0])


def test_enjoy_takes_the_folder(copied: Path) -> None:
    succeeds("enjoy", STUDENT, "--video", "play.mp4", cwd=copied)


def test_a_plot_needs_training(distilled: tuple[Path, str]) -> None:
    assert "has no finished episode yet" in refuses("plot", STUDENT, cwd=distilled[0])


def test_it_is_trained_on_in_constant_size(copied: Path) -> None:
    before = load_agent(copied / STUDENT, False, "cpu").model.policy
    out = succeeds("train", "--resume", STUDENT, "-n", "2000", "--eval-freq", "1000", cwd=copied)
    assert "from step 0" in out
    assert "will refit 40 trees" in out
    after = load_agent(copied / STUDENT, False, "cpu").model.policy
    assert after.n_trees == before.n_trees == 40
    rows = np.zeros((1, 4), np.float32)
    assert not np.array_equal(after.ensembles[0].predict(rows), before.ensembles[0].predict(rows))
    assert np.load(copied / STUDENT / "evaluations.npz")["timesteps"][0] == 0
    succeeds("plot", STUDENT, cwd=copied)


def test_a_single_tree_and_json(copied: Path) -> None:
    options = ["--single-tree", "--depth", "3", *TINY[4:], "--seed", "0", "--load-best", "--json"]
    report = json.loads(succeeds("distill", TEACHER, *options, cwd=copied))
    assert report["n_trees"] == 1
    assert report["n_leaves"] <= 8
    run = copied / report["run"]
    policy: Any = load_agent(run, False, "cpu").model.policy
    assert policy.ensembles[0].n_trees == 1
    assert policy.ensembles[0].tree_arrays(0).depth <= 3
    succeeds("train", "--resume", report["run"], "-n", "600", "--eval-freq", "0", cwd=copied)


def test_a_seed_makes_the_same_student(copied: Path) -> None:
    succeeds("distill", TEACHER, *TINY, "--seed", "3", cwd=copied)
    first, second = (
        load_agent(copied / f"logs/ppo/CartPole-v1_{n}", False, "cpu").model.policy for n in (2, 3)
    )
    for a, b in zip(first.ensembles, second.ensembles, strict=True):
        assert a.to_bytes() == b.to_bytes()


def test_settings_of_training_on(copied: Path) -> None:
    pairs = ["policy_kwargs.policy_lr:0.5", "gamma:0.9"]
    succeeds("distill", TEACHER, *TINY, "--hyperparams", *pairs, cwd=copied)
    model = load_agent(copied / "logs/ppo/CartPole-v1_3", False, "cpu").model
    assert model.gamma == 0.9
    assert model.policy.ensembles[0].learning_rates()[0] == 0.5


def test_ctrl_c_keeps_the_rounds_there_are(copied: Path) -> None:
    options = [*TINY[:4], "--rounds", "100000", "--frames", "100", "-n", "2"]
    with Program(RLSHARE, "distill", str(TEACHER), *options, cwd=copied) as process:
        patience = time.monotonic() + PATIENCE
        while "round 1" not in process.stdout:
            assert process.poll() is None, process.stderr
            assert time.monotonic() < patience
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert "stopping and saving" in process.stderr
    assert "Traceback" not in process.stderr
    succeeds("eval", "logs/ppo/CartPole-v1_3", "-n", "1", cwd=copied)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "run folder not found: nowhere"),
        (["logs"], "logs is not a run folder"),
        ([TEACHER, "--trees", "0"], "'--trees'"),
        ([TEACHER, "--depth", "17"], "'--depth'"),
        (
            [TEACHER, "--single-tree", "--trees", "5"],
            "--trees must not be given with --single-tree",
        ),
        ([TEACHER, "--frames", "0"], "n_frames must be an integer >= 1, got 0"),
        ([TEACHER, "--into", "moe"], "'moe'"),
        ([TEACHER, "--hyperparams", "gama:1"], "did you mean 'gamma'?"),
        ([TEACHER, "--hyperparams", "policy_kwargs.shared:true"], "shared"),
        ([TEACHER, "--hyperparams", "policy_kwargs.tree.bins:rollout"], "bins must be 'batch'"),
        ([TEACHER, "--hyperparams", "normalize.norm_obs:true"], "norm_obs"),
        ([TEACHER, "--hyperparams", "policy_kwargs.tree.categorical:[0]"], "categorical of the"),
        ([TEACHER, "--hyperparams", "policy_kwargs.tree.feature_weights:[1]"], "one weight a"),
        ([TEACHER, "--hyperparams", "batch_size:1"], "`batch_size` must be greater than 1"),
        ([TEACHER, "--log-folder", "logs/ppo/CartPole-v1_1/run.json"], "cannot write the run"),
        (
            [TEACHER, "--single-tree", "--hyperparams", "policy_kwargs.tree:null"],
            "grow_policy of the student must be 'greedy', got 'oblivious'",
        ),
    ],
)
def test_bad_input(arguments: list[str], words: str, teacher: Path) -> None:
    runs = set((teacher / "logs/ppo").iterdir())
    sentence = refuses("distill", "--rounds", "100000", *arguments, cwd=teacher)
    assert words in sentence
    assert set((teacher / "logs/ppo").iterdir()) == runs


def test_a_teacher_that_acts_by_masks_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    bandit = Path(__file__).with_name("masked_bandit.py")
    env = f"{bandit}:MaskedBandit"
    options = ["--algo", "ppo_mask", "--policy", "mlp", "-n", "256", "--eval-freq", "0"]
    succeeds("train", "--env", env, *options, "--n-envs", "1", cwd=tmp_path)
    sentence = refuses("distill", "logs/ppo_mask/MaskedBandit_1", cwd=tmp_path)
    assert "acts by masks" in sentence


def test_a_teacher_no_better_than_chance_keeps_nothing(tmp_path: Path) -> None:
    """A network that has hardly begun."""
    options = ["--policy", "mlp", "-n", "8", "--n-envs", "1", "--seed", "0", "--eval-freq", "0"]
    succeeds("train", "--env", "MountainCar-v0", *options, "--hyperparams", "n_steps:8",
             "batch_size:8", cwd=tmp_path)  # fmt: skip
    out = rlshare("distill", "logs/ppo/MountainCar-v0_1", *TINY, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert "the teacher is no better than random actions" in out.stdout
