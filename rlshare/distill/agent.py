"""From a trained agent of Stable-Baselines3 to trees that act alike, and can be trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlshare.distill.acting import Acting
from rlshare.distill.actions import ActionColumns
from rlshare.distill.critic import Rollout, fit_values
from rlshare.distill.plan import Plan
from rlshare.distill.rounds import Round, best, dagger
from rlshare.distill.stage import Stage, View
from rlshare.distill.teacher import Teacher
from rlshare.policies.gbt.actor_critic import GBTPolicy
from rlshare.policies.gbt.base import line_of
from rlshare.policies.spaces import check_spaces
from rlshare.trees import BoostedTrees

_EPSILON = 1e-8  # of VecNormalize


@dataclass(frozen=True)
class Distilled:
    """What came of a distillation.

    Attributes:
        policy: trees [d -> K] of the best round.
        value: trees [d -> 1] of its critic.
        columns: what the policy's columns mean.
        log_std: log standard deviations of a Box [K], None of others.
        returns_rms: statistics of the discounted return by which rewards were divided, None where
            they were not.
        best: the round.
        rounds: all of them.
    """

    policy: BoostedTrees
    value: BoostedTrees
    columns: ActionColumns
    log_std: NDArray[np.float32] | None
    returns_rms: RunningMeanStd | None
    best: Round[BoostedTrees]
    rounds: list[Round[BoostedTrees]]

    def act(self, view: View) -> NDArray[Any]:
        """Return the best actions."""
        return self.columns.actions(self.policy.predict(view.rows))

    def install(self, policy: GBTPolicy) -> None:
        """Give a new policy these trees; its options say how they train on, from step 0 on.

        Args:
            policy: made with ``shared=False`` for the same spaces and trees of the same growth.

        Raises:
            ValueError: for a policy of another form; it is then as it was.
        """
        modules = policy.tree_modules
        ours = [(trees.n_features, trees.n_outputs) for trees in (self.policy, self.value)]
        theirs = [(each.trees.n_features, each.trees.n_outputs) for each in modules]
        if ours != theirs:
            raise ValueError(
                "the policy must have shared=False and ensembles of (n_features, n_outputs) = "
                f"{ours}, got {theirs}"
            )
        found = []
        for module, trees in zip(modules, (self.policy, self.value), strict=True):
            new, own = trees.copy(), module.trees
            new.train_on_with(own.params, list(own.schedules), line_of(own))
            new.n_threads, new.n_steps_done = own.n_threads, 0
            found.append(new)
        for module, new in zip(modules, found, strict=True):
            module.trees = new
        if self.log_std is not None:
            policy.log_std.data = torch.as_tensor(self.log_std).to(policy.log_std)


def distill(
    model: BaseAlgorithm,
    make_env: Callable[[], VecEnv],
    plan: Plan | None = None,
    *,
    normalizer: VecNormalize | None = None,
    make_twin: Callable[[], VecEnv] | None = None,
    gamma: float = 0.99,
    norm_reward: bool = False,
    on_round: Callable[[Round[BoostedTrees]], bool] = lambda _: True,
) -> Distilled:
    """Teach trees by an agent, in its environment.

    Every round collects states and fits a student to all of them (``dagger``); the student of the
    best mean return in the same validation episodes is kept. Then it acts once more, drawing its
    actions, and a critic is fitted to what it gets.

    Args:
        model: the teacher, an agent of Stable-Baselines3.
        make_env: makes copies of its environment, monitored, as the student shall see them.
        plan: what into what; None for the defaults.
        normalizer: by which the teacher sees observations; the student sees them as they are.
        make_twin: makes the same environments with the teacher's observations, where the student's
            are others; copies that are seeded alike must go alike.
        gamma: discount of the critic.
        norm_reward: whether its rewards are divided as by ``VecNormalize``.
        on_round: called after every round; where it returns False there is no further one.

    Raises:
        ValueError: there is no student for these spaces, or the teacher acts by masks.
    """
    plan = plan or Plan()
    teacher = Teacher(model, normalizer)
    stages: list[Stage] = []
    try:
        for _ in range(2):
            env = make_env()
            check_spaces("a student", env.observation_space, model.action_space)
            stages.append(Stage(env, make_twin and make_twin()))
        acting = Acting(teacher, plan, *stages)
        acting.stage.reset(plan.seed_of(0))
        rounds = []
        for each in dagger(acting.collect, acting.fit, acting.score, plan.n_rounds):
            rounds.append(each)
            if not on_round(each):
                break
        kept = best(rounds)
        log_std = acting.log_std(kept.student)
        rollout = acting.rollout(kept.student, log_std)
    finally:
        for stage in stages:
            stage.close()
    rms = returns_rms(rollout, gamma) if norm_reward else None
    scale = 1.0 if rms is None else 1 / float(np.sqrt(rms.var + _EPSILON))
    params = plan.params(acting.stage.features.categorical)
    value = fit_values(rollout, gamma, scale, params, plan.n_value_trees, plan.n_threads)
    return Distilled(kept.student, value, teacher.columns, log_std, rms, kept, rounds)


def returns_rms(rollout: Rollout, gamma: float) -> RunningMeanStd:
    """Return statistics of the discounted sum of the rewards so far, as ``VecNormalize`` has them.

    Args:
        rollout: of T steps in n environments.
        gamma: discount.
    """
    rms = RunningMeanStd(shape=())
    total = np.zeros(rollout.rewards.shape[1])
    for rewards, dones in zip(rollout.rewards, rollout.dones, strict=True):
        total = total * gamma + rewards
        rms.update(total)
        total[dones] = 0
    return rms
