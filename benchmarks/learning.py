"""Train recipes on several seeds through the command line and append one CSV row a run.

    python benchmarks/learning.py --env CartPole-v1 --policy gbt mlp --seeds 1 2 3 4 5

The returns are those of the last 100 training episodes and of the final policy's 100 evaluation
episodes. The step at which a threshold is first held is the first at which the mean of the last
100 training episodes reached it. Steps per second are taken over windows of a tenth of the run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
THRESHOLDS = {"CartPole-v1": 475.0, "LunarLander-v3": 200.0, "Acrobot-v1": -100.0}
LAST = 100  # episodes


@dataclass(frozen=True)
class Episodes:
    """Finished training episodes of a run, in the order in which they ended."""

    returns: NDArray[np.float64]
    end_step: NDArray[np.int64]  # environment steps of the whole run

    @classmethod
    def read(cls, run: Path) -> Episodes:
        """Read the monitor files; an environment's own steps count once for each environment."""
        parts = []
        files = sorted(p for p in run.glob("*.monitor.csv"))
        for file in files:
            frame = pd.read_csv(file, skiprows=1)
            frame["end"] = frame["l"].cumsum() * len(files)
            parts.append(frame)
        frame = pd.concat(parts).sort_values("end", kind="stable")
        return cls(frame["r"].to_numpy(float), frame["end"].to_numpy(np.int64))

    def last_mean(self) -> float:
        """Return the mean return of the last episodes."""
        return float(self.returns[-LAST:].mean())

    def first_held(self, threshold: float | None) -> int | None:
        """Return the step at which the mean of the last episodes first reached the threshold."""
        if threshold is None or len(self.returns) < LAST:
            return None
        means = np.convolve(self.returns, np.ones(LAST) / LAST, mode="valid")
        held = np.flatnonzero(means >= threshold)
        return int(self.end_step[held[0] + LAST - 1]) if len(held) else None


def steps_per_second(run: Path, at: float, window: float) -> float:
    """Return the rate between steps at - window and at, from progress.csv."""
    frame = pd.read_csv(run / "progress.csv")
    frame = frame[["time/total_timesteps", "time/time_elapsed"]].dropna()
    steps, seconds = frame["time/total_timesteps"], frame["time/time_elapsed"]
    low, high = np.interp([at - window, at], steps, seconds)
    return window / max(high - low, 1e-9)


def train(args: argparse.Namespace, policy: str, seed: int, folder: Path) -> Path:
    """Run ``rlshare train`` and return its run folder."""
    command = [sys.executable, "-m", "rlshare", "train", "--algo", args.algo, "--policy", policy]
    command += ["--env", args.env, "--seed", str(seed), "--log-folder", str(folder)]
    command += ["--num-threads", "1", "--eval-freq", "0", *args.train_args]
    if args.n_timesteps:
        command += ["--n-timesteps", str(args.n_timesteps)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return max((folder / args.algo).glob("*"), key=os.path.getmtime)


def evaluate(run: Path) -> float:
    """Return the mean return of the final policy over 100 episodes, most likely actions."""
    command = [sys.executable, "-m", "rlshare", "eval", str(run), "-n", "100", "--json"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(found.stdout)["mean"])


def row_of(args: argparse.Namespace, policy: str, seed: int, run: Path) -> dict[str, Any]:
    """Return a run's CSV row."""
    episodes = Episodes.read(run)
    report = json.loads((run / "run.json").read_text())
    progress = pd.read_csv(run / "progress.csv")
    steps = int(report["args"]["n_timesteps"])
    trees = progress["train/n_trees"].dropna() if "train/n_trees" in progress else []
    return {
        "env": args.env,
        "algo": args.algo,
        "policy": policy,
        "seed": seed,
        "n_timesteps": steps,
        "train_return_last_100": round(episodes.last_mean(), 2),
        "final_policy_return": round(evaluate(run), 2),
        "threshold": THRESHOLDS.get(args.env, ""),
        "threshold_held_at": episodes.first_held(THRESHOLDS.get(args.env)) or "",
        "steps_per_s_at_100k": round(steps_per_second(run, 100_000, 50_000)),
        "steps_per_s_at_end": round(steps_per_second(run, steps, steps / 10)),
        "steps_per_s": round(steps / progress["time/time_elapsed"].dropna().iloc[-1]),
        "n_trees": int(trees.iloc[-1]) if len(trees) else "",
        "date": date.today().isoformat(),
        "cpu_cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": " ".join(f"{k}={v}" for k, v in report["versions"].items()),
        "command": " ".join(["rlshare", *report["command"][1:]][:1] + _flags(args, policy, seed)),
    }


def _flags(args: argparse.Namespace, policy: str, seed: int) -> list[str]:
    flags = ["train", "--algo", args.algo, "--policy", policy, "--env", args.env]
    flags += ["--seed", str(seed), "--num-threads", "1", "--eval-freq", "0", *args.train_args]
    return flags + (["--n-timesteps", str(args.n_timesteps)] if args.n_timesteps else [])


def store(row: dict[str, Any], path: Path) -> None:
    """Add the row to the CSV in place of an earlier one of the same run."""
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    key = ("env", "algo", "policy", "seed", "n_timesteps", "command")
    rows = [r for r in rows if any(str(r[k]) != str(row[k]) for k in key)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, row])


def main() -> None:
    """Parse the command line; train, measure and store run after run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", required=True)
    parser.add_argument("--algo", default="ppo")
    parser.add_argument("--policy", nargs="+", default=["gbt"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("-n", "--n-timesteps", type=int)
    parser.add_argument("--folder", type=Path, default=Path("logs/benchmark"))
    parser.add_argument("--output", type=Path, default=RESULTS / "learning.csv")
    parser.add_argument("train_args", nargs="*", help="after --: rlshare train's own")
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    for seed in args.seeds:
        for policy in args.policy:  # policies beside each other, under the same load
            run = train(args, policy, seed, args.folder)
            row = row_of(args, policy, seed, run)
            store(row, args.output)
            print({k: row[k] for k in list(row)[:13]}, flush=True)


if __name__ == "__main__":
    main()
