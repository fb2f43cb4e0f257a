"""Gradient-boosted trees fitted on gradients: the learner, without torch or Stable-Baselines3."""

from rlshare.core import active_isa, force_isa, supported_isas
from rlshare.trees.boosted_trees import BoostedTrees
from rlshare.trees.codes import Codes
from rlshare.trees.leaf_ids import LeafIds
from rlshare.trees.linear import LinearPart
from rlshare.trees.params import TreeParams
from rlshare.trees.schedules import Linear, Table
from rlshare.trees.structure import TreeArrays
from rlshare.trees.target import TargetTrees

__all__ = [
    "BoostedTrees",
    "Codes",
    "LeafIds",
    "Linear",
    "LinearPart",
    "Table",
    "TargetTrees",
    "TreeArrays",
    "TreeParams",
    "active_isa",
    "force_isa",
    "supported_isas",
]
