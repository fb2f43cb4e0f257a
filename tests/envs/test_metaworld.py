"""Meta-World's tasks and MT10: what is observed, goals and seeds, success, and training on them."""

import sys
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

import rlshare  # noqa: F401  registers MoEPolicy
from rlshare.envs import MultiTask, make_env
from rlshare.runs.callbacks.tasks import TaskReturns

MT10 = "rlshare/MT10-v0"


@pytest.fixture(scope="module")
def mt10() -> MultiTask:
    pytest.importorskip("metaworld", reason="needs pip install 'rlshare[metaworld]'")
    env = make_env(MT10).unwrapped
    assert isinstance(env, MultiTask)
    return env


def episode(env: MultiTask, task: int, seed: int, steps: int = 20) -> np.ndarray[Any, Any]:
    """Observations [steps + 1, 49] of random actions, always the same."""
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 4)).astype(np.float32)
    seen = [env.reset(seed=seed, options={"task": task})[0]]
    seen += [env.step(action)[0] for action in actions]
    return np.array(seen)


@pytest.mark.filterwarnings("ignore:.*WARN:")  # gymnasium advises, we mean it
def test_checkers_accept_it(mt10: MultiTask) -> None:
    env = MultiTask(mt10.tasks[:3])  # the goals of a task take a second to make
    check_env(env, skip_render_check=True)
    check_env_of_sb3(env)


def test_the_tasks_are_those_of_mt10(mt10: MultiTask) -> None:
    from metaworld.env_dict import MT10_V3

    assert mt10.task_names == list(MT10_V3)


@pytest.mark.parametrize(
    "task", [0, 1, 2, *(pytest.param(task, marks=pytest.mark.slow) for task in range(3, 10))]
)
def test_an_episode_depends_on_its_seed_alone(mt10: MultiTask, task: int) -> None:
    first = episode(mt10, task, seed=3)
    other = episode(mt10, task, seed=4)
    assert np.array_equal(episode(mt10, task, seed=3), first)
    assert not np.array_equal(other[0, :39], first[0, :39])
    for seen in (first, other):
        assert all(map(mt10.observation_space.contains, seen))
        assert (seen[:, 39:] == np.eye(10)[task]).all()  # and no second one-hot
        assert np.any(seen[:, 36:39])  # the goal is not hidden


def test_goals_change_with_the_episode_and_are_those_of_meta_world(mt10: MultiTask) -> None:
    import metaworld

    env = make_env("rlshare/MetaWorldTask-v0", {"task": "reach-v3"})
    goals = [env.reset(seed=5)[0][-3:]] + [env.reset()[0][-3:] for _ in range(9)]
    assert len({goal.tobytes() for goal in goals}) > 5
    benchmark = metaworld.MT1("reach-v3", seed=0)
    theirs = benchmark.train_classes["reach-v3"]()
    known = []
    for task in benchmark.train_tasks:
        theirs.set_task(task)
        known.append(theirs.reset()[0][-3:])
    assert all(any(np.array_equal(goal, one) for one in known) for goal in goals)
    other = make_env("rlshare/MetaWorldTask-v0", {"task": "reach-v3"})
    again = [other.reset(seed=5)[0][-3:]] + [other.reset()[0][-3:] for _ in range(9)]
    assert np.array_equal(again, goals)


@pytest.mark.filterwarnings("ignore:Constant")  # Meta-World, of its own expert
def test_meta_worlds_expert_succeeds_and_the_episode_goes_on(mt10: MultiTask) -> None:
    from metaworld.policies import SawyerReachV3Policy

    expert = SawyerReachV3Policy()
    obs, _ = mt10.reset(seed=1, options={"task": 0})
    solved = []
    for _ in range(500):
        action = expert.get_action(obs[:39].astype(float)) if not any(solved) else -np.ones(4)
        obs, _, terminated, truncated, info = mt10.step(np.clip(action, -1, 1).astype(np.float32))
        solved.append(info["is_success"])
        assert not terminated
        assert truncated == (len(solved) == 500)
    assert not solved[0]
    assert solved == sorted(solved)  # once solved, the episode counts as solved
    assert solved[-1]
    assert not info["success"]  # where Meta-World looks at the present step
    mt10.reset(seed=1, options={"task": 0})
    assert mt10.step(np.zeros(4, np.float32))[4]["is_success"] is False


def test_an_unknown_task(mt10: MultiTask) -> None:
    with pytest.raises(ValueError, match=r"one of metaworld\.MT1\.ENV_NAMES, got 'reach'"):
        make_env("rlshare/MetaWorldTask-v0", {"task": "reach"})


def test_returns_and_success_rates_are_logged_by_task(mt10: MultiTask) -> None:
    logged: dict[str, float] = {}

    class Keep(TaskReturns):
        def _on_rollout_end(self) -> None:
            super()._on_rollout_end()
            logged.update(self.logger.name_to_value)

    policy_kwargs = {"moe": {"n_tasks": mt10.n_tasks, "router": "both", "width": 16, "hidden": 16}}
    agent = PPO("MoEPolicy", mt10, n_steps=1000, batch_size=500, n_epochs=1, seed=0,
                policy_kwargs=policy_kwargs)  # fmt: skip
    agent.learn(1000, callback=Keep())
    for task in ("reach-v3", "push-v3"):
        assert logged[f"rollout/{task}/ep_rew_mean"] > 0
        assert logged[f"rollout/{task}/success_rate"] in (0.0, 1.0)
    assert len(agent.ep_success_buffer or ()) == 2  # what SB3 logs rollout/success_rate from


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.delitem(sys.modules, "rlshare.envs.metaworld_tasks", raising=False)
    for env in (MT10, "rlshare/MetaWorldTask-v0", "Meta-World/MT1"):
        with pytest.raises(ValueError, match="needs the package metaworld") as error:
            make_env(env)
        assert "pip install 'rlshare[metaworld]'" in str(error.value)
