"""When to stop fitting."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from rlshare.checks import integer
from rlshare.trees import checks
from rlshare.trees.running import Fitted, RunningPrediction


class Rewound(Fitted, Protocol):
    """What is asked of a model, a :class:`rlshare.trees.BoostedTrees`."""

    n_outputs: int

    n_steps_done: int

    def mark(self) -> Any:
        """Return where the model is."""

    def rewind(self, mark: Any) -> None:
        """Go back there."""


class Validation:
    """The error of a model on other rows while it is fitted, and the way back to its minimum.

    Args:
        model: as it is before fitting.
        eval_set: (X, y); None for no validation.
        rounds: trees in a row that may fail to lower the error.

    Raises:
        ValueError: for rounds < 1, or an eval_set that is no (X, y) of the model's shape.
    """

    def __init__(
        self, model: Rewound, eval_set: tuple[Any, ArrayLike] | None, rounds: int | None
    ) -> None:
        self._model = model
        self._rounds = 0 if rounds is None else integer("early_stopping_rounds", rounds, 1)
        if eval_set is None:
            return
        if len(eval_set) != 2:
            raise ValueError(f"eval_set must be a pair (X, y), got {len(eval_set)} items")
        self._F = RunningPrediction(model, eval_set[0])
        if len(self._F) == 0:
            raise ValueError("eval_set must have at least one row, got none")
        self._target = checks.targets(eval_set[1], len(self._F), model.n_outputs, "eval_set's y")
        self._least, self._best, self._n_best = self._error(), model.mark(), model.n_steps_done

    def _error(self) -> float:
        return float(np.square(self._F.now() - self._target, dtype=np.float64).sum(1).mean() / 2)

    def over(self) -> bool:
        """Take the newest tree into account; return whether the error has long been rising."""
        if not self._rounds:
            return False
        error = self._error()
        if error < self._least:
            self._least, self._best = error, self._model.mark()
            self._n_best = self._model.n_steps_done
        return self._model.n_steps_done - self._n_best >= self._rounds

    def rewind(self) -> None:
        """Drop the trees beyond the minimum, as if they had never been grown."""
        if self._rounds:
            self._model.rewind(self._best)
