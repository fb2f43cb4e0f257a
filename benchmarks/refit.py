"""A step of leaves that move beside one of a network and one that adds a tree: results/refit.csv.

    python benchmarks/refit.py

Medians in milliseconds on one thread. The trees are 200 of depth 5, once their tests are settled
and the leaves of the rows are known, as within a rollout. The networks are actor and critic of
Stable-Baselines3's MlpPolicy, two layers of 64 units each.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peers import Floats, command, data, median_ms
from torch import nn

from rlshare.trees import BoostedTrees, TreeParams

RESULTS = Path(__file__).parent / "results" / "refit.csv"
SIZES = ((2048, 17, 7), (512, 4, 3), (64, 4, 3))  # rows, features, outputs
PARAMS = TreeParams(learner="refit", n_trees=200, max_depth=5, random_state=0)
SETTLED = 160  # steps of 512 rows, after which tests are drawn no more


def calls(X: Floats, G: Floats) -> dict[str, Callable[[], object]]:
    """Return what is measured on rows X with gradients G."""
    (_, d), outputs = X.shape, G.shape[1]
    forest = BoostedTrees(d, outputs, PARAMS, 1e-3, n_threads=1)
    for _ in range(SETTLED):
        forest.step(X[np.resize(np.arange(len(X)), 512)], G[np.resize(np.arange(len(X)), 512)])
    ids = forest.leaf_ids(X)
    grown = BoostedTrees(d, outputs, TreeParams(max_depth=5), 1e-3, n_threads=1)
    codes = grown.bin(X)
    return {
        "refit: step": partial(forest.step, ids, G),
        "refit: predict from known leaves": partial(forest.predict_leaves, ids),
        "refit: find leaves and step": lambda: forest.step(X, G),
        "grow: step, codes ready": partial(grown.step, codes, G),
        "network: forward, backward, Adam": partial(network_step(d, outputs), X, G),
    }


def network_step(d: int, outputs: int) -> Callable[[Floats, Floats], None]:
    """Return a step of actor and critic as networks."""
    columns = (outputs - 1, 1)
    networks = [
        nn.Sequential(nn.Linear(d, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, k))
        for k in columns
    ]
    optimizer = torch.optim.Adam([p for one in networks for p in one.parameters()])

    def step(X: Floats, G: Floats) -> None:
        x, gradients = torch.from_numpy(X), torch.from_numpy(G)
        theta = torch.cat([one(x) for one in networks], dim=1)
        optimizer.zero_grad()
        theta.backward(gradients / len(x))
        optimizer.step()

    return step


def main() -> None:
    """Measure and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    versions = (
        f"python={platform.python_version()} numpy={np.__version__} torch={torch.__version__}"
    )
    rows = []
    for n, d, outputs in SIZES:
        found = {
            name: median_ms(call, args.seconds)
            for name, call in calls(*data(n, d, outputs)).items()
        }
        network = found["network: forward, backward, Adam"]
        rows += [
            {
                "rows x features x outputs": f"{n}x{d}x{outputs}",
                "call": name,
                "ms": f"{ms:.3g}",
                "over the network's step": f"{ms / network:.3g}",
                "versions": versions,
                "command": command(__file__),
            }
            for name, ms in found.items()
        ]
    table = pd.DataFrame(rows)
    table.to_csv(args.output, index=False)
    print(table.drop(columns=["versions", "command"]).to_string(index=False))


if __name__ == "__main__":
    main()
