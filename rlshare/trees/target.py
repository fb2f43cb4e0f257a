"""A slowly following copy of a model, as target networks are, without copying trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlshare.trees.boosted_trees import BoostedTrees

_ALMOST_ONE = 1e-6


class TargetTrees:
    """The weighted sum ``bias + sum_t w_t tree_t`` over the trees of a model that goes on growing.

    Polyak averaging of the weights (Lillicrap et al., arXiv 1509.02971) is then an exact average
    of functions: ``target <- (1 - tau) target + tau model``. A tree grown after the last
    :meth:`update` has the weight 0, and one whose weight comes within 1e-6 of 1 gets the weight 1.

    Args:
        model: whose trees are used; it is shared, not copied.
        weights: of its oldest trees, to go on from; None for 1 each.

    Raises:
        ValueError: for more weights than trees, or weights outside [0, 1].
    """

    def __init__(self, model: BoostedTrees, weights: ArrayLike | None = None) -> None:
        if model.params.learner == "refit":
            raise ValueError("learner must be 'grow' where a target follows, got 'refit'")
        refuse_linear(model)
        given = np.ones(model.n_trees) if weights is None else np.asarray(weights)
        if given.ndim != 1 or len(given) > model.n_trees:
            raise ValueError(
                f"weights must have shape [n], n <= {model.n_trees} trees, got {list(given.shape)}"
            )
        if not ((given >= 0) & (given <= 1)).all():
            raise ValueError("weights must be in [0, 1]")
        self._weights = settled(given.astype(np.float64))
        self.model = model
        model.follow(self)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights [n_trees] of the model's trees."""
        newer = np.zeros(self.model.n_trees - len(self._weights))
        return np.concatenate([self._weights, newer])

    @property
    def n_full(self) -> int:
        """Oldest trees of weight 1."""
        return n_full(self._weights)

    def update(self, tau: float) -> None:
        """Move the target towards the model: w <- w + tau (1 - w).

        Raises:
            ValueError: if tau is not in [0, 1].
        """
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau!r}")
        self._weights = settled(1 - (1 - tau) * (1 - self.weights))

    def predict(self, X: Any) -> NDArray[np.float32]:
        """Return the target's F(X), float32 [n, n_outputs], for X [n, n_features]."""
        return weighted_sum(self.model, self._weights, X)

    def trees_replaced(self, n_oldest: int, n_kept: int) -> None:
        """Follow a compaction of the model, whose ``n_oldest`` trees all had the weight 1."""
        self._weights = np.concatenate([np.ones(n_kept), self._weights[n_oldest:]])


def refuse_linear(model: BoostedTrees) -> None:
    """Refuse a model with a linear part, which no weighted sum of trees can follow."""
    if model.linear_part is not None:
        raise ValueError(
            "linear must be None where a target follows, as of DQN, SAC and TD3: it is a weighted "
            "sum of trees"
        )


def settled(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of which those near 1 are 1. In float32 small updates would never come so far."""
    return np.where(1 - weights < _ALMOST_ONE, 1.0, weights)


def n_full(weights: NDArray[np.float64]) -> int:
    """Return the number of the oldest trees that have the weight 1."""
    partial = np.flatnonzero(weights != 1)
    return int(partial[0]) if len(partial) else len(weights)


def weighted_sum(model: BoostedTrees, weights: NDArray[np.float64], X: Any) -> NDArray[np.float32]:
    """Return the bias and the trees of ``model`` times their ``weights`` for X [n, n_features]."""
    used = np.trim_zeros(weights, "b")
    full = n_full(weights)
    out = model.predict(X, 0, full)
    return model.predict(X, full, len(used), out=out, tree_weights=used)
