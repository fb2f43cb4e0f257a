"""Prediction as one row's plain loop: float32, bias first, trees ascending, one add per tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from reference import Array, Candidate


def goes_right(row: Array, feature: int, threshold: Any, categorical: tuple[int, ...]) -> bool:
    return bool(Candidate(feature, threshold, feature in categorical).right(row[None])[0])


def leaf_of(tree: dict[str, Any], row: Array, categorical: tuple[int, ...] = ()) -> Array:
    """The row of values, [D], that `tree` adds to the prediction of `row`."""
    if "leaves" in tree:
        index = 0
        for feature, threshold in zip(tree["features"], tree["thresholds"], strict=True):
            index = 2 * index + goes_right(row, feature, threshold, categorical)
        return np.asarray(tree["leaves"][index])
    node = 0
    while tree["feature"][node] >= 0:
        right = goes_right(row, tree["feature"][node], tree["threshold"][node], categorical)
        node = tree["right" if right else "left"][node]
    return np.asarray(tree["leaf"][node])


def scalar_predict(
    bias: Array, trees: list[dict[str, Any]], row: Array, categorical: tuple[int, ...] = ()
) -> Array:
    total = [np.float32(value) for value in bias]
    for tree in trees:
        leaf = leaf_of(tree, row, categorical)
        total = [np.float32(sum_ + np.float32(v)) for sum_, v in zip(total, leaf, strict=True)]
    return np.array(total, dtype=np.float32)
