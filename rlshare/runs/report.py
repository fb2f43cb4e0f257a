"""run.json: what ran, with which versions, and how it ended."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rlshare.files import write_atomically
from rlshare.runs.run import Run
from rlshare.runs.training import Outcome
from rlshare.runs.versions import versions


def write_report(run: Run, outcome: Outcome | None) -> None:
    """Write run.json; the outcome is null while the run is under way."""
    report: dict[str, Any] = {
        "command": sys.argv,
        "versions": versions(),
        "git_sha": _git_sha(),
        "args": dataclasses.asdict(run.config),
        "results": dataclasses.asdict(outcome) if outcome else None,
    }
    text = json.dumps(report, indent=2)
    write_atomically(run.folder.path / "run.json", text.encode())


def _git_sha() -> str | None:
    """Return the commit of the source tree; None for an installed package."""
    here = Path(__file__)
    try:
        tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return _git(here.parent, "rev-parse", "HEAD") if tracked else None
    except OSError:  # no git on this machine
        return None


def _git(folder: Path, *args: str) -> str | None:
    command = ["git", "-C", str(folder), *args]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
