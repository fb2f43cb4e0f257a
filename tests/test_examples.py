"""Every example runs as it is."""

from pathlib import Path

import pytest
from command import Program

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example(example: Path, tmp_path: Path) -> None:
    with Program(str(example), cwd=tmp_path) as found:
        assert found.wait() == 0, found.stdout + found.stderr
