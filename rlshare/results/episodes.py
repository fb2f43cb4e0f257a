"""Training episodes of a run, read from the monitor files of its environments."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

Row = tuple[float, int, float]  # return, length, seconds


@dataclass(frozen=True)
class Episodes:
    """Finished episodes in the order in which they ended.

    Attributes:
        returns: undiscounted sums of rewards [n].
        lengths: environment steps of each [n].
        end_step: environment steps that the whole run had made [n].
        end_time: seconds since 1970 [n].
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    end_step: NDArray[np.int64]
    end_time: NDArray[np.float64]

    @classmethod
    def read(cls, run: Path) -> Self:
        """Read the files ``*.monitor.csv`` of a run folder, one an environment.

        The environments of a run step together: an episode that ends when its own has made k steps
        ends when n environments have made n * k. What a killed run has half written, a last line
        or a header, counts for nothing, like the episodes that a resumed run has begun anew.

        Raises:
            ValueError: there is no such file, or one is damaged.
        """
        files = sorted(run.glob("*.monitor.csv"))
        if not files:
            raise ValueError(f"{run} is not a run folder: it has no *.monitor.csv")
        found = [row for file in files for row in _episodes(file, len(files))]
        found.sort(key=lambda row: row[2])  # stable: then by file
        columns = zip(*found, strict=True) if found else ((), (), (), ())
        returns, lengths, end_step, end_time = columns
        return cls(
            np.array(returns, np.float64),
            np.array(lengths, np.int64),
            np.array(end_step, np.int64),
            np.array(end_time, np.float64),
        )

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.returns)

    def steps_per_second(self, begin: float, end: float) -> float:
        """Return the rate between two steps of the run, updates included."""
        low, high = np.interp([begin, end], self.end_step, self.end_time)
        return float((end - begin) / max(high - low, 1e-9))


def _episodes(file: Path, n_envs: int) -> Iterator[tuple[float, int, int, float]]:
    steps = 0
    began, rows = _read(file)
    for total, length, seconds in rows:
        steps += length
        yield total, length, steps * n_envs, began + seconds


def _read(file: Path) -> tuple[float, list[Row]]:
    """Return when the environment was made, and the episodes."""
    try:
        text = file.read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()
        if not lines:
            return 0.0, []
        began = float(json.loads(lines[0].removeprefix("#"))["t_start"])
        rows = csv.DictReader(lines[1:])
        return began, [(float(row["r"]), int(row["l"]), float(row["t"])) for row in rows]
    except (UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a monitor file of Stable-Baselines3: {file}: {error}") from None
