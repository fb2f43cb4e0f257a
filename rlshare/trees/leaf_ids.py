"""In which leaves rows end, found once."""

from __future__ import annotations

from rlshare import _core


class LeafIds:
    """Rows' leaves in the trees of a model, from :meth:`BoostedTrees.leaf_ids`.

    They hold for as long as the model has the same trees, whatever their leaves are.
    """

    def __init__(self, core: _core.LeafIds, structure: object) -> None:
        self._core = core
        self._structure = structure

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._core)

    def of(self, structure: object) -> _core.LeafIds:
        """Return the leaves, for a model whose trees are these.

        Raises:
            ValueError: where it has other trees.
        """
        if structure is not self._structure:
            raise ValueError(
                "leaf_ids must be those of the model's trees, got those of other trees, or from "
                "before trees came or went: call leaf_ids again"
            )
        return self._core
