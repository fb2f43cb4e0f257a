"""``rlshare distill``: trees taught by a trained agent."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rlshare.cli.options import Device, LoadBest, NumThreads, Verbose, step_count
from rlshare.runs.errors import UserError, user_errors

if TYPE_CHECKING:
    from rlshare.suites.distill import Report

_FOREST = (500, 6)  # trees, depth
_TREE_DEPTH = 8


def distill(
    run_dir: Annotated[
        Path,
        typer.Argument(metavar="RUN_DIR", help="Run of the teacher, or a model file in one."),
    ],
    into: Annotated[Literal["gbt"], typer.Option(help="Policy of the student.")] = "gbt",
    trees: Annotated[
        int | None, typer.Option(min=1, help=f"Trees of the student (default: {_FOREST[0]}).")
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=16,
            help=f"Of each (default: {_FOREST[1]}, of a single tree {_TREE_DEPTH}).",
        ),
    ] = None,
    single_tree: Annotated[
        bool, typer.Option("--single-tree", help="One greedy tree, to be read.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Of DAgger.")] = 10,
    frames: Annotated[
        int,
        typer.Option(parser=step_count, metavar="STEPS", help="Environment steps of a round."),
    ] = 10_000,
    n_episodes: Annotated[
        int,
        typer.Option(
            "-n", "--n-episodes", min=1, help="Episodes by which student and teacher are compared."
        ),
    ] = 100,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**31 - 1, help="Default: drawn, and recorded."),
    ] = None,
    load_best: LoadBest = False,
    log_folder: Annotated[
        Path, typer.Option("-f", "--log-folder", help="The run goes to FOLDER/ppo/<env>_<n>.")
    ] = Path("logs"),
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparams",
            metavar="KEY:VALUE...",
            help="Settings with which train --resume trains the student on: "
            "policy_kwargs.policy_lr:0.5",
        ),
    ] = None,
    device: Device = "cpu",
    num_threads: NumThreads = 1,
    verbose: Verbose = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Teach trees by a trained agent (DAgger) and write a run folder of them.

    The folder is one of PPO with trees: eval, enjoy and train --resume RUN -n STEPS take it.
    """
    if single_tree and trees is not None:
        raise UserError(f"--trees must not be given with --single-tree, got {trees}")
    import torch

    from rlshare.agents import parse_pairs
    from rlshare.distill import Plan
    from rlshare.runs.seeds import drawn_seed
    from rlshare.suites.distill import distill_run

    torch.set_num_threads(num_threads)
    with user_errors():
        plan = Plan(
            n_trees=_FOREST[0] if trees is None else trees,
            max_depth=(_TREE_DEPTH if single_tree else _FOREST[1]) if depth is None else depth,
            single_tree=single_tree,
            n_rounds=rounds,
            n_frames=frames,
            seed=drawn_seed() if seed is None else seed,
            n_threads=num_threads,
        )
        overrides = parse_pairs(hyperparams or (), "--hyperparams")
    try:
        report = distill_run(
            run_dir,
            plan,
            log_folder,
            load_best=load_best,
            n_episodes=n_episodes,
            hyperparams=overrides,
            num_threads=num_threads,
            device=device,
            say=(lambda _: None) if as_json else partial(print, flush=True),
        )
    except KeyboardInterrupt:
        print("stopped at once", file=sys.stderr)
        return 130
    print(json.dumps(asdict(report)) if as_json else _words(report))
    return 130 if report.interrupted else 0


def _words(report: Report) -> str:
    import numpy as np

    returns = report.student_returns
    kept = "the teacher is no better than random actions"
    if report.kept is not None:
        interval = "(too few episodes for an interval)"
        if report.kept_interval is not None:
            interval = "[{:.2f}, {:.2f}]".format(*report.kept_interval)
        kept = f"kept {report.kept:.2f} {interval} of the teacher's return"
    trees = "1 tree" if report.n_trees == 1 else f"{report.n_trees:,} trees"
    path = shlex.quote(report.run)
    return (
        f"student of round {report.best_round}: {np.mean(returns):.2f} +- {np.std(returns):.2f} "
        f"over {len(returns)} episodes, {kept}, agreement {report.agreement:.3f}\n"
        f"{trees}, {report.n_leaves:,} leaves, {report.n_bytes / 1000:,.1f} kB: {report.run}\n"
        f"next: rlshare eval {path} | rlshare train --resume {path} -n STEPS"
    )
