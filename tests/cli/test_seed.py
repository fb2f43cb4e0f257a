"""The same seed gives the same agent, bit for bit; another seed another one."""

import os
from pathlib import Path

import pytest
from agents_alike import parts, steps
from command import RLSHARE, new_process, succeeds

SHORT = ["--eval-freq", "200", "--eval-episodes", "1", "-n", "600"]


def train(folder: Path, seed: int, *arguments: str) -> dict[str, bytes]:
    folder.mkdir()
    succeeds("train", "--seed", str(seed), *SHORT, *arguments, cwd=folder)
    return agent(folder)


def agent(folder: Path) -> dict[str, bytes]:
    checkpoint = max(folder.glob("logs/*/*/checkpoints/*_steps.zip"), key=steps)
    return parts(checkpoint)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--policy", "gbt", "--env", "CartPole-v1", "--n-envs", "2"],
        ["--policy", "mlp", "--env", "CartPole-v1", "--n-envs", "2"],
        ["--policy", "moe", "--env", "CartPole-v1", "--n-envs", "2"],
        ["--policy", "gbt", "--env", "Pendulum-v1", "--n-envs", "2", "--hyperparams",
         "policy_kwargs.tree.subsample:0.5"],
        ["--policy", "gbt", "--algo", "a2c", "--env", "CartPole-v1"],
    ],
    ids=["gbt", "mlp", "moe", "gbt, Box actions, subsample", "a2c"],
)  # fmt: skip
def test_a_seed_fixes_everything(arguments: list[str], tmp_path: Path) -> None:
    first = train(tmp_path / "first", 7, *arguments)
    assert train(tmp_path / "second", 7, *arguments) == first
    other = train(tmp_path / "other", 8, *arguments)
    assert other.keys() == first.keys()
    assert other != first


def test_a_process_of_its_own_trains_alike(tmp_path: Path) -> None:
    """Another order of sets: the hashes of strings are drawn when an interpreter starts."""
    command = [RLSHARE, "train", "--seed", "7", *SHORT]
    found = new_process(*command, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert found.returncode == 0, found.stderr
    assert agent(tmp_path) == train(tmp_path / "forked", 7)


def test_evaluating_does_not_change_training(tmp_path: Path) -> None:
    never = train(tmp_path / "never", 7, "--n-envs", "2", "--eval-freq", "0")
    assert train(tmp_path / "often", 7, "--n-envs", "2", "--eval-freq", "300") == never
