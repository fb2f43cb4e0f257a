"""The experts of a rollout's rows, kept while it is learnt from."""

from typing import Any, Self

from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from rlshare.policies.moe.extractor import select_experts


class KeptRoutes(dict[str, Tensor]):
    """Experts int32 [rows, top_k] by layer, as they were selected before a rollout was learnt from.

    A copy keeps those of the rollout under way; a file has none, for a rollout is in no file.
    """

    rollout: Any = None  # all its observations, whose identity says which it is

    def keep(self, policy: BasePolicy, rollout: Any) -> None:
        """Select the experts of all rows of a rollout, unless it is the one already kept."""
        if rollout is not self.rollout:
            self.clear()
            self.update(select_experts(policy, rollout))
            self.rollout = rollout

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self)(self)
        copied.rollout = self.rollout
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
