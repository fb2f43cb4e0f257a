"""Mixtures of experts as policies of Stable-Baselines3's on-policy algorithms."""

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.distributions import make_proba_distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from rlshare import checks
from rlshare.policies.moe.base import ExpertPolicy, without_graph
from rlshare.policies.moe.extractor import expert_layers, extractor_inputs
from rlshare.policies.moe.optimizer import ValueRate, scaled_gradient
from rlshare.policies.moe.routes import KeptRoutes


class _Heads(MlpExtractor):
    """SB3's heads, with the value's gradient scaled where it enters the shared features."""

    def __init__(self, value_scale: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.value_scale = value_scale

    def forward_critic(self, features: Tensor) -> Tensor:
        return super().forward_critic(scaled_gradient(features, self.value_scale))


class MoEPolicy(ExpertPolicy, ActorCriticPolicy):
    """Actor and critic on a mixture of experts, for stock PPO and A2C.

    Observations go through an encoder and one layer to the experts (:class:`rlshare.moe.MoELayer`)
    and from there to the heads. Images go through SB3's NatureCNN, see
    :func:`rlshare.policies.moe.encoders.encoder_class`. The balance loss of the routing is learnt
    in the algorithm's own backward pass.

    Args:
        observation_space: of the environment: Box, Discrete, MultiDiscrete, MultiBinary or Dict.
        action_space: of the environment.
        lr_schedule: learning rate of the algorithm over the remaining progress, 1 to 0.
        moe: fields of :class:`rlshare.moe.MoELayer` without ``d``, and ``width``; see
            :func:`rlshare.policies.moe.extractor.moe_options`.
        shared: one mixture for actor and critic, the default, or one for each; SB3's
            ``share_features_extractor``.
        value_lr_scale: rate of the critic, a multiple of the algorithm's: of its own parameters,
            and of its gradient where it enters shared experts.
        store_routes: keep the experts of each row of a rollout during PPO's epochs, as selected
            before the first; needs ``rollout_buffer_class=TreeRolloutBuffer``
            (``DictTreeRolloutBuffer`` for Dict observations), whose samples know their rows.
        net_arch: hidden layers of the heads, as SB3's; none by default.
        **kwargs: further arguments of SB3's ActorCriticPolicy; a ``features_extractor_class`` takes
            the encoder's place.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    parts = ("pi", "vf")
    sharing = True
    adam: ClassVar[dict[str, Any]] = {"eps": 1e-5}  # SB3's for actor and critic

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        moe: Mapping[str, Any] | None = None,
        value_lr_scale: float = 1.0,
        store_routes: bool = False,
        **kwargs: Any,
    ) -> None:
        self._value_lr_scale = checks.positive("value_lr_scale", value_lr_scale)
        self._store_routes = checks.switch("store_routes", store_routes)
        super().__init__(observation_space, action_space, lr_schedule, moe, **kwargs)
        self._routes = KeptRoutes()

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
        critic: list[nn.Module] = [self.value_net, self.mlp_extractor.value_net]
        if not self.share_features_extractor:
            critic.append(self.vf_features_extractor)
        self._value_rate = ValueRate(self._value_lr_scale, self, critic)
        self.optimizer = self.optimizer_class(
            self._value_rate.groups(self),
            lr=lr_schedule(1),
            **self.optimizer_kwargs,  # type: ignore[call-arg]
        )
        self._value_rate.hook(self.optimizer)

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
        self._routes.keep(self, obs.rollout)  # type: ignore[union-attr]
        inputs = extractor_inputs(self, obs)
        features = [
            extractor(inputs, self._routes[name][rows]) for name, extractor in expert_layers(self)
        ]
        return features[0] if self.share_features_extractor else (features[0], features[1])

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
        fresh = make_proba_distribution(self.action_space, self.use_sde, self.dist_kwargs)
        return {**self.__dict__, "action_dist": without_graph(self.action_dist, fresh)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._value_rate.hook(self.optimizer)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "value_lr_scale": self._value_lr_scale,
            "store_routes": self._store_routes,
        }


MoECnnPolicy = MoEPolicy
