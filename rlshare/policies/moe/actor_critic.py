"""Mixtures of experts as policies of Stable-Baselines3's algorithms."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import make_proba_distribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from rlshare.policies.moe.extractor import MoEExtractor

_OWNED = ("features_extractor_class", "features_extractor_kwargs", "share_features_extractor")


class _ScaledGradient(torch.autograd.Function):
    """x, whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, d_x: Tensor) -> tuple[Tensor, None]:
        return ctx.scale * d_x, None


class _Heads(MlpExtractor):
    """SB3's heads, with the value's gradient scaled where it enters the shared features."""

    def __init__(self, value_scale: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.value_scale = value_scale

    def forward_critic(self, features: Tensor) -> Tensor:
        scaled = _ScaledGradient.apply(features, self.value_scale)  # type: ignore[no-untyped-call]
        latent: Tensor = super().forward_critic(scaled)
        return latent


def _scale_rates(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["unscaled_lr"] = group["lr"]
        group["lr"] = group["lr"] * group["lr_scale"]


def _restore_rates(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop("unscaled_lr")


class _Experts:
    """What the policies share: their features come from a MoEExtractor."""

    _base = "flat"

    def _features(self, moe: Mapping[str, Any] | None, shared: bool | None) -> dict[str, Any]:
        """Return the arguments of SB3's policy; ``shared`` is None where it has one network."""
        arguments: dict[str, Any] = {
            "features_extractor_class": MoEExtractor,
            "features_extractor_kwargs": {"moe": dict(moe or {}), "base": self._base},
        }
        if shared is not None:
            arguments["share_features_extractor"] = shared
        return arguments

    def _with_fused_adam(self, kwargs: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Let Adam, where nothing else is asked for, take all parameters in one pass.

        A mixture has many that each batch hardly uses, and passes over them would cost as much as
        its active experts.
        """
        adam = kwargs.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam
        if adam and kwargs.get("optimizer_kwargs") is None:
            kwargs["optimizer_kwargs"] = {**options, "fused": True}
        return kwargs


def extractor_inputs(policy: BasePolicy, obs: Any) -> Any:
    """Return observations, arrays or tensors with a row each, as the extractors take them."""
    tensors = (
        {key: torch.as_tensor(part, device=policy.device) for key, part in obs.items()}
        if isinstance(obs, dict)
        else torch.as_tensor(obs, device=policy.device)
    )
    space = policy.observation_space
    return preprocess_obs(tensors, space, normalize_images=policy.normalize_images)


def expert_layers(policy: BasePolicy) -> Iterator[tuple[str, MoEExtractor]]:
    """Yield the names and extractors of a policy that learn, without those of target networks.

    The names are "shared", or "pi" and "vf", "actor" and "critic", "q_net".
    """
    seen: set[int] = set()
    for path, module in policy.named_modules():
        if not isinstance(module, MoEExtractor) or id(module) in seen or "target" in path:
            continue
        seen.add(id(module))
        name = path.removesuffix("features_extractor").strip("._")
        separate = getattr(policy, "vf_features_extractor", module) is not module
        yield name or ("pi" if separate else "shared"), module


class MoEPolicy(_Experts, ActorCriticPolicy):
    """Actor and critic on a mixture of experts, for stock PPO and A2C.

    Observations go through one layer to the experts (:class:`rlshare.moe.MoELayer`) and from there
    to the heads. The balance loss of the routing is learnt in the algorithm's own backward pass.

    Args:
        observation_space: of the environment: Box, Discrete, MultiDiscrete, MultiBinary or Dict.
        action_space: of the environment.
        lr_schedule: learning rate of the algorithm over the remaining progress, 1 to 0.
        moe: fields of :class:`rlshare.moe.MoELayer` without ``d``, and ``width``; see
            :func:`rlshare.policies.moe.extractor.moe_options`.
        shared: one mixture for actor and critic, or one for each.
        value_lr_scale: rate of the critic, a multiple of the algorithm's: of its own parameters,
            and of its gradient where it enters shared experts.
        store_routes: keep the experts of each row of a rollout during PPO's epochs, as selected
            before the first; needs ``rollout_buffer_class=TreeRolloutBuffer``
            (``DictTreeRolloutBuffer`` for Dict observations), whose samples know their rows.
        net_arch: hidden layers of the heads, as SB3's; none by default.
        **kwargs: further arguments of SB3's ActorCriticPolicy.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        moe: Mapping[str, Any] | None = None,
        shared: bool = True,
        value_lr_scale: float = 1.0,
        store_routes: bool = False,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 < value_lr_scale < float("inf"):
            raise ValueError(f"value_lr_scale must be finite and > 0, got {value_lr_scale}")
        self._value_lr_scale, self._store_routes = value_lr_scale, store_routes
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=net_arch or [],
            **self._features(moe, shared),
            **self._with_fused_adam(kwargs, eps=1e-5),  # SB3's epsilon for actor and critic
        )
        self.moe = dict(moe or {})
        self._rollout: Any = None  # whose routes are kept
        self._routes: dict[str, Tensor] = {}

    def _build_mlp_extractor(self) -> None:
        scale = self._value_lr_scale if self.share_features_extractor else 1.0
        self.mlp_extractor = _Heads(
            scale,
            self.features_dim,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            device=self.device,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self._value_lr_scale == 1.0:
            return
        critic: list[nn.Module] = [self.value_net, self.mlp_extractor.value_net]
        if not self.share_features_extractor:
            critic.append(self.vf_features_extractor)
        own = {id(p) for module in critic for p in module.parameters()}
        groups = [
            {"params": [p for p in self.parameters() if (id(p) in own) is value], "lr_scale": scale}
            for value, scale in ((False, 1.0), (True, self._value_lr_scale))
        ]
        self.optimizer = self.optimizer_class(
            groups,
            lr=lr_schedule(1),
            **self.optimizer_kwargs,  # type: ignore[call-arg]
        )
        # SB3 sets the same rate for all groups before every training.
        self.optimizer.register_step_pre_hook(_scale_rates)
        self.optimizer.register_step_post_hook(_restore_rates)

    def extract_features(  # type: ignore[override]
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return features [n, width], or those of actor and critic where they are not shared."""
        rows = getattr(obs, "row_ids", None) if self._store_routes else None
        if rows is None:
            found: Tensor | tuple[Tensor, Tensor] = super().extract_features(
                obs, features_extractor
            )
            return found
        self._hold(obs.rollout)  # type: ignore[union-attr]
        inputs = extractor_inputs(self, obs)
        features = [
            extractor(inputs, self._routes[name][rows]) for name, extractor in expert_layers(self)
        ]
        return features[0] if self.share_features_extractor else (features[0], features[1])

    def _hold(self, rollout: Any) -> None:
        """Select the experts of all rows of a rollout that is new, before it is learnt from."""
        if rollout is self._rollout:
            return
        inputs = extractor_inputs(self, rollout)
        self._routes = {name: layer.select(inputs) for name, layer in expert_layers(self)}
        self._rollout = rollout

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values [n, 1], log probabilities [n] of ``actions``, and entropies [n].

        Raises:
            ValueError: if routes are stored and the observations do not know their rows.
        """
        self.check_rows(obs)
        return super().evaluate_actions(obs, actions)

    def check_rows(self, obs: PyTorchObs) -> None:
        """Refuse to learn from observations that do not know their rows, where that is needed.

        Raises:
            ValueError: if routes are stored and they do not.
        """
        if self._store_routes and not hasattr(obs, "row_ids"):
            raise ValueError(
                "store_routes=True needs rollout_buffer_class=rlshare.policies.TreeRolloutBuffer "
                "(DictTreeRolloutBuffer for Dict observations), got samples without row_ids"
            )

    def __getstate__(self) -> dict[str, Any]:
        # the last distribution may hang on a graph, which torch neither copies nor pickles
        fresh = make_proba_distribution(self.action_space, self.use_sde, self.dist_kwargs)
        return {**self.__dict__, "action_dist": fresh, "_rollout": None, "_routes": {}}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        for name in _OWNED:
            data.pop(name, None)
        return {
            **data,
            "moe": self.moe,
            "shared": self.share_features_extractor,
            "value_lr_scale": self._value_lr_scale,
            "store_routes": self._store_routes,
        }


class MoECnnPolicy(MoEPolicy):
    """:class:`MoEPolicy` for images: they go through SB3's NatureCNN first."""

    _base = "cnn"


class _OffPolicy(_Experts):
    """Constructor and its parameters for the policies of off-policy algorithms."""

    _default_arch: tuple[int, ...]
    _has_critic = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        moe: Mapping[str, Any] | None = None,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.moe = dict(moe or {})
        shared = kwargs.pop("shared", False) if self._has_critic else None
        super().__init__(  # type: ignore[call-arg]
            observation_space,
            action_space,
            lr_schedule,
            net_arch=list(self._default_arch) if net_arch is None else net_arch,
            **self._features(moe, shared),
            **self._with_fused_adam(kwargs),
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        shared = data.pop("share_features_extractor", False)
        for name in _OWNED[:2]:
            data.pop(name, None)
        return {**data, "moe": self.moe, **({"shared": shared} if self._has_critic else {})}


class MoESACPolicy(_OffPolicy, SACPolicy):
    """Actor and critics of stock SAC on mixtures of experts.

    Args:
        observation_space: of the environment.
        action_space: of the environment, a Box.
        lr_schedule: learning rate of the algorithm.
        moe: as of :class:`MoEPolicy`.
        net_arch: hidden layers behind the experts, [256] by default; the critics' take the action.
        **kwargs: ``shared``, whether the critics use the actor's experts, which then only the
            actor trains (SB3's ``share_features_extractor``), False by default; and further
            arguments of SB3's policy.
    """

    _default_arch = (256,)


class MoETD3Policy(_OffPolicy, TD3Policy):
    """Actor and critics of stock TD3 on mixtures of experts; arguments as :class:`MoESACPolicy`."""

    _default_arch = (256,)


class MoEDQNPolicy(_OffPolicy, DQNPolicy):
    """The Q-network of stock DQN on a mixture of experts.

    Arguments as :class:`MoESACPolicy` without ``shared``; ``net_arch`` is [] by default.
    """

    _default_arch = ()
    _has_critic = False


class MoECnnSACPolicy(MoESACPolicy):
    """:class:`MoESACPolicy` for images: they go through SB3's NatureCNN first."""

    _base = "cnn"


class MoECnnTD3Policy(MoETD3Policy):
    """:class:`MoETD3Policy` for images: they go through SB3's NatureCNN first."""

    _base = "cnn"


class MoECnnDQNPolicy(MoEDQNPolicy):
    """:class:`MoEDQNPolicy` for images: they go through SB3's NatureCNN first."""

    _base = "cnn"
