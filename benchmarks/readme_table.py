"""Write the README's tables from benchmarks/results, or, with --check, fail where they differ."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
# Mean return of the last 100 training episodes, PPO, 5 seeds: arXiv 2407.08250.
PAPER = {
    "CartPole-v1": 500.0,
    "Acrobot-v1": -87.8,
    "LunarLander-v3": 248.7,
    "MountainCar-v0": -110.6,
    "MountainCarContinuous-v0": 89.4,
    "Pendulum-v1": -246.9,
}


def with_spread(values: pd.Series) -> str:
    """Return the mean, and the standard deviation where there is more than one value."""
    mean = f"{values.mean():.0f}" if abs(values.mean()) >= 1000 else f"{values.mean():.1f}"
    return f"{mean} ± {values.std():.1f}" if len(values) > 1 else mean


def learning_table(results: pd.DataFrame) -> list[str]:
    """Return a Markdown table, one row for each environment, policy and setting."""
    lines = [
        "| environment | policy | steps | seeds | last 100 training episodes | final policy "
        "| GBRL's paper | steps/s at 100k | at the end |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = {env: i for i, env in enumerate(dict.fromkeys([*PAPER, *results["env"]]))}
    results = results.assign(order=results["env"].map(order), own=results["settings"] != "recipe")
    results = results.sort_values(["order", "policy", "own"], kind="stable")
    keys = ["env", "n_timesteps", "policy", "settings"]
    for (env, steps, policy, settings), rows in results.groupby(keys, sort=False):
        name = {"gbt": "**GBTPolicy**", "mlp": "MlpPolicy"}[policy]
        if settings != "recipe":
            name += f" `{settings.removeprefix('--hyperparams ')}`"
        paper = PAPER.get(env, "") if policy == "gbt" else ""
        cells = [env, name, f"{steps:,}", len(rows)]
        cells += [with_spread(rows[c]) for c in ("train_return_last_100", "final_policy_return")]
        cells += [paper, rate(rows["steps_per_s_at_100k"]), rate(rows["steps_per_s_at_end"])]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def rate(values: pd.Series) -> str:
    """Return the median; nothing where a run was too short to have one."""
    return "" if values.isna().all() else f"{values.median():,.0f}"


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
    old = README.read_text(encoding="utf-8")
    learning = learning_table(pd.read_csv(HERE / "results" / "learning.csv"))
    new = fill(old, "learning", learning)
    new = fill(new, "speed", speed_table(pd.read_csv(HERE / "results" / "trees.csv")))
    new = fill(new, "moe", moe_table(pd.read_csv(HERE / "results" / "moe.csv")))
    if args.check and new != old:
        sys.exit("README.md differs from benchmarks/results: run make table")
    if not args.check:
        README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
