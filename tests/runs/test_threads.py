"""Runs outside of the main thread, and in processes that others start."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from rlshare.cli import main
from rlshare.runs.signals import StopOnSignals

SMALL = ["--hyperparams", "n_steps:64", "batch_size:64"]
TINY = ["--eval-freq", "256", "--eval-episodes", "1", "--seed", "1", *SMALL]


def train(folder: Path, *options: str, n_envs: int = 2) -> list[str]:
    return ["train", "-f", str(folder), "-n", "512", *options, *TINY, f"n_envs:{n_envs}"]


def test_every_command_works_in_a_thread(tmp_path: Path) -> None:
    run = str(tmp_path / "ppo" / "CartPole-v1_1")
    study = ["tune", "-f", str(tmp_path), "-n", "256", "--n-trials", "1"]
    with ThreadPoolExecutor(1) as thread:
        for command in (
            train(tmp_path),
            ["train", "--resume", run, "-n", "1024"],
            ["eval", run, "-n", "1"],
            ["plot", run, "-o", str(tmp_path / "curve.png")],
            [*study, *SMALL, "n_envs:2"],
        ):
            assert thread.submit(main, command).result() == 0, command


def test_a_spawned_process_trains_and_still_hears_ctrl_c(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for workers in ("dummy", "subproc"):
            command = train(tmp_path, "--vec-env", workers, n_envs=1)
            assert pool.submit(main, command).result() == 0
            handler = pool.submit(signal.getsignal, signal.SIGINT).result()
            assert handler is signal.default_int_handler


def test_a_process_without_children_says_what_to_choose(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:  # whose workers are daemonic
        assert pool.apply(main, (train(tmp_path, "--vec-env", "subproc"),)) == 2
    assert 'vec_env must be "dummy" in a daemonic process' in capfd.readouterr().err


def test_signals_are_caught_where_python_gives_them() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopOnSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received
    assert signal.getsignal(signal.SIGTERM) is before
    thread = threading.Thread(target=lambda: StopOnSignals().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
