"""What two checkpoints must share to be the same agent: every tensor and every tree."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch


def parts(checkpoint: Path) -> dict[str, bytes]:
    """The bytes of each tensor of the policy (trees are one) and of its optimizers."""
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(checkpoint) as archive:
        for member in (name for name in archive.namelist() if name.endswith(".pth")):
            data = torch.load(io.BytesIO(archive.read(member)), weights_only=True)
            _collect(data, member, found)
    return found


def _collect(data: Any, name: str, found: dict[str, bytes]) -> None:
    if isinstance(data, torch.Tensor):
        found[name] = data.detach().numpy().tobytes()
    elif isinstance(data, dict):
        for key, value in data.items():
            _collect(value, f"{name}/{key}", found)
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            _collect(value, f"{name}/{index}", found)
    else:
        found[name] = repr(data).encode()


def steps(checkpoint: Path) -> int:
    """The environment steps in a checkpoint's name."""
    return int(checkpoint.name.split("_")[0])
