"""``rlshare train``: train an agent, or go on with a run."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlshare.agents.registry import AlgoName, PolicyName
from rlshare.cli.options import (
    ConfFile,
    Device,
    EnvKwargs,
    NumThreads,
    step_count,
)
from rlshare.runs.errors import UserError, user_errors

if TYPE_CHECKING:
    from rlshare.agents import Recipe
    from rlshare.runs.folder import RunFolder, TrainArgs
    from rlshare.runs.training import Outcome

# Options that a resumed run may change; everything else is part of what it is.
_RESUMABLE = {
    "resume", "n_timesteps", "eval_freq", "save_freq", "vec_env", "device", "num_threads",
    "progress", "verbose",
}  # fmt: skip


def train(
    ctx: typer.Context,
    algo: Annotated[AlgoName, typer.Option(help="Algorithm.")] = "ppo",
    policy: Annotated[
        PolicyName,
        typer.Option(help="Boosted trees, a mixture of experts, or SB3's stock network."),
    ] = "gbt",
    env: Annotated[
        str,
        typer.Option(
            help="gymnasium id, module:EnvId or file.py:Class. Trees see MiniGrid as categories, "
            "networks one-hot; ALE/ games show their RAM (--env-kwargs obs_type:rgb: the screen)."
        ),
    ] = "CartPole-v1",
    n_timesteps: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--n-timesteps",
            parser=step_count,
            metavar="STEPS",
            help="Environment steps, e.g. 20000, 2e4 or 20k (default: the recipe's).",
        ),
    ] = None,
    log_folder: Annotated[
        Path, typer.Option("-f", "--log-folder", help="The run goes to FOLDER/<algo>/<env>_<n>.")
    ] = Path("logs"),
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="Default: drawn, and recorded.")
    ] = None,
    n_envs: Annotated[
        int | None, typer.Option("--n-envs", help="Copies of the environment.")
    ] = None,
    vec_env: Annotated[
        Literal["dummy", "subproc"], typer.Option("--vec-env", help="In one process or several.")
    ] = "dummy",
    env_kwargs: EnvKwargs = None,
    task_schedule: Annotated[
        Literal["mixed", "alternate"] | None,
        typer.Option(
            "--task-schedule",
            help="Of a multi-task environment: another task each episode, or stretches of one.",
        ),
    ] = None,
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparams",
            metavar="KEY:VALUE...",
            help="Replace settings of the recipe: gamma:0.98 policy_kwargs.tree.max_depth:3",
        ),
    ] = None,
    conf_file: ConfFile = None,
    eval_freq: Annotated[
        int,
        typer.Option(
            "--eval-freq",
            parser=step_count,
            metavar="STEPS",
            help="Environment steps between evaluations; 0: never.",
        ),
    ] = 25_000,
    eval_episodes: Annotated[
        int, typer.Option("--eval-episodes", min=1, help="Episodes of an evaluation.")
    ] = 5,
    save_freq: Annotated[
        int,
        typer.Option(
            "--save-freq",
            parser=step_count,
            metavar="STEPS",
            help="Environment steps between checkpoints; 0: only first and last.",
        ),
    ] = 25_000,
    tensorboard_log: Annotated[
        Path | None,
        typer.Option("--tensorboard-log", help="Folder for TensorBoard (default: the run's)."),
    ] = None,
    device: Device = "cpu",
    num_threads: NumThreads = 1,
    progress: Annotated[
        bool | None,
        typer.Option(
            "-P", "--progress/--no-progress", help="Progress bar (default: on a terminal)."
        ),
    ] = None,
    verbose: Annotated[
        int, typer.Option(min=0, max=1, help="1: print SB3's table of logged values too.")
    ] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN_DIR",
            help="Go on from the run's last checkpoint; a larger -n makes it longer.",
        ),
    ] = None,
) -> int:
    """Train an agent with its environment's recipe.

    Ctrl-C saves and says how to go on; a killed run goes on from its last checkpoint:
    rlshare train --resume logs/ppo/CartPole-v1_1
    """  # fmt: skip
    given = {
        name
        for name in ctx.params
        if (source := ctx.get_parameter_source(name)) is not None and source.name != "DEFAULT"
    }
    bar = sys.stderr.isatty() if progress is None else progress
    if resume is not None:
        if fixed := sorted(given - _RESUMABLE):
            names = ", ".join("--" + name.replace("_", "-") for name in fixed)
            raise UserError(f"{names} cannot change with --resume: it is part of the run")
        changed = {name: ctx.params[name] for name in given & _RESUMABLE - {"resume", "progress"}}
        return _resume(resume, changed, bar)

    from rlshare.agents import apply_overrides, load_recipe, parse_pairs
    from rlshare.runs.folder import TrainArgs, new_run_folder

    with user_errors():
        overrides = parse_pairs(hyperparams or (), "--hyperparams")
        own_env_kwargs = parse_pairs(env_kwargs or (), "--env-kwargs")
        if n_timesteps is not None:
            overrides["n_timesteps"] = n_timesteps
        if n_envs is not None:
            overrides["n_envs"] = n_envs
        recipe = load_recipe(algo, policy, env, conf_file, overrides)
        all_env_kwargs = apply_overrides(recipe.env_kwargs, own_env_kwargs)
    _check_env(env, all_env_kwargs, algo, policy, task_schedule)
    args = TrainArgs(
        algo=algo, policy=policy, env=_absolute(env), n_timesteps=recipe.n_timesteps,
        n_envs=recipe.n_envs, seed=_draw_seed() if seed is None else seed,
        env_kwargs=all_env_kwargs, task_schedule=task_schedule, vec_env=vec_env, device=device,
        num_threads=num_threads, eval_freq=eval_freq, eval_episodes=eval_episodes,
        save_freq=save_freq, tensorboard_log=str(tensorboard_log) if tensorboard_log else None,
        verbose=verbose,
    )  # fmt: skip
    folder = new_run_folder(log_folder, algo, env)
    folder.write(args, recipe)
    return _run(folder, args, recipe, None, bar)


def _resume(path: Path, changed: dict[str, Any], bar: bool) -> int:
    from rlshare.runs.checkpoint import list_checkpoints, load_checkpoint
    from rlshare.runs.folder import open_run_folder

    folder = open_run_folder(path)
    args, recipe = folder.read()
    args = dataclasses.replace(args, **changed)
    recipe = recipe.model_copy(update={"n_timesteps": args.n_timesteps})
    found = list_checkpoints(folder)
    if not found:
        raise UserError(f"{path} has no checkpoint: start the run again")
    try:
        checkpoint = load_checkpoint(found[-1])
    except UserError as error:
        older = f"; remove it to go on from {found[-2].name}" if len(found) > 1 else ""
        raise UserError(f"{error}{older}") from None
    if checkpoint.state.num_timesteps >= args.n_timesteps:
        raise UserError(
            f"{path} has made {checkpoint.state.num_timesteps} of {args.n_timesteps} steps: "
            "give a larger -n to go on"
        )
    folder.write(args, recipe)
    return _run(folder, args, recipe, checkpoint, bar)


def _run(
    folder: RunFolder, args: TrainArgs, recipe: Recipe[Any], checkpoint: Any, bar: bool
) -> int:
    from rlshare.runs.report import write_report
    from rlshare.runs.training import Training

    begins = f" from step {checkpoint.state.num_timesteps:,}" if checkpoint else ""
    print(f"{args.algo} with {args.policy} on {args.env}{begins}, seed {args.seed}: {folder.path}")
    again = f"rlshare train --resume {shlex.quote(str(folder.path))}"
    try:
        training = Training(folder, args, recipe, checkpoint, bar)
        if grows := training.forecast():
            print(grows, flush=True)
        write_report(folder, args, None)
        outcome = training.run()
        write_report(folder, args, outcome)
    except OSError as error:
        raise UserError(
            f"cannot write the run folder {folder.path}: {error.strerror or error}; "
            f"its last checkpoint is whole, go on with: {again}"
        ) from error
    except KeyboardInterrupt:
        print(f"stopped at once; go on from the last checkpoint with: {again}", file=sys.stderr)
        return 130
    _summarize(folder, outcome)
    if outcome.interrupted:
        print(f"stopped; go on with: {again}")
        return 130
    return 0


def _summarize(folder: RunFolder, outcome: Outcome) -> None:
    score = "no episode ended"
    if outcome.mean_return is not None:
        score = f"mean return {outcome.mean_return:.2f} (last {outcome.episodes} training episodes)"
    best = outcome.best_evaluation
    trees = "" if outcome.n_trees is None else f", {outcome.n_trees:,} trees"
    print(
        f"{outcome.num_timesteps:,} steps: {score}"
        + ("" if best is None else f", best evaluation {best:.2f}")
        + f"{trees}, {outcome.steps_per_second:,.0f} steps/s"
    )
    if not outcome.interrupted:
        path = shlex.quote(str(folder.path))
        print(f"next: rlshare eval {path} | rlshare enjoy {path} | rlshare plot {path}")


def _check_env(
    env: str, env_kwargs: dict[str, Any], algo: str, policy: str, task_schedule: str | None
) -> None:
    """Make the environment once before the run folder exists, so that a typo leaves no trace."""
    from rlshare.envs import MultiTask, make_env
    from rlshare.runs.folder import view_of
    from rlshare.runs.masks import check_masks

    with user_errors():
        made = make_env(env, env_kwargs, view=view_of(policy))
        made.close()
        check_masks(algo, made)
        if task_schedule is not None:
            if not isinstance(made.unwrapped, MultiTask):
                raise UserError(
                    f"--task-schedule {task_schedule} needs a multi-task environment, such as "
                    f"rlshare/HalfCheetahTasks-v0; {env} has one task"
                )
            make_env(env, env_kwargs | {"schedule": task_schedule}).close()


def _absolute(env: str) -> str:
    path, _, name = env.rpartition(":")
    return f"{Path(path).resolve()}:{name}" if path.endswith(".py") else env


def _draw_seed() -> int:
    import secrets

    return secrets.randbelow(2**31)
