"""Action masks, which a masked algorithm asks its environment for before every action."""

from collections.abc import Callable
from typing import Any

from rlshare.agents.registry import algorithm
from rlshare.runs.errors import UserError

_METHOD = "action_masks"  # the name that sb3_contrib looks for


def check_masks(algo: str, env: Any) -> None:
    """Refuse a gymnasium environment without masks for an algorithm that acts by them.

    Raises:
        UserError: it has no method ``action_masks``.
    """
    if algorithm(algo).masked and not env.has_wrapper_attr(_METHOD):
        raise UserError(
            f"--algo {algo} needs an environment with a method {_METHOD}(), which returns whether "
            f"each action is allowed; {env.unwrapped.__class__.__name__} has none"
        )


def masks_of(algo: str, env: Any) -> dict[str, Any]:
    """Return what ``predict`` takes beside the observations of a vectorised environment."""
    if not algorithm(algo).masked:
        return {}
    from sb3_contrib.common.maskable.utils import get_action_masks

    return {_METHOD: get_action_masks(env)}


def evaluator(algo: str) -> Callable[..., Any]:
    """Return the ``evaluate_policy`` that acts as the algorithm does."""
    if algorithm(algo).masked:
        from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_masked

        found: Callable[..., Any] = evaluate_masked
        return found
    from stable_baselines3.common.evaluation import evaluate_policy

    return evaluate_policy
