"""Where the files of a run are: ``logs/<algo>/<env>_<n>/``, names as in rl_zoo3."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from rlshare.agents import Recipe, parse_recipe
from rlshare.envs import env_name
from rlshare.files import write_atomically
from rlshare.runs.config import OPTIONS, RunConfig
from rlshare.runs.errors import UserError, user_errors

_ADDED = {"task_schedule"}  # options that runs of earlier versions do not have


def view_of(policy: str) -> Literal["trees", "networks"]:
    """Return the view of an environment that a policy learns from, see ``rlshare.envs``."""
    return "trees" if policy == "gbt" else "networks"


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path
    env: str

    @property
    def config_dir(self) -> Path:
        """Folder of config.yml, args.yml and vecnormalize.pkl."""
        return self.path / env_name(self.env)

    @property
    def checkpoints(self) -> Path:
        """Folder of the last checkpoints."""
        return self.path / "checkpoints"

    @property
    def final_model(self) -> Path:
        """The model at the end of the run."""
        return self.path / f"{env_name(self.env)}.zip"

    @property
    def best_model(self) -> Path:
        """The model of the best evaluation."""
        return self.path / "best_model.zip"

    @property
    def normalizer(self) -> Path:
        """The running statistics of VecNormalize, where the recipe normalises."""
        return self.config_dir / "vecnormalize.pkl"

    def read(self) -> tuple[RunConfig, Recipe[Any]]:
        """Return the options and the recipe of the run.

        Raises:
            UserError: the files are missing or damaged.
        """
        where = self.config_dir / "args.yml"
        args = self._read_yaml("args.yml")
        odd = set(OPTIONS) - _ADDED - set(args) | set(args) - set(OPTIONS)
        if odd:
            raise UserError(f"{where} is damaged: check {', '.join(sorted(odd))}")
        with user_errors(f"{where} is damaged: "):
            config = RunConfig(**args)
        data = self._read_yaml("config.yml")
        with user_errors():
            place = str(self.config_dir / "config.yml")
            return config, parse_recipe(config.algo, config.policy, data, place)

    def write(self, config: RunConfig, recipe: Recipe[Any]) -> None:
        """Write args.yml and config.yml."""
        self.config_dir.mkdir(exist_ok=True)
        for name, data in (
            ("config.yml", recipe.to_data()),
            ("args.yml", dataclasses.asdict(config)),
        ):
            text = yaml.safe_dump(data, sort_keys=False)
            write_atomically(self.config_dir / name, text.encode())

    def _read_yaml(self, name: str) -> dict[str, Any]:
        path = self.config_dir / name
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None
        if not isinstance(data, dict):
            raise UserError(f"{path} is damaged: it must map names to values")
        return data


def new_run_folder(log_folder: Path, algo: str, env: str) -> RunFolder:
    """Make ``log_folder/algo/env_<n>`` with the next free number.

    Raises:
        UserError: the folder cannot be written.
    """
    parent = log_folder / algo
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = max(_run_numbers(parent, env), default=0) + 1
        while True:
            path = parent / f"{env_name(env)}_{number}"
            try:
                path.mkdir()
            except FileExistsError:  # another run of the same environment began just now
                number += 1
                continue
            break
        folder = RunFolder(path, env)
        folder.checkpoints.mkdir()
    except OSError as error:
        raise UserError(f"cannot write the run folder {parent}: {error.strerror}") from None
    return folder


def open_run_folder(path: Path) -> RunFolder:
    """Return the existing run at a path.

    Raises:
        UserError: it is not a run folder.
    """
    if not path.is_dir():
        raise UserError(f"run folder not found: {path}")
    found = sorted(path.glob("*/args.yml"))
    if len(found) != 1:
        raise UserError(f"{path} is not a run folder: it has no <env>/args.yml")
    try:
        args = yaml.safe_load(found[0].read_text(encoding="utf-8"))
        return RunFolder(path, args["env"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        raise UserError(f"{found[0]} is damaged: it must name the env") from None


def latest_run_folder(log_folder: Path, algo: str, env: str) -> RunFolder:
    """Return the newest run of an environment.

    Raises:
        UserError: there is none.
    """
    parent = log_folder / algo
    numbers = _run_numbers(parent, env)
    if not numbers:
        raise UserError(f"no run of {algo} on {env} in {log_folder}; train one first")
    return open_run_folder(parent / f"{env_name(env)}_{max(numbers)}")


def _run_numbers(parent: Path, env: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(env_name(env))}_(\d+)")
    names = (path.name for path in parent.glob("*")) if parent.is_dir() else ()
    return [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
