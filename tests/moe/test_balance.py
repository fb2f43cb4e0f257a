"""The bias that answers to the load, number by number."""

import copy
import pickle

import torch

from rlshare.moe import MoELayer

ROWS = 50_000


def train_on(made: MoELayer, counts: list[int]) -> None:
    """A rollout's training, after which so many rows have gone to each expert."""
    made.train()
    made.statistics.counts.add_(torch.tensor(counts, dtype=torch.float64))
    made.eval()


def test_load_is_the_running_share_of_fifty_thousand_rows() -> None:
    made = MoELayer(3, 4, n_experts=4, top_k=2, gate="sigmoid_bias")
    expected, bias = torch.full((4,), 0.25), torch.zeros(4)
    for counts in ([400, 400, 0, 0], [10_000, 0, 30_000, 10_000], [2, 0, 0, 0], [0, 90_000, 4, 0]):
        train_on(made, counts)
        weight = min(1.0, sum(counts) / 2 / ROWS)
        share = torch.tensor(counts) / sum(counts)
        expected = (1 - weight) * expected + weight * share
        bias += 1e-3 * torch.sign(0.25 - expected)
        assert torch.allclose(made.load, expected, atol=1e-6)
        assert torch.allclose(made.expert_bias, bias, atol=1e-7)
    train_on(made, [200_000, 0, 0, 0])  # more rows than are averaged: the last rollout's share
    assert made.load.tolist() == [1, 0, 0, 0]


def test_what_was_learnt_and_not_answered_to_is_in_copies_and_files() -> None:
    made = MoELayer(3, 4, n_experts=4, top_k=2, gate="sigmoid_bias")
    train_on(made, [400, 400, 0, 0])
    made.train()
    made.statistics.counts.add_(torch.tensor([0.0, 0, 900, 7]))
    loaded = MoELayer(3, 4, n_experts=4, top_k=2, gate="sigmoid_bias")
    loaded.load_state_dict(made.state_dict())
    copies = [loaded, copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    made.eval()
    for other in copies:
        other.eval()
        assert torch.equal(other.load, made.load)
        assert torch.equal(other.expert_bias, made.expert_bias)


def test_a_file_without_what_was_not_answered_to_is_loaded() -> None:
    made = MoELayer(3, 4, gate="sigmoid_bias")
    state = {k: v for k, v in made.state_dict().items() if not k.endswith("_extra_state")}
    made.load_state_dict(state)
    assert list(state) == [name for name, _ in made.named_parameters()]
