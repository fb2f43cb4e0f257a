"""What a layer counts while it learns."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlshare.moe.reference import Routes


@dataclass
class Statistics:
    """Sums over the rows a layer has learnt from, in every forward pass that records a graph.

    Attributes:
        sums: float64 [3 + 3E]: rows, sum of the rows' entropies of the gate's probabilities in
            nats, sum of the balance loss over rows; then by expert rows, gates, probabilities.
        magnitudes: float64 [E, hidden]: absolute inputs of the experts' hidden units.
    """

    sums: Tensor
    magnitudes: Tensor

    @classmethod
    def empty(cls, n_experts: int, hidden: int) -> "Statistics":
        """Return zeros."""
        return cls(
            torch.zeros(3 + 3 * n_experts, dtype=torch.float64),
            torch.zeros(n_experts, hidden, dtype=torch.float64),
        )

    @property
    def counts(self) -> Tensor:
        """Rows by expert, float64 [E]."""
        return self.sums[3:].view(3, -1)[0]

    @torch.no_grad()
    def add(self, routes: Routes, inputs: Tensor, loss: Tensor) -> None:
        """Count a batch of plain torch; the compiled kernels count theirs.

        Args:
            routes: of n rows.
            inputs: of all experts' hidden units, [E, n, hidden].
            loss: balance loss of the batch.
        """
        p, n = routes.probabilities, len(routes.experts)
        selected = torch.zeros_like(p).scatter(1, routes.experts, 1.0)
        gates = torch.zeros_like(p).scatter(1, routes.experts, routes.gates)
        entropies = -torch.xlogy(p, p).sum()
        of_batch = torch.stack([torch.full_like(loss, n), entropies, n * loss])
        by_expert = [selected.sum(0), gates.sum(0), p.sum(0)]
        self.sums += _like(self.sums, torch.cat([of_batch, *by_expert]))
        magnitudes = torch.einsum("ne,enh->eh", selected, inputs.abs().to(selected.dtype))
        self.magnitudes += _like(self.magnitudes, magnitudes)


def _like(sums: Tensor, of_batch: Tensor) -> Tensor:
    """Return what can be added without making the sums a subclass of tensors, as x may be."""
    return of_batch.to(sums).as_subclass(Tensor)
