"""Algorithms' settings: validated recipes per algorithm, policy and environment."""

if __name__ != "rlshare.agents":
    raise ImportError(
        f'import this package as "rlshare.agents", got {__name__!r}: saved models store class paths'
    )

from typing import TYPE_CHECKING, Any

from rlshare.agents.recipes.loader import list_recipes, load_recipe, parse_recipe, recipe_name
from rlshare.agents.recipes.overrides import apply_overrides, parse_pairs
from rlshare.agents.recipes.schema.on_policy import Linear, Normalize, Recipe
from rlshare.agents.registry import ALGORITHMS, POLICIES, recipe_class

if TYPE_CHECKING:
    from rlshare.agents.awr.algorithm import AWR
    from rlshare.agents.awr.trajectories import DictTrajectoryBuffer, TrajectoryBuffer

__all__ = [
    "ALGORITHMS",
    "AWR",
    "POLICIES",
    "DictTrajectoryBuffer",
    "Linear",
    "Normalize",
    "Recipe",
    "TrajectoryBuffer",
    "apply_overrides",
    "list_recipes",
    "load_recipe",
    "parse_pairs",
    "parse_recipe",
    "recipe_class",
    "recipe_name",
]

_HEAVY = {
    "AWR": "awr.algorithm",
    "TrajectoryBuffer": "awr.trajectories",
    "DictTrajectoryBuffer": "awr.trajectories",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for: recipes alone are light."""
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"rlshare.agents.{_HEAVY[name]}"), name)
    globals()[name] = found
    return found
