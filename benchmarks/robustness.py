"""Return against noise, irrelevant features and a spurious cue: trees beside an MLP.

    python benchmarks/robustness.py --seeds 1 2 3

Trains PPO with the recipes of each policy on every level of every study and adds one row a run to
results/robustness.csv, those that are there already left out; then draws results/robustness.png.
The return is that of the final policy's likeliest actions over 80 episodes of unseen seeds.

- noise: Gaussian, on observations, a level in standard deviations of the plain observations (of
  CartPole those under random actions).
- features: standard normal ones appended, drawn anew each step.
- cue: trained where a cue names the right action with that probability, evaluated where it says
  nothing (16 is the best, 4 what guessing earns).

Level 0 is the plain task, trained once for all studies.

The quadrants are rlshare.envs.SpuriousCue, whose cue says nothing in the first two studies.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecMonitor,
    VecNormalize,
    sync_envs_normalization,
)

from rlshare.agents import load_recipe
from rlshare.envs import SpuriousCue, VecNoisyObservations, WorldVecEnv, make_vec_env
from rlshare.results.intervals import bootstrap_interval
from rlshare.runs.models import build_model
from rlshare.runs.versions import versions

RESULTS = Path(__file__).parent / "results"
EPISODES, EVAL_SEED = 80, 100_000
CARTPOLE, QUADRANTS = "CartPole-v1", "quadrants"
# Where each learns the plain task: CartPole takes trees longer than the MLP.
STEPS = {
    (CARTPOLE, "gbt"): 200_000,
    (CARTPOLE, "mlp"): 50_000,
    (QUADRANTS, "gbt"): 30_000,
    (QUADRANTS, "mlp"): 30_000,
}
CARTPOLE_STD = np.array([0.098, 0.557, 0.102, 0.847])  # under random actions, 10,000 steps
QUADRANTS_STD = np.array([3**-0.5, 3**-0.5, 0.75])
STUDIES: dict[tuple[str, str], tuple[float, ...]] = {
    (CARTPOLE, "noise"): (0, 0.3, 1),
    (CARTPOLE, "features"): (0, 32, 128),
    (QUADRANTS, "noise"): (0, 0.3, 1),
    (QUADRANTS, "features"): (0, 8, 32, 128),
    (QUADRANTS, "cue"): (0, 0.8, 0.9, 0.99),
}
POLICIES = {"gbt": "trees", "mlp": "MLP"}
KEY = ["world", "study", "level", "policy", "seed"]


def make(world: str, study: str, level: float, n_envs: int, seed: int, final: bool) -> VecEnv:
    """Return the vector environment of a study, for training or for the final evaluation."""
    if world == CARTPOLE:
        env, std = make_vec_env(CARTPOLE, n_envs), CARTPOLE_STD
    else:
        correlation = level if study == "cue" and not final else 0.0
        env, std = VecMonitor(WorldVecEnv(SpuriousCue(correlation), n_envs)), QUADRANTS_STD
    if study == "noise":
        env = VecNoisyObservations(env, scale=(level * std).tolist())
    if study == "features":
        env = VecNoisyObservations(env, n_features=int(level))
    env.seed(seed)
    return env


def train(world: str, study: str, level: float, policy: str, seed: int) -> float:
    """Return the mean return of the policy that one training ends with."""
    recipe = load_recipe("ppo", policy, world, overrides={"n_timesteps": STEPS[world, policy]})
    env = make(world, study, level, recipe.n_envs, seed, final=False)
    test = make(world, study, level, 8, EVAL_SEED + seed, final=True)
    if recipe.normalize.norm_obs or recipe.normalize.norm_reward:
        settings = recipe.normalize.model_dump()
        env = VecNormalize(env, gamma=recipe.gamma or 0.99, **settings)
        test = VecNormalize(test, training=False, **settings | {"norm_reward": False})
    model = build_model("ppo", policy, recipe, env, seed, "cpu")
    model.learn(recipe.n_timesteps)
    if isinstance(test, VecNormalize):
        sync_envs_normalization(env, test)
    test.seed(EVAL_SEED + seed)
    mean, _ = evaluate_policy(model, test, EPISODES)
    return float(np.mean(mean))


def plain_return(rows: list[dict[str, Any]], row: dict[str, Any]) -> float | None:
    """Return the return of the same training in another study: at level 0 all are one."""
    same = [r for r in rows if all(r[key] == row[key] for key in KEY if key != "study")]
    return same[0]["return"] if same and row["level"] == 0 else None


def draw(rows: pd.DataFrame) -> None:
    """Draw a panel a study."""
    figure, axes = plt.subplots(1, len(STUDIES), figsize=(19, 4.2), layout="constrained")
    labels = {
        "noise": "noise, standard deviations of the observation",
        "features": "irrelevant features",
        "cue": "agreement of the cue while training",
    }
    for panel, (world, study) in zip(axes, STUDIES, strict=True):
        of = rows[(rows["world"] == world) & (rows["study"] == study)]
        levels = sorted(of["level"].unique())
        for i, (policy, name) in enumerate(POLICIES.items()):
            found = [
                of[(of["policy"] == policy) & (of["level"] == x)]["return"].to_numpy()
                for x in levels
            ]
            means = [x.mean() for x in found]
            low, high = zip(*(bootstrap_interval(np.mean, x) for x in found), strict=True)
            places = np.arange(len(levels))
            panel.plot(places, means, f"C{i}-o", label=name)
            panel.fill_between(places, low, high, color=f"C{i}", alpha=0.2)
        panel.set_xticks(range(len(levels)), [f"{x:g}" for x in levels])
        steps = ", ".join(f"{name} {STEPS[world, p] // 1000}k" for p, name in POLICIES.items())
        panel.set_title(f"{world}, {of['seed'].nunique()} seeds, steps: {steps}", fontsize=9)
        panel.set_xlabel(labels[study])
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("return of the final policy, 95 % interval over seeds")
    axes[0].legend(frameon=False)
    figure.savefig(RESULTS / "robustness.png", dpi=110)


def main() -> None:
    """Train what is missing, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--world", nargs="+", default=[CARTPOLE, QUADRANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "robustness.csv"
    rows: list[dict[str, Any]] = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {tuple(row[key] for key in KEY) for row in rows}
    for seed in args.seeds:
        for (world, study), levels in STUDIES.items():
            for level, policy in [(x, p) for x in levels for p in POLICIES]:
                if world not in args.world or (world, study, level, policy, seed) in done:
                    continue
                row = dict(zip(KEY, (world, study, level, policy, seed), strict=True))
                row |= {
                    "steps": STEPS[world, policy],
                    "return": plain_return(rows, row) or round(train(**row), 3),
                    "cpu_cores": os.cpu_count(),
                    "versions": " ".join(f"{k}={v}" for k, v in versions().items()),
                    "command": " ".join(["python benchmarks/robustness.py", *sys.argv[1:]]),
                }
                rows.append(row)
                pd.DataFrame(rows).sort_values(KEY).to_csv(path, index=False)
                print({key: row[key] for key in [*KEY, "return"]}, flush=True)
    draw(pd.DataFrame(rows))


if __name__ == "__main__":
    main()
