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

_WORKING = "PPO, A2C, AWR, DQN, SAC, TD3, DDPG and MaskablePPO"
_REASONS = {
    "TRPO": "it takes second derivatives with respect to torch parameters, which neither trees nor "
    "the compiled experts have",
    "ARS": "it perturbs the flat vector of parameters of an actor, without gradients or a value",
    "RecurrentPPO": "its policies carry the state of an LSTM from step to step",
    "QRDQN": "its networks predict quantiles of the return",
    "TQC": "its critics predict quantiles of the return",
    "CrossQ": "its critics are networks with batch renormalisation, and there are no targets",
}


def _refusal(alias: str, algorithm: str) -> type[BasePolicy]:
    """Return a policy class whose constructor says why the algorithm cannot have our policy."""
    reason = _REASONS.get(algorithm, "there is no policy of this kind for it")

    class Refusal(GBTPolicy):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise ValueError(f"{alias} works with {_WORKING}, not with {algorithm}: {reason}")

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
    },
    "MoEPolicy": _EXPERTS,
    "MoECnnPolicy": _EXPERTS,  # the space says whether a convolution is needed
}


def register() -> None:
    """Add the aliases to the algorithms of Stable-Baselines3 and, if imported, of sb3_contrib."""
    for package in ("stable_baselines3", "sb3_contrib"):
        for name, algorithm in list(vars(sys.modules.get(package, object)).items()):
            if isinstance(algorithm, type) and issubclass(algorithm, BaseAlgorithm):
                _register_with(name, algorithm)
    if hasattr(sys.modules.get("sb3_contrib"), "MaskablePPO"):
        importlib.import_module("rlshare.policies.maskable")  # registers its own


def _register_with(name: str, algorithm: type[BaseAlgorithm]) -> None:
    own = vars(algorithm).get("policy_aliases")  # DDPG has those of TD3
    if own is None or name == "MaskablePPO":
        return
    for alias, policies in _POLICIES.items():
        own[alias] = policies.get(name) or _refusal(alias, name)
