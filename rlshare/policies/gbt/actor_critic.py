"""Boosted trees as an actor-critic policy of Stable-Baselines3."""

from typing import Any, ClassVar, Self, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution, make_proba_distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from rlshare.policies.gbt.base import TreePolicy, reference_rate
from rlshare.policies.gbt.budget import TreeBudget
from rlshare.policies.gbt.features import TabularFeatures
from rlshare.policies.gbt.heads import (
    Columns,
    Head,
    build_ensemble,
    n_policy_columns,
    params_of_columns,
)
from rlshare.policies.gbt.options import TreeActorCriticOptions, learning_rate, read_options
from rlshare.policies.rows import rows_of
from rlshare.policies.spaces import ACTIONS, check_spaces
from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.optimizer import BoostingOptimizer


class GBTPolicy(TreePolicy, ActorCriticPolicy):
    """Policy and value function as gradient-boosted trees, for stock PPO and A2C.

    Every optimizer step grows one tree on the gradients of the minibatch (Fuhrer, Tessler, Dalal,
    arXiv 2407.08250). Actions: Discrete, MultiDiscrete, MultiBinary, Box. Observations: Box,
    MultiBinary, Discrete and MultiDiscrete (as integer categories), and Dict of these.

    The trees' rates are multiplied by lr / largest lr of the algorithm's ``learning_rate``
    schedule, which so drives them, but a constant has no effect on them; nor has
    ``max_grad_norm``. A rate below 0 is 0.
    Trees need no scaled observations: with ``VecNormalize`` prefer ``norm_obs=False``, since its
    drifting statistics move the meaning of thresholds already learnt.

    Args:
        observation_space: of the environment.
        action_space: of the environment.
        lr_schedule: learning rate of the algorithm over the remaining progress, 1 to 0.
        use_sde: state-dependent exploration; trees cannot, False.
        options: of :class:`rlshare.policies.gbt.options.TreeActorCriticOptions`.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    # What SB3 would build, and what stands in its place:
    # - a features extractor -> TabularFeatures, the rows of features that trees split on
    # - latent features      -> the outputs theta of the trees: `extract_features`
    # - mlp_extractor        -> SB3's own without layers, the identity
    # - action_net, value_net -> Columns, slices of theta
    # - the optimizer        -> BoostingOptimizer over the trees and log_std
    # SB3's constructor calls `_build` before the options are known, so that it builds nothing.

    actions: ClassVar[tuple[str, ...]] = ACTIONS["PPO"]
    features_extractor: TabularFeatures
    optimizer: BoostingOptimizer
    options: TreeActorCriticOptions

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        use_sde: bool = False,
        **options: Any,
    ) -> None:
        chosen = read_options(TreeActorCriticOptions, {"use_sde": use_sde, **options})
        check_spaces("GBTPolicy", observation_space, action_space, self.actions)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],  # SB3's extractor of latent features is then the identity
            log_std_init=chosen.log_std_init,
            features_extractor_class=TabularFeatures,
            normalize_images=False,
            optimizer_class=chosen.optimizer_class,
            optimizer_kwargs=chosen.optimizer_kwargs,  # type: ignore[arg-type]
        )
        self.options = chosen
        self.budget = (
            None
            if chosen.tree_budget is None
            else TreeBudget(chosen.tree_budget, chosen.compaction_max_kl)
        )
        self._in_rollout = False
        self._build_trees()
        self._build_mlp_extractor()
        self.optimizer = BoostingOptimizer(
            self.tree_modules,
            self.optimizer_class(  # type: ignore[call-arg]
                [self._add_parameter()], lr=lr_schedule(1), **self.optimizer_kwargs
            ),
            lr=reference_rate(lr_schedule),
            torch_lr=learning_rate("log_std_lr", chosen.log_std_lr),
        )
        self.watch_optimizers()

    def _build_trees(self) -> None:
        options = self.options
        ridge, of_policy, of_value = options.line()
        policy = Head(
            n_policy_columns(self.action_space),
            learning_rate("policy_lr", options.policy_lr),
            options.max_policy_grad_norm,
            line_rate=of_policy,
        )
        value = Head(
            1,
            learning_rate("value_lr", options.value_lr),
            options.max_value_grad_norm,
            line_rate=of_value,
        )
        params = options.params(self.features_extractor.categorical)
        for feature, output, _ in params.monotonic or ():
            if output > policy.n_columns:
                raise ValueError(
                    "monotonic outputs must be columns of the policy, then the value, in "
                    f"[0, {policy.n_columns}], got {output} for feature {feature}"
                )
        self.trees = nn.ModuleDict()
        if options.shared:
            heads = [policy, value]
            self.trees["shared"] = build_ensemble(heads, self.features_dim, params, ridge=ridge)
        else:
            for name, first, head in (("policy", 0, policy), ("value", policy.n_columns, value)):
                own = params_of_columns(params, first, head.n_columns)
                self.trees[name] = build_ensemble([head], self.features_dim, own, ridge=ridge)
        self.action_net = Columns(0, policy.n_columns)
        self.value_net = Columns(-1, None)  # type: ignore[assignment]

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
    def natural_gradient(self) -> bool:
        """Whether gradients of means are times their variances, with leaves that move or a line.

        They are then in the unit of actions (Amari, "Natural Gradient Works Efficiently in
        Learning", 1998), and one ``policy_lr`` serves while the deviations fall.
        """
        is_gaussian = isinstance(self.action_space, spaces.Box)
        moves = self.ensembles[0].refits or self.options.linear is not None
        return is_gaussian and moves

    @property
    def tree_modules(self) -> list[TreeEnsemble]:
        """The ensemble that actor and critic share, or the actor's and the critic's."""
        return cast("list[TreeEnsemble]", list(self.trees.values()))

    @property
    def tree_optimizers(self) -> list[BoostingOptimizer]:
        """The one optimizer."""
        return [self.optimizer]

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Act: return actions, values [n, 1] and log probabilities [n], as SB3's policy."""
        self.note_acting(obs, deterministic)
        return super().forward(obs, deterministic)

    def note_acting(self, obs: PyTorchObs, deterministic: bool) -> None:
        """Keep to the budget where a rollout acts: drawing, in evaluation mode, without gradients.

        Whoever only reads the policy calls ``get_distribution``, ``predict`` or
        ``evaluate_actions``, which leave no trace.
        """
        if not (deterministic or self.training or torch.is_grad_enabled()):
            self.keep_to_budget(obs)

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Tensor:
        """Return the outputs theta [n, D] of the trees, columns policy | value.

        They take the place of features: the heads of actor and critic only slice them.
        """
        return self._theta(obs, self.tree_modules)

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
        rows = rows_of(obs)
        if rows is None:
            x = self.features_extractor(obs)
            outputs = [module(x) for module in modules]
        else:
            self._cache_rows(rows.rollout, modules)
            outputs = [module.forward_rows(rows.ids) for module in modules]
        theta = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return theta.to(self.device)

    def _cache_rows(self, rollout: Any, modules: list[TreeEnsemble]) -> None:
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
        if self.ensembles[0].params.bins == "rollout" and rows_of(obs) is None:
            raise ValueError(
                'tree bins="rollout" needs rollout_buffer_class=rlshare.policies.TreeRolloutBuffer '
                "(DictTreeRolloutBuffer for Dict observations), got samples without row_ids"
            )

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        if self.natural_gradient and latent_pi.requires_grad:
            variance = (2 * self.log_std.detach()).exp()
            means = latent_pi[:, : len(variance)].clone()
            means.register_hook(lambda gradient: gradient * variance)  # type: ignore[no-untyped-call]
            latent_pi = means
        return super()._get_action_dist_from_latent(latent_pi)

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Return the distribution of actions, from the policy's trees alone."""
        return self._get_action_dist_from_latent(self._theta(obs, self.tree_modules[:1]))

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return the values [n, 1], from the value's trees alone."""
        return cast("Tensor", self.value_net(self._theta(obs, self.tree_modules[-1:])))

    def __getstate__(self) -> dict[str, Any]:
        # the last distribution may hang on a graph, which torch neither copies nor pickles
        return {**self.__dict__, "action_dist": make_proba_distribution(self.action_space)}
