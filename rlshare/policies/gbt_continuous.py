"""Boosted trees as the actor, and if wanted the critics, of Stable-Baselines3's SAC and TD3."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from rlshare.policies.heads import Head, build_ensemble
from rlshare.policies.observations import TreeFeatures
from rlshare.policies.options import (
    Rate,
    batch_tree_params,
    clip_norm,
    learning_rate,
    refuse_budget,
)
from rlshare.policies.tree_networks import (
    FORMS,
    ActionForm,
    Form,
    TreeCritic,
    TreeSACActor,
    TreeTD3Actor,
)
from rlshare.policies.tree_policy import TreePolicy
from rlshare.trees import TreeParams
from rlshare.trees.torch_bridge import BoostingOptimizer
from rlshare.trees.torch_target import FollowedEnsemble, TargetEnsemble

CriticKind = Literal["nn"] | Form
TWIN_SUBSAMPLE = 0.5  # Friedman, "Stochastic Gradient Boosting", 2002


class _TreeActorPolicy(TreePolicy, BasePolicy):
    """Builds actor and critics in place of the policy of SB3 that the subclass also inherits."""

    actor_type: type[TreeSACActor] | type[TreeTD3Actor]
    actor: Any
    critic: ContinuousCritic
    critic_target: ContinuousCritic

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        options: dict[str, Any],
    ) -> None:
        known = ("nn", *FORMS)
        if options["critic"] not in known:
            raise ValueError(
                f"critic must be one of {', '.join(known)}, got {options['critic']!r}; trees over "
                "observation and action together are not offered, since they are constant between "
                "thresholds: dQ/da would be 0"
            )
        if options["n_critics"] < 1:
            raise ValueError(f"n_critics must be >= 1, got {options['n_critics']}")
        self._options = options
        mixed = isinstance(observation_space, spaces.Dict)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch={"pi": [], "qf": list(options["net_arch"])},
            features_extractor_class=CombinedExtractor if mixed else FlattenExtractor,
            optimizer_class=options["optimizer_class"],
            optimizer_kwargs=options["optimizer_kwargs"],
            n_critics=options["n_critics"],
        )

    def _build(self, lr_schedule: Schedule) -> None:
        features = TreeFeatures(self.observation_space)
        params = batch_tree_params(self._options["tree"], features.categorical)
        heads = self._actor_heads(get_action_dim(self.action_space))
        trees = build_ensemble(heads, features.features_dim, params, FollowedEnsemble)
        self.actor = self._make_tree_actor(features, trees)
        self.actor.optimizer = BoostingOptimizer([trees], lr=lr_schedule(1))
        if self._options["critic"] == "nn":
            self._build_networks(lr_schedule)
        else:
            self._build_forms(lr_schedule, features, params)
        self.critic_target.set_training_mode(False)

    def _actor_heads(self, n_actions: int) -> list[Head]:
        raise NotImplementedError

    def _policy_head(self, n_actions: int) -> Head:
        return Head(
            n_actions,
            learning_rate("policy_lr", self._options["policy_lr"]),
            clip_norm("max_policy_grad_norm", self._options["max_policy_grad_norm"]),
        )

    def _make_tree_actor(
        self, features: TreeFeatures, trees: FollowedEnsemble | TargetEnsemble
    ) -> TreeSACActor | TreeTD3Actor:
        return self.actor_type(self.observation_space, self.action_space, features, trees)  # type: ignore[arg-type]

    def _build_networks(self, lr_schedule: Schedule) -> None:
        """Build SB3's critics, as its policies do."""
        make = cast("SACPolicy", self).make_critic
        self.critic, self.critic_target = make(), make()
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic.optimizer = self.optimizer_class(
            self.critic.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _build_forms(
        self, lr_schedule: Schedule, features: TreeFeatures, params: TreeParams
    ) -> None:
        """Build critics whose coefficients are trees."""
        form, n_critics = self._options["critic"], self._options["n_critics"]
        head = Head(
            ActionForm.n_columns(form, get_action_dim(self.action_space)),
            learning_rate("value_lr", self._options["value_lr"]),
            clip_norm("max_value_grad_norm", self._options["max_value_grad_norm"]),
        )
        ensembles = [
            build_ensemble([head], features.features_dim, own, FollowedEnsemble)
            for own in _params_of_critics(params, self._options["tree"], n_critics)
        ]
        self.critic = self._make_tree_critic(features, ensembles)
        targets = [ensemble.target for ensemble in ensembles]
        self.critic_target = self._make_tree_critic(features, targets)
        self.critic.optimizer = BoostingOptimizer(ensembles, lr=lr_schedule(1))

    def _make_tree_critic(
        self,
        features: TreeFeatures,
        trees: Sequence[FollowedEnsemble] | Sequence[TargetEnsemble],
    ) -> TreeCritic:
        form = self._options["critic"]
        return TreeCritic(self.observation_space, self.action_space, features, trees, form)  # type: ignore[arg-type]

    @property
    def boosters(self) -> list[BoostingOptimizer]:
        """The optimizers of the actor, and of the critics if these are trees."""
        optimizers: list[Any] = [self.actor.optimizer, self.critic.optimizer]
        return [each for each in optimizers if isinstance(each, BoostingOptimizer)]


def _params_of_critics(
    params: TreeParams, tree: Mapping[str, Any], n_critics: int
) -> list[TreeParams]:
    """Return the params of the critics, each with its own random draws.

    Without draws all critics would be one and the same function: trees start alike and are grown
    on the same batches, so the least of their values would be no pessimistic estimate.
    """
    seed = params.random_state or 0
    drawn = n_critics == 1 or {"subsample", "colsample"} & set(tree)
    subsample = params.subsample if drawn else TWIN_SUBSAMPLE
    return [
        replace(params, monotonic=None, subsample=subsample, random_state=(seed + 1 + k) % 2**31)
        for k in range(n_critics)
    ]


class GBTSACPolicy(_TreeActorPolicy, SACPolicy):
    """Actor, and if wanted critics, of stock SAC as gradient-boosted trees.

    ``SAC("GBTPolicy", env)``. Every gradient step grows one tree of the actor (columns mean | log
    standard deviation of the squashed Gaussian) on the gradient that reaches it through dQ/da
    (Fuhrer, Tessler, Dalal, arXiv 2407.08250). The critics are SB3's networks, or trees that
    predict the coefficients of a function smooth in the action, one ensemble each; their targets
    are weights of the same trees, and so exact averages.

    The cost of a gradient step grows with the trees, by about ``batch_size`` nanoseconds for each
    tree of the actor and three times that for each of a critic: prefer ``train_freq`` above 1. On
    rates and scaling see :class:`GBTPolicy`; a critic that is a network learns with the
    algorithm's ``learning_rate``, and so does the entropy coefficient.

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
        value_lr: rate of critics that are trees, likewise; for K-dimensional actions keep it
            below 1 / (1 + 2K), where a step could no longer overshoot (half of that with TD3,
            whose loss lacks SAC's 1/2), and ``min_samples_leaf`` above 2K.
        log_std_init: initial log standard deviation, before the tangent.
        max_policy_grad_norm: norm to which each sample's gradients of means and of log standard
            deviations are clipped, each; without it, None, steps scale with the returns.
        max_value_grad_norm: norm to which each sample's gradient of a tree critic is clipped.
        critic: "nn", or the form of trees' values in the action, see
            :class:`rlshare.policies.tree_networks.ActionForm`: "linear" (the best action is then
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


class GBTTD3Policy(_TreeActorPolicy, TD3Policy):
    """Actor, and if wanted critics, of stock TD3 (and DDPG) as gradient-boosted trees.

    ``TD3("GBTPolicy", env)``. The action is the hyperbolic tangent of the actor's columns; each of
    its updates grows one tree. The target actor is weights of the same trees. All else, and the
    arguments, are as of :class:`GBTSACPolicy`, which also has log standard deviations.
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
