"""Which algorithms and policies there are, and what the recipe of a pair may say."""

from typing import Any

from rlshare.agents.recipes.schema.off_policy import (
    ActorCriticsKwargs,
    AWRRecipe,
    DQNRecipe,
    GBTActorKwargs,
    GBTQFunctionKwargs,
    GBTStochasticActorKwargs,
    MoEActorCriticsKwargs,
    MoEQNetworkKwargs,
    QNetworkKwargs,
    SACRecipe,
    TD3Recipe,
)
from rlshare.agents.recipes.schema.on_policy import (
    A2CRecipe,
    GBTKwargs,
    MLPKwargs,
    MoEKwargs,
    PPORecipe,
    Recipe,
)

_PPO: dict[str, type[Recipe[Any]]] = {
    "gbt": PPORecipe[GBTKwargs],
    "moe": PPORecipe[MoEKwargs],
    "mlp": PPORecipe[MLPKwargs],
}
_SCHEMAS: dict[str, dict[str, type[Recipe[Any]]]] = {
    "ppo": _PPO,
    "ppo_mask": _PPO,
    "a2c": {
        "gbt": A2CRecipe[GBTKwargs],
        "moe": A2CRecipe[MoEKwargs],
        "mlp": A2CRecipe[MLPKwargs],
    },
    "awr": {
        "gbt": AWRRecipe[GBTKwargs],
        "moe": AWRRecipe[MoEKwargs],
        "mlp": AWRRecipe[MLPKwargs],
    },
    "dqn": {
        "gbt": DQNRecipe[GBTQFunctionKwargs],
        "moe": DQNRecipe[MoEQNetworkKwargs],
        "mlp": DQNRecipe[QNetworkKwargs],
    },
    "sac": {
        "gbt": SACRecipe[GBTStochasticActorKwargs],
        "moe": SACRecipe[MoEActorCriticsKwargs],
        "mlp": SACRecipe[ActorCriticsKwargs],
    },
    "td3": {
        "gbt": TD3Recipe[GBTActorKwargs],
        "moe": TD3Recipe[MoEActorCriticsKwargs],
        "mlp": TD3Recipe[ActorCriticsKwargs],
    },
}
ALGORITHMS = tuple(_SCHEMAS)
POLICIES = ("gbt", "moe", "mlp")


def recipe_class(algo: str, policy: str) -> type[Recipe[Any]]:
    """Return the schema of an (algorithm, policy) pair.

    Raises:
        ValueError: the algorithm or the policy is unknown.
    """
    if algo not in ALGORITHMS:
        raise ValueError(f"algo must be one of {', '.join(ALGORITHMS)}, got {algo!r}")
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    return _SCHEMAS[algo][policy]
