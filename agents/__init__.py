"""Algorithms' settings: validated recipes per algorithm, policy and environment."""

if __name__ != "rlshare.agents":
    raise ImportError(
        f'import this package as "rlshare.agents", got {__name__!r}: saved models store class paths'
    )

from typing import TYPE_CHECKING

from rlshare.agents.registry import ALGORITHMS, POLICIES, recipe_class
from rlshare.lazy import names_of

if TYPE_CHECKING:
    from rlshare.agents.awr.algorithm import AWR
    from rlshare.agents.awr.trajectories import DictTrajectoryBuffer, TrajectoryBuffer
    from rlshare.agents.recipes.loader import list_recipes, load_recipe, parse_recipe, recipe_name
    from rlshare.agents.recipes.overrides import apply_overrides, parse_pairs
    from rlshare.agents.recipes.schema.base import Normalize, Recipe, RunLinear

__all__ = [
    "ALGORITHMS",
    "AWR",
    "POLICIES",
    "DictTrajectoryBuffer",
    "Normalize",
    "Recipe",
    "RunLinear",
    "TrajectoryBuffer",
    "apply_overrides",
    "list_recipes",
    "load_recipe",
    "parse_pairs",
    "parse_recipe",
    "recipe_class",
    "recipe_name",
]

# The names of algorithms above are light, these are not.
__getattr__ = names_of(
    __name__,
    {
        "awr.algorithm": ("AWR",),
        "awr.trajectories": ("TrajectoryBuffer", "DictTrajectoryBuffer"),
        "recipes.loader": ("list_recipes", "load_recipe", "parse_recipe", "recipe_name"),
        "recipes.overrides": ("apply_overrides", "parse_pairs"),
        "recipes.schema.base": ("Normalize", "Recipe", "RunLinear"),
    },
)
