"""The instruction set the compiled core runs on."""

from rlshare import _core


def force_isa(name: str | None) -> None:
    """Run on one of :func:`supported_isas`, or, with None, on the widest again.

    Results are bit-equal on all of them: this is for tests and measurements.

    Raises:
        ValueError: for an instruction set this machine lacks.
    """
    _core.force_isa(name or "")
