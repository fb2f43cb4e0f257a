"""Rows as small integers, and whose they are."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.checks import integer
from rlshare.trees.categories import CategoryEncoder


class Encoded:
    """Rows whose categories are numbers.

    They belong to their maker and to models that number as it did: its copies, whatever either has
    learnt since. Without categorical features there is nothing to mistake, and any model of as many
    features may use them.

    Args:
        encoder: of the model that made them.
        name: of these rows, for messages.
    """

    def __init__(self, encoder: CategoryEncoder, name: str) -> None:
        self._encoder = encoder
        self._sizes = [len(numbers) for numbers in encoder.numbers.values()]
        self._name = name

    def check(self, encoder: CategoryEncoder) -> None:
        """Refuse a model that numbers categories otherwise.

        Raises:
            ValueError: where it does.
        """
        if encoder is self._encoder:
            return
        if encoder.n_features != self._encoder.n_features:
            raise ValueError(
                f"{self._name} must have {encoder.n_features} features, got those of a model with "
                f"{self._encoder.n_features}"
            )
        if list(encoder.numbers) != list(self._encoder.numbers):
            raise ValueError(
                f"{self._name} were made by another model: its categorical features are "
                f"{list(self._encoder.numbers)}, here they are {list(encoder.numbers)}"
            )
        theirs = self._encoder.numbers.values()
        for n, (f, ours), their in zip(self._sizes, encoder.numbers.items(), theirs, strict=True):
            if list(islice(ours, n)) != list(islice(their, n)):
                raise ValueError(
                    f"{self._name} were made by another model: it numbers the categories of "
                    f"feature {f} otherwise; let the model that is fitted make them"
                )


class Codes(Encoded):
    """Rows binned by :meth:`BoostedTrees.bin`, to be grown on as often as wanted."""

    def __init__(
        self, core: _core.Codes, encoder: CategoryEncoder, rows: NDArray[np.float32] | None = None
    ) -> None:
        super().__init__(encoder, "codes")
        self._core = core
        self.rows = rows  # [n, n_features], kept for a model with a linear part

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
        self.check(encoder)
        return self._core if rows is None else self._core.take(rows)
