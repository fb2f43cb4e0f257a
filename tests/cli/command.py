"""The command line as a user runs it: a process with its exit code and its two streams."""

import subprocess
import sys
from pathlib import Path
from typing import Any

RLSHARE = str(Path(sys.executable).with_name("rlshare"))
TINY = ["--n-timesteps", "512", "--eval-freq", "256", "--eval-episodes", "1"]


def rlshare(*arguments: str, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RLSHARE, *arguments], cwd=cwd, capture_output=True, text=True, timeout=180, **kwargs
    )


def succeeds(*arguments: str, cwd: Path) -> str:
    found = rlshare(*arguments, cwd=cwd)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def refuses(*arguments: str, cwd: Path, **kwargs: Any) -> str:
    """One sentence on stderr, exit code 2, no traceback; returns the sentence."""
    found = rlshare(*arguments, cwd=cwd, **kwargs)
    assert found.returncode == 2, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    (sentence,) = found.stderr.strip().splitlines()
    assert sentence.startswith("error: ")
    return sentence.removeprefix("error: ")
