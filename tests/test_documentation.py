"""What the README and the documentation tell a new user to type works, in the order of a page."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from agents_alike import steps
from command import Program, succeeds

from rlshare.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Of a training only the length is cut: in Python to what makes every agent learn; on the command
# line to one rollout of two environments and an episode of evaluation, and a resumed one goes on
# for another rollout. A study has fewer trials too, and a
# distillation fewer rounds. Episodes of HalfCheetah, of which a plot of
# experts plays ten, have a tenth of their steps.
SHORT = {
    "train": ["--n-timesteps", "512", "--n-envs", "2", "--eval-episodes", "1"],
    "distill": ["--rounds", "2", "--frames", "400", "--n-episodes", "2"],
    "tune": ["--n-timesteps", "1024", "--n-trials", "2"],
    "rlshare/HalfCheetahTasks-v0": ["--env-kwargs", "max_episode_steps:100"],
}


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "bash")).replace("\\\n", "").splitlines()
    return [shlex.split(x, comments=True)[1:] for x in lines if x.startswith("rlshare ")]


def shortened(arguments: list[str], folder: Path) -> list[str]:
    if "--resume" not in arguments:
        return [*arguments, *(x for word in arguments for x in SHORT.get(word, []))]
    run = folder / arguments[arguments.index("--resume") + 1]
    reached = max(map(steps, run.glob("checkpoints/*_steps.zip")))
    return [*arguments, "--n-timesteps", str(reached + 1)]


SNIPPETS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{index}")
    for page in PAGES
    for index, code in enumerate(blocks(page, "python"), 1)
]
WITH_COMMANDS = [pytest.param(x, id=str(x.relative_to(ROOT))) for x in PAGES if commands(x)]


@pytest.mark.parametrize("code", SNIPPETS)
def test_python(code: str, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    shorter = re.sub(r"\.learn\(\d+_\d{3}\b", ".learn(1100", code)
    script.write_text(shorter, encoding="utf-8")
    with Program(str(script), cwd=tmp_path) as found:
        assert found.wait() == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands(page: Path, tmp_path: Path) -> None:
    """In one folder: later commands name the run folder that the first one makes."""
    for arguments in commands(page):
        succeeds(*shortened(arguments, tmp_path), cwd=tmp_path)
        if "--video" in arguments:
            video = tmp_path / arguments[arguments.index("--video") + 1]
            assert video.stat().st_size > 2_000


def test_the_readme_shows_the_commands() -> None:
    assert {x[0] for x in commands(ROOT / "README.md")} >= {"train", "eval", "enjoy", "plot"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_exist(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may name files that are not there; the command and its options are."""
    monkeypatch.setenv("COLUMNS", "200")  # no name is cut off
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"`rlshare ([a-z][^`]*)`", text):
        name, *words = shlex.split(command)
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        for option in (word for word in words if word.startswith("-")):
            assert option in shown, command


@pytest.mark.parametrize(
    "target", ["demo", "test", "quick", "lint", "format", "docs", "wheel", "fuzz"]
)
def test_make_targets(target: str) -> None:
    found = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
