"""Plain-data options of a tree policy: what ``policy_kwargs`` may hold, checked."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rlshare.messages import nearest
from rlshare.trees import Linear, Table, TreeParams

Rate = float | Mapping[str, float] | Sequence[float]


def tree_params(tree: Mapping[str, Any], categorical: Sequence[int]) -> TreeParams:
    """Return the ``TreeParams`` of the dict ``tree``, with the space's categorical features.

    Without a ``random_state`` one is drawn from torch's generator, which Stable-Baselines3 has
    seeded, so that a seed makes the whole agent reproducible.

    Raises:
        ValueError: for an unknown key, with the nearest known one, or a value out of its range.
    """
    known = [field.name for field in dataclasses.fields(TreeParams)]
    for key in tree:
        if key not in known:
            raise ValueError(
                f"tree has no key {key!r}{nearest(key, known)} Known keys: {', '.join(known)}"
            )
    options = dict(tree)
    declared = {*categorical, *(options.get("categorical") or ())}
    options["categorical"] = sorted(declared) or None
    if options.get("random_state") is None:
        options["random_state"] = int(torch.randint(2**31, ()).item())
    return TreeParams(**options)


def batch_tree_params(tree: Mapping[str, Any], categorical: Sequence[int]) -> TreeParams:
    """Return ``tree_params`` for an algorithm with a replay buffer, which has no rollouts.

    Raises:
        ValueError: as ``tree_params``, and for ``bins="rollout"``.
    """
    params = tree_params(tree, categorical)
    if params.bins != "batch":
        raise ValueError(
            f'tree bins must be "batch" with a replay buffer, got {params.bins!r}: its batches '
            "belong to no rollout"
        )
    return params


def refuse_budget(tree_budget: int | None) -> None:
    """Refuse a bound on the trees, which SAC, TD3 and DQN cannot keep.

    Raises:
        ValueError: unless ``tree_budget`` is None.
    """
    if tree_budget is not None:
        raise ValueError(
            f"tree_budget must be None with DQN, SAC and TD3, got {tree_budget}: old trees are "
            "refitted on what a rollout met, and values would change on all that it did not; "
            "train less often, on larger batches"
        )


def learning_rate(name: str, rate: Rate) -> float | Linear | Table:
    """Return the schedule that the plain data ``rate`` describes.

    A number is constant; ``{"init": .05, "stop": .01, "T": 10000}`` is linear from init to stop
    within T boosting steps; a list is a table with one rate per boosting step.

    Raises:
        ValueError: for anything else, and for a rate that is negative or not finite.
    """
    if isinstance(rate, int | float) and not isinstance(rate, bool):
        if not (rate >= 0 and math.isfinite(rate)):
            raise ValueError(f"{name} must be finite and >= 0, got {rate}")
        return float(rate)
    if isinstance(rate, Mapping) and set(rate) == {"init", "stop", "T"}:
        return Linear(**{key: float(value) for key, value in rate.items()})
    if isinstance(rate, Sequence) and not isinstance(rate, str):
        return Table(rate)
    raise ValueError(
        f'{name} must be a number, a dict {{"init": .., "stop": .., "T": ..}} or a list of '
        f"numbers, got {rate!r}"
    )


def clip_norm(name: str, norm: float | None) -> float | None:
    """Return the gradient norm ``norm``, checked; None does not clip.

    Raises:
        ValueError: if it is not positive.
    """
    if norm is not None and not norm > 0:
        raise ValueError(f"{name} must be None or > 0, got {norm!r}")
    return norm
