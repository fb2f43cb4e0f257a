"""Observations that a policy has acted on, on which its trees are compacted."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_RECENT = 49_152
_MAX_HISTORY = 16_384
_MAX_BYTES = 2**28  # of all rows
_BLOCK = 256  # consecutive rows resemble each other: they are held out together
MIN_ROWS = 4 * _BLOCK


class ActedRows:
    """Observations acted on, as features: the last ones, and a thin selection of all before.

    The last ones alone would let a compaction forget what the agent has learnt to avoid.
    """

    def __init__(self) -> None:
        self._recent: list[NDArray[Any]] = []
        self._history: list[NDArray[Any]] = []  # every _stride-th batch before the recent ones
        self._stride = 1
        self._n_forgotten = 0  # batches that are recent no more

    def __len__(self) -> int:
        """Return the number of recent rows."""
        return sum(len(x) for x in self._recent)

    def add(self, x: NDArray[Any]) -> None:
        """Append a batch ``x`` [n, n_features], and forget or thin out what is too much."""
        share = min(1.0, _MAX_BYTES / (x[0].nbytes * (_MAX_RECENT + _MAX_HISTORY)))
        self._recent.append(x.copy())
        if len(self._recent) * len(x) < max(share * _MAX_RECENT, MIN_ROWS):
            return
        half = len(self._recent) // 2
        for old in self._recent[:half]:
            if self._n_forgotten % self._stride == 0:
                self._history.append(old)
            self._n_forgotten += 1
        self._recent = self._recent[half:]
        while len(self._history) * len(x) > max(share * _MAX_HISTORY, MIN_ROWS):
            self._history = self._history[::2]
            self._stride *= 2

    def split(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the rows to fit on, and every fourth block of the recent ones to measure on."""
        recent = np.concatenate(self._recent)
        held_out = np.arange(len(recent)) // _BLOCK % 4 == 3
        return np.concatenate([*self._history, recent[~held_out]]), recent[held_out]

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs."""
        return {
            "recent": list(self._recent),
            "history": list(self._history),
            "stride": self._stride,
            "n_forgotten": self._n_forgotten,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Undo ``state``."""
        self._recent, self._history = list(state["recent"]), list(state["history"])
        self._stride, self._n_forgotten = state["stride"], state["n_forgotten"]
