"""For scripts of earlier versions, which import it from here: see :mod:`rlshare.runs.signals`."""

from rlshare.runs.signals import StopOnSignals

__all__ = ["StopOnSignals"]
