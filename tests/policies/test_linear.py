"""Policies with a line beside their trees, in the stock algorithms."""

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from numpy.typing import NDArray
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env

from rlshare.agents import AWR
from rlshare.agents.recipes.loader import load_recipe
from rlshare.policies import GBTPolicy, TreeRolloutBuffer
from rlshare.policies.gbt.options import TreeActorCriticOptions
from rlshare.runs.models import build_model

TREES: dict[str, dict[str, Any]] = {
    "grow": {"max_depth": 2},
    "rollout": {"max_depth": 2, "bins": "rollout"},
    "refit": {"learner": "refit", "n_trees": 20},
}


def bandit(action: str = "discrete", observation: str = "box", n_envs: int = 16) -> Any:
    kwargs = {"observation": observation, "action": action}
    return make_vec_env(ContextualBandit, n_envs=n_envs, seed=1, env_kwargs=kwargs)


def ppo(tree: str = "grow", action: str = "discrete", linear: Any = None, **options: Any) -> PPO:
    policy_kwargs = {"tree": TREES[tree], "linear": {} if linear is None else linear}
    buffer = options.pop("rollout_buffer_class", TreeRolloutBuffer)
    return PPO(
        "GBTPolicy", options.pop("env", None) or bandit(action), n_steps=16, batch_size=64,
        n_epochs=2, seed=0, device="cpu", rollout_buffer_class=buffer,
        policy_kwargs={**policy_kwargs, **options.pop("policy_kwargs", {})}, **options,
    )  # fmt: skip


def lines(model: Any) -> list[NDArray[np.float64]]:
    parts = [trees.linear_part for trees in model.policy.ensembles]
    return [part.coefficients for part in parts]


def saved(model: Any) -> io.BytesIO:
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return file


def bytes_of(model: Any) -> list[bytes]:
    return [trees.to_bytes() for trees in model.policy.ensembles]


def one_step(model: Any, seed: int = 0) -> None:
    """The same step for every model."""
    policy = model.policy
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(50, 3, generator=generator)
    action = torch.zeros(50, *policy.action_space.shape)
    policy.set_training_mode(True)
    policy.optimizer.zero_grad()
    values, log_prob, _ = policy.evaluate_actions(x, action)
    (log_prob.mean() + (values - x[:, :1]).square().mean()).backward()
    policy.optimizer.step()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("action", ["discrete", "box"])
def test_rows_that_are_kept_change_nothing(tree: str, action: str, shared: bool) -> None:
    buffers = [TreeRolloutBuffer] if tree == "rollout" else [None, TreeRolloutBuffer]
    models = [
        ppo(tree, action, policy_kwargs={"shared": shared}, rollout_buffer_class=buffer).learn(512)
        for buffer in buffers
    ]
    assert len({tuple(bytes_of(model)) for model in models}) == 1
    assert all(line.all() for line in lines(models[0]))  # of policy and value, in every column
    assert len(lines(models[0])) == (1 if shared else 2)
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    for module in models[0].policy.tree_modules:
        module.cache_rows(object(), x)
        with torch.no_grad():
            cached, plain = module.forward_rows(np.arange(30)), module.forward(x)
        assert torch.equal(cached, plain)


@pytest.mark.parametrize("tree", ["grow", "refit"])
def test_it_learns(tree: str) -> None:
    """Which action pays rises with a feature: a line that trees of no depth cannot have."""
    depth = {"max_depth": 0, **{k: v for k, v in TREES[tree].items() if k != "max_depth"}}
    model = ppo(tree, linear={"rate": [5.0, 0.3]}, policy_kwargs={"tree": depth}).learn(4096)
    env = bandit(n_envs=64)
    actions, _ = model.predict(env.reset(), deterministic=True)
    assert env.step(actions)[1].mean() > 0.6


@pytest.mark.parametrize("tree", ["grow", "refit"])
@pytest.mark.parametrize("carry", ["save", "deepcopy"])
def test_what_is_loaded_goes_on_alike(tree: str, carry: str) -> None:
    model = ppo(tree, "box").learn(512)
    if carry == "save":
        other: Any = PPO.load(saved(model), device="cpu")
    else:
        other = copy.copy(model)
        other.policy = copy.deepcopy(model.policy)
    assert bytes_of(other) == bytes_of(model)
    for each in (model, other):
        one_step(each)
        one_step(each, 1)
    assert bytes_of(other) == bytes_of(model)


def test_a_policy_alone_is_saved_too(tmp_path: Any) -> None:
    model = ppo().learn(256)
    model.policy.save(tmp_path / "policy")
    loaded = GBTPolicy.load(tmp_path / "policy", device="cpu")
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    assert loaded.options == model.policy.options
    np.testing.assert_array_equal(
        loaded.ensembles[0].predict(x), model.policy.ensembles[0].predict(x)
    )


