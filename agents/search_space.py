"""What ``rlshare tune`` searches: keys of a recipe and the values each may take. Needs optuna."""

from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from rlshare.agents.algorithms import recipe_class
from rlshare.agents.overrides import apply_overrides

Space = dict[str, BaseDistribution]


def _log(low: float, high: float) -> FloatDistribution:
    return FloatDistribution(low, high, log=True)


def _one_of(*values: Any) -> CategoricalDistribution:
    return CategoricalDistribution(values)


_ON_POLICY: Space = {
    "gamma": _one_of(0.9, 0.95, 0.98, 0.99, 0.995, 0.999),
    "gae_lambda": _one_of(0.8, 0.9, 0.92, 0.95, 0.98, 0.99, 1.0),
    "ent_coef": _log(1e-6, 0.05),
}
_ALGORITHMS: dict[str, Space] = {
    "ppo": {
        **_ON_POLICY,
        "n_steps": _one_of(64, 128, 256, 512, 1024),
        "batch_size": _one_of(64, 128, 256, 512, 1024),
        "n_epochs": _one_of(1, 3, 5, 10, 20),
        "clip_range": _one_of(0.1, 0.2, 0.3, 0.4),
    },
    "a2c": {
        **_ON_POLICY,
        "n_steps": _one_of(5, 8, 16, 32, 64, 128),
        "normalize_advantage": _one_of(False, True),
    },
}
_RATES: Space = {"learning_rate": _log(5e-5, 5e-3), "max_grad_norm": _one_of(0.3, 0.5, 1.0, 5.0)}
_POLICIES: dict[str, Space] = {
    "gbt": {
        "policy_kwargs.policy_lr": _log(1e-3, 0.5),
        "policy_kwargs.value_lr": _log(1e-3, 0.2),
        "policy_kwargs.shared": _one_of(False, True),
        "policy_kwargs.tree.max_depth": IntDistribution(2, 6),
        "vf_coef": FloatDistribution(0.2, 1.0),
    },
    "moe": {
        **_RATES,
        "policy_kwargs.moe.n_experts": _one_of(4, 8, 16),
        "policy_kwargs.moe.top_k": _one_of(1, 2, 4),
        "policy_kwargs.moe.hidden": _one_of(32, 64, 128, 256),
        "policy_kwargs.value_lr_scale": _one_of(0.5, 1.0, 2.0),
    },
    # strings are YAML, as on the command line
    "mlp": {**_RATES, "policy_kwargs.net_arch": _one_of("[64, 64]", "[128, 128]", "[256, 256]")},
}
_BOX: dict[str, Space] = {  # of continuous actions only
    "gbt": {
        "policy_kwargs.log_std_init": FloatDistribution(-2.5, 0.0),
        "policy_kwargs.log_std_lr": _log(1e-4, 1e-2),
    },
    "moe": {"policy_kwargs.log_std_init": FloatDistribution(-2.5, 0.0)},
    "mlp": {"policy_kwargs.log_std_init": FloatDistribution(-2.5, 0.0)},
}


def search_space(algo: str, policy: str, continuous: bool) -> Space:
    """Return what is searched for an algorithm and a policy, by dotted key.

    Args:
        algo: "ppo" or "a2c".
        policy: "gbt", "moe" or "mlp".
        continuous: whether actions are a Box.

    Raises:
        ValueError: the algorithm or the policy is unknown.
    """
    recipe_class(algo, policy)
    return {**_ALGORITHMS[algo], **_POLICIES[policy], **(_BOX[policy] if continuous else {})}


def tuned(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's plain data with sampled values in it.

    Numbers have three digits, and batches are not larger than a rollout.
    """
    found = apply_overrides(settings, {key: _plain(value) for key, value in values.items()})
    if "batch_size" in found and "n_steps" in found:
        found["batch_size"] = min(found["batch_size"], found["n_steps"] * found.get("n_envs", 1))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return yaml.safe_load(value)
    return float(f"{value:.3g}") if isinstance(value, float) else value
