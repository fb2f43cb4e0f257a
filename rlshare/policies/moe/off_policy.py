"""Mixtures of experts as policies of Stable-Baselines3's off-policy algorithms."""

from typing import Any

from stable_baselines3.common.distributions import (
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import Actor, SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from rlshare.policies.moe.base import ExpertPolicy, without_graph
from rlshare.policies.spaces import ACTIONS


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


class MoESACPolicy(ExpertPolicy, SACPolicy):
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

    actions = ACTIONS["SAC"]
    parts = ("pi", "qf")
    layers = (256,)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """Return the actor."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return _Actor(**kwargs).to(self.device)


class MoETD3Policy(ExpertPolicy, TD3Policy):
    """Actor and critics of stock TD3 on mixtures of experts; arguments as :class:`MoESACPolicy`."""

    actions = ACTIONS["TD3"]
    parts = ("pi", "qf")
    layers = (256,)


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

    actions = ACTIONS["DQN"]


MoECnnSACPolicy = MoESACPolicy
MoECnnTD3Policy = MoETD3Policy
MoECnnDQNPolicy = MoEDQNPolicy
