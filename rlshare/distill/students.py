"""Students: forests and single trees fitted to what a teacher does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlshare.distill.actions import ActionColumns, Floats
from rlshare.distill.rounds import States
from rlshare.trees import BoostedTrees, TreeParams

_RATE = 0.5
_ROWS = 16_384  # of a step: more cost time and change little
_SCALES = np.geomspace(0.5, 64.0, 64)  # of a tree's frequencies


def fit_forest(
    states: States,
    columns: ActionColumns,
    params: TreeParams,
    n_trees: int,
    seed: int,
    n_threads: int | None = None,
) -> BoostedTrees:
    """Return ``n_trees`` trees fitted to the teacher's distribution, or its action.

    The loss is the soft cross-entropy (Hinton, Vinyals and Dean, arXiv 1503.02531), of a Box half
    the squared error. Of many states every step draws some (Friedman, "Stochastic Gradient
    Boosting", 2002).
    """
    n = len(states.rows)
    rng = np.random.default_rng(seed)
    # A linear first stage belongs here: what the trees then fit is what it leaves.
    d, K = states.rows.shape[1], columns.n_columns
    model = BoostedTrees(d, K, params, learning_rate=_RATE, n_threads=n_threads)
    codes = model.bin(states.rows)
    F = model.predict(states.rows)
    for _ in range(n_trees):
        some = rng.choice(n, _ROWS, replace=False) if n > _ROWS else np.arange(n)
        model.step(codes, columns.link(F[some]) - states.targets[some], rows=some)
        model.predict(states.rows, model.n_trees - 1, out=F)
    return model


def fit_tree(
    states: States, columns: ActionColumns, params: TreeParams, n_threads: int | None = None
) -> BoostedTrees:
    """Return one tree fitted to the teacher's best actions, states weighted by what they matter.

    Its leaves are the weighted frequencies of the best actions (of a Box their means), times one
    factor for all: that with which their softmax is closest to the teacher's distribution, so that
    the tree also acts well when actions are drawn (Guo et al., "On Calibration of Modern Neural
    Networks", arXiv 1706.04599).
    """
    X = states.rows
    wanted = columns.one_hot(states.targets)
    if not (columns.blocks or columns.is_continuous):
        wanted = wanted - np.float32(0.5)  # the logit of a coin is 0
    weights = states.weights if states.weights.any() else None
    d, K = X.shape[1], columns.n_columns
    model = BoostedTrees(d, K, params, learning_rate=1.0, n_threads=n_threads)
    start = model.mark()
    model.step(X, -wanted, sample_weight=weights)
    if columns.is_continuous:
        return model
    frequencies = model.predict(X)
    losses = [_cross_entropy(columns, scale * frequencies, states.targets) for scale in _SCALES]
    model.rewind(start)
    model.step(X, -wanted, sample_weight=weights, lr_scale=float(_SCALES[np.argmin(losses)]))
    return model


def _cross_entropy(columns: ActionColumns, F: Floats, targets: NDArray[np.float32]) -> float:
    """Return the mean cross-entropy of targets [n, K] to logits F [n, K]."""
    p = np.clip(columns.link(F), 1e-12, 1.0)
    loss = targets * np.log(p)
    if not columns.blocks:
        loss = loss + (1 - targets) * np.log(np.clip(1 - p, 1e-12, 1.0))
    return float(-loss.sum(axis=1).mean())
