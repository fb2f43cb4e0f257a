"""How many oblivious trees of trained agents have the tests of an earlier tree, in any order.

    python benchmarks/equal_structures.py logs/ppo/LunarLander-v3_1 ...

Such trees could be merged, by adding their leaf tables. Writes results/equal_structures.csv.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
from stable_baselines3 import PPO

from rlshare.trees import BoostedTrees

RESULTS = Path(__file__).parent / "results" / "equal_structures.csv"


def share(trees: BoostedTrees) -> float:
    """Return the share of trees whose tests are those of an earlier tree."""
    seen = set()
    for i in range(trees.n_trees):
        tree = trees.tree_structure(i)
        seen.add(frozenset(zip(tree["features"], tree["thresholds"], strict=True)))
    return 1 - len(seen) / max(1, trees.n_trees)


def main() -> None:
    """Read the newest checkpoint of every run and write one row an ensemble."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    rows = []
    for run in parser.parse_args().runs:
        settings = json.loads((run / "run.json").read_text())["args"]
        newest = max((run / "checkpoints").glob("*_steps.zip"), key=lambda p: p.stat().st_mtime)
        policy = PPO.load(newest, device="cpu").policy
        for name, trees in zip(policy.trees, policy.ensembles, strict=True):
            row = {
                "env": settings["env"],
                "bins": trees.params.bins,
                "seed": settings["seed"],
                "ensemble": name,
                "trees": trees.n_trees,
                "share_equal_to_an_earlier_tree": round(share(trees), 5),
            }
            rows.append(row)
            print(row, flush=True)
    pd.DataFrame(rows).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
