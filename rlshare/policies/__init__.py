"""Policies for Stable-Baselines3 whose parameters are not those of a network."""

import stable_baselines3  # noqa: F401  first: its import registers the aliases below

from rlshare.policies.buffers import DictTreeRolloutBuffer, TreeRolloutBuffer
from rlshare.policies.callbacks import TreeCallback
from rlshare.policies.gbt import GBTPolicy

__all__ = ["DictTreeRolloutBuffer", "GBTPolicy", "TreeCallback", "TreeRolloutBuffer"]

# Checkpoints store class paths: these must outlive the layout of the files.
for _public in (GBTPolicy, TreeRolloutBuffer, DictTreeRolloutBuffer, TreeCallback):
    _public.__module__ = __name__
