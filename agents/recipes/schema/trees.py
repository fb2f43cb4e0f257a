"""``policy_kwargs`` of the policies of boosted trees: the fields of their options."""

from dataclasses import fields

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

_TREE = section_of(TreeParams, [field.name for field in fields(TreeParams)])


def _policy(family: type[TreeOptions]) -> type[Settings]:
    names = [field.name for field in fields(family) if field.name != "optimizer_class"]
    return section_of(family, names, {"tree": _TREE})


ActorCritic = _policy(TreeActorCriticOptions)
QFunction = _policy(TreeQOptions)
Actor = _policy(TreeActorOptions)
StochasticActor = _policy(TreeStochasticActorOptions)
