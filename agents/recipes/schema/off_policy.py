"""Recipes of the algorithms that learn from a replay buffer."""

from math import ceil
from typing import Any, ClassVar, Generic, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from rlshare.agents.recipes.schema.base import Fraction, K, Recipe, Settings
from rlshare.agents.recipes.schema.on_policy import MoESettings


class QNetworkKwargs(Settings):
    """``policy_kwargs`` of the MlpPolicy of DQN, with the activation by name."""

    net_arch: list[int] | None = None
    activation_fn: Literal["tanh", "relu", "elu"] | None = None


class MoEQNetworkKwargs(Settings):
    """``policy_kwargs`` of ``rlshare.policies.MoEDQNPolicy``."""

    moe: MoESettings = MoESettings()
    net_arch: list[int] | None = None


class ActorCriticsKwargs(Settings):
    """``policy_kwargs`` of the MlpPolicy of SAC and TD3, with the activation by name."""

    net_arch: list[int] | dict[Literal["pi", "qf"], list[int]] | None = None
    activation_fn: Literal["tanh", "relu", "elu"] | None = None
    n_critics: PositiveInt | None = None


class MoEActorCriticsKwargs(Settings):
    """``policy_kwargs`` of ``rlshare.policies.MoESACPolicy`` and ``MoETD3Policy``."""

    moe: MoESettings = MoESettings()
    shared: bool | None = None
    net_arch: list[int] | dict[Literal["pi", "qf"], list[int]] | None = None
    n_critics: PositiveInt | None = None


class ReplayRecipe(Recipe[K], Generic[K]):
    """Settings of every algorithm with a replay buffer; ``train_freq`` counts vector steps."""

    default_train_freq: ClassVar[int] = 1
    default_gradient_steps: ClassVar[int] = 1
    default_learning_starts: ClassVar[int] = 0

    buffer_size: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    train_freq: PositiveInt | None = None
    gradient_steps: int | None = None

    def optimizer_steps(self) -> int:
        """Return the gradient steps of a whole run."""
        collected = (self.train_freq or self.default_train_freq) * self.n_envs
        steps = self.default_gradient_steps if self.gradient_steps is None else self.gradient_steps
        given = getattr(self, "learning_starts", None)
        starts = self.default_learning_starts if given is None else given
        phases = ceil(self.n_timesteps / collected) - starts // collected
        return max(0, phases) * (collected if steps < 0 else steps)


class _TemporalDifferenceRecipe(ReplayRecipe[K], Generic[K]):
    """Settings that DQN, SAC and TD3 share."""

    default_learning_starts: ClassVar[int] = 100

    learning_starts: NonNegativeInt | None = None
    tau: Fraction | None = None
    n_steps: PositiveInt | None = None


class DQNRecipe(_TemporalDifferenceRecipe[K], Generic[K]):
    """Settings of ``stable_baselines3.DQN``."""

    default_train_freq: ClassVar[int] = 4

    target_update_interval: PositiveInt | None = None
    exploration_fraction: Fraction | None = None
    exploration_initial_eps: Fraction | None = None
    exploration_final_eps: Fraction | None = None
    max_grad_norm: float | None = None


class SACRecipe(_TemporalDifferenceRecipe[K], Generic[K]):
    """Settings of ``stable_baselines3.SAC``."""

    ent_coef: float | str | None = None
    target_update_interval: PositiveInt | None = None
    target_entropy: float | Literal["auto"] | None = None


class TD3Recipe(_TemporalDifferenceRecipe[K], Generic[K]):
    """Settings of ``stable_baselines3.TD3``; the noise of exploration is named as in rl_zoo3."""

    policy_delay: PositiveInt | None = None
    target_policy_noise: float | None = None
    target_noise_clip: float | None = None
    noise_type: Literal["normal", "ornstein-uhlenbeck"] | None = None
    noise_std: PositiveFloat | None = None

    def optimizer_steps(self) -> int:
        """Return the gradient steps of the actor, one for ``policy_delay`` of the critics."""
        return super().optimizer_steps() // (self.policy_delay or 2)

    def algorithm_settings(self) -> dict[str, Any]:
        """Return the settings without the noise, which is an object."""
        noise = {"noise_type", "noise_std"}
        return {k: v for k, v in super().algorithm_settings().items() if k not in noise}