@pytest.mark.parametrize("tree", ["grow", "refit"])
def test_a_run_that_is_resumed_is_the_same_run(tree: str) -> None:
    """The second half of a run, from the file of the first."""
    whole, first = (
        ppo(tree, env=make_vec_env("CartPole-v1", n_envs=4, seed=0)).learn(64) for _ in range(2)
    )
    half = PPO.load(saved(first), env=whole.get_env(), device="cpu")
    assert bytes_of(half) == bytes_of(whole)
    results = []
    for model in (whole, half):
        model.get_env().seed(5)
        torch.manual_seed(0)
        np.random.seed(0)
        model._last_obs = None
        results.append(bytes_of(model.learn(64)))
    assert results[0] == results[1]


class TestOtherOptions:
    def loaded(self, model: PPO, linear: Any) -> PPO:
        kwargs = {**model.policy_kwargs, "linear": linear}
        return PPO.load(saved(model), device="cpu", custom_objects={"policy_kwargs": kwargs})

    def test_another_rate_holds_from_here_on(self) -> None:
        model = ppo().learn(256)
        other = self.loaded(model, {"rate": 0.6})
        before = lines(model)[0]
        one_step(model)
        one_step(other)
        np.testing.assert_allclose(
            lines(other)[0] - before, 2 * (lines(model)[0] - before), atol=1e-12
        )

    def test_without_it_the_line_stays_as_it_is(self) -> None:
        model = ppo().learn(256)
        other = self.loaded(model, None)
        one_step(other)
        np.testing.assert_array_equal(lines(other)[0], lines(model)[0])
        again = PPO.load(saved(other), device="cpu")
        one_step(again)
        np.testing.assert_array_equal(lines(again)[0], lines(model)[0])

    def test_trees_may_get_one(self) -> None:
        model = ppo(policy_kwargs={"linear": None}).learn(256)
        assert model.policy.ensembles[0].linear_part is None
        other = self.loaded(model, {})
        x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
        ours, theirs = (each.policy.ensembles[0].predict(x) for each in (model, other))
        np.testing.assert_array_equal(ours, theirs)
        one_step(other)
        assert lines(other)[0].all()

    def test_constraints_refuse_a_file_with_one(self) -> None:
        model = ppo().learn(256)
        kwargs = {"tree": {"max_depth": 2, "monotonic": [(0, 0, 1)]}}
        other = ppo(policy_kwargs={**kwargs, "linear": None})
        before = bytes_of(other)
        with pytest.raises(RuntimeError, match="monotonic"):
            other.policy.load_state_dict(model.policy.state_dict())
        assert bytes_of(other) == before


@pytest.mark.parametrize("algorithm", [A2C, AWR])
@pytest.mark.parametrize("action", ["discrete", "box"])
def test_other_algorithms(algorithm: Any, action: str) -> None:
    settings = {A2C: {"n_steps": 4}, AWR: {"train_freq": 64, "batch_size": 64}}[algorithm]
    model = algorithm("GBTPolicy", bandit(action, n_envs=4), seed=0, device="cpu",
                      policy_kwargs={"linear": {"rate": 0.1}}, **settings).learn(512)  # fmt: skip
    assert all(line.all() for line in lines(model))
    other = algorithm.load(saved(model), device="cpu")
    one_step(model)
    one_step(other)
    assert bytes_of(other) == bytes_of(model)


def test_a_dict_of_numbers_and_categories() -> None:
    model = ppo(env=bandit(observation="dict"), rollout_buffer_class=None).learn(256)
    (line,) = lines(model)
    categorical = model.policy.ensembles[0].params.categorical
    assert categorical is not None
    assert [row for row in range(len(line)) if not line[row].any()] == list(categorical)


def test_learning_rate_schedules_drive_it() -> None:
    """At the end of the run the rate is 0, and a value_lr of 0 stops the value's column alone."""
    model = ppo(learning_rate=lambda remaining: remaining, policy_kwargs={"value_lr": 0.0})
    model.learn(512)
    (line,) = lines(model)
    assert line[:, :-1].all()
    assert not line[:, -1].any()
    model._current_progress_remaining = 0.0
    model._update_learning_rate(model.policy.optimizer)
    one_step(model)
    np.testing.assert_array_equal(lines(model)[0], line)


@pytest.mark.parametrize("linear", [None, {}])
def test_gradients_of_means_are_natural_with_it(linear: Any) -> None:
    model = PPO("GBTPolicy", "Pendulum-v1", n_steps=64, batch_size=64, device="cpu",
                policy_kwargs={"tree": {}, "linear": linear, "log_std_init": -1.0})  # fmt: skip
    policy, actions = model.policy, torch.randn(5, 1)
    _, log_prob, _ = policy.evaluate_actions(torch.randn(5, 3), actions)
    (-log_prob.mean()).backward()
    batch = policy.tree_modules[0].batch("mean")
    assert batch is not None
    # d(-log p)/d(mean) = -(a - mean) / variance, and the means are 0 at first
    divisor = np.exp(-2.0) if linear is None else 1.0
    assert np.allclose(batch[2][:, :1], -actions.numpy() / divisor, rtol=1e-5)


