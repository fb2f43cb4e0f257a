"""Train recipes on several seeds through the command line and append one CSV row a run.

    python benchmarks/learning.py --env CartPole-v1 --policy gbt mlp --seeds 1 2 3 4 5

The returns are those of the last 100 training episodes and of the final policy's 100 evaluation
episodes. The step at which a threshold is first held is the first at which the mean of the last
100 training episodes reached it. Steps per second are those between 50k and 150k, of the last
tenth of the run, and of the whole run, updates included. The curve is the mean return of the
episodes that ended in each fortieth of the run; panels.py draws it.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlshare.envs import env_name
from rlshare.results.curves import first_held, window_means
from rlshare.results.episodes import Episodes

RESULTS = Path(__file__).parent / "results"
THRESHOLDS = {
    "CartPole-v1": 475.0,
    "LunarLander-v3": 200.0,
    "Acrobot-v1": -90.0,
    "MountainCar-v0": -110.0,
    "Pendulum-v1": -250.0,
}
LAST = 100  # episodes
WINDOWS = 40  # of a curve
LONG = ("curve", "date", "cpu_cores", "machine", "versions", "command")  # not worth a screen
RLSHARE = str(Path(sys.executable).with_name("rlshare"))


def train_command(args: argparse.Namespace, policy: str, seed: int) -> list[str]:
    """Return the arguments of ``rlshare``, without the folder."""
    command = ["train", "--algo", args.algo, "--policy", policy, "--env", args.env]
    command += ["--seed", str(seed), "--num-threads", "1", "--eval-freq", "0", *args.train_args]
    return command + (["--n-timesteps", str(args.n_timesteps)] if args.n_timesteps else [])


def train(args: argparse.Namespace, policy: str, seed: int) -> Path:
    """Run ``rlshare train`` in a folder of its own and return its run folder."""
    prefix = f"{env_name(args.env)}-{policy}-{seed}-"
    folder = tempfile.mkdtemp(prefix=prefix, dir=args.folder)
    command = [RLSHARE, *train_command(args, policy, seed)]
    command += ["--log-folder", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (run,) = (Path(folder) / args.algo).iterdir()
    return run


def evaluate(run: Path) -> float:
    """Return the mean return of the final policy over 100 episodes, most likely actions."""
    command = [RLSHARE, "eval", str(run), "-n", "100", "--json"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(found.stdout)["mean"])


def row_of(args: argparse.Namespace, policy: str, seed: int, run: Path) -> dict[str, Any]:
    """Return a run's CSV row."""
    episodes = Episodes.read(run)
    report = json.loads((run / "run.json").read_text())
    progress = pd.read_csv(run / "progress.csv")
    steps = int(report["args"]["n_timesteps"])
    threshold = THRESHOLDS.get(args.env)
    held = None if threshold is None else first_held(episodes, threshold, LAST)
    ends = np.linspace(0, steps, WINDOWS + 1)[1:]
    ends[-1] = np.inf  # a last rollout goes beyond
    trees = progress["train/n_trees"].dropna() if "train/n_trees" in progress else []
    return {
        "env": args.env,
        "algo": args.algo,
        "policy": policy,
        "settings": " ".join(args.train_args) or "recipe",
        "seed": seed,
        "n_timesteps": steps,
        "train_return_last_100": round(float(episodes.returns[-LAST:].mean()), 4),
        "final_policy_return": round(evaluate(run), 4),
        "threshold": "" if threshold is None else threshold,
        "threshold_held_at": held or "",
        "steps_per_s_at_100k": round(episodes.steps_per_second(50_000, 150_000))
        if steps > 150_000
        else "",
        "steps_per_s_at_end": round(episodes.steps_per_second(0.9 * steps, steps)),
        "steps_per_s": round(report["results"]["steps_per_second"]),
        "n_trees": int(trees.iloc[-1]) if len(trees) else "",
        "curve": " ".join(f"{mean:.4g}" for mean in window_means(episodes, ends)),
        "date": date.today().isoformat(),
        "cpu_cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": " ".join(f"{k}={v}" for k, v in report["versions"].items()),
        "command": " ".join(["rlshare", *train_command(args, policy, seed)]),
    }


def store(row: dict[str, Any], path: Path) -> None:
    """Add the row to the CSV in place of an earlier one of the same run.

    Runs side by side may store at the same time: the file is locked meanwhile.
    """
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _store(row, path)


def _store(row: dict[str, Any], path: Path) -> None:
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    key = ("env", "algo", "policy", "settings", "seed", "n_timesteps")
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
    args.folder.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for policy in args.policy:  # policies beside each other, under the same load
            run = train(args, policy, seed)
            row = row_of(args, policy, seed, run)
            store(row, args.output)
            print({k: v for k, v in row.items() if k not in LONG}, flush=True)


if __name__ == "__main__":
    main()
