"""Boosted trees as the actor, and if wanted the critics, of Stable-Baselines3's SAC."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy

from rlshare.policies.gbt.heads import Head
from rlshare.policies.gbt.networks import TreeSACActor
from rlshare.policies.gbt.off_policy import CriticKind, TreeActorPolicy
from rlshare.policies.gbt.options import Rate, learning_rate, refuse_budget


class GBTSACPolicy(TreeActorPolicy, SACPolicy):
    """Actor, and if wanted critics, of stock SAC as gradient-boosted trees.

    ``SAC("GBTPolicy", env)``. Every gradient step grows one tree of the actor (columns mean | log
    standard deviation of the squashed Gaussian) on the gradient that reaches it through dQ/da
    (Fuhrer, Tessler, Dalal, arXiv 2407.08250). The critics are SB3's networks, or trees that
    predict the coefficients of a function smooth in the action, one ensemble each; their targets
    are weights of the same trees, and so exact averages.

    The cost of a gradient step grows with the trees, by about ``2 * batch_size`` nanoseconds for
    each tree of the actor and ``3 * batch_size`` for each of a critic: where the environment
    allows, prefer fewer steps on larger batches. On rates and scaling see :class:`GBTPolicy`; a
    critic that is a network learns with the algorithm's ``learning_rate``, and so does the entropy
    coefficient.

    Args:
        observation_space: of the environment, as of :class:`GBTPolicy`.
        action_space: of the environment, a Box; the critics see actions scaled to [-1, 1].
        lr_schedule: learning rate of the algorithm over the remaining progress, 1 to 0.
        use_sde: state-dependent exploration; trees cannot, False.
        tree: fields of :class:`rlshare.trees.TreeParams`, for actor and critics; ``bins`` is
            "batch"; the outputs of ``monotonic`` are the actor's columns. Where it sets neither
            ``subsample`` nor ``colsample``, each of several tree critics draws half of the rows,
            since they would be equal otherwise.
        policy_lr: rate of the means: a number, ``{"init": a, "stop": b, "T": n}`` for a linear
            change within n boosting steps, or a list with one rate a step.
        log_std_lr: rate of the log standard deviations, likewise.
        value_lr: rate of critics that are trees, likewise; beyond 1 / (1 + 2K) for K-dimensional
            actions a step may overshoot (half of that with TD3, whose loss lacks SAC's 1/2).
            Leaves that see few actions generalise badly to others: ``min_samples_leaf`` helps.
        log_std_init: initial log standard deviation, before the tangent.
        max_policy_grad_norm: norm to which each sample's gradients of means and of log standard
            deviations are clipped, each; without it, None, steps scale with the returns.
        max_value_grad_norm: norm to which each sample's gradient of a tree critic is clipped.
        critic: "nn", or the form of trees' values in the action, see
            :class:`rlshare.policies.gbt.networks.ActionForm`: "linear" (the best action is then
            at a bound), "tanh", "quadratic".
        n_critics: number of critics, the least of which counts.
        net_arch: hidden layers of critics that are networks.
        optimizer_class: of critics that are networks.
        optimizer_kwargs: its arguments, without the learning rate.
        tree_budget: None; the trees are not compacted.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    actor_type = TreeSACActor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        use_sde: bool = False,
        tree: Mapping[str, Any] | None = None,
        policy_lr: Rate = 0.05,
        log_std_lr: Rate = 0.02,
        value_lr: Rate = 0.1,
        log_std_init: float = 0.0,
        max_policy_grad_norm: float | None = 1.0,
        max_value_grad_norm: float | None = None,
        critic: CriticKind = "nn",
        n_critics: int = 2,
        net_arch: Sequence[int] = (256, 256),
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        tree_budget: int | None = None,
    ) -> None:
        refuse_budget(tree_budget)
        if use_sde:
            raise ValueError(
                "use_sde must be False with GBTPolicy, got True: state-dependent exploration "
                "needs the last hidden layer of a network, and trees have none"
            )
        options = {
            "tree": dict(tree or {}),
            "policy_lr": policy_lr,
            "log_std_lr": log_std_lr,
            "value_lr": value_lr,
            "log_std_init": log_std_init,
            "max_policy_grad_norm": max_policy_grad_norm,
            "max_value_grad_norm": max_value_grad_norm,
            "critic": critic,
            "n_critics": n_critics,
            "net_arch": list(net_arch),
            "optimizer_class": optimizer_class,
            "optimizer_kwargs": optimizer_kwargs,
        }
        super().__init__(observation_space, action_space, lr_schedule, options)

    def _actor_heads(self, n_actions: int) -> list[Head]:
        mean = self._policy_head(n_actions)
        rate = learning_rate("log_std_lr", self._options["log_std_lr"])
        return [mean, replace(mean, rate=rate, initial=float(self._options["log_std_init"]))]
