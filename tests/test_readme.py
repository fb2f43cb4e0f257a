"""What the README tells a new user to type works, in the order in which it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RLSHARE = str(Path(sys.executable).with_name("rlshare"))
# Of a training only the length is cut, to one rollout; a resumed one goes on for another. A study
# has fewer trials too.
SHORT = {
    "train": ["--n-timesteps", "8192"],
    "resume": ["--n-timesteps", "16384"],
    "tune": ["--n-timesteps", "8192", "--n-trials", "2"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    lines += re.findall(r"`(rlshare [^`]*)`", README)
    return [shlex.split(x, comments=True)[1:] for x in lines if x.startswith("rlshare ")]


def run(command: list[str], folder: Path) -> str:
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, f"{command}: {found.stdout}{found.stderr}"
    return found.stdout


@pytest.mark.parametrize(
    "code",
    blocks("python"),
    ids=["stable-baselines3", "off-policy", "awr", "experts", "trees alone"],
)
def test_python(code: str, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(code, encoding="utf-8")
    run([sys.executable, str(script)], tmp_path)


def test_commands(tmp_path: Path) -> None:
    """In one folder: later commands name the run folder that the first one makes."""
    used = set()
    for arguments in commands():
        if arguments == ["train"]:
            continue  # its name in a sentence
        used.add(arguments[0])
        kind = "resume" if "--resume" in arguments else arguments[0]
        run([RLSHARE, *arguments, *SHORT.get(kind, [])], tmp_path)
    assert used == {"train", "tune", "eval", "enjoy", "plot", "recipes"}
    assert (tmp_path / "lander.mp4").stat().st_size > 10_000


@pytest.mark.parametrize("target", ["demo", "test", "lint", "format", "fuzz"])
def test_make_targets(target: str) -> None:
    found = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
