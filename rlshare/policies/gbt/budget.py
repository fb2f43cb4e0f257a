"""A bound on the trees of a policy: old trees are replaced by fewer, where that changes little."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.distributions import Distribution, kl_divergence
from torch import Tensor

from rlshare.trees import BoostedTrees

MAX_VALUE_ERROR = 0.2  # see Report
KEPT_SHARES = (1 / 4, 1 / 2)  # of the replaced trees, tried in this order

_MAX_RECENT = 49_152
_MAX_HISTORY = 16_384
_MAX_BYTES = 2**28  # of all rows
_BLOCK = 256  # consecutive rows resemble each other: they are held out together
_MIN_ROWS = 4 * _BLOCK
_HOPELESS = 8  # half of the trees in place of a fourth does not lower the KL even threefold


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
        if len(self._recent) * len(x) < max(share * _MAX_RECENT, _MIN_ROWS):
            return
        half = len(self._recent) // 2
        for old in self._recent[:half]:
            if self._n_forgotten % self._stride == 0:
                self._history.append(old)
            self._n_forgotten += 1
        self._recent = self._recent[half:]
        while len(self._history) * len(x) > max(share * _MAX_HISTORY, _MIN_ROWS):
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


@dataclass(frozen=True)
class Report:
    """What one attempt to stay within the budget came to, measured on held-out observations."""

    n_trees_before: int
    n_trees_after: int  # as before where it was refused
    kl: float  # mean KL(policy before || policy after)
    # Root mean square, in standard deviations of the value before; where a tenth of that value's
    # own root mean square is more, in that.
    value_error: float
    accepted: bool


class TreeBudget:
    """Keeps every ensemble of a policy near ``max_trees`` trees.

    Where an ensemble has more, the oldest are replaced by a fourth or half of them
    (:meth:`rlshare.trees.BoostedTrees.compact`), so that 5/8 or 3/4 of max_trees remain. They are
    refitted on the last observations acted on and a selection of all before, and the change of the
    policy and the value is measured on a quarter of the last ones, which is held out. The first
    that keeps the mean KL divergence within ``max_kl`` and the value's error within a fifth (see
    :class:`Report`) is accepted; if neither does, the ensemble stays as it is until it has grown
    by a quarter.

    Args:
        max_trees: trees an ensemble may have, >= 16.
        max_kl: largest mean KL divergence KL(before || after) of a compaction.

    Raises:
        ValueError: where an argument breaks its rule.
    """

    def __init__(self, max_trees: int, max_kl: float) -> None:
        if isinstance(max_trees, bool) or not isinstance(max_trees, int) or max_trees < 16:
            raise ValueError(f"tree_budget must be None or an integer >= 16, got {max_trees!r}")
        if not max_kl > 0:
            raise ValueError(f"compaction_max_kl must be > 0, got {max_kl!r}")
        self.max_trees = max_trees
        self.max_kl = max_kl
        self.rows = ActedRows()
        self.reports: dict[int, Report] = {}  # ensemble -> last attempt before this rollout
        self._retry_at: dict[int, int] = {}  # ensemble -> trees from which to try again

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on as if it had not stopped."""
        return {"rows": self.rows.state(), "retry_at": dict(self._retry_at)}

    def restore(self, state: dict[str, Any]) -> None:
        """Undo ``state``."""
        self.rows.restore(state["rows"])
        self._retry_at = dict(state["retry_at"])

    def enforce(
        self, ensembles: Sequence[BoostedTrees], distribution: Callable[[Tensor], Distribution]
    ) -> None:
        """Compact the ensembles that are over the budget, as far as the limits allow.

        Args:
            ensembles: whose outputs side by side are theta, the policy's columns | the value.
            distribution: of the actions, from theta [n, D].
        """
        self.reports.clear()
        for k, trees in enumerate(ensembles):
            if trees.n_trees <= max(self.max_trees, self._retry_at.get(k, 0)):
                continue
            n_oldest = min(trees.n_compactable, trees.n_trees - self.max_trees // 2)
            if n_oldest < 1 or len(self.rows) < _MIN_ROWS:
                continue
            if not self._compact(ensembles, k, n_oldest, distribution):
                self._retry_at[k] = trees.n_trees * 5 // 4

    def _compact(
        self,
        ensembles: Sequence[BoostedTrees],
        k: int,
        n_oldest: int,
        distribution: Callable[[Tensor], Distribution],
    ) -> bool:
        fitted, measured = self.rows.split()
        before = [trees.predict(measured) for trees in ensembles]

        def accept(candidate: BoostedTrees) -> bool:
            after = np.concatenate(
                [*before[:k], candidate.predict(measured), *before[k + 1 :]], axis=1
            )
            kl, value_error = _change(np.concatenate(before, axis=1), after, distribution)
            accepted = kl <= self.max_kl and value_error <= MAX_VALUE_ERROR
            n_trees = ensembles[k].n_trees
            n_after = candidate.n_trees if accepted else n_trees
            self.reports[k] = Report(n_trees, n_after, kl, value_error, accepted)
            return accepted

        for share in KEPT_SHARES:
            if ensembles[k].compact(fitted, n_oldest, max(1, int(n_oldest * share)), accept):
                return True
            if self.reports[k].kl > _HOPELESS * self.max_kl:
                break
        return False


def _change(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    distribution: Callable[[Tensor], Distribution],
) -> tuple[float, float]:
    """Mean KL(policy before || after), and the value's relative error, of thetas [n, D]."""
    with torch.no_grad():
        # SB3 gives new parameters to one and the same distribution
        first = copy.copy(distribution(torch.from_numpy(before)))
        kl = kl_divergence(first, distribution(torch.from_numpy(after)))
    value = before[:, -1].astype(np.float64)
    error = float(np.sqrt(np.mean((after[:, -1] - value) ** 2)))
    # A nearly constant value has little deviation: then its size is the scale.
    scale = max(float(value.std()), 0.1 * float(np.sqrt(np.mean(value**2))), 1e-30)
    return float(kl.reshape(len(before), -1).sum(1).mean()), error / scale
