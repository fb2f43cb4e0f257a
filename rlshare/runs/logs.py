"""A run's logs: SB3's logger, and what a resumed run does with the logs it finds."""

import csv
import io
from pathlib import Path

from stable_baselines3.common.logger import (
    CSVOutputFormat,
    KVWriter,
    Logger,
    make_output_format,
)

from rlshare.files import write_atomically
from rlshare.runs.folder import RunFolder

_STEPS = "time/total_timesteps"


class AppendingCSV(CSVOutputFormat):
    """SB3's CSV writer, going on at the end of an existing file instead of emptying it."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.file = path.open("r+", encoding="utf-8")
        self.keys = next(csv.reader([self.file.readline()]), [])
        self.file.seek(0, 2)
        self.separator = ","
        self.quotechar = '"'


def make_logger(folder: RunFolder, tensorboard_log: str | None, verbose: int) -> Logger:
    """Return the logger of a run: progress.csv, TensorBoard, and SB3's table if verbose."""
    board = Path(tensorboard_log) / folder.path.name if tensorboard_log else folder.path
    outputs: list[KVWriter] = [
        AppendingCSV(folder.path / "progress.csv"),
        make_output_format("tensorboard", str(board)),
    ]
    if verbose:
        outputs.append(make_output_format("stdout", str(folder.path)))
    return Logger(str(folder.path), outputs)


def monitor_files(path: Path) -> list[Path]:
    """Return the monitor files of a run folder."""
    return sorted(path.glob("*.monitor.csv"))


def log_sizes(folder: RunFolder) -> dict[str, int]:
    """Return the present sizes of the files that only grow, for ``rewind_logs``."""
    return {path.name: path.stat().st_size for path in monitor_files(folder.path)}


def rewind_logs(folder: RunFolder, sizes: dict[str, int], num_timesteps: int) -> None:
    """Drop what was logged after a checkpoint: the resumed run logs those steps again."""
    for name, size in sizes.items():
        path = folder.path / name
        if path.is_file() and path.stat().st_size > size:
            with path.open("r+b") as file:
                file.truncate(size)
    progress = folder.path / "progress.csv"
    if progress.is_file():
        _drop_later_rows(progress, num_timesteps)


def _drop_later_rows(progress: Path, num_timesteps: int) -> None:
    with progress.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or _STEPS not in rows[0]:
        return
    column = rows[0].index(_STEPS)
    kept = [r for r in rows[1:] if len(r) == len(rows[0]) and int(r[column] or 0) <= num_timesteps]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([rows[0], *kept])
    write_atomically(progress, text.getvalue().encode())
