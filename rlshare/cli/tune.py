"""``rlshare tune``: search for the settings of a recipe."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlshare.cli.options import ConfFile, run_options, step_count
from rlshare.runs.errors import UserError, user_errors

if TYPE_CHECKING:
    from rlshare.suites.tune import Plan


@run_options("algo", "policy", "env", "env_kwargs", "num_threads")
def tune(
    n_timesteps: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--n-timesteps",
            parser=step_count,
            metavar="STEPS",
            help="Environment steps of a trial (default: the recipe's).",
        ),
    ] = None,
    n_trials: Annotated[
        int, typer.Option("--n-trials", min=1, help="Trials of the study, earlier ones included.")
    ] = 30,
    n_startup_trials: Annotated[
        int,
        typer.Option("--n-startup-trials", min=1, help="At random, and never pruned, at first."),
    ] = 10,
    n_evaluations: Annotated[
        int, typer.Option("--n-evaluations", min=1, help="Times a trial may be pruned.")
    ] = 8,
    sampler: Annotated[Literal["tpe", "random"], typer.Option(help="Of optuna.")] = "tpe",
    pruner: Annotated[
        Literal["median", "halving", "none"], typer.Option(help="Of optuna.")
    ] = "median",
    storage: Annotated[
        str | None,
        typer.Option(
            help="Journal file, or URL such as sqlite:///study.db (default: the study's folder)."
        ),
    ] = None,
    study_name: Annotated[
        str | None, typer.Option("--study-name", help="Default: ALGO_POLICY_ENV.")
    ] = None,
    n_jobs: Annotated[int, typer.Option("--n-jobs", min=1, help="Trials at a time.")] = 1,
    log_folder: Annotated[
        Path, typer.Option("-f", "--log-folder", help="The study goes to FOLDER/tune/NAME.")
    ] = Path("logs"),
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1)] = 0,
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparams",
            metavar="KEY:VALUE...",
            help="Settings of the recipe to keep fixed at a value.",
        ),
    ] = None,
    conf_file: ConfFile = None,
    **options: Any,
) -> int:
    """Search for the settings of a recipe with optuna.

    A trial is a training; its value is the mean return of its last 100 training episodes. The first
    has the recipe's own settings, as far as they are within what is searched. The same command goes
    on with a study that was stopped. best.yml is a recipe for train --conf-file.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("rlshare tune needs optuna: pip install 'rlshare[tune]'") from None
    from rlshare.agents import parse_pairs
    from rlshare.suites.tune import plan_study

    with user_errors():
        fixed = parse_pairs(hyperparams or (), "--hyperparams")
        options["env_kwargs"] = parse_pairs(options["env_kwargs"] or (), "--env-kwargs")
    options |= {"n_timesteps": n_timesteps, "seed": seed}
    plan = plan_study(
        log_folder,
        options,
        fixed,
        conf_file,
        name=study_name,
        storage=storage,
        n_trials=n_trials,
        n_startup_trials=n_startup_trials,
        n_evaluations=n_evaluations,
        sampler=sampler,
        pruner=pruner,
    )
    return _search(plan, n_jobs)


def _search(plan: Plan, n_jobs: int) -> int:
    from rlshare.suites.tune import complete, finished, open_study, run_jobs, write_results

    study = open_study(plan)
    before = len(finished(study))
    begins = f", {before} of them done" if before else ""
    print(f"{plan.name}: {plan.n_trials} trials of {plan.config.n_timesteps:,} steps{begins}")
    whole = run_jobs(plan, n_jobs, partial(print, flush=True))
    study = open_study(plan)
    if not whole and not complete(study):
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    path = write_results(plan, study)
    best = complete(study)[0]
    print(f"best: trial {best.number}, mean return {best.value:.2f}: {path}")
    config = plan.config
    chosen = f"--algo {config.algo} --policy {config.policy} --env {config.env}"
    print(f"next: rlshare train {chosen} --conf-file {path}")
    if not whole:
        print("stopped; the same command goes on", file=sys.stderr)
    return 0 if whole else 130
