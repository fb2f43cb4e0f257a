"""kill -9 at any moment leaves the last checkpoint whole, and the run goes on from there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHAIN = Path(__file__).with_name("kill_chain.py")


@pytest.mark.parametrize(("policy", "kills"), [("gbt", 45), ("mlp", 10)])
def test_killed_again_and_again(policy: str, kills: int, tmp_path: Path) -> None:
    command = [sys.executable, str(CHAIN), policy, str(kills), "1"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    log = tmp_path / "log.txt"
    assert found.returncode == 0, found.stderr + (log.read_text()[-2000:] if log.exists() else "")
    result = json.loads(found.stdout.splitlines()[-1])
    steps = result["steps"]
    assert len(steps) == kills
    assert steps == sorted(steps)  # nothing that was saved is ever lost
    assert len(set(steps)) > kills / 2  # and most attempts got further
    assert result["code"] == 0
    assert result["end"] >= steps[-1] + 200
    if policy == "gbt":
        assert result["inside_a_write"] > 0
