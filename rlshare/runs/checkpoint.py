"""Checkpoints: one file with everything that --resume needs, whole or absent.

A checkpoint is a Stable-Baselines3 model file (``PPO.load`` reads it) with further members:
the generators' states, the normaliser, the callbacks' states, the sizes of the log files, and the
replay buffer where the algorithm has one.
"""

import io
import pickle
import random
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from rlshare.files import TEMPORARY, write_atomically
from rlshare.runs.errors import UserError
from rlshare.runs.folder import RunFolder

_STATE = "rlshare/state.pkl"
_REPLAY_BUFFER = "rlshare/replay_buffer.pkl"
_VERSION = 2
_KEPT = 2
_BLOCK = 2**20
# What reading a damaged zip archive or pickle raises.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError, KeyError, ValueError,
    NotImplementedError, RuntimeError, AttributeError, ImportError, IndexError, TypeError,
)  # fmt: skip


@dataclass(frozen=True)
class RunState:
    """What a run is besides its model."""

    num_timesteps: int
    wall_time_s: float
    callbacks: dict[str, Any]
    log_sizes: dict[str, int]
    generators: dict[str, Any]
    normalizer: VecNormalize | None
    tree_budget: dict[str, Any] | None = None


RunState.__module__ = "rlshare.runs"  # pickled: the path must outlive the layout of the files


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back."""

    path: Path
    model_file: bytes
    state: RunState


class _Unpickler(pickle.Unpickler):
    """Reads the states of runs that were begun when this module had another name."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the class that a pickle names."""
        moved = {"rlshare.cli.checkpoint": "rlshare.runs"}
        return super().find_class(moved.get(module, module), name)


def generator_states(model: BaseAlgorithm) -> dict[str, Any]:
    """Return the states of every random generator that training draws from.

    They are global, but for that of the action space, from which SB3 draws first actions.
    """
    return {
        "action_space": model.action_space.np_random.bit_generator.state,
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(model: BaseAlgorithm, states: dict[str, Any]) -> None:
    """Undo ``generator_states``."""
    model.action_space.np_random.bit_generator.state = states["action_space"]
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])


def model_bytes(model: BaseAlgorithm) -> bytes:
    """Return the model as SB3 saves it."""
    buffer = io.BytesIO()  # in memory first: the file is then written in one go or not at all
    model.save(buffer)
    return buffer.getvalue()


def save_checkpoint(folder: RunFolder, model: BaseAlgorithm, state: RunState) -> Path:
    """Write a checkpoint atomically, then remove all but the newest ones.

    What a killed process left half written anywhere in the run folder is removed too.

    Raises:
        OSError: the file cannot be written; the earlier checkpoints are as they were.
    """
    buffer = io.BytesIO(model_bytes(model))
    # Mostly empty at first, and written often: compressed, but quickly.
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_STATE, pickle.dumps((_VERSION, state)))
        if isinstance(model, OffPolicyAlgorithm):
            with (
                archive.open(_REPLAY_BUFFER, "w", force_zip64=True) as member,
                io.BufferedWriter(member, _BLOCK) as stream,
            ):
                model.save_replay_buffer(stream)
    path = folder.checkpoints / f"{state.num_timesteps}_steps.zip"
    write_atomically(path, buffer.getvalue())
    if state.normalizer is not None:
        write_atomically(folder.normalizer, pickle.dumps(state.normalizer))
    half_written = folder.path.rglob(f".*{TEMPORARY}")
    for stale in (*list_checkpoints(folder)[:-_KEPT], *half_written):
        stale.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: RunFolder) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    pattern = re.compile(r"(\d+)_steps\.zip")
    found = [
        (int(m[1]), p) for p in folder.checkpoints.glob("*") if (m := pattern.fullmatch(p.name))
    ]
    return [path for _, path in sorted(found)]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint.
    """
    data = read_archive(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            version, state = _Unpickler(io.BytesIO(archive.read(_STATE))).load()
    except DAMAGE as error:
        raise UserError(f"not a checkpoint of rlshare: {path}") from error
    if version != _VERSION:
        raise UserError(f"{path}: checkpoint version must be {_VERSION}, got {version}")
    return Checkpoint(path, data, state)


def load_replay_buffer(checkpoint: Checkpoint, model: BaseAlgorithm) -> None:
    """Give a model the replay buffer of its checkpoint, where its algorithm has one.

    Raises:
        UserError: it is missing, damaged, or that of another algorithm.
    """
    if not isinstance(model, OffPolicyAlgorithm):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(checkpoint.model_file)) as archive:
            model.load_replay_buffer(io.BytesIO(archive.read(_REPLAY_BUFFER)))
    except (*DAMAGE, AssertionError) as error:
        sentence = " ".join(str(error).split())
        where = f"the replay buffer of {checkpoint.path}"
        raise UserError(f"cannot load {where}: {sentence}") from error


def read_archive(path: Path) -> bytes:
    """Return the bytes of a model file whose checksums are right.

    Raises:
        UserError: the file is missing, or damaged, or not a model of Stable-Baselines3.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the model file {path}: {error.strerror}") from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            broken = archive.testzip()
            members = set(archive.namelist())
    except DAMAGE as error:
        raise UserError(f"not a valid model file: {path}: {error}") from None
    if broken is not None:
        raise UserError(f"not a valid model file: {path}: wrong checksum of {broken!r}")
    if not {"data", "policy.pth"} <= members:
        raise UserError(f"not a valid model file: {path}: no model of Stable-Baselines3 in it")
    return data
