"""A slowly following copy of a model, as target networks are, without copying trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlshare.trees.averages import Numbers, average_of, followed, refuse_linear
from rlshare.trees.boosted_trees import BoostedTrees

_NO_WEIGHTS = "a target of learner='refit' has leaves of its own, and no weights of trees"


class TargetTrees:
    """A model as it was on an average of the past, whose trees it shares.

    Polyak averaging (Lillicrap et al., arXiv 1509.02971) is exact: ``target <- (1 - tau) target +
    tau model`` as functions. Of a model that adds trees the target is ``bias + sum_t w_t tree_t``:
    a tree grown after the last :meth:`update` has the weight 0, and one whose weight comes within
    1e-6 of 1 gets the weight 1. Of a model that :attr:`~BoostedTrees.refits` it is a second table
    of leaves, in float64, for the same tests; where these are drawn anew, the target's function is
    kept as nearly as the model's.

    Args:
        model: whose trees are used; it is shared, not copied.
        weights: of its oldest trees, to go on from; None to begin as the model is.

    Raises:
        ValueError: for more weights than trees, weights outside [0, 1], or weights of trees whose
            leaves move.
    """

    def __init__(self, model: BoostedTrees, weights: ArrayLike | None = None) -> None:
        refuse_linear(model)
        self.model = model
        self._numbers: Numbers
        average = average_of(model)
        if weights is None:
            self._numbers = average.online().astype(np.float64)
        else:
            if model.refits:
                raise ValueError(_NO_WEIGHTS)
            given = np.asarray(weights)
            if given.ndim != 1 or len(given) > model.n_trees:
                raise ValueError(
                    f"weights must have shape [n], n <= {model.n_trees} trees, got "
                    f"{list(given.shape)}"
                )
            if not ((given >= 0) & (given <= 1)).all():
                raise ValueError("weights must be in [0, 1]")
            self._numbers = average.settled(given.astype(np.float64))
        model.follow(self)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights [n_trees] of the model's trees.

        Raises:
            ValueError: where the leaves of the model move.
        """
        if self.model.refits:
            raise ValueError(_NO_WEIGHTS)
        return followed(self._numbers, average_of(self.model).online())

    @property
    def leaf_table(self) -> NDArray[np.float64] | None:
        """The target's leaves where they move, as :attr:`BoostedTrees.leaves`; else None."""
        return self._numbers if self.model.refits else None

    def replace_leaves(self, leaves: NDArray[np.float64]) -> None:
        """Put other leaves in place of the target's, where the tests of the model are others."""
        self._numbers = leaves

    @property
    def n_full(self) -> int:
        """Oldest trees that are the model's own, of weight 1; 0 where leaves move."""
        return average_of(self.model).n_full(self._numbers)

    def update(self, tau: float) -> None:
        """Move the target towards the model: target <- (1 - tau) target + tau model.

        Raises:
            ValueError: if tau is not in [0, 1].
        """
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau!r}")
        average = average_of(self.model)
        online = average.online().astype(np.float64)
        moved = (1 - tau) * followed(self._numbers, online) + tau * online
        self._numbers = average.settled(moved)

    def predict(self, X: Any) -> NDArray[np.float32]:
        """Return the target's F(X), float32 [n, n_outputs], for X [n, n_features]."""
        return average_of(self.model).predict(self._numbers, X)

    def trees_replaced(self, n_oldest: int, n_kept: int) -> None:
        """Follow a compaction of the model, whose ``n_oldest`` trees all had the weight 1."""
        self._numbers = np.concatenate([np.ones(n_kept), self._numbers[n_oldest:]])
