"""Options given to load that differ from the saved ones: rates are taken, structure is refused."""

import copy
import functools
import io
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import FlattenExtractor

from rlshare.agents import AWR


class Doubled(FlattenExtractor):
    """An extractor without parameters, like the one it inherits from."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(observations)


SDE = {"use_sde": True}
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
        ("dqn", {"tree": {}}, {"tree": {"categorical": [0]}}, "categorical must be None"),
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


MOE = {"moe": {"n_experts": 4, "top_k": 2, "width": 8, "hidden": 8}, "net_arch": [8]}
A2C_SETTINGS: dict[str, Any] = {"n_steps": 16}
# Every policy that has an optimizer of torch's.
OPTIMIZED: dict[str, tuple[Any, str, str, dict[str, Any], dict[str, Any]]] = {
    "trees-ppo": (PPO, "GBTPolicy", PENDULUM, KINDS["ppo"][2], {}),
    "trees-a2c": (A2C, "GBTPolicy", PENDULUM, A2C_SETTINGS, {}),
    "trees-awr": (AWR, "GBTPolicy", PENDULUM, KINDS["awr"][2], {}),
    "trees-sac": (SAC, "GBTPolicy", PENDULUM, _REPLAY, {"net_arch": [8]}),
    "trees-td3": (TD3, "GBTPolicy", PENDULUM, _REPLAY, {"net_arch": [8]}),
    "experts-ppo": (PPO, "MoEPolicy", PENDULUM, KINDS["ppo"][2], MOE),
    "experts-a2c": (A2C, "MoEPolicy", CARTPOLE, A2C_SETTINGS, {**MOE, "value_lr_scale": 0.5}),
    "experts-awr": (AWR, "MoEPolicy", CARTPOLE, KINDS["awr"][2], MOE),
    "experts-dqn": (DQN, "MoEPolicy", CARTPOLE, _REPLAY, MOE),
    "experts-sac": (SAC, "MoEPolicy", PENDULUM, _REPLAY, MOE),
    "experts-td3": (TD3, "MoEPolicy", PENDULUM, _REPLAY, {**MOE, "shared": True}),
}


def saved(kind: str, **options: Any) -> tuple[Any, io.BytesIO]:
    algorithm, policy, env, settings, policy_kwargs = OPTIMIZED[kind]
    model = algorithm(
        policy, env, seed=0, device="cpu", policy_kwargs={**policy_kwargs, **options}, **settings
    ).learn(48)
    file = io.BytesIO()
    model.save(file)
    return model, file


@functools.cache
def saved_once(kind: str) -> tuple[Any, io.BytesIO]:
    """A model to look at and to load, not to train on."""
    return saved(kind)


def optimizers_of(model: Any) -> list[torch.optim.Optimizer]:
    """Those of torch, beside the trees'."""
    owners = (model.policy, *(getattr(model.policy, part, None) for part in ("actor", "critic")))
    found = [getattr(owner, "optimizer", None) for owner in owners]
    return [getattr(each, "torch_optimizer", each) for each in found if each is not None]


@pytest.mark.parametrize("new", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adamax])
@pytest.mark.parametrize("kind", OPTIMIZED)
def test_another_class_of_optimizer_begins_anew_and_says_so(kind: str, new: Any) -> None:
    model, file = saved_once(kind)
    kwargs = {**OPTIMIZED[kind][4], "optimizer_class": new}
    with pytest.warns(UserWarning, match=f"optimizer_class is {new.__name__}: it begins with a"):
        other = loaded(kind, model, file, policy_kwargs=kwargs)
    assert not any(each.state for each in optimizers_of(other))
    assert new in [type(each) for each in optimizers_of(other)]
    other.learn(32, reset_num_timesteps=False)
    file = io.BytesIO()
    other.save(file)
    loaded(kind, other, file).learn(32, reset_num_timesteps=False)  # without a warning


@pytest.mark.parametrize("kind", OPTIMIZED)
@pytest.mark.parametrize("copied", [False, True])
def test_other_arguments_of_an_optimizer_are_without_effect_and_it_says_so(
    kind: str, copied: bool
) -> None:
    adam: dict[str, Any] = {"optimizer_class": torch.optim.Adam}
    model, file = saved(kind, **adam, optimizer_kwargs={"weight_decay": 0.25})
    if copied:
        model.policy = copy.deepcopy(model.policy)
        if hasattr(model, "_create_aliases"):
            model._create_aliases()
        model.save(file := io.BytesIO())
    kwargs = {**OPTIMIZED[kind][4], **adam, "optimizer_kwargs": {"weight_decay": 0.5}}
    with pytest.warns(UserWarning, match=r"goes on with {'weight_decay': 0.25}.* 0.5}"):
        other = loaded(kind, model, file, policy_kwargs=kwargs)
    kept = [each.param_groups[0].get("weight_decay") for each in optimizers_of(other)]
    assert 0.25 in kept
    assert 0.5 not in kept


