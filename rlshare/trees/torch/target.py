"""Target networks of tree ensembles, moved by the polyak update of torch parameters.

Stable-Baselines3 averages ``target.parameters()`` towards ``online.parameters()`` in place. Here
these are weights of trees, all 1 online: the average of the weights is the average of the functions
(:class:`rlshare.trees.TargetTrees`), and the trees themselves are shared, not copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlshare.trees import BoostedTrees
from rlshare.trees.target import n_full, refuse_linear, settled, weighted_sum
from rlshare.trees.torch.module import TreeEnsemble, refuse_export
from rlshare.trees.torch.tape import Features, GradClip


def _weights(values: Tensor) -> nn.Parameter:
    # in float32 updates with a small tau would stop short of 1
    return nn.Parameter(values.to(torch.float64), requires_grad=False)


class FollowedEnsemble(TreeEnsemble):
    """A :class:`TreeEnsemble` with a target that follows it.

    Args:
        trees: the ensemble, D output columns.
        grad_clips: norms to which blocks of columns of each gradient row are clipped.

    Attributes:
        target: equal to this ensemble at first, and after its trees were loaded.
    """

    target: TargetEnsemble

    def __init__(self, trees: BoostedTrees, grad_clips: Sequence[GradClip] = ()) -> None:
        if trees.params.learner == "refit":
            raise ValueError(
                "learner must be 'grow' with DQN, SAC and TD3, whose targets are weighted sums of "
                "trees that stay as they are, got 'refit'"
            )
        refuse_linear(trees)
        super().__init__(trees, grad_clips)
        self.weights = _weights(torch.ones(trees.n_trees))
        # As no submodule: its weights are parameters of the target network alone.
        self.__dict__["target"] = TargetEnsemble(self)

    def trees_changed(self) -> None:
        """Give new trees the weight 1 here, and 0 in the target."""
        self.weights.data = self.weights.new_ones(self.trees.n_trees)
        self.target.resize()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.trees.follow(self.target)  # copies of trees come without targets

    def _check(self, trees: BoostedTrees) -> None:
        super()._check(trees)
        refuse_linear(trees)

    def set_extra_state(self, state: Tensor) -> None:
        """Replace the ensemble by a serialised one, which the target then equals.

        Raises:
            RuntimeError: if the bytes are not an ensemble of the same shape.
        """
        super().set_extra_state(state)
        self.target.weights.data = self.weights.data.clone()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        key = prefix + "_extra_state"
        if key in state_dict:  # the weights are 1 in any case
            self.set_extra_state(state_dict[key])
        else:
            missing_keys.append(key)


class TargetEnsemble(nn.Module):
    """The weighted sum of the trees of a :class:`FollowedEnsemble`; it receives no gradients.

    It is made by and comes with its online ensemble, and so do its trees when both are loaded.
    """

    online: FollowedEnsemble

    def __init__(self, online: FollowedEnsemble) -> None:
        super().__init__()
        self.weights = _weights(online.weights.data.clone())
        self.n_evaluations = 0  # (row, tree) pairs walked so far
        self.__dict__["online"] = online  # as no submodule: it belongs to the online network
        online.trees.follow(self)

    def _settled(self) -> NDArray[np.float64]:
        return settled(self.weights.cpu().numpy())

    @property
    def n_full(self) -> int:
        """Oldest trees of weight 1; no others are compacted."""
        return n_full(self._settled())

    def trees_replaced(self, n_oldest: int, n_kept: int) -> None:
        """Follow a compaction, see :meth:`rlshare.trees.TargetTrees.trees_replaced`."""
        kept = self.weights.new_ones(n_kept)
        self.weights.data = torch.cat([kept, self.weights.data[n_oldest:]])
        self.online.trees_changed()

    def forward(self, x: Features) -> Tensor:
        """Return the target's F(x), float32 [n, D] on the CPU, for ``x`` [n, n_features]."""
        refuse_export()
        weights = self._settled()
        self.n_evaluations += len(x) * int(np.count_nonzero(weights))
        return torch.from_numpy(weighted_sum(self.online.trees, weights, x))

    def resize(self) -> None:
        """Give trees beyond the known ones the weight 0."""
        trees = self.online.trees
        trees.follow(self)  # trees that were loaded come without targets
        missing = trees.n_trees - len(self.weights)
        self.weights.data = nn.functional.pad(self.weights.data, (0, missing))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load weights [n_trees]; a state of the online ensemble makes the target equal to it."""
        saved = state_dict.get(prefix + "weights")
        trees = state_dict.get(prefix + "_extra_state")
        if saved is None:
            missing_keys.append(prefix + "weights")
        elif trees is not None and not torch.equal(trees.cpu(), self.online.get_extra_state()):
            error_msgs.append("a target shares the trees of its online ensemble, got other trees")
        elif saved.shape != self.weights.shape or not ((saved >= 0) & (saved < 1.01)).all():
            error_msgs.append(
                f"weights of a target must be {len(self.weights)} numbers in [0, 1], one for each "
                f"tree, got shape {list(saved.shape)}"
            )
        else:
            self.weights.data = saved.to(self.weights, copy=True)
