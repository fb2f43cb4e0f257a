"""What the tree policies of SAC and TD3 share: an actor of trees, critics of trees or networks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from rlshare.policies.gbt.base import TreePolicy, reference_rate
from rlshare.policies.gbt.critics import ActionForm, TreeCritic
from rlshare.policies.gbt.features import TabularFeatures
from rlshare.policies.gbt.heads import Head, build_ensemble
from rlshare.policies.gbt.networks import TreeSACActor, TreeTD3Actor
from rlshare.policies.gbt.options import Form, TreeActorOptions, learning_rate, read_options
from rlshare.policies.spaces import ACTIONS, check_images, check_spaces
from rlshare.trees import TreeParams
from rlshare.trees.torch.optimizer import BoostingOptimizer
from rlshare.trees.torch.target import FollowedEnsemble, TargetEnsemble

TWIN_SUBSAMPLE = 0.5  # Friedman, "Stochastic Gradient Boosting", 2002


class TreeActorPolicy(TreePolicy, BasePolicy):
    """Builds actor and critics in place of the policy of SB3 that the subclass also inherits."""

    actor_type: type[TreeSACActor] | type[TreeTD3Actor]  # set by the subclass
    family: type[TreeActorOptions]  # likewise
    options: TreeActorOptions
    actor: Any
    critic: ContinuousCritic
    critic_target: ContinuousCritic

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        **options: Any,
    ) -> None:
        chosen = self.options = read_options(self.family, options)
        networks = chosen.critic == "nn"
        check_spaces("GBTPolicy", observation_space, action_space, ACTIONS["SAC"], networks)
        mixed = isinstance(observation_space, spaces.Dict)
        if networks and mixed:
            check_images(observation_space, normalize_images=True)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch={"pi": [], "qf": chosen.net_arch},
            features_extractor_class=CombinedExtractor if mixed else FlattenExtractor,
            optimizer_class=chosen.optimizer_class,
            optimizer_kwargs=chosen.optimizer_kwargs,
            n_critics=chosen.n_critics,
        )
        self.watch_optimizers()

    def _build(self, lr_schedule: Schedule) -> None:
        features = TabularFeatures(self.observation_space)
        params = self.options.params(features.categorical)
        heads = self._actor_heads(get_action_dim(self.action_space))
        trees = build_ensemble(heads, features.features_dim, params, FollowedEnsemble)
        self.actor = self._make_tree_actor(features, trees)
        targets: list[nn.Parameter] = []
        if self.options.critic == "nn":
            self._build_networks(lr_schedule)
            targets = list(self.critic_target.parameters())
        else:
            self._build_forms(lr_schedule, features, params)
        self.actor.optimizer = BoostingOptimizer(
            [trees], lr=reference_rate(lr_schedule), targets=targets
        )
        self.critic_target.set_training_mode(False)

    def _actor_heads(self, n_actions: int) -> list[Head]:
        raise NotImplementedError

    def _policy_head(self, n_actions: int) -> Head:
        return Head(
            n_actions,
            learning_rate("policy_lr", self.options.policy_lr),
            self.options.max_policy_grad_norm,
        )

    def _make_tree_actor(
        self, features: TabularFeatures, trees: FollowedEnsemble | TargetEnsemble
    ) -> TreeSACActor | TreeTD3Actor:
        return self.actor_type(self.observation_space, self.action_space, features, trees)  # type: ignore[arg-type]

    def _build_networks(self, lr_schedule: Schedule) -> None:
        """Build SB3's critics, as its policies do."""
        make = cast("SACPolicy | TD3Policy", self).make_critic
        self.critic, self.critic_target = make(), make()
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic.optimizer = self.optimizer_class(
            self.critic.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _build_forms(
        self, lr_schedule: Schedule, features: TabularFeatures, params: TreeParams
    ) -> None:
        """Build critics whose coefficients are trees."""
        options = self.options
        head = Head(
            ActionForm.n_columns(cast("Form", options.critic), get_action_dim(self.action_space)),
            learning_rate("value_lr", options.value_lr),
            options.max_value_grad_norm,
        )
        ensembles = [
            build_ensemble([head], features.features_dim, own, FollowedEnsemble)
            for own in _params_of_critics(params, options.tree, options.n_critics)
        ]
        self.critic = self._make_tree_critic(features, ensembles)
        targets = [ensemble.target for ensemble in ensembles]
        self.critic_target = self._make_tree_critic(features, targets)
        self.critic.optimizer = BoostingOptimizer(ensembles, lr=reference_rate(lr_schedule))

    def _make_tree_critic(
        self,
        features: TabularFeatures,
        trees: Sequence[FollowedEnsemble] | Sequence[TargetEnsemble],
    ) -> TreeCritic:
        form = cast("Form", self.options.critic)
        return TreeCritic(self.observation_space, self.action_space, features, trees, form)  # type: ignore[arg-type]

    @property
    def tree_optimizers(self) -> list[BoostingOptimizer]:
        """The optimizers of the actor, and of the critics if these are trees."""
        optimizers: list[Any] = [self.actor.optimizer, self.critic.optimizer]
        return [each for each in optimizers if isinstance(each, BoostingOptimizer)]


def _params_of_critics(
    params: TreeParams, tree: Mapping[str, Any], n_critics: int
) -> list[TreeParams]:
    """Return the params of the critics, each with its own random draws.

    Without draws all critics would be one and the same function: trees start alike and are grown
    on the same batches, so the least of their values would be no pessimistic estimate. Where leaves
    move, the trees themselves are drawn.
    """
    seed = params.random_state or 0
    drawn = n_critics == 1 or params.learner == "refit" or {"subsample", "colsample"} & set(tree)
    subsample = params.subsample if drawn else TWIN_SUBSAMPLE
    return [
        replace(params, monotonic=None, subsample=subsample, random_state=(seed + 1 + k) % 2**31)
        for k in range(n_critics)
    ]
