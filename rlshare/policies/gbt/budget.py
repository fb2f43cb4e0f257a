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

from rlshare.checks import integer, is_real
from rlshare.policies.gbt.acted_rows import MIN_ROWS, ActedRows
from rlshare.trees import BoostedTrees

MAX_VALUE_ERROR = 0.2  # see CompactionReport
KEPT_SHARES = (1 / 4, 1 / 2)  # of the replaced trees, tried in this order

_HOPELESS = 8  # half of the trees in place of a fourth does not lower the KL even threefold


@dataclass(frozen=True)
class CompactionReport:
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
    :class:`CompactionReport`) is accepted; if neither does, the ensemble stays as it is until it
    has grown by a quarter.

    Args:
        max_trees: trees an ensemble may have, >= 16.
        max_kl: largest mean KL divergence KL(before || after) of a compaction.

    Raises:
        ValueError: where an argument breaks its rule.
    """

    def __init__(self, max_trees: int, max_kl: float) -> None:
        try:
            self.max_trees = integer("tree_budget", max_trees, 16)
        except ValueError:
            raise ValueError(
                f"tree_budget must be None or an integer >= 16, got {max_trees!r}"
            ) from None
        if not is_real(max_kl) or not float(max_kl) > 0:
            raise ValueError(f"compaction_max_kl must be > 0, got {max_kl!r}")
        self.max_kl = float(max_kl)
        self.rows = ActedRows()
        self.reports: dict[
            int, CompactionReport
        ] = {}  # ensemble -> last attempt before this rollout
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
            if n_oldest < 1 or len(self.rows) < MIN_ROWS:
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
            self.reports[k] = CompactionReport(n_trees, n_after, kl, value_error, accepted)
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
