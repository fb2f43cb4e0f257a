"""One run, killed with SIGKILL again and again and resumed each time; prints what happened.

The parent trains a little itself, so that everything is imported once, and forks a child for every
attempt, which calls the command line in its own process. Of four kills three wait for a checkpoint
to be added, every third waits for a write to be under way, and all for a while that is drawn. Run
as a script in an empty folder: python kill_chain.py POLICY KILLS SEED
"""

import faulthandler
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)  # a fork inherits no threads: none must exist

from command import PATIENCE  # noqa: E402

from rlshare.cli import main  # noqa: E402
from rlshare.runs.checkpoint import list_checkpoints, load_checkpoint  # noqa: E402
from rlshare.runs.folder import RunFolder  # noqa: E402

FOLDER = RunFolder(Path("logs/ppo/CartPole-v1_1"), "CartPole-v1")
# A checkpoint after every rollout of 64 steps: writing is a good part of the time.
TRAIN = ["--n-envs", "2", "--save-freq", "64", "--eval-freq", "0", "--seed", "1"]
PAIRS = ["--hyperparams", "n_steps:32", "batch_size:64", "n_epochs:1", "learning_rate:0.001"]


def start(arguments: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)  # to stderr, the log
    code = 1
    try:
        code = main(arguments)
    finally:
        os._exit(code)


def writing() -> bool:
    return any(FOLDER.checkpoints.glob(".*.tmp"))


def kill_after(pid: int, seconds: float, newest: Path | None, in_a_write: bool) -> bool:
    """Whether the child was alive until it was killed.

    Args:
        newest: the checkpoint that another one is to follow first.
        in_a_write: wait until a write is under way, too.
    """
    patience = time.monotonic() + PATIENCE / 2
    while newest and list_checkpoints(FOLDER)[-1] == newest and time.monotonic() < patience:
        time.sleep(0.005)
    time.sleep(seconds)
    while in_a_write and not writing() and time.monotonic() < patience:
        pass
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def reached() -> int:
    """The steps in the newest checkpoint; raises unless every checkpoint is whole."""
    return max(load_checkpoint(path).state.num_timesteps for path in list_checkpoints(FOLDER))


def chain(policy: str, kills: int, seed: int) -> dict[str, object]:
    delays = random.Random(seed)
    main(["train", "--policy", policy, "-n", "64", "--log-folder", "warm", *TRAIN, *PAIRS])
    pid = start(["train", "--policy", policy, "-n", "1000000", *TRAIN, *PAIRS])
    while not list_checkpoints(FOLDER):
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise RuntimeError("the first child ended without a checkpoint: see log.txt")
        time.sleep(0.01)
    steps, inside_a_write = [], 0
    for kill in range(kills):
        if kill:
            pid = start(["train", "--resume", str(FOLDER.path), "-n", "1000000"])
        newest = list_checkpoints(FOLDER)[-1] if kill % 4 else None
        if not kill_after(pid, delays.uniform(0, 0.2), newest, in_a_write=kill % 3 == 0):
            raise RuntimeError(f"child {kill} ended before it was killed: see log.txt")
        inside_a_write += writing()
        steps.append(reached())
    last = start(["train", "--resume", str(FOLDER.path), "-n", str(steps[-1] + 200)])
    code = os.waitstatus_to_exitcode(os.waitpid(last, 0)[1])
    return {"steps": steps, "inside_a_write": inside_a_write, "code": code, "end": reached()}


if __name__ == "__main__":
    print(json.dumps(chain(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
