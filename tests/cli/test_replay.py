"""Runs of algorithms with a replay buffer: their checkpoints hold it, and --resume needs it."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from agents_alike import parts, steps

from rlshare.agents import ALGORITHMS
from rlshare.cli import main

Case = tuple[str, str, str, list[str]]
NETS = {
    "mlp": ["policy_kwargs.net_arch:[8]"],
    "moe": [
        "policy_kwargs.moe.width:8",
        "policy_kwargs.moe.n_experts:2",
        "policy_kwargs.moe.top_k:1",
    ],
    "gbt": ["policy_kwargs.tree.max_depth:3"],
}
CASES: list[Case] = [
    ("awr", "gbt", "CartPole-v1", ["train_freq:20", "gradient_steps:4"]),
    ("awr", "moe", "CartPole-v1", ["train_freq:20", "gradient_steps:4"]),
    ("awr", "mlp", "Pendulum-v1", ["train_freq:20", "gradient_steps:4"]),
    ("dqn", "gbt", "CartPole-v1", ["train_freq:4", "learning_starts:100"]),
    ("sac", "gbt", "Pendulum-v1", ["train_freq:4", "learning_starts:100"]),
    ("td3", "gbt", "Pendulum-v1", ["train_freq:4", "learning_starts:100"]),
    ("dqn", "mlp", "CartPole-v1", ["train_freq:4", "gradient_steps:1", "learning_starts:200"]),
    ("dqn", "moe", "CartPole-v1", ["train_freq:4", "gradient_steps:1", "learning_starts:100"]),
    ("sac", "mlp", "Pendulum-v1", ["train_freq:4", "learning_starts:200"]),
    ("sac", "moe", "Pendulum-v1", ["train_freq:4", "learning_starts:100"]),
    ("td3", "mlp", "Pendulum-v1", ["train_freq:4", "learning_starts:100"]),
    ("td3", "moe", "Pendulum-v1", ["train_freq:4", "learning_starts:200"]),
]


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("*_steps.zip"), key=steps)


def replay_buffer(checkpoint: Path) -> Any:
    with zipfile.ZipFile(checkpoint) as archive:
        return pickle.loads(archive.read("rlshare/replay_buffer.pkl"))


def trained(folder: Path, case: Case) -> Path:
    """Train 160 steps with two environments."""
    algo, policy, env, pairs = case
    command = ["train", "--algo", algo, "--policy", policy, "--env", env, "--seed", "3"]
    command += ["-n", "160", "--n-envs", "2", "--eval-freq", "80", "--eval-episodes", "1"]
    command += ["--log-folder", str(folder), "--hyperparams", *pairs, *NETS[policy]]
    command += ["batch_size:16", "buffer_size:300"]
    assert main(command) == 0
    return folder / algo / f"{env}_1"


def resumed(begun: Path, run: Path) -> Path:
    shutil.copytree(begun, run)
    assert main(["train", "--resume", str(run), "-n", "240"]) == 0
    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_two_resumes_of_one_checkpoint_are_bit_identical(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = trained(tmp_path, case)
    before = newest(begun)
    first, second = (newest(resumed(begun, tmp_path / name)) for name in ("first", "second"))
    assert (steps(before), steps(first)) == (160, 240)
    assert parts(first) == parts(second)
    assert parts(first).keys() >= parts(before).keys()  # an optimizer's state begins with learning
    assert parts(first) != parts(before)
    old, new, other = (replay_buffer(path) for path in (before, first, second))
    assert (old.size(), new.size()) == (80, 120)
    for name in ("observations", "actions", "rewards", "next_observations"):
        assert (getattr(new, name) == getattr(other, name)).all()
        assert (getattr(new, name)[:80] == getattr(old, name)[:80]).all()
    # Random actions go on, they do not begin anew.
    assert (new.actions[80:120] != old.actions[:40]).any()
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "first"), "-n", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["algo"] == case[0]


def test_the_log_has_a_row_every_two_thousand_steps(tmp_path: Path) -> None:
    command = ["train", "--algo", "dqn", "--policy", "mlp", "--seed", "1", "-n", "6k"]
    command += ["--eval-freq", "0", "--log-folder", str(tmp_path)]
    assert main([*command, "--hyperparams", "train_freq:50", "gradient_steps:1", *NETS["mlp"]]) == 0
    run = tmp_path / "dqn/CartPole-v1_1"
    rows = pd.read_csv(run / "progress.csv")
    assert rows["time/total_timesteps"].tolist() == [2000, 4000, 6000]
    assert rows["rollout/ep_rew_mean"].notna().all()
    assert main(["plot", str(run), "--output", str(tmp_path / "curve.png")]) == 0
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_n_step_returns_outlive_a_checkpoint(tmp_path: Path, recwarn: Any) -> None:
    case = ("dqn", "gbt", "CartPole-v1", ["train_freq:4", "n_steps:3", "learning_starts:40"])
    run = trained(tmp_path, case)
    assert main(["train", "--resume", str(run), "-n", "240"]) == 0
    assert replay_buffer(newest(run)).n_steps == 3
    assert main(["eval", str(run), "-n", "1"]) == 0
    assert not [w for w in recwarn if "n_steps" in str(w.message)]


def test_a_checkpoint_without_its_buffer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path, CASES[0])
    path = newest(run)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for damage in (None, b"no pickle", pickle.dumps("no buffer")):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                if name != "rlshare/replay_buffer.pkl":
                    archive.writestr(name, data)
            if damage is not None:
                archive.writestr("rlshare/replay_buffer.pkl", damage)
        capsys.readouterr()
        assert main(["train", "--resume", str(run), "-n", "240"]) == 2
        sentence = capsys.readouterr().err.strip()
        assert sentence.startswith(f"error: cannot load the replay buffer of {path}")
        assert len(sentence.splitlines()) == 1


def test_recipes_lists_the_algorithms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["environment", *ALGORITHMS]
    acrobot = next(row for row in rows if row.startswith("Acrobot-v1"))
    where = head.index("dqn")
    assert acrobot[head.index("awr") : where].split() == ["gbt", "moe", "mlp"]
    assert acrobot[where:].split() == ["mlp"]
    assert main(["recipes", "CartPole-v1", "--algo", "awr", "--policy", "gbt"]) == 0
    assert "w_max: 20.0" in capsys.readouterr().out
