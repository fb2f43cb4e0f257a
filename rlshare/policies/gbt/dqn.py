"""Boosted trees as the Q-function of Stable-Baselines3's DQN."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy

from rlshare.policies.gbt.base import TreePolicy, reference_rate
from rlshare.policies.gbt.features import TabularFeatures
from rlshare.policies.gbt.heads import Head, build_ensemble
from rlshare.policies.gbt.networks import TreeQNetwork
from rlshare.policies.gbt.options import TreeQOptions, learning_rate, read_options
from rlshare.policies.spaces import ACTIONS, check_spaces
from rlshare.trees.torch.optimizer import BoostingOptimizer
from rlshare.trees.torch.target import FollowedEnsemble


class ActionValues(FollowedEnsemble):
    """Values of actions, a column each, of which every row has a gradient in one.

    Where leaves move, a leaf takes in each column the mean over the rows that took its action. A
    row of no gradient does not tell which, and counts in all columns.
    """

    def sample_weight(self, grads: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return 1 for the rows and columns that count, and 0; None while trees are added."""
        if not self.trees.refits:
            return None
        known = grads.any(axis=1, keepdims=True)
        return np.where(known, grads != 0, True).astype(np.float32)


class GBTDQNPolicy(TreePolicy, DQNPolicy):
    """The Q-function of stock DQN as gradient-boosted trees, ``DQN("GBTPolicy", env)``.

    Every gradient step grows one tree with a column for each action, on the gradients of the
    batch (Fuhrer, Tessler, Dalal, arXiv 2407.08250). A transition has a gradient for the action
    taken and 0 for the others, and a leaf takes the mean over all its rows: the step of an
    action's column is ``value_lr`` times its share of them. The target network is a vector of
    weights of the same trees; ``tau=1`` shows it the trees of the last update, ``tau<1`` averages
    the functions exactly.

    With ``tree={"learner": "refit"}`` a step moves the leaves of a forest of constant size, by
    ``value_lr`` times the mean over the rows that took the column's action, and the target network
    is a second table of leaves for the same tests. Rates near 1 suit it, and ``"candidates":
    "uniform"``, whose thresholds lie also where the agent has seldom been.

    The cost of a gradient step grows with the trees, about ``2 * batch_size * n_trees``
    nanoseconds: few large batches (``train_freq`` 16 and more, ``batch_size`` 512 and more, and
    ``n_steps`` above 1) serve trees better than DQN's defaults. On rates and scaling see
    :class:`GBTPolicy`.

    Args:
        observation_space: of the environment, as of :class:`GBTPolicy`.
        action_space: of the environment, Discrete.
        lr_schedule: learning rate of the algorithm over the remaining progress, 1 to 0.
        options: of :class:`rlshare.policies.gbt.options.TreeQOptions`.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    q_net: TreeQNetwork
    q_net_target: TreeQNetwork
    optimizer: BoostingOptimizer
    options: TreeQOptions

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        **options: Any,
    ) -> None:
        self.options = read_options(TreeQOptions, options)
        check_spaces("GBTPolicy", observation_space, action_space, ACTIONS["DQN"])
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[])

    def _build(self, lr_schedule: Schedule) -> None:
        features = TabularFeatures(self.observation_space)
        head = Head(
            int(self.action_space.n),  # type: ignore[attr-defined]
            learning_rate("value_lr", self.options.value_lr),
            self.options.max_value_grad_norm,
        )
        params = self.options.params(features.categorical)
        trees = build_ensemble([head], features.features_dim, params, ActionValues)
        self.q_net = self._network(features, trees)
        self.q_net_target = self._network(features, trees.target)
        self.q_net_target.set_training_mode(False)
        self.optimizer = BoostingOptimizer([trees], lr=reference_rate(lr_schedule))

    def _network(self, features: TabularFeatures, trees: Any) -> TreeQNetwork:
        return TreeQNetwork(self.observation_space, self.action_space, features, trees)  # type: ignore[arg-type]

    @property
    def tree_optimizers(self) -> list[BoostingOptimizer]:
        """The one optimizer."""
        return [self.optimizer]
