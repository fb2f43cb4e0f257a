"""Boosted trees as an actor-critic policy of Stable-Baselines3."""

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution, make_proba_distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from rlshare.policies.gbt.base import TreePolicy
from rlshare.policies.gbt.budget import TreeBudget
from rlshare.policies.gbt.features import TreeFeatures
from rlshare.policies.gbt.heads import (
    Columns,
    Head,
    build_ensemble,
    n_policy_columns,
    params_of_columns,
)
from rlshare.policies.gbt.options import Rate, clip_norm, learning_rate, tree_params
from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.optimizer import BoostingOptimizer


class GBTPolicy(TreePolicy, ActorCriticPolicy):
    """Policy and value function as gradient-boosted trees, for stock PPO and A2C.

    Every optimizer step grows one tree on the gradients of the minibatch (Fuhrer, Tessler, Dalal,
    arXiv 2407.08250). Actions: Discrete, MultiDiscrete, MultiBinary, Box. Observations: Box,
    MultiBinary, Discrete and MultiDiscrete (as integer categories), and Dict of these.

    The trees' rates are multiplied by lr / initial lr of the algorithm, so its ``learning_rate``
    schedule drives them, but a constant has no effect on them; nor has ``max_grad_norm``.
    Trees need no scaled observations: with ``VecNormalize`` prefer ``norm_obs=False``, since its
    drifting statistics move the meaning of thresholds already learnt.

    Args:
        observation_space: of the environment.
        action_space: of the environment.
        lr_schedule: learning rate of the algorithm over the remaining progress, 1 to 0.
        use_sde: state-dependent exploration; trees cannot, False.
        tree: fields of :class:`rlshare.trees.TreeParams`; the outputs of ``monotonic`` are the
            policy's columns (logits or means), then the value; ``bins="rollout"`` needs
            ``rollout_buffer_class=TreeRolloutBuffer`` (``DictTreeRolloutBuffer`` for Dict).
        policy_lr: rate of the policy's columns: a number, ``{"init": a, "stop": b, "T": n}`` for
            a linear change within n boosting steps, or a list with one rate a step.
        value_lr: rate of the value column, likewise.
        shared: one ensemble with columns policy | value, or one for each.
        log_std_init: initial log standard deviation of Box actions, a torch parameter.
        log_std_lr: rate of its optimizer, a number or a schedule like ``policy_lr``.
        max_policy_grad_norm: norm to which the policy's gradient of each sample is clipped.
        max_value_grad_norm: likewise for the value's.
        tree_budget: trees an ensemble may have, >= 16; None for no bound. Beyond it the oldest are
            compacted before the next rollout, see :class:`rlshare.policies.gbt.budget.TreeBudget`,
            unless that changes the policy or the value too much.
        compaction_max_kl: largest mean KL divergence of the policy from before a compaction to
            after it, on held-out observations; a compaction beyond it is refused.
        optimizer_class: of the torch parameters (A2C passes RMSprop).
        optimizer_kwargs: its arguments, without the learning rate.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    features_extractor: TreeFeatures
    optimizer: BoostingOptimizer

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        use_sde: bool = False,
        tree: Mapping[str, Any] | None = None,
        policy_lr: Rate = 0.05,
        value_lr: Rate = 0.005,
        shared: bool = True,
        log_std_init: float = -2.0,
        log_std_lr: Rate = 1e-3,
        max_policy_grad_norm: float | None = None,
        max_value_grad_norm: float | None = None,
        tree_budget: int | None = None,
        compaction_max_kl: float = 0.01,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if use_sde:
            raise ValueError(
                "use_sde must be False with GBTPolicy, got True: state-dependent exploration "
                "needs the last hidden layer of a network, and trees have none"
            )
        budget = None if tree_budget is None else TreeBudget(tree_budget, compaction_max_kl)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],  # SB3's extractor of latent features is then the identity
            log_std_init=log_std_init,
            features_extractor_class=TreeFeatures,
            normalize_images=False,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self._options: dict[str, Any] = {
            "tree": dict(tree or {}),
            "policy_lr": policy_lr,
            "value_lr": value_lr,
            "shared": shared,
            "log_std_init": log_std_init,
            "log_std_lr": log_std_lr,
            "max_policy_grad_norm": max_policy_grad_norm,
            "max_value_grad_norm": max_value_grad_norm,
            "tree_budget": tree_budget,
            "compaction_max_kl": compaction_max_kl,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }
        policy = Head(
            n_policy_columns(action_space),
            learning_rate("policy_lr", policy_lr),
            clip_norm("max_policy_grad_norm", max_policy_grad_norm),
        )
        value = Head(
            1,
            learning_rate("value_lr", value_lr),
            clip_norm("max_value_grad_norm", max_value_grad_norm),
        )
        params = tree_params(self._options["tree"], self.features_extractor.categorical)
        if params.monotonic and budget:
            raise ValueError(
                "tree_budget must be None with monotonic constraints, which a compaction would "
                f"not keep, got {tree_budget}"
            )
        for feature, output, _ in params.monotonic or ():
            if output > policy.n_columns:
                raise ValueError(
                    "monotonic outputs must be columns of the policy, then the value, in "
                    f"[0, {policy.n_columns}], got {output} for feature {feature}"
                )
        self.trees = nn.ModuleDict()
        if shared:
            self.trees["shared"] = build_ensemble([policy, value], self.features_dim, params)
        else:
            for name, first, head in (("policy", 0, policy), ("value", policy.n_columns, value)):
                own = params_of_columns(params, first, head.n_columns)
                self.trees[name] = build_ensemble([head], self.features_dim, own)
        self.action_net = Columns(0, policy.n_columns)
        self.value_net = Columns(-1, None)  # type: ignore[assignment]
        self._build_mlp_extractor()
        self.budget = budget
        self._in_rollout = False
        self.optimizer = BoostingOptimizer(
            self._modules_of_trees,
            self.optimizer_class(  # type: ignore[call-arg]
                [self._add_parameter()], lr=lr_schedule(1), **self.optimizer_kwargs
            ),
            lr=lr_schedule(1),
            torch_lr=learning_rate("log_std_lr", log_std_lr),
        )

    def _build(self, lr_schedule: Schedule) -> None:
        """Build nothing: SB3 calls this before the options of the trees are known."""

    def _add_parameter(self) -> nn.Parameter:
        """Return the one torch parameter: log_std, or a constant that shows the device."""
        if isinstance(self.action_space, spaces.Box):
            initial = torch.full((get_action_dim(self.action_space),), float(self.log_std_init))
            self.log_std = nn.Parameter(initial)
            return self.log_std
        self.anchor = nn.Parameter(torch.zeros(()))
        return self.anchor

    @property
    def _modules_of_trees(self) -> list[TreeEnsemble]:
        return cast("list[TreeEnsemble]", list(self.trees.values()))

    @property
    def boosters(self) -> list[BoostingOptimizer]:
        """The one optimizer."""
        return [self.optimizer]

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Tensor:
        """Return the outputs theta [n, D] of the trees, columns policy | value.

        They take the place of features: the heads of actor and critic only slice them.
        """
        if not (self.training or torch.is_grad_enabled()):
            self.keep_to_budget(obs)
        return self._theta(obs, self._modules_of_trees)

    def keep_to_budget(self, obs: PyTorchObs) -> None:
        """Compact before the first step of a rollout, and keep the observations acted on.

        ``forward`` does this by itself; an algorithm that acts by ``get_distribution`` calls it
        before every step of a rollout. Without a ``tree_budget`` nothing happens.
        """
        if self.budget is None:
            return
        if not self._in_rollout:
            self._in_rollout = True
            self.budget.enforce(self.ensembles, self._get_action_dist_from_latent)
        self.budget.rows.add(self.features_extractor(obs))

    def train(self, mode: bool = True) -> Self:
        """Switch between training and acting, as ``nn.Module.train``."""
        if mode:
            self._in_rollout = False
        return super().train(mode)

    def _theta(self, obs: PyTorchObs, modules: list[TreeEnsemble]) -> Tensor:
        rows = getattr(obs, "row_ids", None)  # set by TreeRolloutBuffer
        if rows is None:
            x = self.features_extractor(obs)
            outputs = [module(x) for module in modules]
        else:
            self._hold(obs.rollout, modules)  # type: ignore[union-attr]
            outputs = [module.forward_rows(rows) for module in modules]
        theta = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return theta.to(self.device)

    def _hold(self, rollout: Any, modules: list[TreeEnsemble]) -> None:
        """Let the modules keep the rows of a rollout that is new to them."""
        new = [module for module in modules if not module.has_cached(rollout)]
        if new:
            x = self.features_extractor(rollout)
            for module in new:
                module.cache_rows(rollout, x)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values [n, 1], log probabilities [n] of ``actions``, and entropies [n].

        Raises:
            ValueError: if ``bins="rollout"`` and the observations do not know their rows.
        """
        self.check_rows(obs)
        return super().evaluate_actions(obs, actions)

    def check_rows(self, obs: PyTorchObs) -> None:
        """Refuse to learn from observations that do not know their rows, where that is needed.

        Raises:
            ValueError: if ``bins="rollout"`` and they do not.
        """
        if self.ensembles[0].params.bins == "rollout" and not hasattr(obs, "row_ids"):
            raise ValueError(
                'tree bins="rollout" needs rollout_buffer_class=rlshare.policies.TreeRolloutBuffer '
                "(DictTreeRolloutBuffer for Dict observations), got samples without row_ids"
            )

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Return the distribution of actions, from the policy's trees alone."""
        return self._get_action_dist_from_latent(self._theta(obs, self._modules_of_trees[:1]))

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return the values [n, 1], from the value's trees alone."""
        return cast("Tensor", self.value_net(self._theta(obs, self._modules_of_trees[-1:])))

    def __getstate__(self) -> dict[str, Any]:
        # the last distribution may hang on a graph, which torch neither copies nor pickles
        return {**self.__dict__, "action_dist": make_proba_distribution(self.action_space)}
