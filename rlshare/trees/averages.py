"""What a target averages of its model: weights of trees that stay, or leaves that move.

Predictions are linear in either, so that an average of these numbers is an average of functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rlshare.trees.ensemble import Ensemble

Numbers = NDArray[np.float64]
_ALMOST_ONE = 1e-6
_MAX = float(np.finfo(np.float32).max)


class Average(Protocol):
    """Numbers of a model of which a target has others."""

    name: str  # what they are

    def online(self) -> NDArray[np.floating[Any]]:
        """Return those of the model itself."""

    def check(self, numbers: NDArray[Any]) -> None:
        """Refuse numbers that no target of the model can have.

        Raises:
            ValueError: with what they must be.
        """

    def settled(self, numbers: Numbers) -> Numbers:
        """Return numbers of which those near their end are there."""

    def n_full(self, numbers: Numbers) -> int:
        """Return how many of the oldest trees are the model's own, and stay so."""

    def predict(self, numbers: Numbers, X: Any) -> NDArray[np.float32]:
        """Return the target's F(X), float32 [n, n_outputs], for X [n, n_features]."""


class WeightsOfTrees:
    """Of trees that are added: the weights [n_trees] of a sum, all 1 in the model."""

    name = "weights"

    def __init__(self, model: Ensemble) -> None:
        self.model = model

    def online(self) -> NDArray[np.float64]:
        """Return 1 for each tree."""
        return np.ones(self.model.n_trees)

    def check(self, numbers: NDArray[Any]) -> None:
        """Refuse other numbers than one in [0, 1], but for roundings, for each tree."""
        n_trees = self.model.n_trees
        if numbers.shape != (n_trees,) or not ((numbers >= 0) & (numbers < 1.01)).all():
            raise ValueError(
                f"weights of a target must be {n_trees} numbers in [0, 1], one for each tree, got "
                f"shape {list(numbers.shape)}"
            )

    def settled(self, numbers: Numbers) -> Numbers:
        """Make weights near 1 equal to 1. In float32 small updates would never come so far."""
        return np.where(1 - numbers < _ALMOST_ONE, 1.0, numbers)

    def n_full(self, numbers: Numbers) -> int:
        """Return the number of the oldest trees that have the weight 1."""
        partial = np.flatnonzero(numbers != 1)
        return int(partial[0]) if len(partial) else len(numbers)

    def predict(self, numbers: Numbers, X: Any) -> NDArray[np.float32]:
        """Return the bias and the trees times their weights."""
        used = np.trim_zeros(numbers, "b")
        full = self.n_full(numbers)
        out = self.model.predict(X, 0, full)
        return self.model.predict(X, full, len(used), out=out, tree_weights=used)


class LeavesOfTrees:
    """Of leaves that move: a second table of leaves for the same tests."""

    name = "leaves"

    def __init__(self, model: Ensemble) -> None:
        self.model = model

    def online(self) -> NDArray[np.float32]:
        """Return the leaves of the model."""
        return self.model.leaves

    def check(self, numbers: NDArray[Any]) -> None:
        """Refuse other numbers than one in float32 for each of the model's leaves and outputs."""
        n_leaves = len(self.model.leaves)
        if numbers.shape != (n_leaves,) or not (np.abs(numbers) <= _MAX).all():
            raise ValueError(
                f"leaves of a target must be {n_leaves} finite numbers, as many as its online "
                f"ensemble has, got shape {list(numbers.shape)}"
            )

    def settled(self, numbers: Numbers) -> Numbers:
        """Change nothing: leaves are on their way for ever."""
        return numbers

    def n_full(self, numbers: Numbers) -> int:
        """Return 0."""
        return 0

    def predict(self, numbers: Numbers, X: Any) -> NDArray[np.float32]:
        """Return the bias and these leaves, rounded to float32."""
        return self.model.predict(X, leaves=numbers.astype(np.float32))


def average_of(model: Ensemble) -> Average:
    """Return what a target of a model averages."""
    return LeavesOfTrees(model) if model.refits else WeightsOfTrees(model)


def refuse_linear(model: Ensemble) -> None:
    """Refuse a model with a linear part, of which there is no average here.

    Raises:
        ValueError: where it has one.
    """
    if model.linear_part is not None:
        raise ValueError(
            "linear must be None where a target follows, as of DQN, SAC and TD3: it averages trees"
        )


def followed(numbers: Numbers, online: NDArray[Any]) -> Numbers:
    """Return as many numbers as there are online: what is new is 0 in a target."""
    return np.concatenate([numbers, np.zeros(len(online) - len(numbers))])
