"""kill -9 at any moment leaves the last checkpoint whole, and the run goes on from there."""

import json
from pathlib import Path

import pytest
from command import PATIENCE, Program

CHAIN = Path(__file__).with_name("kill_chain.py")


@pytest.mark.parametrize(("policy", "kills"), [("gbt", 12), ("mlp", 4)])
def test_killed_again_and_again(policy: str, kills: int, tmp_path: Path) -> None:
    with Program(str(CHAIN), policy, str(kills), "1", cwd=tmp_path) as found:
        found.wait(2 * PATIENCE)
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
