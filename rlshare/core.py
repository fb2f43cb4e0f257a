"""The instruction set the compiled core runs on."""

from rlshare import _core
from rlshare._core import active_isa, supported_isas

__all__ = ["active_isa", "force_isa", "supported_isas"]


def force_isa(name: str | None) -> None:
    """Run on one of :func:`supported_isas`, or, with None, on the widest again.

    For tests and measurements. Results of the trees are bit-equal on all of them; those of expert
    layers differ in the last bits.

    Raises:
        ValueError: for an instruction set this machine lacks.
    """
    _core.force_isa(name or "")
