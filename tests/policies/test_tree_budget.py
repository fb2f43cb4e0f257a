"""tree_budget: the trees of a policy stay few, and the policy stays what it was."""

import copy
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import kl_divergence
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure

from rlshare.policies import DictTreeRolloutBuffer, GBTPolicy, TreeRolloutBuffer
from rlshare.policies.gbt.acted_rows import ActedRows
from rlshare.policies.gbt.budget import TreeBudget
from rlshare.policies.gbt.callback import TreeCallback

BUDGET = 60


def agent(budget: int | None = BUDGET, action: str = "discrete", **kwargs: Any) -> PPO:
    env = make_vec_env(ContextualBandit, 32, seed=1, env_kwargs={"action": action})
    policy_kwargs = {
        "policy_lr": 0.1, "value_lr": 0.005, "log_std_init": 0.0, "tree_budget": budget, **kwargs
    }  # fmt: skip
    return PPO(
        "GBTPolicy", env, n_steps=16, batch_size=64, n_epochs=2, seed=0, device="cpu",
        rollout_buffer_class=TreeRolloutBuffer, policy_kwargs=policy_kwargs,
    )  # fmt: skip


class Rollouts(BaseCallback):
    """The trees' number in each rollout, within which they stay, and the reports of compactions."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.reports: list[Any] = []

    def _on_step(self) -> bool:
        policy = self.model.policy
        assert isinstance(policy, GBTPolicy)
        if self.model.rollout_buffer.pos == 0:  # type: ignore[attr-defined]
            self.trees = [trees.to_bytes() for trees in policy.ensembles]
            self.sizes.append(max(trees.n_trees for trees in policy.ensembles))
            self.reports += policy.budget.reports.values() if policy.budget else []
        return True

    def _on_rollout_end(self) -> None:
        now = [trees.to_bytes() for trees in self.model.policy.ensembles]  # type: ignore[union-attr,operator]
        assert now == self.trees, "the trees changed within a rollout"


@pytest.mark.parametrize(
    ("action", "shared"),
    [("discrete", True), ("multidiscrete", False), ("multibinary", True), ("box", False)],
)
def test_the_trees_stay_near_the_budget(action: str, shared: bool) -> None:
    options: dict[str, Any] = {"shared": shared, "compaction_max_kl": 0.1}
    if action == "box":  # means move in units of the action; its value learns nothing but noise
        options |= {"policy_lr": 0.01, "value_lr": 0.0}
    model, seen = agent(action=action, **options), Rollouts()
    model.learn(4096, seen)
    assert any(report.accepted for report in seen.reports)
    assert max(seen.sizes) < 2 * BUDGET
    for report in seen.reports:
        assert report.kl >= 0
        if report.accepted:
            assert report.kl <= 0.1
            assert report.value_error <= 0.2
            assert report.n_trees_after <= 0.75 * BUDGET + report.n_trees_before - BUDGET
        else:
            assert report.n_trees_after == report.n_trees_before


def test_it_still_learns() -> None:
    model = agent(value_lr=0.0)
    model.learn(5120)
    mean, _ = evaluate_policy(model, model.get_env(), 200)  # type: ignore[arg-type]
    assert mean > 0.95
    assert model.policy.n_trees < 2 * BUDGET


@pytest.mark.parametrize("max_kl", [1e-12, 1.0])
def test_the_limit_decides(max_kl: float) -> None:
    seen = Rollouts()
    model = agent(compaction_max_kl=max_kl, value_lr=0.0)
    model.learn(2560, seen)
    assert {report.accepted for report in seen.reports} == {max_kl == 1.0}


def test_a_refused_compaction_waits_for_a_quarter_more_trees() -> None:
    seen = Rollouts()
    model = agent(compaction_max_kl=1e-12)
    model.learn(4096, seen)
    assert len(seen.reports) > 1
    before = [report.n_trees_before for report in seen.reports]
    assert all(later >= 1.24 * earlier for earlier, later in pairwise(before))
    assert model.policy.n_trees == 8 * 16  # none was lost


def test_a_resumed_budget_waits_as_long() -> None:
    model = agent(compaction_max_kl=1e-12)
    model.learn(1024 + 2560)  # 16 trees a rollout; the first attempt is at 64
    policy = model.policy
    assert isinstance(policy, GBTPolicy)
    assert policy.budget is not None
    assert policy.n_trees > BUDGET
    resumed = TreeBudget(BUDGET, 1e-12)
    resumed.restore(pickle.loads(pickle.dumps(policy.budget.state())))
    for budget, is_fresh in ((resumed, False), (TreeBudget(BUDGET, 1e-12), True)):
        budget.rows = policy.budget.rows
        budget.enforce(policy.ensembles, policy._get_action_dist_from_latent)
        assert bool(budget.reports) is is_fresh


def test_the_reported_change_is_that_of_the_policy_on_rows_not_fitted_on() -> None:
    model = agent(budget=1000)
    model.learn(3072)
    policy = model.policy
    assert isinstance(policy, GBTPolicy)
    assert policy.budget is not None
    policy.budget.max_trees = BUDGET
    held_out = torch.as_tensor(policy.budget.rows.split()[1])
    with torch.no_grad():
        before = copy.copy(policy.get_distribution(held_out))
        old_values = policy.predict_values(held_out).numpy()
        budget = policy.budget
        budget.enforce(policy.ensembles, policy._get_action_dist_from_latent)
        report = budget.reports[0]
        assert report.accepted
        kl = kl_divergence(before, policy.get_distribution(held_out)).mean().item()
        difference = policy.predict_values(held_out).numpy() - old_values
    assert report.kl == pytest.approx(kl, rel=1e-3, abs=1e-9)
    scale = max(old_values.std(), np.sqrt((old_values**2).mean()) / 10)
    error = np.sqrt((difference**2).mean()) / scale
    assert report.value_error == pytest.approx(error, rel=1e-4)


def test_predicting_never_compacts() -> None:
    model = agent(compaction_max_kl=1.0)
    model.learn(2048)
    while model.policy.n_trees <= BUDGET:
        model.learn(512, reset_num_timesteps=False)
    before = model.policy.ensembles[0].to_bytes()
    evaluate_policy(model, model.get_env(), 10)  # type: ignore[arg-type]
    model.policy.set_training_mode(True)
    model.predict(np.zeros((4, 3), np.float32))
    assert model.policy.ensembles[0].to_bytes() == before


def test_half_is_kept_where_a_fourth_changes_too_much() -> None:
    model = agent(budget=1000, value_lr=0.0)
    model.learn(4096)
    policy = model.policy
    assert isinstance(policy, GBTPolicy)
    assert policy.budget is not None
    found = {}
    for limit in (1.0, None):
        if limit is None:  # a little less than a fourth would change
            limit = 0.9 * found[1.0].kl
        budget = TreeBudget(BUDGET, limit)
        budget.rows = policy.budget.rows
        budget.enforce(copy.deepcopy(policy.ensembles), policy._get_action_dist_from_latent)
        (found[limit],) = budget.reports.values()
    fourth, half = found.values()
    assert fourth.accepted
    assert half.accepted
    n_oldest = fourth.n_trees_before - BUDGET // 2
    kept = [report.n_trees_after - BUDGET // 2 for report in (fourth, half)]
    assert kept == [n_oldest // 4, n_oldest // 2]


def test_the_cache_makes_no_difference() -> None:
    cached, plain = agent(compaction_max_kl=1.0), agent(compaction_max_kl=1.0)
    plain.rollout_buffer_class = None
    plain._setup_model()
    for model in (cached, plain):
        model.set_random_seed(0)
        model.learn(4096)
    assert type(plain.rollout_buffer) is not type(cached.rollout_buffer)
    assert cached.policy.n_trees < 128
    assert cached.policy.ensembles[0].to_bytes() == plain.policy.ensembles[0].to_bytes()


def test_a_saved_agent_loads_and_goes_on(tmp_path: Path) -> None:
    model = agent(compaction_max_kl=1.0)
    model.learn(2048)
    model.save(tmp_path / "agent")
    loaded = PPO.load(tmp_path / "agent", env=model.get_env())
    assert loaded.policy.ensembles[0].to_bytes() == model.policy.ensembles[0].to_bytes()
    seen = Rollouts()
    loaded.learn(2048, seen, reset_num_timesteps=False)
    assert any(report.accepted for report in seen.reports)
    for copied in (copy.deepcopy(loaded.policy), pickle.loads(pickle.dumps(loaded.policy))):
        assert copied.ensembles[0].to_bytes() == loaded.policy.ensembles[0].to_bytes()


def test_dict_observations_and_a2c() -> None:
    env = make_vec_env(ContextualBandit, 8, seed=1, env_kwargs={"observation": "dict"})
    model: BaseAlgorithm = A2C(
        "GBTPolicy", env, n_steps=8, seed=0, device="cpu",
        rollout_buffer_class=DictTreeRolloutBuffer,
        policy_kwargs={"tree_budget": 30, "compaction_max_kl": 1.0, "value_lr": 0.0},
    )  # fmt: skip
    seen = Rollouts()
    model.learn(3200, seen)
    assert any(report.accepted for report in seen.reports)
    assert max(seen.sizes) < 45  # of 50


def test_the_callback_logs_what_happened(tmp_path: Path) -> None:
    model = agent(compaction_max_kl=1.0)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(4096, TreeCallback(), log_interval=1)
    log = np.genfromtxt(tmp_path / "progress.csv", delimiter=",", names=True)
    happened = np.isfinite(log["traincompaction_kl"])
    assert 0 < happened.sum() < len(log)
    assert set(log["traincompaction_accepted"][happened]) <= {0.0, 1.0}
    accepted = log["traincompaction_accepted"] == 1
    assert accepted.any()
    assert (log["traincompaction_value_error"][accepted] <= 0.2).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tree_budget": 15}, "tree_budget must be None or an integer >= 16, got 15"),
        ({"tree_budget": 1e4}, "tree_budget must be None or an integer >= 16, got 10000.0"),
        ({"tree_budget": 100, "compaction_max_kl": 0}, "compaction_max_kl must be > 0, got 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPO("GBTPolicy", "CartPole-v1", policy_kwargs=options)


class TestActedRows:
    def test_the_last_rows_and_a_selection_of_all_before(self) -> None:
        rows = ActedRows()
        for k in range(0, 1_000_000, 8):
            rows.add(np.arange(k, k + 8)[:, None])
        fitted, measured = (part[:, 0] for part in rows.split())
        assert not set(fitted) & set(measured)
        kept = np.sort([*fitted, *measured])
        assert 24_576 + 8_192 <= len(kept) <= 49_152 + 16_384
        np.testing.assert_array_equal(kept[-24_576:], np.arange(1_000_000 - 24_576, 1_000_000))
        history = kept[kept < 1_000_000 - 50_000].reshape(-1, 8)[:, 0]
        assert len(set(np.diff(history))) == 1  # evenly over all time
        assert history[0] == 0
        assert measured.min() > 1_000_000 - 50_000

    def test_rows_are_held_out_in_blocks_of_neighbours(self) -> None:
        rows = ActedRows()
        for k in range(0, 5000, 100):
            rows.add(np.arange(k, k + 100)[:, None])
        fitted, measured = rows.split()
        expected = [row for row in range(5000) if row // 256 % 4 == 3]
        np.testing.assert_array_equal(measured[:, 0], expected)
        np.testing.assert_array_equal(np.sort([*fitted[:, 0], *expected]), np.arange(5000))

    def test_wide_rows_are_fewer(self) -> None:
        rows = ActedRows()
        for _ in range(200):
            rows.add(np.zeros((64, 2**13), np.float32))
        assert sum(part.nbytes for part in rows.split()) <= 2**28

    def test_rows_are_copied(self) -> None:
        rows, x = ActedRows(), np.zeros((2, 1))
        rows.add(x)
        x[:] = 1
        assert (rows.split()[0] == 0).all()

    def test_state_round_trip(self) -> None:
        first, second = TreeBudget(100, 0.01), TreeBudget(100, 0.01)
        for k in range(0, 80_000, 1000):
            first.rows.add(np.full((1000, 1), k))
        state = first.state()
        second.restore(state)
        for budget in (first, second):
            for _ in range(20):
                budget.rows.add(np.full((1000, 1), -1))
        for ours, theirs in zip(first.rows.split(), second.rows.split(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        empty = TreeBudget(100, 0.01)
        empty.restore(TreeBudget(100, 0.01).state())
        assert len(empty.rows) == 0
