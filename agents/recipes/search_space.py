"""What ``rlshare tune`` searches: keys of a recipe and the values each may take. Needs optuna."""

from pkgutil import resolve_name
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from rlshare.agents.recipes.overrides import apply_overrides
from rlshare.agents.recipes.plain import read_yaml
from rlshare.agents.registry import algorithm

Space = dict[str, BaseDistribution]


def _log(low: float, high: float) -> FloatDistribution:
    return FloatDistribution(low, high, log=True)


def _one_of(*values: Any) -> CategoricalDistribution:
    return CategoricalDistribution(values)


_GAMMA: Space = {"gamma": _one_of(0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)}
_ON_POLICY: Space = {
    **_GAMMA,
    "gae_lambda": _one_of(0.8, 0.9, 0.92, 0.95, 0.98, 0.99, 1.0),
    "ent_coef": _log(1e-6, 0.05),
}
_REPLAY: Space = {
    **_GAMMA,
    "batch_size": _one_of(64, 128, 256, 512, 1024),
    "train_freq": _one_of(1, 4, 16, 64),
    "gradient_steps": _one_of(1, 2, 4, 8),
    "learning_starts": _one_of(100, 1000, 5000),
}
_TARGETS: Space = {"tau": _one_of(0.005, 0.01, 0.02, 0.05)}
_TREE: Space = {
    "policy_kwargs.tree.max_depth": IntDistribution(2, 8),
    "policy_kwargs.tree.min_samples_leaf": _one_of(0, 4, 8, 16, 32, 64, 96, 128),
    "policy_kwargs.tree.grow_policy": _one_of("oblivious", "greedy"),
}
_ACTOR: Space = {"policy_kwargs.policy_lr": _log(1e-3, 0.5), **_TREE}
# of trees a constant one has no effect, and one that falls takes their own rates with it
_FALLING: Space = {"learning_rate": _one_of("0.0003", "{linear: [0.0003, 0.0]}")}
_ACTOR_CRITIC: Space = {
    **_ACTOR,
    **_FALLING,
    "policy_kwargs.value_lr": _log(1e-3, 0.2),
    "policy_kwargs.shared": _one_of(False, True),
    "vf_coef": FloatDistribution(0.2, 1.0),
}
_RATE: Space = {"learning_rate": _log(5e-5, 5e-3)}
_CLIPPED: Space = {**_RATE, "max_grad_norm": _one_of(0.3, 0.5, 1.0, 5.0)}
_EXPERTS: Space = {
    "policy_kwargs.moe.n_experts": _one_of(4, 8, 16),
    "policy_kwargs.moe.top_k": _one_of(1, 2, 4),
    "policy_kwargs.moe.hidden": _one_of(32, 64, 128, 256),
}
# strings are YAML, as on the command line
_LAYERS: Space = {"policy_kwargs.net_arch": _one_of("[64, 64]", "[128, 128]", "[256, 256]")}
_LOG_STD: Space = {"policy_kwargs.log_std_init": FloatDistribution(-2.0, 0.0)}
_MEANS: Space = {
    "policy_kwargs.policy_lr": _log(3e-4, 0.05),  # the gradient is divided by the deviation
    "policy_kwargs.log_std_lr": _log(1e-4, 1e-2),
    **_LOG_STD,
}


# of leaves that move: rates are larger, and the tests are drawn
_REFIT_TREE: Space = {
    "policy_kwargs.tree.max_depth": IntDistribution(2, 8),
    "policy_kwargs.tree.n_trees": _one_of(50, 100, 200, 400),
}
_REFIT_RATES: Space = {
    "policy_kwargs.policy_lr": _log(1.0, 50.0),
    "policy_kwargs.value_lr": _log(0.1, 2.0),
}
_REFIT_MEANS: Space = {"policy_kwargs.policy_lr": _log(0.1, 5.0)}  # natural, in units of actions
_TARGET_KL: Space = {"target_kl": _log(0.003, 0.05)}


def _refitted(space: Space, continuous: bool) -> Space:
    """Return the space of trees that are added, made one of leaves that move."""
    others = {key: values for key, values in space.items() if key not in _TREE}
    rates = {**_REFIT_RATES, **(_REFIT_MEANS if continuous else {})}
    if "learning_starts" in space:  # steps of SAC's and TD3's actors are bounded, as of added trees
        del rates["policy_kwargs.policy_lr"]
    own = {key: values for key, values in rates.items() if key in space}
    bound = _TARGET_KL if "clip_range" in space else {}
    return {**others, **_REFIT_TREE, **own, **bound}


