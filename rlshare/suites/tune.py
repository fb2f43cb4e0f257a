"""Trials of ``rlshare tune``: what one is, and how a study goes on."""

import csv
import io
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from gymnasium import spaces
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from stable_baselines3.common.callbacks import BaseCallback

from rlshare.agents import parse_recipe
from rlshare.agents.recipes.search_space import Space, first_trial, search_space, tuned
from rlshare.envs import env_name
from rlshare.files import write_atomically
from rlshare.runs.config import RunConfig
from rlshare.runs.errors import UserError, user_errors
from rlshare.runs.folder import new_run_folder
from rlshare.runs.run import Run, checked_env, configure
from rlshare.runs.seeds import derived_seed
from rlshare.runs.signals import StopOnSignals

_MEASURE = "mean return of the last 100 training episodes"


@dataclass(frozen=True)
class Plan:
    """What a study is: its place, what its trials have in common, and how they are chosen.

    Attributes:
        config: of every trial, apart from its seed.
        recipe: plain data that sampled values go into.
        fixed: keys of the recipe that are not searched.
    """

    name: str
    folder: Path
    storage: str | None
    config: RunConfig
    recipe: dict[str, Any]
    fixed: tuple[str, ...]
    continuous: bool
    n_trials: int
    n_startup_trials: int
    n_evaluations: int
    sampler: str
    pruner: str

    @property
    def space(self) -> Space:
        """What is searched."""
        tree = self.recipe["policy_kwargs"].get("tree") or {}
        refits = tree.get("learner") == "refit"
        space = search_space(self.config.algo, self.config.policy, self.continuous, refits)
        return {key: values for key, values in space.items() if key not in self.fixed}

    def identity(self) -> dict[str, Any]:
        """Return what all trials of a study must agree on to be compared."""
        config = asdict(self.config)
        named = ("algo", "policy", "env", "n_timesteps", "env_kwargs")
        return {name: config[name] for name in named} | {"recipe": self.recipe}


def plan_study(
    log_folder: Path,
    options: Mapping[str, Any],
    fixed: Mapping[str, Any],
    conf_file: Path | None = None,
    *,
    name: str | None = None,
    **how: Any,
) -> Plan:
    """Return the plan of a study and make its folder, ``log_folder/tune/NAME``.

    Args:
        options: of every trial, as of ``configure``; ``seed`` is that of the study.
        fixed: settings of the recipe, by dotted key, that are not searched.
        conf_file: of recipes, in place of those that come with the package.
        name: of the study; None is ALGO_POLICY_ENV.
        how: the other fields of ``Plan``.

    Raises:
        UserError: an option or a setting is refused, or the environment cannot be made.
    """
    length = options.get("n_timesteps")  # of a trial, not of the recipe that is searched for
    quiet = {"eval_freq": 0, "eval_episodes": 1, "save_freq": 0, "n_timesteps": None}
    with user_errors():
        config, recipe = configure({**options, **quiet}, fixed, conf_file)
        config = replace(config, n_timesteps=config.n_timesteps if length is None else length)
    continuous = isinstance(checked_env(config).action_space, spaces.Box)
    name = name or f"{config.algo}_{config.policy}_{env_name(config.env)}"
    folder = log_folder / "tune" / name
    folder.mkdir(parents=True, exist_ok=True)
    return Plan(
        name=name,
        folder=folder,
        config=config,
        recipe=recipe.to_data(),
        fixed=tuple(fixed),
        continuous=continuous,
        **how,
    )


class Pruning(BaseCallback):
    """Reports the returns of the training episodes, and stops a trial that falls behind.

    It also stops after a signal to the study.
    """

    def __init__(
        self, trial: optuna.Trial, signals: StopOnSignals, n_timesteps: int, n_evaluations: int
    ) -> None:
        super().__init__()
        self.trial, self.signals, self.every = trial, signals, n_timesteps / n_evaluations
        self.reports, self.pruned = 0, False

    def _on_step(self) -> bool:
        if self.num_timesteps >= (self.reports + 1) * self.every:
            self.reports += 1
            returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
            if returns:
                self.trial.report(float(np.mean(returns)), self.reports)
                self.pruned = self.trial.should_prune()
            return not self.pruned
        return not self.signals.received


