"""Mixtures of experts that cost what their active experts cost. Needs torch."""

from rlshare.moe.layer import MoELayer
from rlshare.moe.merged import MergedExperts
from rlshare.moe.telemetry import Report, Telemetry

__all__ = ["MergedExperts", "MoELayer", "Report", "Telemetry"]
