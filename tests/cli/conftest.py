"""Runs that many tests look at, each trained once by a worker."""

import shutil
from pathlib import Path

import pytest
from command import TINY, succeeds

CARTPOLE = Path("logs/ppo/CartPole-v1_1")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which trees were trained on CartPole, to be read only."""
    folder = tmp_path_factory.mktemp("trained")
    out = succeeds("train", "--env", "CartPole-v1", "--seed", "1", *TINY, "-n", "3000", cwd=folder)
    assert "will refit 200 trees" in out
    assert "mean return" in out
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be damaged."""
    shutil.copytree(trained / "logs", tmp_path / "logs")
    return tmp_path / CARTPOLE
