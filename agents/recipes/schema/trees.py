"""``policy_kwargs`` of the policies of boosted trees: the fields of their options."""

from rlshare.agents.recipes.schema.base import Settings
from rlshare.agents.recipes.schema.options import section_of
from rlshare.policies.gbt.options import (
    TreeActorCriticOptions,
    TreeActorOptions,
    TreeOptions,
    TreeQOptions,
    TreeStochasticActorOptions,
)
from rlshare.trees import TreeParams

_TREE = section_of(TreeParams)


def _policy(family: type[TreeOptions]) -> type[Settings]:
    return section_of(family, {"tree": _TREE}, leave="optimizer_class")


ActorCritic = _policy(TreeActorCriticOptions)
QFunction = _policy(TreeQOptions)
Actor = _policy(TreeActorOptions)
StochasticActor = _policy(TreeStochasticActorOptions)
