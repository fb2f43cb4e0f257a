"""For scripts of earlier versions, which import it from here: see :mod:`rlshare.runs.models`."""

from rlshare.runs.models import build_model

__all__ = ["build_model"]
