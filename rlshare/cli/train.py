"""``rlshare train``: train an agent, or go on with a run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlshare.cli.options import ConfFile, RecipeSetOption, run_options
from rlshare.runs.errors import UserError, user_errors

if TYPE_CHECKING:
    from rlshare.runs.folder import RunFolder
    from rlshare.runs.run import Run
    from rlshare.runs.training import Outcome


@run_options()
def train(
    ctx: typer.Context,
    log_folder: Annotated[
        Path, typer.Option("-f", "--log-folder", help="The run goes to FOLDER/<algo>/<env>_<n>.")
    ] = Path("logs"),
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparams",
            metavar="KEY:VALUE...",
            help="Replace settings of the recipe: gamma:0.98 policy_kwargs.tree.max_depth:3",
        ),
    ] = None,
    conf_file: ConfFile = None,
    recipe: RecipeSetOption = "tuned",
    progress: Annotated[
        bool | None,
        typer.Option(
            "-P", "--progress/--no-progress", help="Progress bar (default: on a terminal)."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN_DIR",
            help="Go on from the run's last checkpoint; a larger -n makes it longer.",
        ),
    ] = None,
    **options: Any,
) -> int:
    """Train an agent with its environment's recipe.

    Ctrl-C saves and says how to go on; a killed run goes on from its last checkpoint:
    rlshare train --resume logs/ppo/CartPole-v1_1
    """  # fmt: skip
    bar = sys.stderr.isatty() if progress is None else progress
    if resume is not None:
        from rlshare.runs.run import resumed_run

        sources = ((name, ctx.get_parameter_source(name)) for name in ctx.params)
        given = {name for name, source in sources if source and source.name != "DEFAULT"}
        changes = {name: ctx.params[name] for name in given - {"resume", "progress"}}
        return _train(resumed_run(resume, changes), bar)
    from rlshare.agents import parse_pairs
    from rlshare.runs.run import configure, new_run

    with user_errors():
        options["env_kwargs"] = parse_pairs(options["env_kwargs"] or (), "--env-kwargs")
        overrides = parse_pairs(hyperparams or (), "--hyperparams")
        config, settings = configure(options, overrides, conf_file, recipe)
    return _train(new_run(log_folder, config, settings), bar)


def _train(run: Run, bar: bool) -> int:
    from rlshare.runs.report import write_report
    from rlshare.runs.training import Training

    config, path = run.config, run.folder.path
    begins = f" from step {run.checkpoint.state.num_timesteps:,}" if run.checkpoint else ""
    chosen = f"{config.algo} with {config.policy} on {config.env}"
    print(f"{chosen}{begins}, seed {config.seed}: {path}")
    again = f"rlshare train --resume {shlex.quote(str(path))}"
    try:
        training = Training(run, bar)
        if grows := training.forecast():
            print(grows, flush=True)
        write_report(run, None)
        outcome = training.run()
        write_report(run, outcome)
    except OSError as error:
        raise UserError(
            f"cannot write the run folder {path}: {error.strerror or error}; "
            f"its last checkpoint is whole, go on with: {again}"
        ) from error
    except KeyboardInterrupt:
        print(f"stopped at once; go on from the last checkpoint with: {again}", file=sys.stderr)
        return 130
    _summarize(run.folder, outcome)
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
