"""Trees taught by a trained agent."""

from typing import TYPE_CHECKING

from rlshare.lazy import names_of

if TYPE_CHECKING:
    from rlshare.distill.agent import Distilled, distill
    from rlshare.distill.plan import Plan
    from rlshare.distill.rounds import Round, States, best, dagger

__all__ = ["Distilled", "Plan", "Round", "States", "best", "dagger", "distill"]

# The agent's need torch and Stable-Baselines3, DAgger does not.
__getattr__ = names_of(
    __name__,
    {
        "agent": ("Distilled", "distill"),
        "rounds": ("Round", "States", "best", "dagger"),
        "plan": ("Plan",),
    },
)
