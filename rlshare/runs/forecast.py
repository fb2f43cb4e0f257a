"""What a run will grow: trees, memory, and what acting will cost at the end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from rlshare.agents import Recipe


@dataclass(frozen=True)
class Forecast:
    """The size of a tree policy at the end of a run."""

    trees: int
    verb: str  # what a run does to so many trees
    megabytes: float
    acting_ms: float
    n_envs: int

    def __str__(self) -> str:
        return (
            f"will {self.verb} {self.trees:,} trees, about {self.megabytes:,.1f} MB; "
            f"acting for {self.n_envs} environments at the end takes about "
            f"{self.acting_ms:.2g} ms a step"
        )


def forecast(
    recipe: Recipe[Any], observation_space: spaces.Space[Any], n_outputs: Sequence[int]
) -> Forecast:
    """Estimate a run's ensembles by growing and timing small ones of the same shape.

    Args:
        recipe: settings of the run.
        observation_space: of one environment.
        n_outputs: columns of each ensemble.
    """
    from rlshare.policies.gbt.features import TabularFeatures
    from rlshare.trees import BoostedTrees, TreeParams

    tree = recipe.policy_kwargs.model_dump()["tree"] or {}
    changes = {"categorical": None, "feature_weights": None, "monotonic": None, "bins": "batch"}
    params = TreeParams(**(tree | changes))
    n_features = TabularFeatures(observation_space).features_dim
    rng = np.random.default_rng(0)
    n_rows = getattr(recipe, "batch_size", None) or 128
    X = rng.normal(size=(max(n_rows, recipe.n_envs), n_features)).astype(np.float32)
    rows = np.ascontiguousarray(X[: recipe.n_envs])
    trees, verb = _trees(recipe, params)
    n_bytes, seconds = 0.0, 0.0
    for columns in n_outputs:
        small = BoostedTrees(n_features, columns, params)
        empty = small.nbytes
        for _ in range(1 if small.refits else 100):
            small.step(X, rng.normal(size=(len(X), columns)).astype(np.float32))
        n_bytes += (small.nbytes - empty) * trees / small.n_trees
        seconds += min(_seconds(small, rows) for _ in range(5)) * trees / small.n_trees
    return Forecast(
        trees=trees * len(n_outputs),
        verb=verb,
        megabytes=n_bytes / 1e6,
        acting_ms=1e3 * seconds,
        n_envs=recipe.n_envs,
    )


def _trees(recipe: Recipe[Any], params: Any) -> tuple[int, str]:
    """Return the trees of an ensemble at the end, and what a run does to so many."""
    if params.learner == "refit":
        return params.n_trees, "refit"
    grown = recipe.optimizer_steps()
    budget = getattr(recipe.policy_kwargs, "tree_budget", None) or grown
    if budget < grown:
        return budget, "keep about"  # a compaction that is refused exceeds the budget
    return grown, "grow up to" if getattr(recipe, "target_kl", None) else "grow"


def _seconds(model: Any, rows: Any) -> float:
    start = time.perf_counter()
    model.predict(rows)
    return time.perf_counter() - start
