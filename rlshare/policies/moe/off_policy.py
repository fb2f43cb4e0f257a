"""Mixtures of experts as policies of Stable-Baselines3's off-policy algorithms."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.distributions import (
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import Actor, SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from rlshare.policies.moe.base import (
    ExpertPolicy,
    NetArch,
    checked_arch,
    shared_extractor,
    with_fused_adam,
    without_graph,
)
from rlshare.policies.moe.encoders import check_spaces


class _ActorCritics(ExpertPolicy):
    """Constructor and its parameters of MoESACPolicy and MoETD3Policy."""

    share_features_extractor: bool

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        moe: Mapping[str, Any] | None = None,
        shared: bool | None = None,
        net_arch: NetArch = None,
        **kwargs: Any,
    ) -> None:
        check_spaces(observation_space, action_space)
        share = shared_extractor(kwargs, shared, default=False)
        super().__init__(  # type: ignore[call-arg]
            observation_space,
            action_space,
            lr_schedule,
            net_arch=checked_arch(net_arch, ("pi", "qf"), [256]),
            share_features_extractor=share,
            **self._features(moe, kwargs),
            **with_fused_adam(kwargs),
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.pop("share_features_extractor", None)
        return {**data, "shared": self.share_features_extractor}


class _Actor(Actor):
    """SB3's actor, which can be copied after it has acted."""

    def __getstate__(self) -> dict[str, Any]:
        n = get_action_dim(self.action_space)
        if isinstance(self.action_dist, StateDependentNoiseDistribution):
            fresh: Any = StateDependentNoiseDistribution(
                n, self.full_std, self.use_expln, squash_output=True, learn_features=True
            )
        else:
            fresh = SquashedDiagGaussianDistribution(n)
        return {**self.__dict__, "action_dist": without_graph(self.action_dist, fresh)}


class MoESACPolicy(_ActorCritics, SACPolicy):
    """Actor and critics of stock SAC on mixtures of experts.

    Args:
        observation_space: of the environment.
        action_space: of the environment, a Box.
        lr_schedule: learning rate of the algorithm.
        moe: as of :class:`MoEPolicy`.
        shared: whether the critics use the actor's experts, which then only the actor trains
            (SB3's ``share_features_extractor``); False by default.
        net_arch: hidden layers behind the experts, [256] by default; the critics' take the action.
        **kwargs: further arguments of SB3's policy.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """Return the actor."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return _Actor(**kwargs).to(self.device)


class MoETD3Policy(_ActorCritics, TD3Policy):
    """Actor and critics of stock TD3 on mixtures of experts; arguments as :class:`MoESACPolicy`."""


class MoEDQNPolicy(ExpertPolicy, DQNPolicy):
    """The Q-network of stock DQN on a mixture of experts.

    Args:
        observation_space: of the environment.
        action_space: of the environment, Discrete.
        lr_schedule: learning rate of the algorithm.
        moe: as of :class:`MoEPolicy`.
        net_arch: hidden layers behind the experts, none by default.
        **kwargs: further arguments of SB3's policy.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        moe: Mapping[str, Any] | None = None,
        net_arch: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        check_spaces(observation_space, action_space)
        super().__init__(
            observation_space,
            action_space,  # type: ignore[arg-type]
            lr_schedule,
            net_arch=checked_arch(net_arch, (), []),
            **self._features(moe, kwargs),
            **with_fused_adam(kwargs),
        )


MoECnnSACPolicy = MoESACPolicy
MoECnnTD3Policy = MoETD3Policy
MoECnnDQNPolicy = MoEDQNPolicy
