"""A trained agent read from a run folder, with an environment to act in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlshare.runs.config import RunConfig
from rlshare.runs.errors import UserError, user_errors
from rlshare.runs.masks import masks_of


@dataclass(frozen=True)
class TrainedAgent:
    """A model with the environment of its run, one copy, not monitored to a file."""

    model: Any
    env: Any
    config: RunConfig

    def act(self, observation: Any, deterministic: bool) -> Any:
        """Return the action for what the environment has just shown."""
        masks = masks_of(self.config.algo, self.env)
        return self.model.predict(observation, deterministic=deterministic, **masks)[0]


def find_run(run_dir: Path | None, algo: str, env: str | None, log_folder: Path) -> Path:
    """Return the run folder or model file that the options mean."""
    from rlshare.runs.folder import latest_run_folder

    if run_dir is not None:
        return run_dir
    if env is None:
        raise UserError("give a RUN_DIR, or --env for the latest run on an environment")
    return latest_run_folder(log_folder, algo, env).path


def load_agent(
    path: Path,
    load_best: bool,
    device: str,
    env_kwargs: dict[str, Any] | None = None,
    render_mode: str | None = None,
) -> TrainedAgent:
    """Load the agent of a run folder (its final model, else its last checkpoint).

    ``env_kwargs`` replace those of the run by dotted key.

    Raises:
        UserError: there is no such run or model, or the file is damaged.
    """
    from stable_baselines3.common.vec_env import VecNormalize

    from rlshare.agents import apply_overrides
    from rlshare.envs import make_vec_env
    from rlshare.runs.checkpoint import read_archive
    from rlshare.runs.folder import open_run_folder, view_of
    from rlshare.runs.models import read_model

    is_file = path.suffix == ".zip"
    if is_file and not path.is_file():
        raise UserError(f"model file not found: {path}")
    home = path.parent if is_file else path
    folder = open_run_folder(home.parent if is_file and home.name == "checkpoints" else home)
    config, recipe = folder.read()
    model_file = path if is_file else _model_file(folder, load_best)
    data = read_archive(model_file)
    with user_errors():
        kwargs = apply_overrides(config.env_kwargs, env_kwargs or {})
        env = make_vec_env(
            config.env, 1, env_kwargs=kwargs, render_mode=render_mode, view=view_of(config.policy)
        )
    if recipe.normalize.norm_obs:
        refusals = (ValueError, OSError, EOFError, AssertionError)
        with user_errors(f"cannot read {folder.normalizer}: ", refusals):
            env = VecNormalize.load(str(folder.normalizer), env)
        env.training = False
        env.norm_reward = False
    return TrainedAgent(read_model(config.algo, data, str(model_file), env, device), env, config)


def _model_file(folder: Any, load_best: bool) -> Path:
    from rlshare.runs.checkpoint import list_checkpoints

    wanted = folder.best_model if load_best else folder.final_model
    if wanted.is_file():
        return Path(wanted)
    if load_best:
        raise UserError(f"{folder.path} has no best_model.zip: it was not evaluated")
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        raise UserError(f"{folder.path} has no model and no checkpoint")
    return checkpoints[-1]
