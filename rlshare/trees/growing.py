"""The next tree of a forest: what the parameters ask of it, its rows and features, its growth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.trees.params import TreeParams

FloatArray = NDArray[np.float32]


class Growing(NamedTuple):
    """Parameters as the compiled core reads them."""

    params: TreeParams
    core: _core.GrowParams
    feature_weights: FloatArray  # [n_features]

    @classmethod
    def of(cls, params: TreeParams, n_features: int) -> Growing:
        """Return those of a model with so many features."""
        weights = params.feature_weights or [1.0] * n_features
        core = _core.GrowParams(
            greedy=params.grow_policy == "greedy",
            cosine=params.score == "cosine",
            max_depth=params.max_depth,
            min_samples_leaf=params.min_samples_leaf,
            l2=params.l2_regularization or 0.0,
            monotonic=list(params.monotonic or ()),
        )
        with np.errstate(over="ignore"):
            return cls(params, core, np.array(weights, np.float32))

    def grow(
        self,
        forest: _core.Forest,
        codes: _core.Codes,
        grads: FloatArray,
        weights: FloatArray | None,
        rates: FloatArray,
        step: int,
        n_threads: int,
    ) -> None:
        """Append a tree to the forest.

        Args:
            forest: which the tree joins.
            codes: rows [n].
            grads: their gradients [n, n_outputs].
            weights: theirs, [n] or [n, n_outputs], or None.
            rates: learning rates [n_outputs].
            step: number of the boosting step, the seed of its draws.
            n_threads: at most so many; 0 for as many as there are cores.
        """
        feature_weights, sample = self.draw(len(codes), step)
        if sample is not None:
            codes = codes.take(sample)
            grads = grads[sample]
            weights = None if weights is None else weights[sample]
        _core.grow(forest, codes, grads, weights, self.core, feature_weights, rates, n_threads)

    def draw(self, n: int, step: int) -> tuple[FloatArray, NDArray[np.int64] | None]:
        """Return the features' weights and the rows [m] of a step (None for all n)."""
        p, d, weights = self.params, len(self.feature_weights), self.feature_weights
        if p.subsample == 1 and p.colsample == 1:
            return weights, None
        # Seeded by the step, so that a loaded model goes on with the same draws.
        rng = np.random.default_rng([p.random_state or 0, step])
        kept = rng.choice(d, max(1, round(p.colsample * d)), replace=False)
        drawn = np.zeros_like(weights)
        drawn[kept] = weights[kept]
        if p.subsample == 1:
            return drawn, None
        return drawn, np.sort(rng.choice(n, max(1, round(p.subsample * n)), replace=False))
