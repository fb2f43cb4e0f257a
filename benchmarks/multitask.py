"""Compare policies on a multi-task environment: results/NAME.csv, NAME_iqm.csv, NAME.png.

    python benchmarks/multitask.py --name multitask --arm moe 'logs/moe-*/ppo/*' --arm ...

Reads finished run folders. A task's score in a run is the mean of its last 20 training episodes; in
the aggregate it is divided so that 0 is the task's first episodes and 1 the best arm's mean. The
aggregate is the interquartile mean over runs and tasks with its 95 % stratified bootstrap interval
(Agarwal et al., arXiv 2108.13264).
"""

from __future__ import annotations

import argparse
import glob
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from curves import trained_by

from rlshare.results.intervals import bootstrap_interval, interquartile_mean

RESULTS = Path(__file__).parent / "results"
_END = "/ep_rew_mean"


def read(arm: str, folder: Path) -> list[dict[str, Any]]:
    """Return one row a task."""
    run = json.loads((folder / "run.json").read_text())
    done, wanted = (run.get("results") or {}).get("num_timesteps", 0), run["args"]["n_timesteps"]
    if done < wanted:
        raise SystemExit(f"{folder} is not finished: {done} of {wanted} steps")
    progress = pd.read_csv(folder / "progress.csv")
    tasks = [c for c in progress if c.endswith(_END) and c.count("/") == 2]
    return [
        {
            "arm": arm,
            "seed": run["args"]["seed"],
            "task": column.split("/")[1],
            "steps": done,
            "first": round(float(progress[column].dropna().iloc[0]), 2),
            "last": round(float(progress[column].dropna().iloc[-1]), 2),
            "steps_per_s": round(run["results"]["steps_per_second"]),
            "versions": " ".join(f"{n}={v}" for n, v in run["versions"].items()),
            "command": trained_by(run["command"]),
        }
        for column in tasks
    ]


def scores(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return by arm [n_seeds, n_tasks], 0 at a task's first episodes and 1 at its best arm."""
    first = rows.groupby("task")["first"].mean()
    best = rows.groupby(["arm", "task"])["last"].mean().groupby("task").max()
    table = rows.pivot_table(index=["arm", "seed"], columns="task", values="last")
    scaled = (table - first) / (best - first)
    return {arm: scaled.loc[arm].to_numpy() for arm in dict.fromkeys(rows["arm"])}


def aggregate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the interquartile mean of each arm and its interval."""
    summary = []
    for arm, returns in scores(rows).items():
        low, high = bootstrap_interval(interquartile_mean, returns)
        summary.append(
            {
                "arm": arm,
                "seeds": rows[rows["arm"] == arm]["seed"].nunique(),
                "iqm": round(interquartile_mean(returns), 3),
                "low_95": round(low, 3),
                "high_95": round(high, 3),
            }
        )
    return pd.DataFrame(summary)


def draw(name: str, rows: pd.DataFrame, summary: pd.DataFrame) -> None:
    """Draw the returns by task, and the aggregate."""
    arms = list(summary["arm"])
    tasks = list(dict.fromkeys(rows["task"]))
    width = 0.8 / len(arms)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 4.5), width_ratios=[3, 1], layout="constrained"
    )
    for i, arm in enumerate(arms):
        of = rows[rows["arm"] == arm]
        means = of.groupby("task")["last"].mean()[tasks]
        at = np.arange(len(tasks)) + (i - (len(arms) - 1) / 2) * width
        left.bar(at, means, width, label=arm, color=f"C{i}", alpha=0.7)
        for x, task in zip(at, tasks, strict=True):
            seeds = of[of["task"] == task]["last"]
            left.plot([x] * len(seeds), seeds, "k.", markersize=3)
        row = summary.iloc[i]
        right.errorbar(
            [i],
            [row["iqm"]],
            [[row["iqm"] - row["low_95"]], [row["high_95"] - row["iqm"]]],
            fmt="o",
            color=f"C{i}",
            capsize=5,
        )
    left.set_xticks(range(len(tasks)), tasks)
    left.set_ylabel("return, last 20 training episodes")
    left.legend(frameon=False)
    right.set_xticks(range(len(arms)), arms, rotation=30, ha="right")
    right.set_ylabel("interquartile mean of scaled returns, 95 %")
    for axes in (left, right):
        axes.grid(alpha=0.3, axis="y")
    figure.savefig(RESULTS / f"{name}.png", dpi=110)


def main() -> None:
    """Read, aggregate, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--name", default="multitask")
    parser.add_argument("--arm", nargs=2, action="append", metavar=("LABEL", "GLOB"), required=True)
    args = parser.parse_args()
    rows = pd.DataFrame(
        [
            row
            for arm, pattern in args.arm
            for folder in sorted(glob.glob(pattern))
            for row in read(arm, Path(folder))
        ]
    )
    summary = aggregate(rows)
    rows.to_csv(RESULTS / f"{args.name}.csv", index=False)
    summary.to_csv(RESULTS / f"{args.name}_iqm.csv", index=False)
    draw(args.name, rows, summary)
    print(rows.pivot_table(index="task", columns="arm", values="last").round(1).to_string())
    print(summary.to_string())


if __name__ == "__main__":
    main()