def _actor_critic(policy: str, continuous: bool) -> Space:
    if policy == "gbt":
        return {**_ACTOR_CRITIC, **(_MEANS if continuous else {})}
    std = _LOG_STD if continuous else {}
    experts = {**_EXPERTS, "policy_kwargs.value_lr_scale": _one_of(0.5, 1.0, 2.0)}
    return {**_CLIPPED, **(experts if policy == "moe" else _LAYERS), **std}


def _networks(policy: str) -> Space:
    return {**_RATE, **(_EXPERTS if policy == "moe" else _LAYERS)}


def ppo(policy: str, continuous: bool) -> Space:
    """Return what is searched for PPO, and for MaskablePPO."""
    rollouts: Space = {
        "n_steps": _one_of(64, 128, 256, 512, 1024),
        "batch_size": _one_of(64, 128, 256, 512, 1024),
        "n_epochs": _one_of(1, 3, 5, 10, 20),
        "clip_range": _one_of(0.1, 0.2, 0.3, 0.4),
    }
    return {**_ON_POLICY, **rollouts, **_actor_critic(policy, continuous)}


def a2c(policy: str, continuous: bool) -> Space:
    """Return what is searched for A2C."""
    rollouts: Space = {
        "n_steps": _one_of(5, 8, 16, 32, 64, 128),
        "normalize_advantage": _one_of(False, True),
    }
    return {**_ON_POLICY, **rollouts, **_actor_critic(policy, continuous)}


def awr(policy: str, continuous: bool) -> Space:
    """Return what is searched for AWR."""
    phases: Space = {
        "batch_size": _one_of(64, 256, 1024),
        "train_freq": _one_of(125, 250, 500, 1000),
        "gradient_steps": _one_of(25, 50, 100, 150),
        "beta": _log(0.02, 5.0),
    }
    return {**_ON_POLICY, **phases, **_actor_critic(policy, continuous)}


def dqn(policy: str, continuous: bool) -> Space:
    """Return what is searched for DQN."""
    exploration: Space = {
        "target_update_interval": _one_of(64, 256, 1000, 4000),
        "exploration_fraction": FloatDistribution(0.05, 0.5),
        "exploration_final_eps": FloatDistribution(0.01, 0.15),
        "n_steps": _one_of(1, 3, 8),
    }
    trees: Space = {**_TREE, "policy_kwargs.value_lr": _log(0.02, 2.0)}
    return {**_REPLAY, **exploration, **(trees if policy == "gbt" else _networks(policy))}


def sac(policy: str, continuous: bool) -> Space:
    """Return what is searched for SAC."""
    found = {**_ACTOR, **_RATE} if policy == "gbt" else _networks(policy)
    return {**_REPLAY, **_TARGETS, **found}


def td3(policy: str, continuous: bool) -> Space:
    """Return what is searched for TD3."""
    noise: Space = {"noise_std": FloatDistribution(0.05, 0.5)}
    found = {**_ACTOR, **_RATE} if policy == "gbt" else _networks(policy)
    return {**_REPLAY, **_TARGETS, **noise, **found}


def search_space(algo: str, policy: str, continuous: bool, refits: bool = False) -> Space:
    """Return what is searched for an algorithm and a policy, by dotted key.

    Args:
        algo: one of ``ALGORITHMS``.
        policy: "gbt", "moe" or "mlp".
        continuous: whether actions are a Box.
        refits: whether the trees of the recipe have ``learner="refit"``.

    Raises:
        ValueError: the algorithm or the policy is unknown.
    """
    record = algorithm(algo)
    record.recipe_class(policy)
    space: Space = resolve_name(record.search)(policy, continuous)
    return _refitted(space, continuous) if refits else space


def first_trial(settings: dict[str, Any], space: Space) -> dict[str, Any]:
    """Return the values that a recipe's plain data has already, where the space holds them."""
    values = {key: _values_at(settings, key, within) for key, within in space.items()}
    return {key: found[0] for key, found in values.items() if found}


def _values_at(settings: dict[str, Any], key: str, within: BaseDistribution) -> list[Any]:
    value: Any = settings
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(within, CategoricalDistribution):
        return [choice for choice in within.choices if _plain(choice) == value]
    inside = isinstance(within, FloatDistribution | IntDistribution) and (
        isinstance(value, int | float) and within.low <= value <= within.high
    )
    return [value] if inside else []


def tuned(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's plain data with sampled values in it.

    Numbers have four digits, and batches are not larger than a rollout.
    """
    found = apply_overrides(settings, {key: _plain(value) for key, value in values.items()})
    if "n_epochs" in found:
        found["batch_size"] = min(found["batch_size"], found["n_steps"] * found.get("n_envs", 1))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return read_yaml(value)
    return float(f"{value:.4g}") if isinstance(value, float) else value
