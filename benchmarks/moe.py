"""Layers of experts against torch's ways of computing them: results/moe.csv.

    python benchmarks/moe.py

Every form runs in this process on the same data, a few calls of each in turn; figures are medians
in microseconds. The floor is a dense network of the same active multiplications, without a router.
The layer's figure includes its balance loss; the others have none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import grouped_mm, relu

from rlshare.moe import MoELayer

RESULTS = Path(__file__).parent / "results"
# rows, features, hidden units of an expert, experts, experts a row uses
SIZES = (
    (1, 64, 64, 8, 2),
    (64, 64, 64, 8, 2),
    (32, 256, 256, 8, 2),
    (256, 256, 256, 16, 4),
    (256, 1024, 256, 16, 4),
    (1024, 256, 256, 16, 4),
)
BLOCK = 10  # calls of a form in turn that count, after half as many that do not
Form = Callable[[Tensor], Tensor]


class Torch(nn.Module):
    """The parameters that torch's forms share, and the forms."""

    def __init__(self, d: int, hidden: int, n_experts: int, top_k: int) -> None:
        super().__init__()
        self.router = nn.Linear(d, n_experts, bias=False)
        self.w1 = nn.Parameter(torch.randn(n_experts, d, hidden) / d**0.5)
        self.b1 = nn.Parameter(torch.zeros(n_experts, 1, hidden))
        self.w2 = nn.Parameter(torch.randn(n_experts, hidden, d) / hidden**0.5)
        self.b2 = nn.Parameter(torch.zeros(n_experts, 1, d))
        self.n_experts, self.top_k = n_experts, top_k

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, experts = self.router(x).topk(self.top_k, 1)
        return torch.softmax(logits, 1), experts

    def dense_gates(self, x: Tensor) -> Tensor:
        gates, experts = self.route(x)
        return gates.new_zeros(len(x), self.n_experts).scatter(1, experts, gates)

    def all_experts(self, x: Tensor) -> Tensor:
        gates = self.dense_gates(x)
        y = torch.zeros_like(x)
        for e in range(self.n_experts):
            hidden = relu(torch.addmm(self.b1[e], x, self.w1[e]))
            y = y + gates[:, e : e + 1] * torch.addmm(self.b2[e], hidden, self.w2[e])
        return y

    def stacked_bmm(self, x: Tensor) -> Tensor:
        gates = self.dense_gates(x)
        hidden = relu(torch.baddbmm(self.b1, x.expand(self.n_experts, *x.shape), self.w1))
        return torch.einsum("ne,end->nd", gates, torch.baddbmm(self.b2, hidden, self.w2))

    def sorted_rows(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gates, experts = self.route(x)
        order = torch.argsort(experts.flatten(), stable=True)
        rows = order // self.top_k
        return gates.flatten()[order], experts.flatten()[order], rows, x[rows]

    def sort_and_loop(self, x: Tensor) -> Tensor:
        gates, experts, rows, sent = self.sorted_rows(x)
        sizes = torch.bincount(experts, minlength=self.n_experts).tolist()
        parts = []
        for e, part in enumerate(sent.split(sizes)):
            if len(part):
                hidden = relu(torch.addmm(self.b1[e], part, self.w1[e]))
                parts.append(torch.addmm(self.b2[e], hidden, self.w2[e]))
        return torch.zeros_like(x).index_add(0, rows, torch.cat(parts) * gates[:, None])

    def grouped(self, x: Tensor) -> Tensor:
        gates, experts, rows, sent = self.sorted_rows(x)
        ends = torch.bincount(experts, minlength=self.n_experts).cumsum(0).int()
        hidden = relu(grouped_mm(sent, self.w1, offs=ends) + self.b1[experts, 0])
        out = grouped_mm(hidden, self.w2, offs=ends) + self.b2[experts, 0]
        return torch.zeros_like(x).index_add(0, rows, out * gates[:, None])


def forms(d: int, hidden: int, n_experts: int, top_k: int) -> dict[str, tuple[Form, nn.Module]]:
    """Return by name a function of rows, and the module whose gradients a step clears."""
    ours = MoELayer(d, hidden, n_experts, top_k)
    peers = Torch(d, hidden, n_experts, top_k)
    dense = nn.Sequential(nn.Linear(d, top_k * hidden), nn.ReLU(), nn.Linear(top_k * hidden, d))
    return {
        "rlshare": (ours, ours),
        "all experts": (peers.all_experts, peers),
        "stacked bmm": (peers.stacked_bmm, peers),
        "sort and loop": (peers.sort_and_loop, peers),
        "grouped_mm": (peers.grouped, peers),
        "dense floor": (dense, dense),
    }


def measure(size: tuple[int, ...], learn: bool, seconds: float) -> dict[str, float]:
    """Return the median microseconds of each form, forward or forward and backward."""
    n, d, hidden, n_experts, top_k = size
    torch.manual_seed(0)
    x = torch.randn(n, d, requires_grad=learn)
    gradient = torch.randn(n, d)
    measured = forms(d, hidden, n_experts, top_k)
    times: dict[str, list[float]] = {name: [] for name in measured}
    with torch.set_grad_enabled(learn):
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop or len(times["rlshare"]) < 20:
            for name, (form, module) in measured.items():
                for call in range(-BLOCK // 2, BLOCK):
                    module.zero_grad()
                    x.grad = None
                    begin = time.perf_counter()
                    y = form(x)
                    if learn:
                        y.backward(gradient)
                    if call >= 0:
                        times[name].append(1e6 * (time.perf_counter() - begin))
                    del y
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    """Measure every size and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each size and direction")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS / "moe.csv")
    args = parser.parse_args()
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    command = "python benchmarks/moe.py " + " ".join(sys.argv[1:])
    rows = []
    for threads in args.threads:
        torch.set_num_threads(threads)
        for size in SIZES:
            for learn in (False, True):
                found = measure(size, learn, args.seconds)
                floor = found["dense floor"]
                best = min(v for k, v in found.items() if k not in ("rlshare", "dense floor"))
                row = {
                    "rows": size[0],
                    "features": size[1],
                    "hidden": size[2],
                    "experts": size[3],
                    "top_k": size[4],
                    "threads": threads,
                    "pass": "forward+backward" if learn else "forward",
                    **{f"{name} us": round(value, 2) for name, value in found.items()},
                    "over floor": round(found["rlshare"] / floor, 3),
                    "best of torch over rlshare": round(best / found["rlshare"], 2),
                    "versions": versions,
                    "command": command.strip(),
                }
                rows.append(row)
                shown = {k: v for k, v in row.items() if k not in ("versions", "command")}
                print(*shown.values(), sep="\t", flush=True)
    pd.DataFrame(rows).to_csv(args.output, index=False)


if __name__ == "__main__":
    main()
