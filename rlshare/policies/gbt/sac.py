"""Boosted trees as the actor, and if wanted the critics, of Stable-Baselines3's SAC."""

from dataclasses import replace

from stable_baselines3.sac.policies import SACPolicy

from rlshare.policies.gbt.heads import Head
from rlshare.policies.gbt.networks import TreeSACActor
from rlshare.policies.gbt.off_policy import TreeActorPolicy
from rlshare.policies.gbt.options import (
    TreeStochasticActorOptions,
    learning_rate,
)


class GBTSACPolicy(TreeActorPolicy, SACPolicy):
    """Actor, and if wanted critics, of stock SAC as gradient-boosted trees.

    ``SAC("GBTPolicy", env)``. Every gradient step grows one tree of the actor (columns mean | log
    standard deviation of the squashed Gaussian) on the gradient that reaches it through dQ/da
    (Fuhrer, Tessler, Dalal, arXiv 2407.08250). The critics are SB3's networks, or trees that
    predict the coefficients of a function smooth in the action, one ensemble each; their targets
    are weights of the same trees, and so exact averages. With ``learner="refit"`` a step moves the
    leaves of a forest of constant size, and targets are other leaves for the same tests.

    The cost of a gradient step grows with the trees, by about ``2 * batch_size`` nanoseconds for
    each tree of the actor and ``3 * batch_size`` for each of a critic: where the environment
    allows, prefer fewer steps on larger batches. On rates and scaling see :class:`GBTPolicy`; a
    critic that is a network learns with the algorithm's ``learning_rate``, and so does the entropy
    coefficient.

    Args:
        observation_space: of the environment, as of :class:`GBTPolicy`.
        action_space: of the environment, a Box; the critics see actions scaled to [-1, 1].
        lr_schedule: learning rate of the algorithm over the remaining progress, 1 to 0.
        options: of :class:`rlshare.policies.gbt.options.TreeStochasticActorOptions`.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    actor_type = TreeSACActor
    family = TreeStochasticActorOptions
    options: TreeStochasticActorOptions

    def _actor_heads(self, n_actions: int) -> list[Head]:
        mean = self._policy_head(n_actions)
        rate = learning_rate("log_std_lr", self.options.log_std_lr)
        return [mean, replace(mean, rate=rate, initial=self.options.log_std_init)]
