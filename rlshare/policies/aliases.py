"""The aliases of the policies in Stable-Baselines3's algorithms."""

import importlib
import sys
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from rlshare.policies.gbt.actor_critic import GBTPolicy
from rlshare.policies.gbt.dqn import GBTDQNPolicy
from rlshare.policies.gbt.sac import GBTSACPolicy
from rlshare.policies.gbt.td3 import GBTTD3Policy
from rlshare.policies.moe.actor_critic import MoEPolicy
from rlshare.policies.moe.off_policy import MoEDQNPolicy, MoESACPolicy, MoETD3Policy

_REASONS = {
    "TRPO": "it needs second derivatives with respect to torch parameters, and trees have none",
    "ARS": "it perturbs a flat vector of parameters, and trees are not one",
}


def _refusal(algorithm: str, reason: str) -> type[GBTPolicy]:
    """Return a policy class whose constructor says why the algorithm cannot have trees."""

    class Refusal(GBTPolicy):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise ValueError(
                f"GBTPolicy works with PPO, A2C, DQN, SAC and TD3, not with {algorithm}: {reason}"
            )

    return Refusal


_EXPERTS: dict[str, type[BasePolicy]] = {
    "PPO": MoEPolicy,
    "A2C": MoEPolicy,
    "SAC": MoESACPolicy,
    "TD3": MoETD3Policy,
    "DQN": MoEDQNPolicy,
}
_POLICIES: dict[str, dict[str, type[BasePolicy]]] = {
    "GBTPolicy": {
        "PPO": GBTPolicy,
        "A2C": GBTPolicy,
        "DQN": GBTDQNPolicy,
        "SAC": GBTSACPolicy,
        "TD3": GBTTD3Policy,
        **{algorithm: _refusal(algorithm, reason) for algorithm, reason in _REASONS.items()},
    },
    "MoEPolicy": _EXPERTS,
    "MoECnnPolicy": _EXPERTS,  # the space says whether a convolution is needed
}


def register() -> None:
    """Add the aliases to the algorithms of Stable-Baselines3 and, if imported, of sb3_contrib."""
    for package in ("stable_baselines3", "sb3_contrib"):
        for alias, policies in _POLICIES.items():
            for name, policy in policies.items():
                algorithm = getattr(sys.modules.get(package), name, None)
                if isinstance(algorithm, type) and issubclass(algorithm, BaseAlgorithm):
                    algorithm.policy_aliases[alias] = policy
    if hasattr(sys.modules.get("sb3_contrib"), "MaskablePPO"):
        importlib.import_module("rlshare.policies.maskable")  # registers its own
