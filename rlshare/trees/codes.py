"""Rows as small integers, and whose they are."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.checks import integer
from rlshare.trees.categories import CategoryEncoder


class Codes:
    """Rows binned by :meth:`BoostedTrees.bin`, to be fitted on as often as wanted.

    They hold numbers of categories, and so belong to their maker and to models that number as it
    did: its copies, whatever either has learnt since. Without categorical features there is nothing
    to mistake, and any model of as many features may fit on them.
    """

    def __init__(self, core: _core.Codes, encoder: CategoryEncoder) -> None:
        self._core = core
        self._encoder = encoder
        self._sizes = [len(numbers) for numbers in encoder.numbers.values()]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._core)

    def candidates(self, feature: int) -> list[float]:
        """Return the feature's candidate thresholds, or the numbers of its categories.

        Raises:
            ValueError: where feature is not in [0, n_features).
        """
        last = self._encoder.n_features - 1
        return self._core.candidates(integer("feature", feature, 0, last))

    def of(self, encoder: CategoryEncoder, rows: NDArray[np.int64] | None) -> _core.Codes:
        """Return the codes of some rows, or all, for a model with this encoder.

        Raises:
            ValueError: where its categories have other numbers.
        """
        if encoder is not self._encoder:
            self._check(encoder)
        return self._core if rows is None else self._core.take(rows)

    def _check(self, encoder: CategoryEncoder) -> None:
        if encoder.n_features != self._encoder.n_features:
            raise ValueError(
                f"codes must have {encoder.n_features} features, got those of a model with "
                f"{self._encoder.n_features}"
            )
        if list(encoder.numbers) != list(self._encoder.numbers):
            raise ValueError(
                "codes were made by another model: its categorical features are "
                f"{list(self._encoder.numbers)}, here they are {list(encoder.numbers)}"
            )
        theirs = self._encoder.numbers.values()
        for n, (f, ours), their in zip(self._sizes, encoder.numbers.items(), theirs, strict=True):
            if list(islice(ours, n)) != list(islice(their, n)):
                raise ValueError(
                    f"codes were made by another model: it numbers the categories of feature {f} "
                    "otherwise; make them with bin of the model that is fitted"
                )
