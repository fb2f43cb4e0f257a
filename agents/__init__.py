"""Algorithms' settings: validated recipes per algorithm, policy and environment."""

if __name__ != "rlshare.agents":
    raise ImportError(
        f'import this package as "rlshare.agents", got {__name__!r}: saved models store class paths'
    )

from rlshare.agents.loader import list_recipes, load_recipe, parse_recipe
from rlshare.agents.overrides import apply_overrides, parse_pairs
from rlshare.agents.recipe import ALGORITHMS, POLICIES, Linear, Normalize, Recipe, recipe_class

__all__ = [
    "ALGORITHMS",
    "POLICIES",
    "Linear",
    "Normalize",
    "Recipe",
    "apply_overrides",
    "list_recipes",
    "load_recipe",
    "parse_pairs",
    "parse_recipe",
    "recipe_class",
]
