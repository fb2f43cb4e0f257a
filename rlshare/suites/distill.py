"""From the run of a teacher to the run of a student of boosted trees."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlshare.agents.registry import algorithm
from rlshare.checks import integer
from rlshare.distill import Plan, Round, distill
from rlshare.distill import stage as stages
from rlshare.distill.stage import Act, Played, Stage, play
from rlshare.distill.teacher import Teacher
from rlshare.envs import make_env, make_vec_env
from rlshare.envs.suites import View
from rlshare.files import write_atomically
from rlshare.results.kept import return_kept
from rlshare.runs.errors import UserError, user_errors
from rlshare.runs.folder import view_of
from rlshare.runs.signals import StopOnSignals
from rlshare.runs.trained import TrainedAgent, load_agent
from rlshare.suites.students import begun_run, student_settings
from rlshare.trees import BoostedTrees

_N_ENVS = 8
_REPORT = 9  # what the seed of the last episodes is derived from


@dataclass(frozen=True)
class Report:
    """What came of it; written as distillation.json.

    Attributes:
        run: folder of the student.
        teacher: folder or model file of the teacher.
        env: the environment.
        plan: what was distilled into what.
        teacher_returns: of the last episodes, all from the same seed.
        random_returns: of uniformly random actions.
        student_returns: of the student.
        kept: of the teacher's return above that of random actions; None where there is none.
        kept_interval: its 95 % bootstrap interval; None where episodes are too few to say that
            the teacher is better than random actions.
        agreement: with the teacher, on the student's own states.
        best_round: whose student it is.
        rounds: number of states, mean return and agreement of each.
        n_trees: of the policy; those of the critic are as many.
        n_leaves: of the policy.
        n_bytes: of the policy.
        seconds: of everything.
        interrupted: whether a signal ended the rounds early.
    """

    run: str
    teacher: str
    env: str
    plan: dict[str, Any]
    teacher_returns: list[float]
    random_returns: list[float]
    student_returns: list[float]
    kept: float | None
    kept_interval: tuple[float, float] | None
    agreement: float
    best_round: int
    rounds: list[dict[str, float]]
    n_trees: int
    n_leaves: int
    n_bytes: int
    seconds: float
    interrupted: bool


def distill_run(
    path: Path,
    plan: Plan,
    log_folder: Path,
    *,
    load_best: bool = False,
    n_episodes: int = 100,
    hyperparams: Mapping[str, Any] | None = None,
    num_threads: int = 1,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Teach trees by the agent of a run, and make a run folder of them.

    The folder is one of PPO with trees before its first step: ``rlshare train --resume`` trains
    them on.

    Args:
        path: run folder of the teacher, or a model file in one.
        plan: what into what.
        log_folder: where the student's run goes.
        load_best: whether the teacher is the model of the best evaluation.
        n_episodes: of teacher, random actions and student each, to compare them.
        hyperparams: settings to replace, by dotted key, with which the student is trained on.
        num_threads: of training on.
        device: of the teacher.
        say: called with a line about each step.

    Raises:
        UserError: there is no such run, or no student for its spaces or settings.
    """
    began = time.perf_counter()
    n_episodes = integer("n_episodes", n_episodes, 1)
    agent = load_agent(path, load_best, device)
    agent.env.close()
    with user_errors():
        if algorithm(agent.config.algo).masked:
            raise UserError(f"{path} acts by masks ({agent.config.algo}), which trees do not know")
        config, recipe = student_settings(agent.config, plan, dict(hyperparams or {}), num_threads)
        normalizer = agent.env if isinstance(agent.env, VecNormalize) else None
        teacher = Teacher(agent.model, normalizer)
        make, make_twin = _makers(agent)
        stage = Stage(make(), make_twin and make_twin())
    report = partial(play, stage, n_episodes=n_episodes, seed=plan.seed_of(_REPORT))
    with begun_run(config, recipe, log_folder) as student, StopOnSignals() as signals:
        taught = report(act=lambda view: teacher.act(view.shown))
        random = report(act=_random(stage, plan))
        say(f"teacher: {_score(taught)} over {n_episodes} episodes")
        say(f"random actions: {_score(random)}")

        def on_round(each: Round[BoostedTrees]) -> bool:
            say(
                f"round {each.number}: {each.n_states:,} states, return "
                f"{each.score.mean_return:.2f}, agreement {each.score.agreement:.3f}"
            )
            return not signals.received

        with user_errors():
            found = distill(
                agent.model,
                make,
                plan,
                normalizer=normalizer,
                make_twin=make_twin,
                gamma=0.99 if recipe.gamma is None else recipe.gamma,
                norm_reward=recipe.normalize.norm_reward,
                on_round=on_round,
            )
        played = report(act=found.act)
        share, interval = _kept(played, taught, random)
        stage.close()
        folder = student.write(found)
        result = Report(
            run=str(folder),
            teacher=str(path),
            env=config.env,
            plan=asdict(plan),
            teacher_returns=taught.returns,
            random_returns=random.returns,
            student_returns=played.returns,
            kept=share,
            kept_interval=interval,
            agreement=found.best.score.agreement,
            best_round=found.best.number,
            rounds=[{"n_states": r.n_states, **r.score._asdict()} for r in found.rounds],
            n_trees=found.policy.n_trees,
            n_leaves=_n_leaves(found.policy),
            n_bytes=found.policy.nbytes,
            seconds=time.perf_counter() - began,
            interrupted=len(found.rounds) < plan.n_rounds,
        )
        write_atomically(folder / "distillation.json", json.dumps(asdict(result)).encode())
    return result


def _makers(agent: TrainedAgent) -> tuple[Callable[[], VecEnv], Callable[[], VecEnv] | None]:
    """Return what makes environments as trees see them, and as the teacher does, if otherwise."""
    config = agent.config

    def make(view: View | None) -> VecEnv:
        return make_vec_env(config.env, _N_ENVS, env_kwargs=config.env_kwargs, view=view)

    teachers = view_of(config.policy)
    seen = [make_env(config.env, config.env_kwargs, view=view) for view in ("trees", teachers)]
    for env in seen:
        env.close()
    same = seen[0].observation_space == seen[1].observation_space
    return partial(make, "trees"), None if same else partial(make, teachers)


def _random(stage: Stage, plan: Plan) -> Act:
    space = deepcopy(stage.env.action_space)
    space.seed(plan.seed)

    def act(view: stages.View) -> Any:
        return np.stack([space.sample() for _ in view.rows])

    return act


def _score(played: Played) -> str:
    return f"{np.mean(played.returns):.2f} +- {np.std(played.returns):.2f}"


def _kept(
    student: Played, teacher: Played, random: Played
) -> tuple[float, tuple[float, float] | None] | tuple[None, None]:
    found = return_kept(*(np.asarray(each.returns) for each in (student, teacher, random)))
    return found or (None, None)


def _n_leaves(trees: BoostedTrees) -> int:
    return sum(len(trees.tree_arrays(i).leaves) for i in range(trees.n_trees))
