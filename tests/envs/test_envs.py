"""Environments by id, from modules and from files; the packages refuse a second name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlshare.envs import env_name, make_env, make_vec_env

ROOT = Path(__file__).parents[2]
SUITE = ("CartPole-v1", "Acrobot-v1", "LunarLander-v3", "MountainCar-v0", "Pendulum-v1")


@pytest.mark.parametrize("env_id", [*SUITE, "Hopper-v5", "HalfCheetah-v5"])
def test_ids_make_working_environments(env_id: str) -> None:
    env = make_env(env_id, {})
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    env.step(env.action_space.sample())
    env.close()


@pytest.mark.filterwarnings("ignore:.*WARN:")  # gymnasium advises, we mean it
def test_an_environment_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from gymnasium.envs.classic_control import PendulumEnv\n\n\nclass Mine(PendulumEnv):\n"
        "    pass\n"
    )
    env = make_env(f"{file}:Mine", {"g": 5.0})
    check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped.g == 5.0  # type: ignore[attr-defined]
    assert "/" not in env_name(f"{file}:Mine")


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("CartPol-v1", "did you mean 'CartPole-v1'"),
        ("nothing_here:Env-v0", "nothing_here"),
        ("missing.py:Env", r"missing\.py"),
    ],
)
def test_unknown_environments(env_id: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_env(env_id, {})


def test_a_class_that_the_file_lacks(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n")
    with pytest.raises(ValueError, match="Mine"):
        make_env(f"{file}:Mine", {})


@pytest.mark.parametrize("kind", ["dummy", "subproc"])
def test_both_vector_forms_step_alike(kind: str, tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1", 2, vec_env=kind, monitor_dir=tmp_path)
    env.seed(3)
    first = env.reset()
    for _ in range(60):
        _, rewards, _, _ = env.step(np.zeros(2, int))
        assert rewards.tolist() == [1.0, 1.0]
    env.close()
    assert len(list(tmp_path.glob("*.monitor.csv"))) == 2
    other = make_vec_env("CartPole-v1", 2)
    other.seed(3)
    np.testing.assert_array_equal(other.reset(), first)
    other.close()


def test_a_monitor_file_keeps_its_clock(tmp_path: Path) -> None:
    """Times of a resumed run's episodes are those since the header, of which there is one."""
    for session in range(2):
        env = make_vec_env("CartPole-v1", 1, seed=0, monitor_dir=tmp_path)
        env.reset()
        while not env.step(np.zeros(1, int))[2][0]:
            pass
        env.close()
        (file,) = tmp_path.glob("*.monitor.csv")
        if session == 0:  # as if that had been long ago
            header, rest = file.read_text().split("\n", 1)
            began = json.loads(header[1:])
            file.write_text(f"#{json.dumps(began | {'t_start': began['t_start'] - 1e6})}\n{rest}")
    lines = file.read_text().splitlines()
    assert len(lines) == 4
    first, second = (float(line.split(",")[2]) for line in lines[2:])
    assert first < 1e6 < second


@pytest.mark.parametrize("package", ["agents", "envs"])
def test_the_bare_name_is_refused(package: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", f"import {package}"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 1
    assert f"rlshare.{package}" in found.stderr


def test_only_the_checkout_joins_the_path() -> None:
    """Of an editable install; a folder beside the checkout is nobody's package."""
    found = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT.parent) not in found.stdout.splitlines()
