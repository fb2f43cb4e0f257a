"""Options given to load that differ from the saved ones: rates are taken, structure is refused."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3

from rlshare.agents import AWR

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
_REPLAY = {"learning_starts": 32, "batch_size": 16, "train_freq": 16}
_CRITICS = {"critic": "tanh", "net_arch": [8]}
KINDS: dict[str, tuple[Any, str, dict[str, Any], dict[str, Any]]] = {
    "ppo": (PPO, CARTPOLE, {"n_steps": 32, "batch_size": 32, "n_epochs": 1}, {}),
    "awr": (AWR, CARTPOLE, {"train_freq": 32, "gradient_steps": 2, "batch_size": 16}, {}),
    "dqn": (DQN, CARTPOLE, _REPLAY, {}),
    "sac": (SAC, PENDULUM, _REPLAY, _CRITICS),
    "td3": (TD3, PENDULUM, _REPLAY, _CRITICS),
}


def trained(kind: str, **options: Any) -> tuple[Any, io.BytesIO]:
    algorithm, env, settings, policy = KINDS[kind]
    model = algorithm(
        "GBTPolicy", env, seed=0, device="cpu", policy_kwargs={**policy, **options}, **settings
    ).learn(64)
    file = io.BytesIO()
    model.save(file)
    return model, file


def loaded(kind: str, model: Any, file: io.BytesIO, **changes: Any) -> Any:
    file.seek(0)
    return type(model).load(file, env=model.get_env(), device="cpu", custom_objects=changes)


@pytest.mark.parametrize("kind", KINDS)
def test_new_rates_and_shapes_of_trees_hold_from_here_on(kind: str) -> None:
    model, file = trained(kind, value_lr=0.1, tree={"max_depth": 4, "subsample": 0.5})
    new = {**KINDS[kind][3], "value_lr": 0.002, "max_value_grad_norm": 0.5}
    new["tree"] = {"max_depth": 1, "n_bins": 7, "min_samples_leaf": 2, "score": "l2"}
    other = loaded(kind, model, file, policy_kwargs=new)
    for ours, theirs, module in zip(
        other.policy.ensembles, model.policy.ensembles, other.policy.tree_modules, strict=True
    ):
        np.testing.assert_array_equal(ours.predict(rows(ours)), theirs.predict(rows(theirs)))
        assert (ours.params.max_depth, ours.params.n_bins, ours.params.score) == (1, 7, "l2")
        assert ours.params.random_state == theirs.params.random_state  # drawn, and goes on
        assert ours.params.subsample != 0.5 or kind in ("sac", "td3")
        assert any(clip.max_norm == 0.5 for clip in module.grad_clips) or "actor" in kind_of(ours)
    assert other.policy.ensembles[-1].learning_rates()[-1] == 0.002
    before = other.policy.n_trees
    other.learn(64, reset_num_timesteps=False)
    assert other.policy.n_trees > before
    last = other.policy.ensembles[-1]
    assert last.tree_structure(last.n_trees - 1)["depth"] <= 1
    file = io.BytesIO()
    other.save(file)  # trees deeper than the new max_depth load again
    assert loaded(kind, other, file).policy.n_trees == other.policy.n_trees


def rows(trees: Any) -> Any:
    return np.random.default_rng(0).normal(size=(32, trees.n_features)).astype(np.float32)


def kind_of(trees: Any) -> str:
    """Actors of continuous actions have a column for each, and no value."""
    return "actor" if trees.n_outputs <= 2 else "value"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_options_change_nothing(kind: str) -> None:
    model, file = trained(kind, value_lr=[0.1, 0.05], tree={"subsample": 0.7})
    other = loaded(kind, model, file)
    same = loaded(kind, model, file, policy_kwargs=dict(model.policy_kwargs))
    for ours, theirs, first in zip(
        same.policy.ensembles, other.policy.ensembles, model.policy.ensembles, strict=True
    ):
        assert ours.to_bytes() == theirs.to_bytes() == first.to_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_learning_rate_is_the_new_reference(kind: str) -> None:
    model, file = trained(kind)
    other = loaded(kind, model, file, learning_rate=lambda remaining: 0.01 * remaining)
    assert all(optimizer.lr == 0.01 for optimizer in other.policy.tree_optimizers)
    other.learn(64, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("kind", "saved", "new", "message"),
    [
        ("ppo", {"shared": True}, {"shared": False}, r"options that shape a policy \(shared"),
        ("ppo", {}, {"tree": {"grow_policy": "greedy"}}, "grow_policy must be 'oblivious'"),
        ("dqn", {}, {"tree": {"categorical": [0]}}, "categorical must be None"),
        ("ppo", {}, {"tree": {"monotonic": [(0, 1, 1)]}}, "monotonic must not constrain"),
        ("sac", {}, {"critic": "quadratic"}, "critic must be 'tanh', the form of the saved trees"),
        ("td3", {}, {"critic": "nn"}, r"options that shape a policy \(shared"),
        ("sac", {}, {"n_critics": 1}, r"options that shape a policy \(shared"),
        ("td3", {"critic": "nn"}, {"critic": "nn", "net_arch": [4]}, "options that shape a policy"),
        ("awr", {}, {"shared": False}, "options that shape a policy"),
    ],
)
def test_another_structure_is_refused(
    kind: str, saved: dict[str, Any], new: dict[str, Any], message: str
) -> None:
    model, file = trained(kind, **saved)
    with pytest.raises(RuntimeError, match=message):
        loaded(kind, model, file, policy_kwargs={**KINDS[kind][3], **new})


def test_a_refused_state_leaves_the_policy_as_it_was() -> None:
    model, _ = trained("ppo", shared=False)
    other, _ = trained("ppo")
    before = [trees.to_bytes() for trees in other.policy.ensembles]
    with pytest.raises(RuntimeError, match="options that shape a policy"):
        other.policy.load_state_dict(model.policy.state_dict())
    assert [trees.to_bytes() for trees in other.policy.ensembles] == before


def test_another_seed_of_the_draws_is_taken() -> None:
    model, file = trained("ppo", tree={"subsample": 0.5})
    new = {"tree": {"subsample": 0.5, "random_state": 11}}
    assert (
        loaded("ppo", model, file, policy_kwargs=new).policy.ensembles[0].params.random_state == 11
    )


def test_a_new_rate_of_log_std_is_taken() -> None:
    model = PPO(
        "GBTPolicy", PENDULUM, n_steps=32, batch_size=32, n_epochs=1, device="cpu",
        policy_kwargs={"log_std_lr": 0.1, "max_policy_grad_norm": 1.0},
    ).learn(32)  # fmt: skip
    file = io.BytesIO()
    model.save(file)
    other = loaded("ppo", model, file, policy_kwargs={"log_std_lr": 0.0})
    before = other.policy.log_std.detach().clone()
    assert torch.equal(before, model.policy.log_std)
    assert other.policy.optimizer.torch_lr == 0.0
    assert not other.policy.trees["shared"].grad_clips


def test_a2c_takes_new_rates_and_begins_a_new_optimizer() -> None:
    """Stable-Baselines3 keeps A2C's own optimizer in the policy_kwargs, and so loses it here."""
    model = A2C("GBTPolicy", PENDULUM, n_steps=16, seed=0, device="cpu").learn(32)
    file = io.BytesIO()
    model.save(file)
    with pytest.warns(UserWarning, match="which Adam needs"):
        other = loaded("a2c", model, file, policy_kwargs={"policy_lr": 0.002})
    assert other.policy.ensembles[0].learning_rates()[0] == 0.002
    other.learn(32, reset_num_timesteps=False)
    assert other.policy.n_trees == 4


def test_awr_keeps_its_own_defaults() -> None:
    model = AWR("GBTPolicy", PENDULUM, train_freq=32, gradient_steps=2, batch_size=16, device="cpu")
    file = io.BytesIO()
    model.save(file)
    other = loaded("awr", model, file, policy_kwargs={"log_std_lr": 0.01})
    assert other.policy_kwargs == {**model.policy_kwargs, "log_std_lr": 0.01}
