"""Policies for Stable-Baselines3: boosted trees and mixtures of experts."""

import stable_baselines3  # noqa: F401  first: its import registers the aliases below

from rlshare.policies.gbt.actor_critic import GBTPolicy
from rlshare.policies.gbt.callback import TreeCallback
from rlshare.policies.gbt.dqn import GBTDQNPolicy
from rlshare.policies.gbt.sac import GBTSACPolicy
from rlshare.policies.gbt.td3 import GBTTD3Policy
from rlshare.policies.moe.actor_critic import MoECnnPolicy, MoEPolicy
from rlshare.policies.moe.callbacks import MoECallback, ResetDeadExperts
from rlshare.policies.moe.dense import matched_mlp, slice_task_policy
from rlshare.policies.moe.extractor import MoEExtractor
from rlshare.policies.moe.off_policy import (
    MoECnnDQNPolicy,
    MoECnnSACPolicy,
    MoECnnTD3Policy,
    MoEDQNPolicy,
    MoESACPolicy,
    MoETD3Policy,
)
from rlshare.policies.moe.surgery import merge_policies, prune, upcycle
from rlshare.policies.rows import DictTreeRolloutBuffer, TreeRolloutBuffer

_PUBLIC = (
    GBTPolicy,
    GBTDQNPolicy,
    GBTSACPolicy,
    GBTTD3Policy,
    TreeRolloutBuffer,
    DictTreeRolloutBuffer,
    TreeCallback,
    MoEPolicy,
    MoESACPolicy,
    MoETD3Policy,
    MoEDQNPolicy,
    MoEExtractor,
    MoECallback,
    ResetDeadExperts,
)
__all__ = [
    "DictTreeRolloutBuffer",
    "GBTDQNPolicy",
    "GBTPolicy",
    "GBTSACPolicy",
    "GBTTD3Policy",
    "MoECallback",
    "MoECnnDQNPolicy",
    "MoECnnPolicy",
    "MoECnnSACPolicy",
    "MoECnnTD3Policy",
    "MoEDQNPolicy",
    "MoEExtractor",
    "MoEPolicy",
    "MoESACPolicy",
    "MoETD3Policy",
    "ResetDeadExperts",
    "TreeCallback",
    "TreeRolloutBuffer",
    "matched_mlp",
    "merge_policies",
    "prune",
    "slice_task_policy",
    "upcycle",
]

# Checkpoints store class paths: these must outlive the layout of the files.
for _public in _PUBLIC:
    _public.__module__ = __name__
