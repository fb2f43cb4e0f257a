"""Heads of a tree policy: which columns of an ensemble belong to the actor and the critic."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from torch import Tensor, nn

from rlshare.trees import BoostedTrees, Linear, Table, TreeParams
from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.tape import GradClip

Ensemble = TypeVar("Ensemble", bound=TreeEnsemble)


@dataclass(frozen=True)
class Head:
    """A block of ``n_columns`` outputs with its rates, gradient clip and initial value."""

    n_columns: int
    rate: float | Linear | Table
    max_grad_norm: float | None
    initial: float = 0.0
    line_rate: float | None = None  # without a line


class Columns(nn.Module):
    """The head as a torch module: a slice of the outputs theta of the trees."""

    def __init__(self, start: int, stop: int | None) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, theta: Tensor) -> Tensor:
        """Return columns [start, stop) of ``theta`` [n, D]."""
        return theta[:, self.start : self.stop]


def n_policy_columns(action_space: spaces.Space[Any]) -> int:
    """Return K: logits of discrete and binary actions, means of continuous ones."""
    if isinstance(action_space, spaces.Discrete):
        return int(action_space.n)
    if isinstance(action_space, spaces.MultiDiscrete):
        return int(np.sum(action_space.nvec))
    return get_action_dim(action_space)


def params_of_columns(params: TreeParams, first: int, n_columns: int) -> TreeParams:
    """Return the params of an ensemble with columns [first, first + n_columns) of theta."""
    monotonic = [
        (feature, output - first, sign)
        for feature, output, sign in params.monotonic or ()
        if first <= output < first + n_columns
    ]
    return replace(params, monotonic=monotonic or None)


def build_ensemble(
    heads: Sequence[Head],
    n_features: int,
    params: TreeParams,
    kind: type[Ensemble] = TreeEnsemble,  # type: ignore[assignment]
    ridge: float | None = None,
) -> Ensemble:
    """Return an empty ensemble whose columns are those of the heads, in their order.

    A ``ridge`` gives it a linear part, of which every head has a ``line_rate``.
    """
    rates: list[float | Linear | Table] = []
    bias: list[float] = []
    clips = []
    lines: list[float | None] = []
    for head in heads:
        start = len(rates)
        rates += [head.rate] * head.n_columns
        bias += [head.initial] * head.n_columns
        lines += [head.line_rate] * head.n_columns
        if head.max_grad_norm is not None:
            clips.append(GradClip(start, len(rates), head.max_grad_norm))
    linear = None if ridge is None else {"rate": lines, "ridge": ridge}
    trees = BoostedTrees(n_features, len(rates), params, rates, bias, linear=linear)
    return kind(trees, clips)
