"""``rlshare tune``: search for the settings of a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlshare.agents.registry import AlgoName, PolicyName
from rlshare.cli.options import ConfFile, EnvKwargs, NumThreads, step_count
from rlshare.runs.errors import UserError, user_errors

if TYPE_CHECKING:
    from rlshare.suites.tune import Plan


def tune(
    algo: Annotated[AlgoName, typer.Option(help="Algorithm.")] = "ppo",
    policy: Annotated[PolicyName, typer.Option(help="As of train.")] = "gbt",
    env: Annotated[
        str, typer.Option(help="gymnasium id, module:EnvId or file.py:Class.")
    ] = "CartPole-v1",
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
    env_kwargs: EnvKwargs = None,
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparams",
            metavar="KEY:VALUE...",
            help="Settings of the recipe to keep fixed at a value.",
        ),
    ] = None,
    conf_file: ConfFile = None,
    num_threads: NumThreads = 1,
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
    from gymnasium import spaces

    from rlshare.agents import apply_overrides, load_recipe, parse_pairs
    from rlshare.envs import env_name
    from rlshare.runs.folder import TrainArgs
    from rlshare.suites.tune import Plan

    with user_errors():
        fixed = parse_pairs(hyperparams or (), "--hyperparams")
        recipe = load_recipe(algo, policy, env, conf_file, fixed)
        own = parse_pairs(env_kwargs or (), "--env-kwargs")
        all_env_kwargs = apply_overrides(recipe.env_kwargs, own)
    continuous = isinstance(_action_space(env, all_env_kwargs, algo), spaces.Box)
    name = study_name or f"{algo}_{policy}_{env_name(env)}"
    folder = log_folder / "tune" / name
    folder.mkdir(parents=True, exist_ok=True)
    args = TrainArgs(
        algo=algo, policy=policy, env=env, n_timesteps=n_timesteps or recipe.n_timesteps,
        n_envs=recipe.n_envs, seed=seed, env_kwargs=all_env_kwargs, vec_env="dummy", device="cpu",
        num_threads=num_threads, eval_freq=0, eval_episodes=1, save_freq=0, tensorboard_log=None,
        verbose=0,
    )  # fmt: skip
    plan = Plan(
        name=name, folder=folder, storage=storage, args=args, recipe=recipe.to_data(),
        fixed=tuple(fixed), continuous=continuous, n_trials=n_trials,
        n_startup_trials=n_startup_trials, n_evaluations=n_evaluations, sampler=sampler,
        pruner=pruner,
    )  # fmt: skip
    return _search(plan, n_jobs)


def _search(plan: Plan, n_jobs: int) -> int:
    from rlshare.suites.tune import complete, finished, open_study, run_trials, write_results

    study = open_study(plan)
    before = len(finished(study))
    begins = f", {before} of them done" if before else ""
    print(f"{plan.name}: {plan.n_trials} trials of {plan.args.n_timesteps:,} steps{begins}")
    whole = run_trials(plan) if n_jobs == 1 else _run_side_by_side(plan, n_jobs)
    study = open_study(plan)
    if not whole and not complete(study):
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    path = write_results(plan, study)
    best = complete(study)[0]
    print(f"best: trial {best.number}, mean return {best.value:.2f}: {path}")
    args = plan.args
    chosen = f"--algo {args.algo} --policy {args.policy} --env {args.env}"
    print(f"next: rlshare train {chosen} --conf-file {path}")
    if not whole:
        print("stopped; the same command goes on", file=sys.stderr)
    return 0 if whole else 130


def _run_side_by_side(plan: Plan, n_jobs: int) -> bool:
    """Run trials in processes of their own, which share the study's storage."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from rlshare.runs.signals import StopOnSignals
    from rlshare.suites.tune import end_with_parent, run_trials

    context = multiprocessing.get_context("spawn")
    with StopOnSignals(), ProcessPoolExecutor(n_jobs, context, initializer=end_with_parent) as pool:
        # Ctrl-C reaches every process, and each stops by itself
        return all(list(pool.map(run_trials, [plan] * n_jobs, range(n_jobs))))


def _action_space(env: str, env_kwargs: dict[str, Any], algo: str) -> Any:
    """Make the environment once, before the study's folder exists."""
    from rlshare.envs import make_env
    from rlshare.runs.masks import check_masks

    with user_errors():
        made = make_env(env, env_kwargs)
    made.close()
    check_masks(algo, made)
    return made.action_space
