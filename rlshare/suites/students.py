"""The run of a student: its settings, and its folder before the first step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.vec_env import VecNormalize

from rlshare.agents import Recipe, apply_overrides, load_recipe, parse_recipe
from rlshare.distill import Distilled, Plan
from rlshare.runs.config import RunConfig
from rlshare.runs.errors import user_errors
from rlshare.runs.report import write_report
from rlshare.runs.run import Run, new_run
from rlshare.runs.training import Outcome, Training
from rlshare.trees import TreeParams

# How PPO trains them on: the leaves of a forest move, a single tree gets company.
_FOREST: dict[str, Any] = {"policy_lr": 1.0, "value_lr": 1.0}
_TREE: dict[str, Any] = {"policy_lr": 0.05, "value_lr": 0.05}
_TARGET_KL = 0.005  # small: what was taught shall not be lost in the first rollouts


def student_settings(
    teacher: RunConfig, plan: Plan, hyperparams: dict[str, Any], num_threads: int
) -> tuple[RunConfig, Recipe[Any]]:
    """Return the options and settings of a student's run: PPO's recipe with other trees.

    Args:
        teacher: options of its run.
        plan: what is distilled into what.
        hyperparams: settings to replace, by dotted key.
        num_threads: of training on.

    Raises:
        ValueError: a setting is unknown, or the student's trees could not have it.
    """
    data = load_recipe("ppo", "gbt", teacher.env).to_data()
    data["policy_kwargs"] = {"shared": False} | (
        {**_TREE, "tree": {"grow_policy": "greedy", "max_depth": plan.max_depth}}
        if plan.single_tree
        else {
            **_FOREST,
            "tree": {"learner": "refit", "n_trees": plan.n_trees, "max_depth": plan.max_depth},
        }
    )
    data["target_kl"] = _TARGET_KL
    data["normalize"] = {**data.get("normalize", {}), "norm_obs": False}
    recipe = parse_recipe("ppo", "gbt", apply_overrides(data, hyperparams), "--hyperparams")
    kwargs = recipe.policy_kwargs.model_dump()
    tree = {"grow_policy": TreeParams.grow_policy} | (kwargs["tree"] or {})
    wanted = {
        "shared": False,
        "grow_policy": "greedy" if plan.single_tree else "oblivious",
        "monotonic": None,  # it is taught without
        "categorical": None,  # what is one, the space of the observations says
    }
    given = {name: tree.get(name) for name in wanted} | {"shared": kwargs.get("shared")}
    for name, value in wanted.items():
        if given[name] != value:
            raise ValueError(f"{name} of the student must be {value!r}, got {given[name]!r}")
    if recipe.normalize.norm_obs:
        raise ValueError("norm_obs of the student must be false: trees see what there is")
    config = replace(
        teacher,
        algo="ppo",
        policy="gbt",
        n_timesteps=recipe.n_timesteps,
        n_envs=recipe.n_envs,
        seed=plan.seed,
        device="cpu",
        num_threads=num_threads,
    )
    return config, recipe


@contextmanager
def begun_run(config: RunConfig, recipe: Recipe[Any], log_folder: Path) -> Iterator[StudentRun]:
    """Make the folder and the model of a student's run; where the block raises, the folder goes.

    They come before the rounds: what is wrong with them shall not cost the student.

    Raises:
        UserError: the folder cannot be written, or PPO refuses a setting.
    """
    run = new_run(log_folder, config, recipe)
    is_written = False
    try:
        yield StudentRun(run, Training(run))
        is_written = True
    finally:
        if not is_written:
            shutil.rmtree(run.folder.path)


class StudentRun(NamedTuple):
    """The run of a student, which makes no step."""

    run: Run
    training: Training

    def write(self, found: Distilled) -> Path:
        """Give it the trees that were found, save it, and return its folder."""
        model: Any = self.training.model
        with user_errors():
            found.install(model.policy)
        if isinstance(self.training.env, VecNormalize) and found.returns_rms is not None:
            self.training.env.ret_rms = found.returns_rms
        self.training.finish_untrained()
        best = self.training.evaluation.best if self.training.evaluation else None
        outcome = Outcome(0, None, 0, 0.0, 0.0, best, model.policy.n_trees, False)
        write_report(self.run, outcome)
        return self.run.folder.path
