"""Time the loops compiled by numba: results/compiled.csv.

    python benchmarks/compiled.py

Advantages of a rollout, all of SB3's ``compute_returns_and_advantage`` beside that of
``TreeRolloutBuffer``; and steps per second of synthetic worlds under random actions, as single
environments in SB3's ``DummyVecEnv`` beside ``WorldVecEnv``, infos and resets included. Medians of
processor time, which other processes on the machine do not add to.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from rlshare.envs import Selling, SpuriousCue, World, WorldEnv, WorldVecEnv
from rlshare.policies import TreeRolloutBuffer
from rlshare.runs.versions import versions

RESULTS = Path(__file__).parent / "results"
ROLLOUTS = ((2048, 1), (128, 8), (512, 16), (256, 64))  # steps, environments
WORLDS: dict[str, Callable[[], World]] = {"Selling": Selling, "SpuriousCue": SpuriousCue}


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, after one that compiles."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return float(np.median(times))


def advantages(kind: type[RolloutBuffer], n_steps: int, n_envs: int) -> float:
    """Return the microseconds that a full buffer's advantages take."""
    buffer = kind(n_steps, spaces.Box(-1, 1, (1,)), spaces.Discrete(2), "cpu", 0.95, 0.99, n_envs)
    rng = np.random.default_rng(0)
    buffer.rewards[:], buffer.values[:] = rng.normal(size=(2, n_steps, n_envs))
    buffer.episode_starts[:] = rng.random((n_steps, n_envs)) < 0.01
    last, dones = torch.zeros(n_envs, 1), np.zeros(n_envs, bool)
    return 1e6 * median_seconds(lambda: buffer.compute_returns_and_advantage(last, dones), 50)


def steps_per_second(env: VecEnv, n_steps: int) -> float:
    """Return the steps of single copies per second."""
    env.seed(0)
    env.reset()
    rng = np.random.default_rng(0)
    actions = rng.integers(env.action_space.n, size=(n_steps, env.num_envs))  # type: ignore[attr-defined]

    def steps() -> None:
        for action in actions:
            env.step(action)

    return actions.size / median_seconds(steps, 9)


def rows() -> list[dict[str, Any]]:
    """Measure everything."""
    found = []
    for n_steps, n_envs in ROLLOUTS:
        ours, stock = (
            advantages(kind, n_steps, n_envs) for kind in (TreeRolloutBuffer, RolloutBuffer)
        )
        what = f"advantages of {n_steps} steps, {n_envs} environments"
        found.append(
            {"what": what, "unit": "us", "rlshare": ours, "stock": stock, "times": stock / ours}
        )
    for name, world in WORLDS.items():
        for n_envs in (8, 256, 1024):
            ours = steps_per_second(WorldVecEnv(world(), n_envs), max(20, 100_000 // n_envs))
            dummy = DummyVecEnv([lambda world=world: WorldEnv(world())] * n_envs)
            stock = steps_per_second(dummy, max(2, 2_000 // n_envs))
            what = f"{name}, {n_envs} copies"
            found.append(
                {
                    "what": what,
                    "unit": "steps/s",
                    "rlshare": ours,
                    "stock": stock,
                    "times": ours / stock,
                }
            )
    return found


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    about = {
        "cpu_cores": os.cpu_count(),
        "versions": " ".join(f"{k}={v}" for k, v in versions().items()),
        "command": " ".join(["python benchmarks/compiled.py", *sys.argv[1:]]),
    }
    table = [
        {k: round(v, 1) if isinstance(v, float) else v for k, v in row.items()} for row in rows()
    ]
    with (RESULTS / "compiled.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*table[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **about} for row in table)
    for row in table:
        print(row)


if __name__ == "__main__":
    main()