def test_a_step_that_one_ensemble_refuses_moves_no_line() -> None:
    model = ppo(policy_kwargs={"shared": False}).learn(256)
    policy, before = model.policy, bytes_of(model)
    policy.set_training_mode(True)
    values, log_prob, _ = policy.evaluate_actions(torch.randn(50, 3), torch.zeros(50))
    (log_prob.mean() + 1e38 * values.mean() * 1e38).backward()
    with pytest.raises(ValueError, match="must be finite"):
        policy.optimizer.step()
    assert bytes_of(model) == before


def test_a_budget_goes_with_it() -> None:
    """Compactions measure policies with their lines."""
    kwargs = {"tree_budget": 16, "compaction_max_kl": 1e9, "policy_lr": 0.5}
    model = ppo(env=bandit(n_envs=64), policy_kwargs=kwargs)
    model.learn(64 * 16 * 4)
    assert model.policy.n_trees < model.policy.ensembles[0].n_steps_done
    assert lines(model)[0].all()


@pytest.mark.parametrize(
    ("algorithm", "env"), [(DQN, "CartPole-v1"), (SAC, "Pendulum-v1"), (TD3, "Pendulum-v1")]
)
def test_targets_are_refused(algorithm: Any, env: str) -> None:
    with pytest.raises(ValueError, match="no option 'linear' here: targets of DQN, SAC and TD3"):
        algorithm("GBTPolicy", env, buffer_size=10, policy_kwargs={"linear": {}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"linear": {"rate": 0}}, "rate of linear must be finite and > 0, got 0"),
        ({"linear": {"rate": [1, 2, 3]}}, "rate of linear must be a number, or that of the policy"),
        ({"linear": {"rates": 1}}, "linear has no key 'rates', did you mean 'rate'"),
        ({"linear": True}, "linear must be None or a dict of rate and ridge, got True"),
        (
            {"linear": {}, "tree": {"monotonic": [(0, 0, 1)]}},
            "linear must be None with monotonic constraints",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeActorCriticOptions(**options)


def test_categories_alone_have_no_line() -> None:
    with pytest.raises(ValueError, match="linear must be None where no feature is numeric"):
        ppo(env=bandit(observation="discrete"))


def test_options_are_plain_data() -> None:
    for rate, plain in ((np.float32(0.5), 0.5), (np.array([2, 0.5]), [2.0, 0.5])):
        options = TreeActorCriticOptions(linear={"rate": rate})
        assert options.linear == {"rate": plain, "ridge": 1.0}
        assert TreeActorCriticOptions(**options.plain()) == options


@pytest.mark.parametrize("shared", [True, False])
def test_policy_and_value_have_rates_of_their_own(shared: bool) -> None:
    """And keep them when they are loaded."""
    slow, fast = (ppo(linear={"rate": [rate, 0.3]}, policy_kwargs={"shared": shared})
                  for rate in (0.5, 1.5))  # fmt: skip
    fast = PPO.load(saved(fast), device="cpu")
    for model in (slow, fast):
        one_step(model)
    ours, theirs = (np.concatenate(lines(model), axis=1) for model in (slow, fast))
    np.testing.assert_allclose(theirs[:, :-1], 3 * ours[:, :-1], rtol=1e-9)
    np.testing.assert_allclose(theirs[:, -1], ours[:, -1], rtol=1e-9)


def test_recipes_take_it() -> None:
    """What ``rlshare train --hyperparams policy_kwargs.linear.rate:0.5`` makes of it."""
    overrides = {"policy_kwargs.linear.rate": 0.5}
    recipe = load_recipe("ppo", "gbt", "Pendulum-v1", overrides=overrides)
    env = make_vec_env("Pendulum-v1", n_envs=8)
    model = build_model("ppo", "gbt", recipe, env, seed=0, device="cpu")
    part = model.policy.ensembles[0].linear_part
    assert part is not None
    assert (set(part.params.rate), part.params.ridge) == ({0.5}, 1.0)
    again = load_recipe("ppo", "gbt", "Pendulum-v1")
    assert "linear" not in again.policy_kwargs.model_dump()
    for key, message in (("rat", "linear has no key 'rat'"), ("ridge", "ridge of linear must be")):
        with pytest.raises(ValueError, match=message):
            load_recipe("ppo", "gbt", "Pendulum-v1", overrides={f"policy_kwargs.linear.{key}": -1})
