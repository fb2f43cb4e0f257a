"""Draw the learning curves of results/learning.csv, a panel an environment.

    python benchmarks/panels.py --name mujoco --env Hopper-v5 HalfCheetah-v5 Walker2d-v5

A line is the mean over the seeds, the band their standard deviation; the dashed lines are what the
paper reports for the line of their colour. Writes results/NAME.png.
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from learning import RESULTS, WINDOWS
from matplotlib.axes import Axes
from readme_table import PAPER, most_seeds

LABELS = {
    ("ppo", "gbt"): ("PPO, trees", "C0"),
    ("a2c", "gbt"): ("A2C, trees", "C1"),
    ("awr", "gbt"): ("AWR, trees", "C2"),
    ("ppo", "mlp"): ("PPO, MLP", "C7"),
}


def draw(axes: Axes, rows: pd.DataFrame, env: str) -> None:
    """Draw an environment's runs, those of each algorithm and policy together."""
    for (algo, policy), (label, colour) in LABELS.items():
        runs = most_seeds(rows, env, algo, policy).dropna(subset="curve")
        if runs.empty:
            continue
        curves = np.array([[float(mean) for mean in text.split()] for text in runs["curve"]])
        curves = pd.DataFrame(curves.T).interpolate()  # windows in which no episode ended
        steps = (np.arange(WINDOWS) + 0.5) / WINDOWS * runs["n_timesteps"].iloc[0] / 1e6
        mean, deviation = curves.mean(axis=1), curves.std(axis=1)
        axes.plot(steps, mean, colour, label=label)
        axes.fill_between(steps, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
        paper = PAPER.get(env, {}).get("mlp" if policy == "mlp" else algo)
        if paper and not paper.endswith(")"):  # which says that its run was longer
            axes.axhline(float(paper), color=colour, linestyle="--", linewidth=1)
    axes.set_title(env)
    axes.grid(alpha=0.3)


def main() -> None:
    """Draw and save the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--env", nargs="+", required=True)
    args = parser.parse_args()
    results = pd.read_csv(RESULTS / "learning.csv")
    rows = results[results["settings"] == "recipe"]
    n_columns = 2 if len(args.env) == 4 else min(3, len(args.env))
    n_rows = -(-len(args.env) // n_columns)
    size = (4.2 * n_columns, 3.0 * n_rows)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=size, squeeze=False, layout="constrained"
    )
    for axes, env in zip(grid.flat, args.env, strict=False):
        draw(axes, rows, env)
    for axes in grid.flat[len(args.env) :]:
        axes.set_axis_off()
    figure.supxlabel("million environment steps")
    figure.supylabel("mean return")
    by_label = {
        label: line
        for axes in grid.flat
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(by_label.values(), by_label.keys(), loc="outside upper center", ncols=4)
    figure.savefig(RESULTS / f"{args.name}.png", dpi=110)


if __name__ == "__main__":
    main()
