"""What the rounds of a distillation do in environments: collect, score, and feed a critic."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlshare.distill.critic import Rollout
from rlshare.distill.plan import Plan
from rlshare.distill.rounds import States
from rlshare.distill.stage import Act, Stage, Step, joined, play
from rlshare.distill.students import fit_forest, fit_tree
from rlshare.distill.teacher import Teacher
from rlshare.trees import BoostedTrees

N_VALIDATION = 32  # episodes by which rounds are compared
_MAX_LABELLED = 10_000  # of their states
_LEAST_DEVIATION = 0.05  # of an action


class Score(NamedTuple):
    """How well a student did in its validation episodes; compared in this order.

    Attributes:
        mean_return: of the episodes.
        agreement: with the teacher on their states, see ``ActionColumns.agreement``.
    """

    mean_return: float
    agreement: float


@dataclass(frozen=True)
class Acting:
    """A teacher, its students, and where they act.

    Args:
        teacher: who is asked.
        plan: what is distilled into what.
        stage: where states are collected.
        validation: where students are compared.
    """

    teacher: Teacher
    plan: Plan
    stage: Stage
    validation: Stage

    def act(self, student: BoostedTrees | None) -> Act:
        """Return the best actions of a student, of the teacher where it is None."""
        if student is None:
            return lambda view: self.teacher.act(view.shown)
        return lambda view: self.teacher.columns.actions(student.predict(view.rows))

    def collect(self, student: BoostedTrees | None) -> States:
        """Act for a round and ask the teacher; episodes go on where the last round left them."""
        view = joined([step.view for step in self._frames(self.act(student))])
        return States(view.rows, *self.teacher.label(view.shown))

    def fit(self, states: States) -> BoostedTrees:
        """Return a student of states."""
        plan, columns = self.plan, self.teacher.columns
        params = plan.params(self.stage.features.categorical)
        if plan.single_tree:
            return fit_tree(states, columns, params, plan.n_threads)
        seed = plan.seed_of(3, len(states.rows))
        return fit_forest(states, columns, params, plan.n_trees, seed, plan.n_threads)

    def score(self, student: BoostedTrees) -> Score:
        """Play the validation episodes, always the same."""
        seed = self.plan.seed_of(1)
        played = play(self.validation, self.act(student), N_VALIDATION, seed, keep_views=True)
        n_states = len(played.views) * self.validation.env.num_envs
        view = joined(played.views[:: 1 + n_states // _MAX_LABELLED])
        targets, _ = self.teacher.label(view.shown)
        agreement = self.teacher.columns.agreement(student.predict(view.rows), targets)
        return Score(float(np.mean(played.returns)), agreement)

    def log_std(self, student: BoostedTrees) -> NDArray[np.float32] | None:
        """Return log standard deviations of a Box [K]: the teacher's, else what the student misses.

        The latter is the root of the mean squared error on the student's own states, at least .05.
        """
        if not self.teacher.columns.is_continuous:
            return None
        if (known := self.teacher.log_std) is not None:
            return known
        states = self.collect(student)
        error = np.sqrt(((student.predict(states.rows) - states.targets) ** 2).mean(axis=0))
        return np.asarray(np.log(np.maximum(error, _LEAST_DEVIATION)), np.float32)

    def rollout(self, student: BoostedTrees, log_std: NDArray[np.float32] | None) -> Rollout:
        """Act for a round by drawn actions, as PPO does."""
        rng = np.random.default_rng(self.plan.seed_of(2))
        deviations = np.zeros(self.teacher.columns.n_columns) if log_std is None else log_std
        columns = self.teacher.columns
        steps = self._frames(
            lambda view: columns.sample(student.predict(view.rows), deviations, rng)
        )
        rows = np.stack([*(step.view.rows for step in steps), self.stage.rows])
        return Rollout(
            rows=rows[:-1],
            next_rows=_next_rows(rows, steps, self.stage),
            rewards=np.stack([step.rewards for step in steps]).astype(np.float32),
            dones=np.stack([step.dones for step in steps]),
            truncated=np.array([[_is_cut(info) for info in step.infos] for step in steps]),
        )

    def _frames(self, act: Act) -> list[Step]:
        n_steps = -(-self.plan.n_frames // self.stage.env.num_envs)
        return list(islice(self.stage.steps(act), n_steps))


def _is_cut(info: dict[str, Any]) -> bool:
    return bool(info.get("TimeLimit.truncated", False))


def _next_rows(rows: NDArray[Any], steps: list[Step], stage: Stage) -> NDArray[Any]:
    """Return the features [T, n, d] that steps led to, before a new episode began."""
    found = rows[1:].copy()
    for t, step in enumerate(steps):
        for i in np.flatnonzero(step.dones):
            found[t, i] = stage.rows_of(step.infos[i]["terminal_observation"])[0]
    return found
