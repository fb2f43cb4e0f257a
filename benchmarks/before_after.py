"""Two builds of rlshare against each other: results/before_after.csv.

    python benchmarks/before_after.py OLD/bin/python NEW/bin/python

Each interpreter has one of the builds. A fresh process of each measures every figure, the two in
turn, so that both see the same machine; the ratio is the median over the turns of new over old.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path

import pandas as pd

from rlshare.runs.versions import versions

RESULTS = Path(__file__).parent / "results"
TIMING = """
import json, sys, time
def fastest(call, n):
    best = float("inf")
    for _ in range(n):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best * 1e6
figures = {}
"""
TREES = """
import numpy as np
from rlshare.trees import BoostedTrees, TreeParams
for n, d, outputs in ((256, 4, 3), (2048, 17, 7)):
    random = np.random.default_rng(0)
    X = random.standard_normal((n, d), dtype=np.float32)
    grads = random.standard_normal((n, outputs), dtype=np.float32)
    size = f"{n}x{d}x{outputs}"
    for growth in ("oblivious", "greedy"):
        params = TreeParams(max_depth=6, grow_policy=growth)
        model = BoostedTrees(d, outputs, params, n_threads=1)
        codes = model.bin(X)
        for _ in range(100):
            model.step(codes, grads)
        act = X[:1].copy()
        figures[f"{growth} predict 1 row, 100 trees"] = fastest(lambda: model.predict(act), 3000)
        figures[f"{growth} predict {size}, 100 trees"] = fastest(lambda: model.predict(X), 200)
        figures[f"{growth} step {size}"] = fastest(lambda: model.step(codes, grads), 400)
    figures[f"bin {size}"] = fastest(lambda: model.bin(X), 400)
"""
EXPERTS = """
import torch
from rlshare.moe import MoELayer
torch.set_num_threads(1)
for n, d, hidden, experts, top_k in ((64, 64, 64, 8, 2), (256, 256, 256, 16, 4)):
    layer = MoELayer(d, hidden, experts, top_k)
    x = torch.randn(n, d)
    def learn():
        layer(x).sum().backward()
    def act():
        with torch.no_grad():
            layer(x[:1])
    figures[f"experts act, {d}x{hidden}"] = fastest(act, 2000)
    figures[f"experts learn, {n}x{d}x{hidden}"] = fastest(learn, 100)
"""
IMPORTS = """
started = time.perf_counter()
import {module}
figures["import {module}"] = (time.perf_counter() - started) * 1e6
"""
PPO = """
import warnings
warnings.simplefilter("ignore")
import torch
import rlshare
from stable_baselines3 import PPO
torch.set_num_threads(1)
model = PPO("{policy}", "CartPole-v1", seed=0, n_steps=512, batch_size=128)
model.learn(512)
started = time.process_time()
model.learn(4096, reset_num_timesteps=False)
figures["PPO {policy} CartPole, a step"] = (time.process_time() - started) / 4096 * 1e6
"""
SNIPPETS = (
    TREES,
    EXPERTS,
    *(IMPORTS.format(module=name) for name in ("rlshare", "rlshare.trees", "rlshare.policies")),
    *(PPO.format(policy=name) for name in ("GBTPolicy", "MoEPolicy")),
)


def measure(python: str, snippet: str) -> dict[str, float]:
    """Return the figures of a snippet, in microseconds."""
    code = f"{TIMING}{snippet}\nprint(json.dumps(figures))"
    run = subprocess.run(
        [python, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=RESULTS
    )
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", help="interpreter of the build before")
    parser.add_argument("new", help="interpreter of the build after")
    parser.add_argument("--turns", type=int, default=5, help="processes a build and figure")
    args = parser.parse_args()
    rows = []
    about = {
        "turns": args.turns,
        "versions": " ".join(f"{name}={version}" for name, version in versions().items()),
        "command": f"python benchmarks/before_after.py --turns {args.turns}",
    }
    for snippet in SNIPPETS:
        turns = [
            (measure(args.old, snippet), measure(args.new, snippet)) for _ in range(args.turns)
        ]
        for figure in turns[0][0]:
            old, new = ([turn[which][figure] for turn in turns] for which in (0, 1))
            ratios = [after / before for before, after in zip(old, new, strict=True)]
            row = {
                "figure": figure,
                "old_us": round(statistics.median(old), 2),
                "new_us": round(statistics.median(new), 2),
                "ratio": round(statistics.median(ratios), 3),
            }
            print(*row.values(), sep="\t", flush=True)
            rows.append(row | about)
    pd.DataFrame(rows).to_csv(RESULTS / "before_after.csv", index=False)


if __name__ == "__main__":
    main()
