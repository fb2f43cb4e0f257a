"""The figures of a report, by hand."""

import math

import pytest
import torch
from kinds import HIDDEN, E, layer

from rlshare.moe import Telemetry


def test_a_report_is_of_the_rows_since_the_last() -> None:
    made = layer()
    statistics = made.statistics
    statistics.sums += 7.0  # before
    telemetry = Telemetry(made)
    assert E == 4
    statistics.sums[:3] += torch.tensor([4.0, 3.0, 2.0])  # rows, entropies, losses
    by_expert = [[6.0, 2.0, 0.0, 0.0], [3.0, 1.5, 0.0, 0.0], [2.0, 1.0, 0.5, 0.5]]
    statistics.sums[3:] += torch.tensor(by_expert).flatten()
    statistics.magnitudes[0] += 6.0
    statistics.magnitudes[0, 0] = 0.0
    statistics.magnitudes[1] += 1.0
    assert telemetry.rows == 4
    report = telemetry.report()
    assert report.rows == 4
    assert report.load.tolist() == [0.75, 0.25, 0.0, 0.0]
    assert report.gate_mean.tolist() == [0.5, 0.75, 0.0, 0.0]
    assert report.router_entropy_token == pytest.approx(3 / 4 / math.log(4))
    marginal = -sum(p * math.log(p) for p in (0.5, 0.25, 0.125, 0.125)) / math.log(4)
    assert report.router_entropy_marginal == pytest.approx(marginal)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert report.effective_experts == pytest.approx(math.exp(entropy))
    assert report.dead_expert_frac == 0.5
    assert report.max_violation == 2.0  # three times an even load
    assert report.dormant_ratio == pytest.approx(1 / (2 * HIDDEN))  # of the experts used
    assert report.aux_loss == 0.5
    assert telemetry.rows == 0
    assert math.isnan(telemetry.report().max_violation)
