"""The command line as a user runs it: a process with its exit code and its two streams.

To import torch and Stable-Baselines3 takes several times as long as most of what is tested, so that
a zygote does it once, for all workers of pytest, and forks; ``zygote.py`` says how. ``new_process``
starts an interpreter.
"""

import fcntl
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

RLSHARE = str(Path(sys.executable).with_name("rlshare"))
TINY = ["--n-timesteps", "512", "--eval-freq", "256", "--eval-episodes", "1"]
# No test waits longer, in seconds, for what takes a few; a loaded machine may set a factor.
PATIENCE = 120 * float(os.environ.get("RLSHARE_TEST_PATIENCE", "1"))

# What a program finds imported: what Stable-Baselines3 stands on, and all that the commands need.
BELOW_SB3 = ("torch", "torch.utils.tensorboard", "gymnasium", "pandas", "matplotlib.pyplot")
OTHERS = ("torch._dynamo", "optuna", "mujoco", "moviepy", "sb3_contrib", "rlshare.*", "warm")
ALL = (*BELOW_SB3, "stable_baselines3", *OTHERS)


class Program:
    """A program that runs in a child of a zygote; like ``subprocess.Popen``, with files as streams.

    Args:
        argv: the path of a script, or ``-c`` and code, then its arguments.
        file_size: bytes beyond which no file grows, as on a full disk.
        imported: what the child finds imported; see ``zygote.preload``.
    """

    def __init__(
        self,
        *argv: str,
        cwd: Path,
        file_size: int | None = None,
        imported: tuple[str, ...] = ALL,
    ) -> None:
        program = {"argv": argv, "cwd": str(cwd), "env": dict(os.environ)}
        self.argv = argv
        self.returncode: int | None = None
        self._texts: list[str] = []
        self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  read at any time
        self._status, status = os.pipe()
        with tempfile.TemporaryFile("w+", encoding="utf-8") as request:
            json.dump({**program, "file_size": file_size}, request)
            request.seek(0)
            fds = [request.fileno(), *(stream.fileno() for stream in self._streams), status]
            socket.send_fds(_zygote(imported), [b"."], fds)
            os.close(status)
        self.pid = int(self._line())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            self.wait()

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._read(0)

    @property
    def stderr(self) -> str:
        return self._read(1)

    def _read(self, index: int) -> str:
        if self._texts:
            return self._texts[index]
        stream = self._streams[index].fileno()
        return os.pread(stream, os.fstat(stream).st_size, 0).decode()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.argv, timeout, self.stdout, self.stderr)
            self._end()
        return self.returncode

    def _end(self) -> None:
        self.returncode = int(self._line())
        os.close(self._status)
        self._texts = [self.stdout, self.stderr]
        for stream in self._streams:
            stream.close()

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            if not (read := os.read(self._status, 1)):
                raise RuntimeError("the zygote has ended")
            line += read
        return line


@functools.cache
def _zygote(imported: tuple[str, ...]) -> socket.socket:
    """Connect to the one that the workers share; start it where there is none yet."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))[:8]
    address = f"{tempfile.gettempdir()}/rlshare-{run}-{len(imported)}"
    if imported != BELOW_SB3:
        _zygote(BELOW_SB3)  # it starts the other one; before the lock, which is not taken twice
    with open(__file__, encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return _connected(address)
        _start(address, imported)
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return _connected(address)
            time.sleep(0.02)
    raise RuntimeError("no zygote has begun")


def _connected(address: str) -> socket.socket:
    ours = socket.socket(socket.AF_UNIX)
    try:
        ours.connect(address)
    except OSError:
        ours.close()
        raise
    return ours


def _start(address: str, imported: tuple[str, ...]) -> None:
    """Start a zygote; it ends when no worker is connected to it any more."""
    command = [str(Path(__file__).with_name("zygote.py")), address, *imported]
    if imported != BELOW_SB3:  # what they have in common is imported once
        Program(*command, cwd=Path.cwd(), imported=BELOW_SB3)
        return
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # a child inherits no threads: none must exist
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    os.posix_spawn(sys.executable, [sys.executable, *command], env, file_actions=null)


def new_process(*argv: str, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, for what a forked one cannot show."""
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, **kwargs
    )


def rlshare(*arguments: str | Path, cwd: Path, **kwargs: Any) -> Program:
    found = Program(RLSHARE, *map(str, arguments), cwd=cwd, **kwargs)
    with found:
        found.wait()
    return found


def succeeds(*arguments: str | Path, cwd: Path) -> str:
    found = rlshare(*arguments, cwd=cwd)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def refuses(*arguments: str | Path, cwd: Path, **kwargs: Any) -> str:
    """One sentence on stderr, exit code 2, no traceback; returns the sentence."""
    found = rlshare(*arguments, cwd=cwd, **kwargs)
    assert found.returncode == 2, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    (sentence,) = found.stderr.strip().splitlines()
    assert sentence.startswith("error: ")
    return sentence.removeprefix("error: ")
