"""Boosted trees as the actor, and if wanted the critics, of Stable-Baselines3's TD3 and DDPG."""

from typing import Any

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.td3.policies import TD3Policy

from rlshare.policies.gbt.heads import Head
from rlshare.policies.gbt.networks import TreeTD3Actor
from rlshare.policies.gbt.off_policy import TreeActorPolicy
from rlshare.policies.gbt.options import TreeActorOptions


class GBTTD3Policy(TreeActorPolicy, TD3Policy):
    """Actor, and if wanted critics, of stock TD3 (and DDPG) as gradient-boosted trees.

    ``TD3("GBTPolicy", env)``. The action is the hyperbolic tangent of the actor's columns; each of
    its updates grows one tree, or moves all leaves with ``learner="refit"``. The target actor is
    weights of the same trees, or other leaves for them. All else, and the arguments, are as of
    :class:`GBTSACPolicy`, which also has log standard deviations; the options are
    :class:`rlshare.policies.gbt.options.TreeActorOptions`. A tree critic learns what an action
    changes from actions that differ: give it wide ``action_noise``.
    """

    actor_type = TreeTD3Actor
    family = TreeActorOptions
    actor_target: Any

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        trees = self.actor.trees[0]
        self.actor_target = self._make_tree_actor(self.actor.features_extractor, trees.target)
        self.actor_target.set_training_mode(False)

    def _actor_heads(self, n_actions: int) -> list[Head]:
        return [self._policy_head(n_actions)]
