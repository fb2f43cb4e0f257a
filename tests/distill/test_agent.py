"""Agents of every algorithm as teachers, and what their students become."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from rlshare.agents import AWR
from rlshare.distill import Distilled, Plan, distill
from rlshare.distill.teacher import Teacher
from rlshare.envs import make_vec_env

TINY = Plan(n_trees=10, max_depth=3, n_rounds=2, n_frames=200, seed=1)
SPACES = {
    "choices": spaces.Discrete(3),
    "several": spaces.MultiDiscrete([2, 3]),
    "coins": spaces.MultiBinary(2),
    "box": spaces.Box(-2.0, 2.0, (2,), np.float32),
}


class Walk(gym.Env[Any, Any]):
    """Any action is taken; a state of two parts wanders about, for 20 steps."""

    def __init__(self, action_space: spaces.Space[Any], parts: bool = False) -> None:
        self.action_space, self.parts = action_space, parts
        where = spaces.Box(-5, 5, (2,), np.float32)
        self.observation_space = (
            spaces.Dict({"room": spaces.Discrete(4), "where": where}) if parts else where
        )

    def _seen(self) -> Any:
        where = self.np_random.normal(size=2).clip(-5, 5).astype(np.float32)
        return {"where": where, "room": self.t % 4} if self.parts else where

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.t += 1
        return self._seen(), float(np.sum(action)), False, self.t == 20, {}


def walks(space: spaces.Space[Any], parts: bool = False) -> VecEnv:
    return DummyVecEnv([partial(Walk, space, parts)] * 2)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("policy", ["MlpPolicy", "GBTPolicy"])
def test_targets_are_what_the_teacher_does(kind: str, policy: str) -> None:
    model = PPO(policy, walks(SPACES[kind]), seed=0, device="cpu")
    if policy == "MlpPolicy":
        torch.nn.init.normal_(model.policy.action_net.weight)  # type: ignore[arg-type]
    teacher = Teacher(model)
    X = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    targets, weights = teacher.label(X)
    best = model.predict(X, deterministic=True)[0]
    F = targets - 0.5 if kind == "coins" else targets
    np.testing.assert_array_equal(teacher.columns.actions(F), best)
    np.testing.assert_array_equal(teacher.act(X), best)
    known = model.policy.obs_to_tensor(X)[0]
    distribution = model.policy.get_distribution(known)  # type: ignore[operator]
    worst = -distribution.mode() + 1 if kind == "coins" else None
    if kind == "choices":
        logp = distribution.distribution.logits.detach().numpy()
        np.testing.assert_allclose(weights, logp.max(1) - logp.min(1), rtol=1e-5)
        squares = np.exp(logp) ** 2  # half the temperature
        np.testing.assert_allclose(targets, squares / squares.sum(1, keepdims=True), rtol=1e-4)
    elif worst is not None:
        gap = distribution.log_prob(distribution.mode()) - distribution.log_prob(worst)
        np.testing.assert_allclose(weights, gap.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert (teacher.log_std is None) == (kind != "box")


def test_the_q_function_of_dqn() -> None:
    model = DQN("MlpPolicy", walks(SPACES["choices"]), seed=0, exploration_final_eps=0.3)
    X = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    targets, weights = Teacher(model).label(X)
    with torch.no_grad():
        q = model.q_net(torch.as_tensor(X)).numpy()
    expected = np.full((50, 3), 0.1)
    expected[np.arange(50), q.argmax(1)] += 0.7
    np.testing.assert_allclose(targets, expected, rtol=1e-5)
    np.testing.assert_allclose(weights, q.max(1) - q.min(1), rtol=1e-5)


@pytest.mark.parametrize("algorithm", [SAC, TD3, AWR])
def test_other_teachers_of_a_box(algorithm: Any) -> None:
    model = algorithm("MlpPolicy", walks(SPACES["box"]), seed=0, device="cpu")
    found = distill(model, partial(walks, SPACES["box"]), TINY)
    assert found.log_std is not None
    assert np.isfinite(found.log_std).all()
    assert (found.log_std >= np.log(0.05) - 1e-6).all()
    assert found.best.score.agreement > 0.3


def test_a_teacher_that_acts_by_masks_is_refused() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    model = contrib.MaskablePPO("MlpPolicy", walks(SPACES["choices"]))
    with pytest.raises(ValueError, match="must act without masks, got MaskablePPO"):
        distill(model, partial(walks, SPACES["choices"]), TINY)


def student_of(found: Distilled, env: VecEnv, **tree: Any) -> PPO:
    kwargs = {"shared": False, "tree": tree, "policy_lr": 0.1, "value_lr": 0.1}
    student = PPO("GBTPolicy", env, n_steps=32, batch_size=32, policy_kwargs=kwargs, seed=0)
    found.install(student.policy)  # type: ignore[arg-type]
    return student


@pytest.mark.parametrize("parts", [False, True], ids=["array", "dict"])
@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("single", [False, True], ids=["forest", "tree"])
def test_students_act_and_learn_in_stable_baselines3(kind: str, parts: bool, single: bool) -> None:
    env = partial(walks, SPACES[kind], parts)
    teacher = PPO("MultiInputPolicy" if parts else "MlpPolicy", env(), seed=0, device="cpu")
    found = distill(teacher, env, Plan(10, 3, single, 2, 200, seed=1))
    tree = {"grow_policy": "greedy"} if single else {"learner": "refit"}
    student = student_of(found, env(), max_depth=3, **tree)
    policy: Any = student.policy
    assert policy.ensembles[0].n_trees == (1 if single else 10)
    assert [trees.n_steps_done for trees in policy.ensembles] == [0, 0]
    seen = env().reset()
    rows = policy.features_extractor(seen)
    expected = found.columns.actions(found.policy.predict(rows))
    np.testing.assert_array_equal(student.predict(seen, deterministic=True)[0], expected)
    values = policy.predict_values(policy.obs_to_tensor(seen)[0]).detach().numpy()
    np.testing.assert_array_equal(values, found.value.predict(rows))
    if kind == "box":
        np.testing.assert_array_equal(policy.log_std.detach(), found.log_std)
    before = [trees.n_trees for trees in policy.ensembles]
    student.learn(64)
    grown = 0 if not single else policy.ensembles[0].n_steps_done
    assert [trees.n_trees - n for trees, n in zip(policy.ensembles, before, strict=True)] == [
        grown,
        grown,
    ]
    assert policy.ensembles[0].n_steps_done == 20  # 2 rollouts of 10 epochs


def test_a_line_of_the_policy_moves_when_it_is_trained_on() -> None:
    env = partial(walks, SPACES["choices"])
    found = distill(PPO("MlpPolicy", env(), seed=0, device="cpu"), env, TINY)
    kwargs = {"shared": False, "tree": {"learner": "refit"}, "linear": {"rate": [0.5, 0.2]}}
    student = PPO("GBTPolicy", env(), n_steps=32, batch_size=32, policy_kwargs=kwargs, seed=0)
    policy: Any = student.policy
    found.install(policy)
    student.learn(32)
    for trees, rate in zip(policy.ensembles, (0.5, 0.2), strict=True):
        assert set(trees.linear_part.params.rate) == {rate}
        assert trees.linear_part.coefficients.any()


def test_a_policy_of_another_form_is_refused() -> None:
    env = partial(walks, SPACES["choices"])
    found = distill(PPO("MlpPolicy", env(), seed=0), env, TINY)
    shared: Any = PPO("GBTPolicy", env()).policy
    with pytest.raises(ValueError, match="shared=False"):
        found.install(shared)
    assert shared.n_trees == 0
    with pytest.raises(ValueError, match="grow_policy"):
        student_of(found, env(), grow_policy="greedy")


def test_a_seed_makes_it_reproducible() -> None:
    env = partial(walks, SPACES["box"])
    teacher = PPO("MlpPolicy", env(), seed=0)
    found = [distill(teacher, env, TINY) for _ in range(2)]
    assert found[0].policy.to_bytes() == found[1].policy.to_bytes()
    assert found[0].value.to_bytes() == found[1].value.to_bytes()
    other = distill(teacher, env, Plan(10, 3, False, 2, 200, seed=2))
    assert other.policy.to_bytes() != found[0].policy.to_bytes()


def test_the_best_round_is_kept_and_rounds_end_when_asked() -> None:
    env = partial(make_vec_env, "CartPole-v1", 2)
    teacher = PPO("MlpPolicy", env(), seed=0)
    seen: list[int] = []
    found = distill(teacher, env, TINY, on_round=lambda each: seen.append(each.number) is None)
    assert seen == [0, 1]
    assert found.best.score == max(each.score for each in found.rounds)
    assert found.policy is found.best.student
    short = distill(teacher, env, TINY, on_round=lambda _: False)
    assert len(short.rounds) == 1
    assert short.policy.to_bytes() == found.rounds[0].student.to_bytes()


def test_the_student_of_a_teacher_behind_a_normalizer_sees_what_there_is() -> None:
    env = VecNormalize(walks(SPACES["choices"]))
    env.obs_rms.mean, env.obs_rms.var = np.array([3.0, -3.0]), np.array([4.0, 9.0])
    model = PPO("MlpPolicy", env, seed=0)
    X = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    targets, _ = Teacher(model, env).label(X)
    plain, _ = Teacher(model).label(env.normalize_obs(X))
    np.testing.assert_array_equal(targets, plain)
    assert not np.array_equal(targets, Teacher(model).label(X)[0])


def test_teacher_and_student_may_see_the_same_steps_differently() -> None:
    pytest.importorskip("minigrid")
    env = {
        view: partial(make_vec_env, "MiniGrid-Empty-5x5-v0", 2, view=view)
        for view in ("trees", "networks")
    }
    teacher = PPO("MlpPolicy", env["networks"](), seed=0)
    found = distill(teacher, env["trees"], TINY, make_twin=env["networks"])
    assert found.policy.params.categorical is not None
    assert found.best.score.agreement > 0.5


def test_twins_that_go_apart_are_refused() -> None:
    class Lucky(Walk):
        def step(self, action: Any) -> Any:
            seen, _, *rest = super().step(action)
            return seen, float(np.random.random()), *rest

    def env() -> VecEnv:
        return DummyVecEnv([partial(Lucky, SPACES["choices"])])

    with pytest.raises(ValueError, match="their rewards differ"):
        distill(PPO("MlpPolicy", env(), seed=0), env, TINY, make_twin=env)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_trees": 0}, "n_trees must be an integer >= 1, got 0"),
        ({"max_depth": 17}, r"max_depth must be an integer in \[1, 16\], got 17"),
        ({"n_rounds": 0}, "n_rounds"),
        ({"n_frames": 1.5}, "n_frames"),
        ({"seed": -1}, "seed"),
        ({"single_tree": 2}, "single_tree"),
        ({"n_threads": 0}, "n_threads"),
    ],
)
def test_a_plan_is_checked(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Plan(**change)
