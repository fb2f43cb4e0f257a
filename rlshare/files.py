"""Files that are either the old one or the new one, never half of one."""

import os
from pathlib import Path

TEMPORARY = ".tmp"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that a crash at any moment leaves a whole one.

    The bytes go to a temporary file beside it, are forced to the disk, and take the name in one
    step; then the folder is forced too, so that the new name survives a power cut.

    Raises:
        OSError: the disk is full or the folder read-only; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # Windows cannot open a folder, and needs no such step
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
