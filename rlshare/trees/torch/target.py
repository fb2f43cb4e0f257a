"""Target networks of tree ensembles, moved by the polyak update of torch parameters.

Stable-Baselines3 averages ``target.parameters()`` towards ``online.parameters()`` in place. Here
these are weights of trees, all 1 online, or where leaves move the leaves: their average is the
average of the functions (:class:`rlshare.trees.TargetTrees`), and the trees themselves are shared,
not copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlshare.trees import BoostedTrees
from rlshare.trees.averages import Average, average_of, refuse_linear
from rlshare.trees.torch.module import TreeEnsemble, refuse_export
from rlshare.trees.torch.tape import Features, GradClip


class FollowedEnsemble(TreeEnsemble):
    """A :class:`TreeEnsemble` with a target that follows it.

    Args:
        trees: the ensemble, D output columns.
        grad_clips: norms to which blocks of columns of each gradient row are clipped.

    Attributes:
        weights: of the trees, 1 each; where leaves move, ``leaves`` in its place, those of the
            trees in one row.
        target: equal to this ensemble at first, and after its trees were loaded.
    """

    target: TargetEnsemble

    def __init__(self, trees: BoostedTrees, grad_clips: Sequence[GradClip] = ()) -> None:
        refuse_linear(trees)
        super().__init__(trees, grad_clips)
        self._register(average_of(trees))
        # As no submodule: its numbers are parameters of the target network alone.
        self.__dict__["target"] = TargetEnsemble(self)

    def _register(self, average: Average) -> None:
        numbers = torch.from_numpy(average.online())
        self.register_parameter(average.name, nn.Parameter(numbers, requires_grad=False))

    def adopt(self, like: BoostedTrees) -> None:
        """Begin anew by the params and rates of other trees; so does the target."""
        name = average_of(self.trees).name
        delattr(self, name)
        delattr(self.target, name)
        super().adopt(like)
        self._register(average_of(self.trees))
        self.target.follow_online()

    def trees_changed(self) -> None:
        """Follow the trees; new ones have the weight 1 here, and 0 in the target."""
        average = average_of(self.trees)
        numbers = self.get_parameter(average.name)
        numbers.data = torch.from_numpy(average.online()).to(numbers.device)
        self.target.resize()

    def check_trees(self, trees: BoostedTrees) -> None:
        """Refuse lines, and trees of another learner, of which a target is another average.

        Raises:
            ValueError: for these.
        """
        super().check_trees(trees)
        refuse_linear(trees)
        ours, theirs = self.trees.params.learner, trees.params.learner
        if ours != theirs:
            raise ValueError(
                f"learner must be {theirs!r}, as of the saved trees and their target, got {ours!r}"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.trees.follow(self.target)  # copies of trees come without targets

    def set_extra_state(self, state: Tensor) -> None:
        """Replace the ensemble by a serialised one, which the target then equals.

        Raises:
            RuntimeError: if the bytes are not an ensemble of the same shape.
        """
        super().set_extra_state(state)
        self.target.become_online()

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
        if key in state_dict:  # the rest follows from the trees
            self.set_extra_state(state_dict[key])
        else:
            missing_keys.append(key)


class TargetEnsemble(nn.Module):
    """The target of a :class:`FollowedEnsemble`, which shares its trees; it receives no gradients.

    It is made by and comes with its online ensemble, and so do its trees when both are loaded. Its
    ``weights`` of trees, or ``leaves``, are in float64: in float32 updates with a small tau would
    stop short of the online ensemble's.
    """

    online: FollowedEnsemble

    def __init__(self, online: FollowedEnsemble) -> None:
        super().__init__()
        self.__dict__["online"] = online  # as no submodule: it belongs to the online network
        self.n_evaluations = 0  # (row, tree) pairs walked so far
        self.follow_online()

    def follow_online(self) -> None:
        """Begin, equal to the online ensemble."""
        average = self._average
        numbers = torch.from_numpy(average.online().astype(np.float64))
        self.register_parameter(average.name, nn.Parameter(numbers, requires_grad=False))
        self.online.trees.follow(self)

    @property
    def _average(self) -> Average:
        return average_of(self.online.trees)

    @property
    def _numbers(self) -> nn.Parameter:
        return self.get_parameter(self._average.name)

    def _settled(self) -> NDArray[np.float64]:
        return self._average.settled(self._numbers.cpu().numpy())

    @property
    def n_full(self) -> int:
        """Oldest trees that are the online ensemble's own; no others are compacted."""
        return self._average.n_full(self._settled())

    @property
    def leaf_table(self) -> NDArray[np.float64] | None:
        """Leaves for the tests of the online ensemble, where its leaves move; else None."""
        return self._settled() if self.online.trees.refits else None

    def replace_leaves(self, leaves: NDArray[np.float64]) -> None:
        """Put other leaves in place of these, where the tests of the trees are others."""
        self._numbers.data = torch.tensor(leaves, device=self._numbers.device)

    def trees_replaced(self, n_oldest: int, n_kept: int) -> None:
        """Follow a compaction, see :meth:`rlshare.trees.TargetTrees.trees_replaced`."""
        numbers = self._numbers
        numbers.data = torch.cat([numbers.new_ones(n_kept), numbers.data[n_oldest:]])
        self.online.trees_changed()

    def forward(self, x: Features) -> Tensor:
        """Return the target's F(x), float32 [n, D] on the CPU, for ``x`` [n, n_features]."""
        refuse_export()
        numbers, trees = self._settled(), self.online.trees
        walked = trees.n_trees if trees.refits else int(np.count_nonzero(numbers))
        self.n_evaluations += len(x) * walked
        return torch.from_numpy(self._average.predict(numbers, x))

    def resize(self) -> None:
        """Give trees beyond the known ones the weight 0."""
        trees = self.online.trees
        trees.follow(self)  # trees that were loaded come without targets
        numbers = self._numbers
        missing = len(self.online.get_parameter(self._average.name)) - len(numbers)
        numbers.data = nn.functional.pad(numbers.data, (0, missing))

    def become_online(self) -> None:
        """Become equal to the online ensemble."""
        online = self.online.get_parameter(self._average.name)
        self._numbers.data = online.data.to(self._numbers, copy=True)

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
        """Load the numbers; a state of the online ensemble makes the target equal to it."""
        key = prefix + self._average.name
        saved = state_dict.get(key)
        trees = state_dict.get(prefix + "_extra_state")
        if saved is None:
            missing_keys.append(key)
        elif trees is not None and not torch.equal(trees.cpu(), self.online.get_extra_state()):
            error_msgs.append("a target shares the trees of its online ensemble, got other trees")
        else:
            try:
                self._average.check(saved.cpu().numpy())
            except ValueError as error:
                error_msgs.append(str(error))
            else:
                self._numbers.data = saved.to(self._numbers, copy=True)
