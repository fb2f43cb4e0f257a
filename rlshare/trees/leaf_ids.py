"""In which leaves rows end, found once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.trees.categories import CategoryEncoder
from rlshare.trees.codes import Encoded


class LeafIds(Encoded):
    """Rows and their leaves, from :meth:`BoostedTrees.leaf_ids`, while the leaves move.

    The leaves are found again where the trees of the model were drawn anew.
    """

    def __init__(self, rows: NDArray[np.float32], encoder: CategoryEncoder) -> None:
        super().__init__(encoder, "leaf_ids")
        self.rows = rows  # [n, n_features], categories as numbers
        self._found: tuple[object, _core.LeafIds] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def of(
        self, forest: _core.Forest, structure: object, encoder: CategoryEncoder, n_threads: int
    ) -> _core.LeafIds:
        """Return the leaves in a forest.

        Args:
            forest: whose trees they are.
            structure: another object where its tests are others.
            encoder: of the model that asks.
            n_threads: at most so many; 0 for as many as there are cores.

        Raises:
            ValueError: where the model's categories have other numbers.
        """
        self.check(encoder)
        if self._found is None or self._found[0] is not structure:
            self._found = structure, _core.leaf_ids(forest, self.rows, n_threads)
        return self._found[1]
