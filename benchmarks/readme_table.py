"""Write the tables of README.md and docs/ from benchmarks/results; --check: fail if they differ."""

from __future__ import annotations

import argparse
import math
import sys
from functools import reduce
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parent
# Mean return of the last 100 training episodes, 5 seeds: arXiv 2407.08250. Trees by algorithm, then
# networks with PPO.
PAPER = {
    "CartPole-v1": {"ppo": "500", "a2c": "500", "awr": "498", "mlp": "500"},
    "Acrobot-v1": {"ppo": "-87.8", "a2c": "-90.7", "awr": "-118", "mlp": "-74.8"},
    "LunarLander-v3": {"ppo": "248.7", "a2c": "47.9", "awr": "76", "mlp": "261.7"},
    "MountainCar-v0": {"ppo": "-110.6", "a2c": "-124", "awr": "-147", "mlp": "-115.5"},
    "MountainCarContinuous-v0": {"ppo": "89.4", "a2c": "93.2", "awr": "44", "mlp": "85.8"},
    "Pendulum-v1": {"ppo": "-246.9", "a2c": "-539", "awr": "-1258", "mlp": "-249.3"},
    "MiniGrid-DoorKey-5x5-v0": {"ppo": ".96", "mlp": ".78"},
    "MiniGrid-GoToDoor-5x5-v0": {"ppo": ".96", "mlp": ".60"},
    "MiniGrid-Unlock-v0": {"ppo": ".97", "mlp": ".97"},
    "MiniGrid-RedBlueDoors-6x6-v0": {"ppo": ".88", "mlp": ".17"},
    "ALE/Pong-v5": {"ppo": "15.4 (10M)", "mlp": "18.5 (10M)"},
}
SHORT = ["CartPole-v1", "Acrobot-v1", "LunarLander-v3", "MountainCar-v0", "Pendulum-v1"]
SHORT += [
    "HalfCheetah-v5",
    "Swimmer-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "MiniGrid-RedBlueDoors-6x6-v0",
]
CLASSIC = [env for env, found in PAPER.items() if "awr" in found]


def with_spread(values: pd.Series) -> str:
    """Return the mean, and the standard deviation where there is more than one value."""
    digits = 0 if abs(values.mean()) >= 1000 else 1 if abs(values.mean()) >= 2 else 2
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def most_seeds(results: pd.DataFrame, env: str, algo: str, policy: str) -> pd.DataFrame:
    """Return the rows of the number of steps that most seeds ran, the longest if there are two."""
    rows = results.query("env == @env and algo == @algo and policy == @policy")
    seeds = rows.groupby("n_timesteps").size()
    return rows[rows["n_timesteps"] == seeds[seeds == seeds.max()].index.max()]


def returns(results: pd.DataFrame, env: str, algo: str, policy: str) -> str:
    """Return what the seeds of a recipe came to, how many, and their steps if not 1M."""
    rows = most_seeds(results, env, algo, policy)
    if rows.empty:
        return ""
    steps = rows["n_timesteps"].iloc[0]
    length = "" if steps == 1_000_000 else f", {steps / 1e6:g}M"
    return f"{with_spread(rows['train_return_last_100'])} ({len(rows)}{length})"


def short_table(results: pd.DataFrame) -> list[str]:
    """Return a Markdown table of PPO's trees beside networks: ours, or else the paper's."""
    lines = ["| environment | trees | network |", "|---|---|---|"]
    for env in SHORT:
        trees, networks = (returns(results, env, "ppo", policy) for policy in ("gbt", "mlp"))
        lines.append(f"| {env} | {trees} | {networks or PAPER[env]['mlp'] + ' (paper)'} |")
    return lines


def classic_table(results: pd.DataFrame) -> list[str]:
    """Return a Markdown table of the trees, one row an environment, the paper's beside each."""
    lines = [
        "| environment | PPO | paper | A2C | paper | AWR | paper |",
        "|---|---|---|---|---|---|---|",
    ]
    for env in CLASSIC:
        cells = [env]
        for algo in ("ppo", "a2c", "awr"):
            found = returns(results, env, algo, "gbt")
            cells += [f"**{found}**" if found else "", PAPER[env][algo]]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def policies_table(results: pd.DataFrame) -> list[str]:
    """Return a Markdown table of PPO's trees beside its networks, one row an environment."""
    lines = [
        "| environment | GBTPolicy | MlpPolicy | paper's trees | paper's networks |",
        "|---|---|---|---|---|",
    ]
    both = results[(results["algo"] == "ppo") & ~results["env"].isin(CLASSIC)]
    for env in sorted(both["env"].unique(), key=lambda env: ([*PAPER, env].index(env), env)):
        trees, networks = (returns(both, env, "ppo", policy) for policy in ("gbt", "mlp"))
        paper = PAPER.get(env, {})
        cells = [env, f"**{trees}**" if trees else "", networks]
        lines.append("| " + " | ".join([*cells, paper.get("ppo", ""), paper.get("mlp", "")]) + " |")
    return lines


