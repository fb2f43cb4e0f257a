"""Compare two ways of training by their learning curves, from finished run folders.

    python benchmarks/curves.py --name lunar-bins \
        --arm "edges per batch" 'logs/batch-*/ppo/LunarLander-v3_1' \
        --arm "edges per rollout" 'logs/rollout-*/ppo/LunarLander-v3_1'

Writes one row a run to results/curves.csv, one row a measure to results/comparisons.csv (earlier
rows of the same name are replaced), and results/NAME.png. The measures are the mean of the last 100
training episodes and the mean of all of them; the interval is that of the difference of the arms'
means, resampling the seeds of each arm 10 000 times.
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
from learning import LAST

from rlshare.results.curves import window_means
from rlshare.results.episodes import Episodes
from rlshare.results.intervals import bootstrap_interval

RESULTS = Path(__file__).parent / "results"
MEASURES = {"last_100": "mean of the last 100 episodes", "all": "mean over the whole training"}
WINDOWS = 60  # points of a curve


def read(name: str, arm: str, folder: Path) -> tuple[dict[str, Any], Episodes, pd.DataFrame]:
    """Return a run's row, episodes and progress.

    Raises:
        SystemExit: for a run that was interrupted or is still going on.
    """
    run = json.loads((folder / "run.json").read_text())
    done, wanted = (run.get("results") or {}).get("num_timesteps", 0), run["args"]["n_timesteps"]
    if done < wanted:
        raise SystemExit(f"{folder} is not finished: {done} of {wanted} steps")
    episodes = Episodes.read(folder)
    progress = pd.read_csv(folder / "progress.csv")
    steps, seconds = progress["time/total_timesteps"], progress["time/time_elapsed"]
    last = steps >= 0.9 * steps.iloc[-1]
    row = {
        "name": name,
        "arm": arm,
        "env": run["args"]["env"],
        "seed": run["args"]["seed"],
        "steps": int(steps.iloc[-1]),
        "last_100": round(float(episodes.returns[-LAST:].mean()), 2),
        "all": round(float(episodes.returns.mean()), 2),
        "steps_per_s": round(steps.iloc[-1] / seconds.iloc[-1]),
        "steps_per_s_last_tenth": round(np.ptp(steps[last]) / np.ptp(seconds[last])),
        "n_trees": int(progress["train/n_trees"].dropna().iloc[-1]),
        "versions": " ".join(f"{name}={version}" for name, version in run["versions"].items()),
        "command": trained_by(run["command"]),
    }
    return row, episodes, progress


def trained_by(command: list[str]) -> str:
    """Return a run's command, without where it was run and what it wrote to."""
    words = command[1:]
    if "--log-folder" in words:
        at = words.index("--log-folder")
        del words[at : at + 2]
    return " ".join(["rlshare", *words])


def compare(name: str, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row a measure."""
    first, second = dict.fromkeys(runs["arm"])
    rows = []
    for measure, meaning in MEASURES.items():
        a, b = (runs.loc[runs["arm"] == arm, measure].to_numpy() for arm in (first, second))
        low, high = bootstrap_interval(lambda a, b: b.mean() - a.mean(), a, b)
        rows.append(
            {
                "name": name,
                "measure": meaning,
                "first": first,
                "second": second,
                "seeds": f"{len(a)}, {len(b)}",
                "mean_first": round(float(a.mean()), 2),
                "mean_second": round(float(b.mean()), 2),
                "difference": round(float(b.mean() - a.mean()), 2),
                "low_95": round(low, 2),
                "high_95": round(high, 2),
                "verdict": "equal" if low <= 0 <= high else "different",
            }
        )
    return rows


def draw(name: str, runs: list[tuple[dict[str, Any], Episodes, pd.DataFrame]]) -> None:
    """Draw returns, trees and speed against steps."""
    figure, panels = plt.subplots(1, 3, figsize=(15, 4.5))
    colours = dict(zip(dict.fromkeys(row["arm"] for row, *_ in runs), ("C0", "C1"), strict=True))
    total = max(row["steps"] for row, *_ in runs)
    ends = np.linspace(0, total, WINDOWS + 1)[1:]
    for arm, colour in colours.items():
        found = [window_means(episodes, ends) for row, episodes, _ in runs if row["arm"] == arm]
        curves = [pd.Series(means).interpolate() for means in found]
        for seed in curves:
            panels[0].plot(ends, seed, colour, alpha=0.3, linewidth=1)
        panels[0].plot(ends, np.mean(curves, axis=0), colour, linewidth=2.5, label=arm)
        for row, _, progress in runs:
            if row["arm"] != arm:
                continue
            steps = progress["time/total_timesteps"]
            panels[1].plot(steps, progress["train/n_trees"], colour, alpha=0.6, linewidth=1)
            thin = progress.iloc[:: max(1, len(progress) // 30)]
            speed = thin["time/total_timesteps"].diff() / thin["time/time_elapsed"].diff()
            panels[2].plot(thin["time/total_timesteps"], speed, colour, alpha=0.6, linewidth=1)
    for panel, label in zip(panels, ("mean return", "trees", "steps/s"), strict=True):
        panel.set_xlabel("environment steps")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        panel.set_ylim(bottom=0 if label != "mean return" else None)
    panels[0].legend()
    figure.suptitle(f"{runs[0][0]['env']}, PPO GBTPolicy; thin lines: seeds")
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.png", dpi=110)


def replace(path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows in place of those of the same name."""
    frame = pd.DataFrame(rows)
    if path.exists():
        old = pd.read_csv(path)
        frame = pd.concat([old[old["name"] != name], frame])
    frame.to_csv(path, index=False)


def main() -> None:
    """Read, compare, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--arm", nargs=2, action="append", metavar=("LABEL", "GLOB"), required=True)
    args = parser.parse_args()
    if len(args.arm) != 2:
        parser.error(f"--arm must be given twice, got {len(args.arm)}")
    runs = [
        read(args.name, label, Path(folder))
        for label, pattern in args.arm
        for folder in sorted(glob.glob(pattern))
    ]
    rows = [row for row, *_ in runs]
    replace(RESULTS / "curves.csv", args.name, rows)
    found = compare(args.name, pd.DataFrame(rows))
    replace(RESULTS / "comparisons.csv", args.name, found)
    draw(args.name, runs)
    print(pd.DataFrame(rows).drop(columns=["versions", "command"]).to_string())
    print(pd.DataFrame(found).to_string())


if __name__ == "__main__":
    main()
