"""What a run is, without a command line: settings, folder, checkpoints, training."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return what checkpoints name, imported when first asked for: it needs torch."""
    if name != "RunState":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rlshare.runs.checkpoint import RunState

    return RunState