def steps_table(results: pd.DataFrame) -> list[str]:
    """Return a Markdown table of the steps to a threshold, over the seeds."""
    lines = ["| | mean return of 100 episodes | trees | network | ratio |", "|---|---|---|---|---|"]
    for (env, algo), rows in results.groupby(["env", "algo"]):
        trees, network = (
            rows[rows["policy"] == policy]["threshold_held_at"].fillna(math.inf) / 1000
            for policy in ("gbt", "mlp")
        )
        cells = [f"{env}, {algo.upper()}", f"{rows['threshold'].iloc[0]:g}"]
        cells += [median_and_range(trees), median_and_range(network)]
        cells.append(f"{trees.median() / network.median():.2f}" if len(network) else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def median_and_range(steps: pd.Series) -> str:
    """Return the median of thousands of steps, the least and the most, and how many there are."""
    if steps.empty:
        return ""
    median, least, most = (
        f"{value:.1f}k" if value < math.inf else "not"
        for value in (steps.median(), steps.min(), steps.max())
    )
    return f"**{median}** ({least} to {most}; {len(steps)})"


PEERS = {"gbrl": "gbrl", "xgboost": "xgboost", "lightgbm_one_output": "lightgbm, one output"}


def short(value: float) -> str:
    """Return three digits, and all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def speed_table(results: pd.DataFrame) -> list[str]:
    """Return a Markdown table, one row a figure; peers with their ratio to rlshare."""
    lines = [
        f"| one call | rlshare | {' | '.join(PEERS.values())} |",
        "|---|---|" + "---|" * len(PEERS),
    ]
    ratios = [c for c in results if c.startswith("ratio_")]
    for row in results.to_dict("records"):
        cells = [row["figure"], f"**{short(row['rlshare'])}**"]
        for peer, ratio in zip(PEERS, ratios, strict=True):
            here = pd.notna(row[peer])
            cells.append(f"{short(row[peer])} ({short(row[ratio])}x)" if here else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def moe_table(results: pd.DataFrame) -> list[str]:
    """Return a Markdown table of the layer on one thread, one row a size, in microseconds."""
    lines = [
        "| size | pass | rlshare, us | best of torch | dense network | over dense |",
        "|---|---|---|---|---|---|",
    ]
    peers = ["all experts us", "stacked bmm us", "sort and loop us", "grouped_mm us"]
    for row in results[results["threads"] == 1].to_dict("records"):
        size = (
            f"{row['rows']}x{row['features']}, {row['hidden']}, {row['top_k']} of {row['experts']}"
        )
        best = min(row[peer] for peer in peers)
        cells = [
            size,
            row["pass"],
            f"**{short(row['rlshare us'])}**",
            f"{short(best)} ({short(best / row['rlshare us'])}x)",
            short(row["dense floor us"]),
            f"{row['over floor']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def fill(text: str, name: str, lines: list[str]) -> str:
    """Return the text with what stands between a table's two markers replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = text.split(begin)
    return head + begin + "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1]


def main() -> None:
    """Fill the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if it would")
    args = parser.parse_args()
    learning = pd.read_csv(HERE / "results" / "learning.csv")
    recipes = learning[learning["settings"] == "recipe"]
    few_steps = pd.read_csv(HERE / "results" / "few_steps.csv")
    steps = steps_table(few_steps[few_steps["settings"] == "recipe"])
    pages = {
        "README.md": {"short": short_table(recipes), "steps": steps},
        "docs/few-steps.md": {"steps": steps},
        "docs/results.md": {
            "classic": classic_table(recipes),
            "policies": policies_table(recipes),
            "speed": speed_table(pd.read_csv(HERE / "results" / "trees.csv")),
            "moe": moe_table(pd.read_csv(HERE / "results" / "moe.csv")),
        },
    }
    for page, tables in pages.items():
        old = (ROOT / page).read_text(encoding="utf-8")
        new = reduce(lambda text, table: fill(text, *table), tables.items(), old)
        if args.check and new != old:
            sys.exit(f"{page} differs from benchmarks/results: run make table")
        if not args.check:
            (ROOT / page).write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