def end_with_parent() -> None:
    """Make this process end when its parent, which shares out the trials, was killed.

    A worker of a pool waits for its next task forever, since it holds the queue open itself.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # it is the parent that starts workers

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def open_study(plan: Plan, worker: int = 0) -> optuna.Study:
    """Return the study of a plan, an earlier one if its storage holds it.

    Raises:
        UserError: the stored study is of other runs, or the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=plan.name,
        storage=_storage(plan),
        direction="maximize",
        load_if_exists=True,
        sampler=_sampler(plan, derived_seed(plan.config.seed, worker)),
        pruner=_pruner(plan),
    )
    before = study.user_attrs.get("plan")
    if before is None:
        study.set_user_attr("plan", plan.identity())
        study.enqueue_trial(first_trial(plan.recipe, plan.space))
    elif before != plan.identity():
        odd = ", ".join(key for key, value in plan.identity().items() if before.get(key) != value)
        raise UserError(
            f"the study {plan.name!r} was begun with another {odd}: its trials cannot be compared "
            "with these; give another --study-name"
        )
    return study


def _sampler(plan: Plan, seed: int) -> BaseSampler:
    if plan.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(n_startup_trials=plan.n_startup_trials, seed=seed, multivariate=True)


def _pruner(plan: Plan) -> BasePruner:
    if plan.pruner == "none":
        return NopPruner()
    if plan.pruner == "halving":
        return SuccessiveHalvingPruner()
    return MedianPruner(plan.n_startup_trials, n_warmup_steps=plan.n_evaluations // 3)


def run_jobs(plan: Plan, n_jobs: int, say: Callable[[str], None]) -> bool:
    """Run the trials that are missing, so many at a time; return False after a signal.

    Args:
        plan: of the study.
        n_jobs: with more than one, each is a process, and they share the study's storage.
        say: called with a line about each trial, where it ran.
    """
    if n_jobs == 1:
        return run_trials(plan, 0, say)
    server = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if server else "spawn")
    if server:  # which imports once for all workers
        context.set_forkserver_preload([__name__, "rlshare.runs.training"])
    with StopOnSignals(), ProcessPoolExecutor(n_jobs, context, initializer=end_with_parent) as pool:
        # Ctrl-C reaches every process, and each stops by itself
        return all(list(pool.map(run_trials, [plan] * n_jobs, range(n_jobs), [say] * n_jobs)))


