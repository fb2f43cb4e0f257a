"""Predictions that are brought up to date while a model is fitted."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Fitted(Protocol):
    """What is asked of a model, a :class:`rlshare.trees.BoostedTrees`."""

    @property
    def bias(self) -> FloatArray:
        """What the sums over trees begin with [n_outputs]."""

    @property
    def n_trees(self) -> int:
        """Trees so far."""

    @property
    def version(self) -> object:
        """Another one where other trees than the newest have changed."""

    def predict(self, X: Any, start: int = 0, *, out: FloatArray | None = None) -> FloatArray:
        """Return predictions, of trees from ``start`` on, added onto ``out``."""

    def add_linear(self, X: Any, out: FloatArray) -> FloatArray:
        """Add the linear part, where there is one, onto ``out``."""


class RunningPrediction:
    """F(X) of a model that grows: only new trees are walked.

    Args:
        model: that is fitted.
        X: observations [n, n_features].

    Raises:
        ValueError: for a wrong shape.
    """

    def __init__(self, model: Fitted, X: Any) -> None:
        self._model, self._X = model, X
        self._sums = model.predict(X, model.n_trees)
        self._version: object = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._sums)

    def now(self) -> FloatArray:
        """Return the bits of ``model.predict(X)``, float32 [n, n_outputs]."""
        model = self._model
        if self._version is not model.version:
            self._sums[:] = model.bias
            self._version, self._n_trees = model.version, 0
        model.predict(self._X, self._n_trees, out=self._sums)
        self._n_trees = model.n_trees
        return model.add_linear(self._X, self._sums.copy())