def test_states_of_older_files_load() -> None:
    model, file = saved_once("experts-ppo")
    state = model.policy.optimizer.state_dict()
    del state["optimizer_class"]
    loaded("experts-ppo", model, file).policy.optimizer.load_state_dict(state)
    kwargs = {**MOE, "optimizer_class": torch.optim.SGD}
    with pytest.warns(UserWarning, match="is of Adam, and optimizer_class is SGD"):
        other = loaded("experts-ppo", model, file, policy_kwargs=kwargs)
    with pytest.warns(UserWarning, match="is of another class, and optimizer_class is SGD"):
        other.policy.optimizer.load_state_dict(state)


@pytest.mark.parametrize("kind", ["trees-ppo", "trees-sac", "experts-ppo"])
def test_another_beginning_is_without_effect_and_it_says_so(kind: str) -> None:
    model, file = saved(kind, log_std_init=-2.0)
    kwargs = {**OPTIMIZED[kind][4], "log_std_init": -1.0}
    with pytest.warns(UserWarning, match="log_std_init = -1.0 is without effect.* from -2.0"):
        loaded(kind, model, file, policy_kwargs=kwargs)


@pytest.mark.parametrize(
    ("kind", "made_with", "new"),
    [
        (kind, {"net_arch": [8]}, change)
        for kind in OPTIMIZED
        if "experts" in kind
        for change in (
            {"activation": "relu"},
            {"gate": "soft_dense"},
            {"top_k": 1},
            {"activation_fn": torch.nn.ELU},
            {"features_extractor_class": Doubled},
        )
    ]
    + [
        ("experts-ppo", {"squash_output": True, **SDE}, {"squash_output": False}),
        ("experts-ppo", SDE, {"use_expln": True}),
        ("experts-sac", {**SDE, "clip_mean": 2.0}, {"clip_mean": 1.0}),
    ],
)
def test_another_function_of_the_same_parameters_is_refused(
    kind: str, made_with: dict[str, Any], new: dict[str, Any]
) -> None:
    algorithm, policy, env, settings, policy_kwargs = OPTIMIZED[kind]
    if "use_sde" in made_with:
        settings, env = {**settings, "use_sde": True}, PENDULUM
        made_with = {k: v for k, v in made_with.items() if k != "use_sde"}
    options = {**policy_kwargs, **made_with}
    model = algorithm(policy, env, device="cpu", policy_kwargs=options, **settings)
    file = io.BytesIO()
    model.save(file)
    name = next(iter(new))
    in_moe = name in ("activation", "gate", "top_k")
    changed = {**options, **({"moe": {**options["moe"], **new}} if in_moe else new)}
    with pytest.raises(RuntimeError, match=f"{name} must be .* with which the policy was saved"):
        loaded(kind, model, file, policy_kwargs=changed)
    harmless = {"moe": {**options["moe"], "balance_coef": 0.5, "z_coef": 0.1}}
    loaded(kind, model, file, policy_kwargs={**options, **harmless})


def test_images_are_normalised_as_when_they_were_saved() -> None:
    env = FakeImageEnv(screen_height=20, screen_width=20, n_channels=1, channel_first=True)
    model = PPO("MoEPolicy", env, n_steps=8, batch_size=8, policy_kwargs=MOE, device="cpu")
    file = io.BytesIO()
    model.save(file)
    with pytest.raises(RuntimeError, match="normalize_images must be True, with which"):
        loaded("", model, file, policy_kwargs={**MOE, "normalize_images": False})


def test_awr_keeps_its_own_defaults() -> None:
    model = AWR("GBTPolicy", PENDULUM, train_freq=32, gradient_steps=2, batch_size=16, device="cpu")
    file = io.BytesIO()
    model.save(file)
    other = loaded("awr", model, file, policy_kwargs={"log_std_lr": 0.01})
    assert other.policy_kwargs == {**model.policy_kwargs, "log_std_lr": 0.01}