def run_trials(plan: Plan, worker: int, say: Callable[[str], None]) -> bool:
    """Run trials until the study has as many as planned; return False after a signal."""
    study = open_study(plan, worker)
    with StopOnSignals() as signals:  # a trial has its own while it trains
        while len(finished(study)) < plan.n_trials:
            if signals.received or not _run(plan, study, study.ask(plan.space), signals, say):
                return False
    return True


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that ended, by themselves, by the pruner or by an error of their own."""
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.state.is_finished() and "interrupted" not in t.user_attrs]


def _run(
    plan: Plan,
    study: optuna.Study,
    trial: optuna.Trial,
    signals: StopOnSignals,
    say: Callable[[str], None],
) -> bool:
    from rlshare.runs.training import Training

    data = tuned(plan.recipe, trial.params)
    config = replace(plan.config, seed=derived_seed(plan.config.seed, trial.number))
    folder = new_run_folder(plan.folder, config.algo, config.env)
    trial.set_user_attr("run", folder.path.name)
    pruning = Pruning(trial, signals, config.n_timesteps, plan.n_evaluations)
    try:
        recipe = parse_recipe(config.algo, config.policy, data, f"trial {trial.number}")
        folder.write(config, recipe)
        outcome = Training(Run(folder, config, recipe), callbacks=[pruning]).run()
    except (ValueError, ArithmeticError, UserError) as error:  # such as NaN in a distribution
        reason = " ".join(str(error).split())[:200]
        trial.set_user_attr("error", reason)
        study.tell(trial, state=TrialState.FAIL)
        say(f"trial {trial.number:3}  failed: {reason}")
        return True
    if outcome.interrupted and not pruning.pruned:
        trial.set_user_attr("interrupted", True)
        study.tell(trial, state=TrialState.FAIL)
        return False
    if outcome.mean_return is None:
        trial.set_user_attr("error", "no episode ended")
        study.tell(trial, state=TrialState.FAIL)
    elif pruning.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, outcome.mean_return)
    value = "no episode ended" if outcome.mean_return is None else f"{outcome.mean_return:10.2f}"
    ended = f"  pruned at {outcome.num_timesteps:,}" if pruning.pruned else ""
    say(f"trial {trial.number:3}  {value}{ended}")
    return True


def _storage(plan: Plan) -> BaseStorage:
    url = plan.storage or str(plan.folder / "study.log")
    try:
        if "://" in url:
            return optuna.storages.get_storage(url)
        return JournalStorage(JournalFileBackend(url))
    except (ImportError, OSError, ValueError) as error:
        raise UserError(f"--storage: cannot use {url}: {error}") from None


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials with a value, best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda t: t.values[0], reverse=True)


def write_results(plan: Plan, study: optuna.Study) -> Path:
    """Write best.yml, trials.csv and history.png; return the first's path.

    Raises:
        UserError: no trial was completed.
    """
    best = complete(study)
    if not best:
        raise UserError(f"none of {len(finished(study))} trials was completed: see {plan.folder}")
    settings = tuned(plan.recipe, best[0].params)
    with user_errors():
        recipe = parse_recipe(plan.config.algo, plan.config.policy, settings, "best trial")
    head = (
        f"# rlshare tune: {_MEASURE} {best[0].value:.2f} in trial {best[0].number} of "
        f"{len(finished(study))}, {plan.config.n_timesteps:,} steps each\n"
    )
    table = {plan.config.policy: {plan.config.env: recipe.to_data()}}
    text = yaml.safe_dump(table, sort_keys=False, default_flow_style=None)
    path = plan.folder / "best.yml"
    write_atomically(path, (head + text).encode())
    write_atomically(plan.folder / "trials.csv", _table(plan, finished(study)).encode())
    _draw(plan, finished(study))
    return path


def _table(plan: Plan, trials: Sequence[FrozenTrial]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "value", "last_report", "run", "error", *plan.space])
    for t in trials:
        last = t.intermediate_values[max(t.intermediate_values)] if t.intermediate_values else ""
        attrs = [t.user_attrs.get(key, "") for key in ("run", "error")]
        params = [t.params.get(key, "") for key in plan.space]
        writer.writerow([t.number, t.state.name.lower(), t.value, last, *attrs, *params])
    return text.getvalue()


def _draw(plan: Plan, trials: Sequence[FrozenTrial]) -> None:
    """Draw the value of every trial and the best so far, and how each trial learnt."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    numbers, values = [t.number for t in done], np.array([t.value for t in done], np.float64)
    left.plot(numbers, values, "o", color="C0", alpha=0.6, label="trial")
    left.step(numbers, np.maximum.accumulate(values), "C1", where="post", label="best so far")
    left.set_xlabel("trial")
    left.set_ylabel(_MEASURE)
    left.legend(frameon=False)
    for t in trials:
        pruned = t.state == TrialState.PRUNED
        steps = np.array(sorted(t.intermediate_values))
        returns = [t.intermediate_values[s] for s in steps]
        at = steps * plan.config.n_timesteps / plan.n_evaluations
        right.plot(at, returns, "C7" if pruned else "C0", alpha=0.5, linewidth=1)
    right.set_xlabel("environment steps (grey: pruned)")
    right.set_ylabel("mean return")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(plan.name)
    figure.savefig(plan.folder / "history.png", dpi=120)
