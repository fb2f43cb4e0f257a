"""Mixtures of experts that cost what their active experts cost. Needs torch."""

from rlshare.moe.layer import MoELayer

__all__ = ["MoELayer"]
