"""Algorithms' settings: validated recipes per algorithm, policy and environment."""

if __name__ != "rlshare.agents":
    raise ImportError(
        f'import this package as "rlshare.agents", got {__name__!r}: saved models store class paths'
    )

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rlshare.agents.registry import ALGORITHMS, POLICIES, recipe_class

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

_HOMES = {
    "awr.algorithm": ("AWR",),
    "awr.trajectories": ("TrajectoryBuffer", "DictTrajectoryBuffer"),
    "recipes.loader": ("list_recipes", "load_recipe", "parse_recipe", "recipe_name"),
    "recipes.overrides": ("apply_overrides", "parse_pairs"),
    "recipes.schema.base": ("Normalize", "Recipe", "RunLinear"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the names of algorithms are light."""
    for module, names in _HOMES.items():
        if name in names:
            found = getattr(import_module(f"rlshare.agents.{module}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
