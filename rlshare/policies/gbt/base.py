"""What the tree policies of all algorithms have in common."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from rlshare.trees import BoostedTrees
from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.optimizer import BoostingOptimizer

_NO_VECTOR = "a GBTPolicy cannot be a flat vector of parameters: its parameters are trees"


class TreePolicy:
    """Mixin for policies whose parameters are trees."""

    _options: dict[str, Any]  # policy_kwargs, plain data

    @property
    def _modules_of_trees(self) -> list[TreeEnsemble]:
        """The ensembles that learn; target networks share their trees."""
        modules = cast("BasePolicy", self).modules()
        return [module for module in modules if isinstance(module, TreeEnsemble)]

    @property
    def boosters(self) -> list[BoostingOptimizer]:
        """The optimizers that grow the trees."""
        raise NotImplementedError

    @property
    def ensembles(self) -> list[BoostedTrees]:
        """The trees: of the actor, then of the critics, or one ensemble shared by both."""
        return [module.trees for module in self._modules_of_trees]

    @property
    def n_trees(self) -> int:
        """Number of trees of all ensembles."""
        return sum(trees.n_trees for trees in self.ensembles)

    @property
    def n_tree_evaluations(self) -> int:
        """Number of (row, tree) pairs walked by this object so far, acting and learning."""
        modules = cast("BasePolicy", self).modules()
        return sum(getattr(module, "n_evaluations", 0) for module in modules)

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
