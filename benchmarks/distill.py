"""What students kept of their teachers' return.

    python benchmarks/distill.py logs/ppo/CartPole-v1_2 ...

Reads the runs that ``rlshare distill`` wrote, and writes a row of each to results/distill.csv.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results" / "distill.csv"


def row(run: Path) -> dict[str, Any]:
    report = json.loads((run / "distillation.json").read_text())
    made = json.loads((run / "run.json").read_text())
    plan = report["plan"]
    low, high = report["kept_interval"] or (np.nan, np.nan)  # None of too few episodes
    returns = {
        f"{who}_return": f"{np.mean(report[f'{who}_returns']):.2f}"
        for who in ("teacher", "random", "student")
    }
    return {
        "env": report["env"],
        "student": "one tree" if plan["single_tree"] else f"{report['n_trees']} trees",
        "max_depth": plan["max_depth"],
        "seed": plan["seed"],
        **returns,
        "episodes": len(report["student_returns"]),
        "kept": f"{report['kept']:.3f}",
        "kept_low": f"{low:.3f}",
        "kept_high": f"{high:.3f}",
        "agreement": f"{report['agreement']:.3f}",
        "leaves": report["n_leaves"],
        "bytes": report["n_bytes"],
        "best_round": report["best_round"],
        "states": report["rounds"][-1]["n_states"],
        "seconds": round(report["seconds"]),
        "versions": " ".join(f"{k}={v}" for k, v in made["versions"].items()),
        "command": " ".join(["rlshare", *_without_folders(made["command"][1:])]),
    }


def _without_folders(words: list[str]) -> list[str]:
    """Return a command whose paths are those of the default log folder."""
    kept = [word for i, word in enumerate(words) if "-f" not in (word, words[i - 1])]
    return [f"logs/ppo/{Path(word).name}" if "/" in word else word for word in kept]


def main() -> None:
    """Write one row a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    rows = [row(run) for run in parser.parse_args().runs]
    table = pd.DataFrame(rows).sort_values(["env", "leaves"])
    table.to_csv(RESULTS, index=False)
    print(table.drop(columns=["versions", "command"]).to_string(index=False))


if __name__ == "__main__":
    main()
