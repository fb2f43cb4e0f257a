"""Boosted trees as the actor, and if wanted the critics, of Stable-Baselines3's TD3 and DDPG."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.td3.policies import TD3Policy

from rlshare.policies.gbt.heads import Head
from rlshare.policies.gbt.networks import TreeTD3Actor
from rlshare.policies.gbt.off_policy import CriticKind, TreeActorPolicy
from rlshare.policies.gbt.options import Rate, refuse_budget


class GBTTD3Policy(TreeActorPolicy, TD3Policy):
    """Actor, and if wanted critics, of stock TD3 (and DDPG) as gradient-boosted trees.

    ``TD3("GBTPolicy", env)``. The action is the hyperbolic tangent of the actor's columns; each of
    its updates grows one tree. The target actor is weights of the same trees. All else, and the
    arguments, are as of :class:`GBTSACPolicy`, which also has log standard deviations. A tree
    critic learns what an action changes from actions that differ: give it wide ``action_noise``.
    """

    actor_type = TreeTD3Actor
    actor_target: Any

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        tree: Mapping[str, Any] | None = None,
        policy_lr: Rate = 0.05,
        value_lr: Rate = 0.1,
        max_policy_grad_norm: float | None = 1.0,
        max_value_grad_norm: float | None = None,
        critic: CriticKind = "nn",
        n_critics: int = 2,
        net_arch: Sequence[int] = (400, 300),
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        tree_budget: int | None = None,
    ) -> None:
        refuse_budget(tree_budget)
        options = {
            "tree": dict(tree or {}),
            "policy_lr": policy_lr,
            "value_lr": value_lr,
            "max_policy_grad_norm": max_policy_grad_norm,
            "max_value_grad_norm": max_value_grad_norm,
            "critic": critic,
            "n_critics": n_critics,
            "net_arch": list(net_arch),
            "optimizer_class": optimizer_class,
            "optimizer_kwargs": optimizer_kwargs,
        }
        super().__init__(observation_space, action_space, lr_schedule, options)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        trees = self.actor.trees[0]
        self.actor_target = self._make_tree_actor(self.actor.features_extractor, trees.target)
        self.actor_target.set_training_mode(False)

    def _actor_heads(self, n_actions: int) -> list[Head]:
        return [self._policy_head(n_actions)]
