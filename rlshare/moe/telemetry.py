"""What an expert layer did since it was last asked: load, gates, entropy, dormant units."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlshare.moe.layer import MoELayer

DEAD_SHARE = 0.1  # of an even load; an expert below it is dead
DORMANT_SHARE = 0.025  # of the mean magnitude; a unit below it is dormant (arXiv 2302.12902)


@dataclass(frozen=True)
class Report:
    """Figures of a layer over the rows it has learnt from between two calls.

    Attributes:
        rows: how many they were; every other figure is NaN without any.
        load: [E], the share of the selections an expert got.
        gate_mean: [E], mean gate of an expert where it was selected, 0 where it never was.
        router_entropy_token: mean entropy of a row's probabilities, 1 where uniform.
        router_entropy_marginal: entropy of their mean, 1 where uniform.
        effective_experts: exp of the entropy of the load.
        dead_expert_frac: share of experts with less than a tenth of an even load.
        max_violation: largest load over an even one, minus 1.
        dormant_ratio: share of hidden units whose mean absolute input is at most .025 of the mean
            over their expert.
        aux_loss: mean balance and z loss.
    """

    rows: int
    load: Tensor
    gate_mean: Tensor
    router_entropy_token: float
    router_entropy_marginal: float
    effective_experts: float
    dead_expert_frac: float
    max_violation: float
    dormant_ratio: float
    aux_loss: float

    def scalars(self) -> dict[str, float]:
        """Return the figures that are one number."""
        return {k: v for k, v in vars(self).items() if isinstance(v, float)}


class Telemetry:
    """Reads the statistics of a layer, which only grow, in differences."""

    def __init__(self, layer: MoELayer) -> None:
        self.layer = layer
        self._sums = layer.statistics.sums.clone()
        self._magnitudes = layer.statistics.magnitudes.clone()

    @property
    def rows(self) -> int:
        """Rows learnt from since the last report."""
        return int(self.layer.statistics.sums[0] - self._sums[0])

    def report(self) -> Report:
        """Return the figures since the last report."""
        statistics, n_experts = self.layer.statistics, self.layer.n_experts
        sums = statistics.sums - self._sums
        magnitudes = statistics.magnitudes - self._magnitudes
        self._sums, self._magnitudes = statistics.sums.clone(), statistics.magnitudes.clone()
        counts, gates, probabilities = sums[3:].view(3, n_experts)
        load = counts / counts.sum()
        even = torch.log(torch.tensor(float(max(n_experts, 2)), dtype=torch.float64))
        per_row = magnitudes / counts.clamp_min(1)[:, None]
        used = counts > 0
        relative = per_row / per_row.mean(1, keepdim=True)
        return Report(
            rows=int(sums[0]),
            load=load,
            gate_mean=gates / counts.clamp_min(1),
            router_entropy_token=float(sums[1] / sums[0] / even),
            router_entropy_marginal=float(_entropy(probabilities / probabilities.sum()) / even),
            effective_experts=float(_entropy(load).exp()),
            dead_expert_frac=float((load < DEAD_SHARE / n_experts).double().mean()),
            max_violation=float(load.max() * n_experts - 1),
            dormant_ratio=float((relative[used] <= DORMANT_SHARE).double().mean()),
            aux_loss=float(sums[2] / sums[0]),
        )


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum()
