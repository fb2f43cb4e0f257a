"""Recipes of the algorithms that learn from rollouts, and of actor-critic policies."""

from math import ceil
from typing import Generic, Literal

from pydantic import PositiveInt

from rlshare.agents.recipes.schema.base import Fraction, K, Recipe, Schedule, Settings


class MoESettings(Settings):
    """Fields of ``rlshare.moe.MoELayer``, and ``width``, what goes in and out of the experts."""

    width: PositiveInt | None = None
    hidden: PositiveInt | None = None
    n_experts: PositiveInt | None = None
    top_k: PositiveInt | None = None
    gate: Literal["softmax_topk", "soft_dense", "sigmoid_bias", "merge"] | None = None
    router: Literal["features", "task", "both", "per_task"] | None = None
    balance: Literal["entropy", "switch", "importance", "bias", "none"] | None = None
    balance_coef: float | None = None
    z_coef: float | None = None
    n_shared: int | None = None
    activation: Literal["relu", "tanh"] | None = None
    n_tasks: int | None = None


class MoEKwargs(Settings):
    """``policy_kwargs`` of ``rlshare.policies.MoEPolicy``."""

    moe: MoESettings = MoESettings()
    shared: bool | None = None
    value_lr_scale: float | None = None
    store_routes: bool | None = None
    net_arch: list[int] | dict[Literal["pi", "vf"], list[int]] | None = None
    ortho_init: bool | None = None
    log_std_init: float | None = None


class MLPKwargs(Settings):
    """``policy_kwargs`` of SB3's MlpPolicy, with the activation by name."""

    net_arch: list[int] | dict[Literal["pi", "vf"], list[int]] | None = None
    activation_fn: Literal["tanh", "relu", "elu"] | None = None
    ortho_init: bool | None = None
    log_std_init: float | None = None


class OnPolicyRecipe(Recipe[K], Generic[K]):
    """Settings that PPO and A2C share."""

    n_steps: PositiveInt | None = None
    gae_lambda: Fraction | None = None
    ent_coef: float | None = None
    vf_coef: float | None = None
    max_grad_norm: float | None = None
    normalize_advantage: bool | None = None


class PPORecipe(OnPolicyRecipe[K], Generic[K]):
    """Settings of ``stable_baselines3.PPO``."""

    batch_size: PositiveInt | None = None
    n_epochs: PositiveInt | None = None
    clip_range: Schedule = None
    clip_range_vf: Schedule = None
    target_kl: float | None = None

    def optimizer_steps(self) -> int:
        """Return the minibatches of all epochs of all rollouts."""
        rollout = (self.n_steps or 2048) * self.n_envs
        minibatches = ceil(rollout / (self.batch_size or 64))
        return ceil(self.n_timesteps / rollout) * (self.n_epochs or 10) * minibatches


class A2CRecipe(OnPolicyRecipe[K], Generic[K]):
    """Settings of ``stable_baselines3.A2C``."""

    use_rms_prop: bool | None = None
    rms_prop_eps: float | None = None

    def optimizer_steps(self) -> int:
        """Return the number of rollouts."""
        return ceil(self.n_timesteps / ((self.n_steps or 5) * self.n_envs))
