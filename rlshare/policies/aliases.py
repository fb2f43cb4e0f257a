"""Which policy each algorithm of Stable-Baselines3 takes: by alias, or refused with the reason."""

import importlib
import sys
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from rlshare.policies.gbt.actor_critic import GBTPolicy
from rlshare.policies.gbt.base import TreePolicy
from rlshare.policies.gbt.dqn import GBTDQNPolicy
from rlshare.policies.gbt.sac import GBTSACPolicy
from rlshare.policies.gbt.td3 import GBTTD3Policy
from rlshare.policies.moe.actor_critic import MoEPolicy
from rlshare.policies.moe.base import ExpertPolicy
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


# The classes behind an alias. For an algorithm that none of them serves it is the alias itself.
_FAMILIES: dict[str, type] = {"GBTPolicy": TreePolicy, "MoEPolicy": ExpertPolicy}


def register() -> None:
    """Add the aliases to the algorithms of Stable-Baselines3 and, if imported, of sb3_contrib."""
    for package in ("stable_baselines3", "sb3_contrib"):
        for name, algorithm in list(vars(sys.modules.get(package, object)).items()):
            if isinstance(algorithm, type) and issubclass(algorithm, BaseAlgorithm):
                _register_with(name, algorithm)
    if hasattr(sys.modules.get("sb3_contrib"), "MaskablePPO"):
        importlib.import_module("rlshare.policies.maskable")  # registers its own
    BaseAlgorithm.policy_class = _PolicyClass()  # type: ignore[assignment]


def _register_with(name: str, algorithm: type[BaseAlgorithm]) -> None:
    own: dict[str, type] | None = vars(algorithm).get("policy_aliases")
    if own is None or name == "MaskablePPO":  # DDPG has those of TD3
        return
    for alias, policies in _POLICIES.items():
        family = _FAMILIES["GBTPolicy" if alias == "GBTPolicy" else "MoEPolicy"]
        own[alias] = policies.get(name, family)


class _PolicyClass:
    """``BaseAlgorithm.policy_class``, which every algorithm sets first of all.

    An algorithm calls the class without a word of who calls, and so the class could not refuse.
    """

    def __set__(self, model: BaseAlgorithm, policy: Any) -> None:
        for alias, family in _FAMILIES.items():
            if isinstance(policy, type) and issubclass(policy, family):
                _check(alias, policy, type(model))
        model.__dict__["policy_class"] = policy


def _check(alias: str, policy: type, algorithm: type[BaseAlgorithm]) -> None:
    """Refuse a policy of ours that is not of the class behind its alias.

    An algorithm of the user's is like the one it inherits from; others can take what they want.

    Raises:
        ValueError: naming the policy to use, or why there is none.
    """
    for base in algorithm.__mro__:
        taken = vars(base).get("policy_aliases", {}).get(alias)
        if taken is None or (issubclass(policy, taken) and taken is not _FAMILIES[alias]):
            continue
        if taken is _FAMILIES[alias]:
            reason = _REASONS.get(base.__name__, "there is no policy of this kind for it")
            raise ValueError(f"{alias} works with {_WORKING}, not with {base.__name__}: {reason}")
        raise ValueError(
            f"{algorithm.__name__} takes {taken.__name__}, not {policy.__name__}: ask for "
            f'"{alias}", which is the right class for each algorithm'
        )
