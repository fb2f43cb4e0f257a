"""What a layer counts while it learns."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Statistics:
    """Sums over the rows a layer has learnt from, in every forward pass that records a graph.

    Attributes:
        sums: float64 [3 + 3E]: rows, sum of the rows' entropies of the gate's probabilities in
            nats, sum of the balance loss over rows; then by expert rows, gates, probabilities.
        magnitudes: float32 [E, hidden]: absolute inputs of the experts' hidden units.
        tasks: float64 [n_tasks, E]: rows of each task by expert.
    """

    sums: Tensor
    magnitudes: Tensor
    tasks: Tensor

    @classmethod
    def empty(cls, n_experts: int, hidden: int, n_tasks: int) -> "Statistics":
        """Return zeros."""
        return cls(
            torch.zeros(3 + 3 * n_experts, dtype=torch.float64),
            torch.zeros(n_experts, hidden),
            torch.zeros(n_tasks, n_experts, dtype=torch.float64),
        )

    @property
    def counts(self) -> Tensor:
        """Rows by expert, float64 [E]."""
        return self.sums[3:].view(3, -1)[0]
