"""A run before it is trained: a new one, or one that goes on."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlshare.agents import Recipe, apply_overrides, load_recipe
from rlshare.agents.registry import RecipeSet
from rlshare.envs import MultiTask, make_env
from rlshare.runs.config import OPTIONS, RunConfig
from rlshare.runs.errors import UserError, user_errors
from rlshare.runs.folder import RunFolder, new_run_folder, open_run_folder, view_of
from rlshare.runs.masks import check_masks
from rlshare.runs.seeds import drawn_seed

if TYPE_CHECKING:
    from rlshare.runs.checkpoint import Checkpoint


@dataclass(frozen=True)
class Run:
    """What is trained: where, with which options and settings, and from which checkpoint."""

    folder: RunFolder
    config: RunConfig
    recipe: Recipe[Any]
    checkpoint: "Checkpoint | None" = None


def configure(
    options: Mapping[str, Any],
    hyperparams: Mapping[str, Any] | None = None,
    conf_file: str | Path | None = None,
    recipe_set: RecipeSet = "tuned",
) -> tuple[RunConfig, Recipe[Any]]:
    """Return the options of a run, whole, and its recipe.

    Args:
        options: fields of ``RunConfig``; what is missing or None is the recipe's, or the default.
            ``env_kwargs`` are added to the recipe's.
        hyperparams: settings to replace in the recipe, by dotted key.
        conf_file: of recipes, in place of those that come with the package.
        recipe_set: which of those that come with the package, see ``load_recipe``.

    Raises:
        ValueError: an option or a setting is unknown or breaks its rule.
    """
    given = {name: value for name, value in options.items() if value is not None}
    algo, policy, env = (given.get(n, getattr(RunConfig, n)) for n in ("algo", "policy", "env"))
    own = {name: value for name, value in given.items() if OPTIONS[name].of_recipe}
    recipe = load_recipe(algo, policy, env, conf_file, {**(hyperparams or {}), **own}, recipe_set)
    found = {
        "seed": drawn_seed(),
        **given,
        "n_timesteps": recipe.n_timesteps,
        "n_envs": recipe.n_envs,
        "env_kwargs": apply_overrides(recipe.env_kwargs, given.get("env_kwargs", {})),
    }
    return RunConfig(**found), recipe


def new_run(log_folder: Path, config: RunConfig, recipe: Recipe[Any]) -> Run:
    """Make the folder of a run, after its environment, so that a typo leaves no trace.

    Raises:
        UserError: the environment cannot be made, or not for this algorithm; or the folder.
    """
    made = checked_env(config)
    if config.task_schedule is not None:
        if not isinstance(made.unwrapped, MultiTask):
            raise UserError(
                f"--task-schedule {config.task_schedule} needs a multi-task environment, such as "
                f"rlshare/HalfCheetahTasks-v0; {config.env} has one task"
            )
        with user_errors():
            make_env(config.env, config.env_kwargs | {"schedule": config.task_schedule}).close()
    config = dataclasses.replace(config, env=_absolute(config.env))
    folder = new_run_folder(log_folder, config.algo, config.env)
    folder.write(config, recipe)
    return Run(folder, config, recipe)


def resumed_run(path: Path, changes: Mapping[str, Any] | None = None) -> Run:
    """Return a run that goes on from its last checkpoint, with other options where they may change.

    Raises:
        UserError: there is no such run or checkpoint, an option may not change, or no step is left.
    """
    from rlshare.runs.checkpoint import list_checkpoints, load_checkpoint

    resumable = {name for name, option in OPTIONS.items() if option.resumable}
    if fixed := sorted(set(changes or {}) - resumable):
        names = ", ".join("--" + name.replace("_", "-") for name in fixed)
        raise UserError(f"{names} cannot change with --resume: it is part of the run")
    folder = open_run_folder(path)
    config, recipe = folder.read()
    with user_errors():
        config = dataclasses.replace(config, **(changes or {}))
    recipe = recipe.model_copy(update={"n_timesteps": config.n_timesteps})
    found = list_checkpoints(folder)
    if not found:
        raise UserError(f"{path} has no checkpoint: start the run again")
    try:
        checkpoint = load_checkpoint(found[-1])
    except UserError as error:
        older = f"; remove it to go on from {found[-2].name}" if len(found) > 1 else ""
        raise UserError(f"{error}{older}") from error
    if checkpoint.state.num_timesteps >= config.n_timesteps:
        raise UserError(
            f"{path} has made {checkpoint.state.num_timesteps} of {config.n_timesteps} steps: "
            "give a larger -n to go on"
        )
    folder.write(config, recipe)
    return Run(folder, config, recipe, checkpoint)


def checked_env(config: RunConfig) -> Any:
    """Return a run's environment, made once and closed.

    Raises:
        UserError: it cannot be made, or its algorithm cannot act in it.
    """
    from rlshare.runs.models import algorithm_class

    algorithm_class(config.algo)
    with user_errors():
        made = make_env(config.env, config.env_kwargs, view=view_of(config.policy))
    made.close()
    check_masks(config.algo, made)
    return made


def _absolute(env: str) -> str:
    path, _, name = env.rpartition(":")
    return f"{Path(path).resolve()}:{name}" if path.endswith(".py") else env
