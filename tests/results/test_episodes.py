"""Monitor files, written by hand: whose episodes are whose, and when they ended."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rlshare.results.curves import first_held, running_mean, window_means
from rlshare.results.episodes import Episodes

HEADER = '#{"t_start": 1000.0, "env_id": "CartPole-v1"}\nr,l,t\n'


def write(run: Path, *files: str) -> Path:
    for i, text in enumerate(files):
        (run / f"{i}.monitor.csv").write_text(text)
    return run


def test_environments_step_together(tmp_path: Path) -> None:
    # Their own steps: 3 | 3 + 4 of the first, 5 of the second; the run has made twice as many.
    run = write(tmp_path, HEADER + "1.5,3,0.1\n2,4,0.5\n", HEADER + "-7,5,0.3\n")
    episodes = Episodes.read(run)
    assert episodes.end_step.tolist() == [6, 10, 14]
    assert episodes.returns.tolist() == [1.5, -7.0, 2.0]
    assert episodes.lengths.tolist() == [3, 5, 4]
    assert episodes.end_time.tolist() == [1000.1, 1000.3, 1000.5]
    assert episodes.steps_per_second(6, 14) == pytest.approx(8 / 0.4)


@pytest.mark.parametrize(
    ("text", "returns"),
    [
        (HEADER + "1,3,0.1\n2,4", [1.0]),  # a line half written, which reads as a shorter one
        (HEADER + "1,3,0.1\n2,4,0.5", [1.0]),
        (HEADER, []),
        ('#{"t_start": 10', []),
        ("", []),
    ],
)
def test_what_a_killed_run_has_half_written(
    text: str, returns: list[float], tmp_path: Path
) -> None:
    assert Episodes.read(write(tmp_path, text)).returns.tolist() == returns


def test_an_empty_file_is_an_environment_too(tmp_path: Path) -> None:
    episodes = Episodes.read(write(tmp_path, HEADER + "1,3,0.1\n", ""))
    assert episodes.end_step.tolist() == [6]


def test_a_resumed_run_appends_its_episodes(tmp_path: Path) -> None:
    rows = "1,10,1.0\n2,10,2.0\n" + "3,10,500.0\n"  # hours later, by the first header's clock
    episodes = Episodes.read(write(tmp_path, HEADER + rows, HEADER + "4,15,2.5\n5,10,501.0\n"))
    assert episodes.end_step.tolist() == [20, 30, 40, 50, 60]
    assert episodes.returns.tolist() == [1, 4, 2, 5, 3]


def test_further_columns_do_not_matter(tmp_path: Path) -> None:
    text = HEADER.replace("r,l,t", "success,r,l,t") + "1,2.5,3,0.1\n"
    assert Episodes.read(write(tmp_path, text)).returns.tolist() == [2.5]


@pytest.mark.parametrize(
    "text", ["no header\n1,2,3\n", "#{}\nr,l,t\n", HEADER + "1,two,3\n", HEADER + "1\n", "#[1]\n"]
)
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a monitor file .*1\.monitor\.csv"):
        Episodes.read(write(tmp_path, HEADER, text))


def test_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \*\.monitor\.csv"):
        Episodes.read(tmp_path)


def test_curves(tmp_path: Path) -> None:
    rows = "".join(f"{r},10,{t}\n" for t, r in enumerate([1, 2, 6, 7]))
    episodes = Episodes.read(write(tmp_path, HEADER + rows))  # which end at 10, 20, 30, 40
    means = window_means(episodes, np.array([20.0, 29.0, 35.0]))
    np.testing.assert_array_equal(means, [1.5, np.nan, 6.0])
    assert running_mean(episodes.returns, 2).tolist() == [1.0, 1.5, 4.0, 6.5]
    assert first_held(episodes, 4.0, 2) == 30
    assert first_held(episodes, 7.0, 2) is None
    assert first_held(episodes, 0.0, 5) is None  # no five episodes


def test_the_speed_between_two_steps(tmp_path: Path) -> None:
    """In a resumed run the episodes begun anew let the environments' steps fall apart."""
    run = write(
        tmp_path, HEADER + "1,10,4.0\n1,10,8.0\n", HEADER + "1,5,3.0\n1,10,9.0\n1,10,12.0\n"
    )
    episodes = Episodes.read(run)
    assert episodes.end_step.tolist() == [10, 20, 30, 40, 50]
    assert (episodes.end_time - 1000).tolist() == [3.0, 4.0, 9.0, 8.0, 12.0]
    assert episodes.steps_per_second(10, 20) == pytest.approx(10.0)
    assert episodes.steps_per_second(20, 30) == pytest.approx(2.0)
    assert episodes.steps_per_second(15, 50) == pytest.approx(35 / 8.5)


def test_results_need_numpy_alone() -> None:
    program = (
        "import sys, rlshare.results.curves, rlshare.results.episodes, rlshare.results.intervals; "
        "print({'torch', 'stable_baselines3', 'gymnasium', 'pandas'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "set()", found.stderr
