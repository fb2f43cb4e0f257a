"""What the tree policies of all algorithms have in common."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from rlshare.policies.gbt.options import TreeOptions
from rlshare.policies.saving import SavedPolicy
from rlshare.trees import BoostedTrees
from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.optimizer import BoostingOptimizer

_NO_VECTOR = "a GBTPolicy cannot be a flat vector of parameters: its parameters are trees"
_OF_TREES = ("_extra_state", ".weights", ".leaves")  # ends of names of what grows with the trees
_PROGRESS = [i / 1000 for i in range(1001)]  # of a run that remains


class TreePolicy(SavedPolicy):
    """Mixin for policies whose parameters are trees."""

    options: TreeOptions

    @property
    def tree_modules(self) -> list[TreeEnsemble]:
        """The ensembles that learn; target networks share their trees."""
        modules = cast("BasePolicy", self).modules()
        return [module for module in modules if isinstance(module, TreeEnsemble)]

    @property
    def tree_optimizers(self) -> list[BoostingOptimizer]:
        """The optimizers that grow the trees."""
        raise NotImplementedError

    @property
    def ensembles(self) -> list[BoostedTrees]:
        """The trees: of the actor, then of the critics, or one ensemble shared by both."""
        return [module.trees for module in self.tree_modules]

    @property
    def n_trees(self) -> int:
        """Number of trees of all ensembles."""
        return sum(trees.n_trees for trees in self.ensembles)

    @property
    def n_tree_evaluations(self) -> int:
        """Number of (row, tree) pairs walked by this object so far, acting and learning."""
        modules = cast("BasePolicy", self).modules()
        return sum(getattr(module, "n_evaluations", 0) for module in modules)

    def initial_options(self) -> dict[str, Any]:
        """Return what says where training begins."""
        name = "log_std_init"
        has_deviation = isinstance(cast("BasePolicy", self).action_space, spaces.Box)
        return {name: self._options[name]} if has_deviation and name in self._options else {}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load trees and torch parameters, which are trained on as this policy's options say.

        Args:
            state_dict: of a policy of the same structure.
            strict: refuse missing and unknown keys.
            assign: as in torch.

        Raises:
            RuntimeError: for trees or networks of another structure.
        """
        if self.options.learner_by_default:
            self._adopt_learner(state_dict)
        own = [(trees.params, trees.schedules, line_of(trees)) for trees in self.ensembles]
        if strict:
            self._check_structure(state_dict)
        found = super().load_state_dict(state_dict, strict, assign)
        for trees, (params, schedules, line) in zip(self.ensembles, own, strict=True):
            if self.options.tree.get("random_state") is None:  # one that was drawn goes on
                params = replace(params, random_state=trees.params.random_state)
            trees.train_on_with(params, schedules, line)
        return found

    def _adopt_learner(self, state_dict: Mapping[str, Any]) -> None:
        """Add trees, where those of a state were added and no option says anything else."""
        for name, module in list(cast("BasePolicy", self).named_modules()):
            state = state_dict.get(f"{name}._extra_state")
            if not (isinstance(module, TreeEnsemble) and isinstance(state, Tensor)):
                continue
            try:
                saved = BoostedTrees.from_bytes(state.cpu().numpy().tobytes())
            except ValueError:
                continue  # it is refused where it is loaded
            ours = module.trees
            if not saved.refits and (saved.n_outputs, ours.refits) == (ours.n_outputs, True):
                module.adopt(saved)
                self.options = self.options.of_added_trees()

    def _check_structure(self, state_dict: Mapping[str, Any]) -> None:
        ours = _fixed_shapes(cast("BasePolicy", self).state_dict())
        theirs = _fixed_shapes(state_dict)
        differing = sorted(
            name for name in {*ours, *theirs} if ours.get(name, "none") != theirs.get(name, "none")
        )
        if differing:
            name = differing[0]
            raise RuntimeError(
                "options that shape a policy (shared, critic, n_critics, net_arch, learner where "
                f"targets follow) must be those it was saved with: of {name!r}, saved is "
                f"{theirs.get(name, 'none')}, and here is {ours.get(name, 'none')}"
            )

    @property
    def _options(self) -> dict[str, Any]:
        """``policy_kwargs``, as plain data."""
        return self.options.plain()

    def parameters_to_vector(self) -> NDArray[np.float32]:
        """Refuse: there is no such vector.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(_NO_VECTOR)

    def load_from_vector(self, vector: NDArray[np.float32]) -> None:
        """Refuse: there is no such vector.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(_NO_VECTOR)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        policy = cast("BasePolicy", self)
        return {
            "observation_space": policy.observation_space,
            "action_space": policy.action_space,
            "lr_schedule": policy._dummy_schedule,  # enough to act; the optimizer refuses to train
            **self._options,
        }


def line_of(trees: BoostedTrees) -> dict[str, Any] | None:
    """Return how the linear part of an ensemble moves, None where there is none, or it stays."""
    part = trees.linear_part
    return None if part is None or part.params is None else part.params.plain


def _fixed_shapes(state_dict: Mapping[str, Any]) -> dict[str, str]:
    """The shapes of a state; what grows with the trees is checked where it is loaded."""
    return {
        name: "trees" if name.endswith(_OF_TREES) else str(list(value.shape))
        for name, value in state_dict.items()
    }


def reference_rate(lr_schedule: Schedule) -> float:
    """Return the learning rate of an algorithm at which trees keep their own rates.

    It is the largest of the run, so that a warm-up never raises a tree's rate above its own; and 1
    for a schedule that is never positive, at which trees are never moved. 0 stands for the schedule
    of a policy that Stable-Baselines3 loads without an algorithm.
    """
    if lr_schedule is BasePolicy._dummy_schedule:
        return 0.0
    rates = [float(lr_schedule(progress)) for progress in _PROGRESS]
    return max((rate for rate in rates if 0 < rate < inf), default=1.0)
