"""What Stable-Baselines3's policies can be asked for, asked of MoE policies."""

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

import rlshare.policies
from rlshare.policies import MoEDQNPolicy, MoEPolicy, MoESACPolicy, MoETD3Policy, TreeRolloutBuffer
from rlshare.policies.moe.callbacks import RecentSteps
from rlshare.policies.moe.extractor import expert_layers, select_experts

MOE = {"n_experts": 4, "top_k": 2, "width": 16, "hidden": 16}
VECTOR, ACTION = spaces.Box(-1.0, 1.0, (3,)), spaces.Box(-1.0, 1.0, (2,))
CLASSES: dict[str, tuple[Any, spaces.Space[Any]]] = {
    "PPO": (MoEPolicy, ACTION),
    "SAC": (MoESACPolicy, ACTION),
    "TD3": (MoETD3Policy, ACTION),
    "DQN": (MoEDQNPolicy, spaces.Discrete(2)),
}


STOCK = {"PPO": ActorCriticPolicy, "SAC": SACPolicy, "TD3": TD3Policy, "DQN": DQNPolicy}


def options_of(made: Any) -> dict[str, Any]:
    """The options of a policy's constructor, and their defaults."""
    found = inspect.signature(made.__init__).parameters.values()
    return {each.name: each.default for each in found if each.default is not each.empty}


def policy(name: str = "PPO", observation: spaces.Space[Any] = VECTOR, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    made, action = CLASSES[name]
    moe = {**MOE, **kwargs.pop("moe", {})}
    return made(observation, action, lambda _: 1e-2, moe=moe, **kwargs)


def update(made: Any, seed: int) -> None:
    """A training step of what the policy has optimizers for."""
    torch.manual_seed(seed)
    obs, actions = torch.randn(8, 3), torch.rand(8, 2)
    made.set_training_mode(True)
    if getattr(getattr(made, "actor", made), "use_sde", False):
        made.reset_noise()
    losses: list[tuple[Any, torch.Tensor]] = []
    if isinstance(made, MoEPolicy):
        values, log_prob, _ = made.evaluate_actions(obs, actions)
        losses = [(made.optimizer, values.square().mean() - log_prob.mean())]
    elif isinstance(made, MoEDQNPolicy):
        losses = [(made.optimizer, made.q_net(obs).square().mean())]
    else:
        critics = sum(q.square().mean() for q in made.critic(obs, actions))
        losses = [(made.critic.optimizer, critics), (made.actor.optimizer, made.actor(obs).mean())]
    for optimizer, loss in losses:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.set_training_mode(False)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PPO", {"value_lr_scale": 0.25}),
        ("PPO", {"value_lr_scale": 4.0, "shared": False, "moe": {"gate": "sigmoid_bias"}}),
        ("PPO", {"use_sde": True, "squash_output": True}),
        ("SAC", {"moe": {"gate": "sigmoid_bias"}}),
        ("SAC", {"use_sde": True, "shared": True}),
        ("TD3", {"shared": True}),
        ("DQN", {"moe": {"gate": "sigmoid_bias"}}),
    ],
)
def test_copies_learn_on_as_the_original_does(name: str, options: dict[str, Any], how: str) -> None:
    made = policy(name, **options)
    for seed in range(3):
        update(made, seed)
    copied = copy.deepcopy(made) if how == "deepcopy" else pickle.loads(pickle.dumps(made))
    for seed in range(3, 6):
        update(made, seed)
        update(copied, seed)
    for key, value in made.state_dict().items():
        assert torch.equal(copied.state_dict()[key], value), key


def test_a_copy_keeps_the_routes_of_the_rollout_under_way() -> None:
    model = PPO(
        MoEPolicy,
        ContextualBandit(),
        policy_kwargs={"moe": MOE, "store_routes": True},
        rollout_buffer_class=TreeRolloutBuffer,
        n_steps=32,
        batch_size=32,
        n_epochs=1,
        seed=0,
        device="cpu",
    ).learn(32)
    made = model.policy
    data = next(iter(model.rollout_buffer.get(16)))
    made.evaluate_actions(data.observations, data.actions)
    made.features_extractor.experts.router_weight.data.neg_()  # other experts, if asked again
    copied = copy.deepcopy(made)
    found = [p.evaluate_actions(data.observations, data.actions)[1] for p in (made, copied)]
    assert torch.equal(*found)
    assert pickle.loads(pickle.dumps(made))._routes == {}


def test_experts_of_many_rows_are_selected_in_parts() -> None:
    made = policy()
    obs = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    whole = made.features_extractor.select(torch.from_numpy(obs))
    assert torch.equal(select_experts(made, obs)["shared"], whole)


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.25), (0.25, 1.0), (0.25, 4.0)])
def test_value_lr_scale_may_change_on_loading(before: float, after: float, tmp_path: Path) -> None:
    def agent(scale: float) -> PPO:
        kwargs = {"moe": MOE, "value_lr_scale": scale}
        return PPO("MoEPolicy", ContextualBandit(), policy_kwargs=kwargs, n_steps=64, seed=0)

    agent(before).learn(64).save(tmp_path / "model.zip")
    same, other = (
        PPO.load(
            tmp_path / "model.zip",
            custom_objects={"policy_kwargs": {"moe": MOE, "value_lr_scale": scale}},
        ).policy
        for scale in (before, after)
    )
    steps = []
    for made in (same, other):
        moments = made.optimizer.state[made.value_net.weight]
        assert moments["exp_avg"].shape == made.value_net.weight.shape
        old = made.value_net.weight.detach().clone()
        made.optimizer.param_groups[-1]["lr"] = 1e-3
        for parameter in made.parameters():
            parameter.grad = torch.ones_like(parameter)
        made.optimizer.step()
        steps.append(made.value_net.weight.detach() - old)
    assert torch.allclose(steps[1] / steps[0], torch.tensor(after / before), rtol=1e-2)


@pytest.mark.parametrize(
    "change",
    [
        {"moe": {**MOE, "n_experts": 8}},
        {"moe": {**MOE, "hidden": 8}},
        {"moe": {**MOE, "width": 8}},
        {"moe": {**MOE, "n_shared": 1}},
        {"moe": {**MOE, "gate": "sigmoid_bias"}},
        {"moe": MOE, "shared": False},
        {"moe": MOE, "net_arch": [8]},
    ],
)
def test_another_structure_is_refused_on_loading(change: dict[str, Any], tmp_path: Path) -> None:
    env = ContextualBandit()
    PPO("MoEPolicy", env, policy_kwargs={"moe": MOE}, seed=0).save(tmp_path / "model.zip")
    with pytest.raises(RuntimeError, match="the stored policy has another structure"):
        PPO.load(tmp_path / "model.zip", custom_objects={"policy_kwargs": change})


def image(low: float = 0, high: float = 255, dtype: Any = np.uint8, side: int = 36) -> Any:
    return spaces.Box(low, high, (3, side, side), dtype)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    ("space", "options", "encoder"),
    [
        (VECTOR, {}, FlattenExtractor),
        (image(), {}, NatureCNN),
        (image(side=20), {}, FlattenExtractor),  # fills no filter of NatureCNN
        (image(0, 1, np.float32), {}, FlattenExtractor),
        (image(0, 1, np.float32), {"normalize_images": False}, NatureCNN),
        (image(), {"features_extractor_class": FlattenExtractor}, FlattenExtractor),
        (spaces.Dict(i=image(), v=VECTOR), {}, CombinedExtractor),
        (
            spaces.Dict(i=image(0, 1, np.float32)),
            {"normalize_images": False, "features_extractor_kwargs": {"cnn_output_dim": 8}},
            CombinedExtractor,
        ),
    ],
)
def test_encoders_are_those_of_the_space_or_asked_for(
    name: str, space: Any, options: dict[str, Any], encoder: Any
) -> None:
    made = policy(name, space, **copy.deepcopy(options))
    layers = [extractor for _, extractor in expert_layers(made)]
    assert layers
    for extractor in layers:
        assert type(extractor.base) is encoder
        if encoder is CombinedExtractor:
            assert isinstance(extractor.base.extractors["i"], NatureCNN)
            if "features_extractor_kwargs" in options:
                assert extractor.base.features_dim == 8
    obs = space.sample()
    action = made.predict(obs, deterministic=True)[0]
    again = type(made)(**made._get_constructor_parameters())
    again.load_state_dict(made.state_dict())
    assert np.array_equal(again.predict(obs, deterministic=True)[0], action)


@pytest.mark.parametrize("channel_first", [True, False])
@pytest.mark.parametrize("algorithm", [PPO, A2C, DQN, SAC, TD3])
def test_images_of_both_orders_are_learnt_from(algorithm: Any, channel_first: bool) -> None:
    env = FakeImageEnv(
        screen_height=36,
        screen_width=36,
        n_channels=1,
        channel_first=channel_first,
        discrete=algorithm not in (SAC, TD3),
    )
    settings = (
        {"n_steps": 8, **({"batch_size": 8} if algorithm is PPO else {})}
        if algorithm in (PPO, A2C)
        else {"buffer_size": 100, "learning_starts": 6}
    )
    kwargs = {"moe": MOE, "features_extractor_kwargs": {"features_dim": 8}}
    model = algorithm("MoECnnPolicy", env, policy_kwargs=kwargs, device="cpu", **settings).learn(8)
    for _, extractor in expert_layers(model.policy):
        assert type(extractor.base) is NatureCNN
        assert extractor.base.features_dim == 8


def test_images_of_a_normaliser() -> None:
    env = VecNormalize(
        DummyVecEnv(
            [
                lambda: FakeImageEnv(
                    screen_height=36, screen_width=36, n_channels=1, channel_first=True
                )
            ]
        )
    )
    env_kwargs = {"moe": MOE, "normalize_images": False}
    model = PPO("MoECnnPolicy", env, policy_kwargs=env_kwargs, n_steps=8, batch_size=8).learn(8)
    assert type(model.policy.features_extractor.base) is NatureCNN


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PPO", {"net_arch": {"pi": [8], "vf": [9, 7]}}),
        ("PPO", {"net_arch": {"vf": [np.int64(9)]}, "activation_fn": torch.nn.ReLU}),
        ("PPO", {"ortho_init": False, "log_std_init": -1.0, "share_features_extractor": False}),
        ("PPO", {"optimizer_class": torch.optim.SGD, "value_lr_scale": np.float32(0.5)}),
        ("SAC", {"net_arch": {"pi": [8], "qf": [9]}, "n_critics": 1, "log_std_init": -1.0}),
        ("SAC", {"share_features_extractor": True, "clip_mean": 1.0, "use_expln": True}),
        ("TD3", {"net_arch": [], "n_critics": 3, "share_features_extractor": True}),
        ("DQN", {"net_arch": [8], "activation_fn": torch.nn.Tanh}),
        ("DQN", {"moe": {"n_experts": np.int64(4), "top_k": np.array(2), "width": np.int32(8)}}),
    ],
)
def test_options_of_sb3(name: str, options: dict[str, Any]) -> None:
    made = policy(name, **options)
    update(made, 0)
    again = type(made)(**made._get_constructor_parameters())
    again.load_state_dict(made.state_dict())
    obs = np.zeros((2, 3), np.float32)
    actions = (p.predict(obs, deterministic=True)[0] for p in (made, again))
    assert np.array_equal(*actions)
    if "share_features_extractor" in options:
        assert made.share_features_extractor is options["share_features_extractor"]
        assert again.share_features_extractor is options["share_features_extractor"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "PPO",
            {"net_arch": {"pi": [8], "qf": [8]}},
            "net_arch must be a list or a dict of pi and vf",
        ),
        ("SAC", {"net_arch": {"vf": [8]}}, "net_arch must be a list or a dict of pi and qf"),
        ("DQN", {"net_arch": {"pi": [8]}}, "net_arch must be a list, got"),
        ("TD3", {"net_arch": [8.5]}, "units of net_arch must be an integer >= 1, got 8.5"),
        (
            "PPO",
            {"shared": True, "share_features_extractor": False},
            "are one option, got True and",
        ),
        ("PPO", {"value_lr_scale": float("nan")}, "value_lr_scale must be finite and > 0, got nan"),
        ("PPO", {"moe": {"width": 0}}, "width must be an integer >= 1, got 0"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(name, **options)


EVERY_OPTION = [
    (name, option)
    for name, (made, _) in CLASSES.items()
    for option in {option: None for stock in STOCK.values() for option in options_of(stock)}
]


@pytest.mark.parametrize(("name", "option"), EVERY_OPTION)
def test_an_option_of_sb3_works_or_is_refused_with_the_reason(name: str, option: str) -> None:
    own = options_of(STOCK[name])
    if option in own:
        policy(name, **({} if own[option] is None else {option: own[option]}))
        return
    stock = next(options_of(each) for each in STOCK.values() if option in options_of(each))
    with pytest.raises(ValueError, match=f"MoEPolicy has no option '{option}' here: ") as said:
        policy(name, **{option: stock[option]})
    assert all(known in str(said.value) for known in own)


@pytest.mark.parametrize(
    ("name", "option", "why"),
    [
        ("SAC", "value_lr_scale", "values are learnt at learning_rate"),
        ("DQN", "store_routes", "a replay buffer has none"),
        ("DQN", "shared", "it has one network"),
        ("PPO", "value_lr_scal", "did you mean 'value_lr_scale'"),
        ("PPO", "tree", "Its options: "),
    ],
)
def test_options_of_other_policies_are_refused(name: str, option: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"MoEPolicy has no option '{option}' here.*{why}"):
        policy(name, **{option: 1})


BAD_VALUES: dict[str, list[tuple[Any, str]]] = {
    "net_arch": [(8, "of units, got 8"), ("big", "got 'big'"), ([{"x": 8}], "must be")],
    "activation_fn": [("relu", "a class of modules"), (None, "got None"), (torch.nn.ReLU(), "")],
    "log_std_init": [("wide", "must be a finite number, got 'wide'"), (None, "got None")],
    "clip_mean": [(-1.0, "must be finite and >= 0, got -1")],
    "n_critics": [(0, "must be an integer >= 1, got 0"), (1.5, "got 1.5")],
    "ortho_init": [("no", "must be True or False, got 'no'")],
    "full_std": [("no", "must be True or False, got 'no'")],
    "use_expln": [("no", "must be True or False, got 'no'")],
    "normalize_images": [(None, "must be True or False, got None")],
    "share_features_extractor": [("no", "must be True or False, got 'no'")],
    "store_routes": [("no", "must be True or False, got 'no'")],
    "squash_output": [(True, "must be False without use_sde=True")],
    "features_extractor_class": [("cnn", "must be a subclass of BaseFeaturesExtractor")],
    "features_extractor_kwargs": [({"dim": 8}, "has no 'dim'"), (8, "must be a dict")],
    "moe": [(8, "must be a dict")],
}


@pytest.mark.parametrize("option", BAD_VALUES)
def test_values_are_checked_for_every_algorithm(option: str) -> None:
    for name, (made, action) in CLASSES.items():
        if option not in {**options_of(STOCK[name]), **options_of(made)}:
            continue
        for value, rule in BAD_VALUES[option]:
            with pytest.raises(ValueError, match=f"{option}.*{rule}"):
                made(VECTOR, action, lambda _: 1e-2, **{option: value})


@pytest.mark.parametrize(
    "net_arch",
    [[8], (8,), np.array([8]), {"pi": [8], "other": [8]}, [{"pi": [8], "other": [8]}]],
)
@pytest.mark.parametrize(("name", "other"), [("PPO", "vf"), ("SAC", "qf"), ("TD3", "qf")])
def test_layers_come_as_a_list_or_by_part(name: str, other: str, net_arch: Any) -> None:
    by_part = net_arch[0] if isinstance(net_arch, list) else net_arch
    if isinstance(by_part, dict):
        net_arch = {"pi": by_part["pi"], other: by_part["other"]}
    made = policy(name, net_arch=net_arch)
    actor = made.mlp_extractor.policy_net if name == "PPO" else made.actor
    assert any(p.shape[:1] == (8,) for p in actor.parameters())
    update(made, 0)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([[2, 3], [4, 5]]),
        spaces.Tuple([VECTOR]),
        spaces.Text(3),
        spaces.Dict(a=VECTOR, b=spaces.Tuple([VECTOR])),
        spaces.Dict(a=spaces.Dict(b=VECTOR)),
        spaces.Dict(),
        spaces.Box(-1.0, 1.0, ()),
        spaces.Box(-1.0, 1.0, (0,)),
        spaces.Dict(a=spaces.Box(-1.0, 1.0, (2, 0)), b=VECTOR),
        spaces.Discrete(3, start=5),
        spaces.Dict(a=spaces.Discrete(3, start=-1)),
        spaces.MultiDiscrete([2, 3], start=[0, 1]),
    ],
)
def test_observations_nobody_supports_are_refused_by_name(name: str, space: Any) -> None:
    with pytest.raises(ValueError, match=r"observation.* of MoEPolicy.* must (be|have|hold|count)"):
        policy(name, space)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("options", [{}, {"features_extractor_class": CombinedExtractor}])
def test_images_too_small_for_a_dict_are_refused_by_name(name: str, options: Any) -> None:
    with pytest.raises(ValueError, match="'i' must be an image of at least 36 x 36 pixels, got"):
        policy(name, spaces.Dict(i=image(side=20), v=VECTOR), **options)


def test_actions_nobody_supports_are_refused_by_name() -> None:
    for action in (
        spaces.MultiDiscrete([[2, 3]]),
        spaces.MultiBinary([2, 2]),
        spaces.Text(3),
        spaces.Discrete(3, start=1),
        spaces.MultiDiscrete([2, 3], start=[1, 0]),
        spaces.Box(-1.0, 1.0, (0,)),
    ):
        with pytest.raises(ValueError, match=r"actions of MoEPolicy.* must (be|have|hold|count)"):
            MoEPolicy(VECTOR, action, lambda _: 1e-3)
    for name in ("SAC", "TD3", "DQN"):
        with pytest.raises(ValueError, match="actions of MoEPolicy must be"):
            CLASSES[name][0](VECTOR, spaces.MultiBinary(2), lambda _: 1e-3)
    with pytest.raises(ValueError, match="use_sde must be False unless actions are a Box"):
        MoEPolicy(VECTOR, spaces.Discrete(2), lambda _: 1e-3, use_sde=True)


def test_policies_of_images_are_the_same_classes() -> None:
    for name in ("", "SAC", "TD3", "DQN"):
        alias = getattr(rlshare.policies, f"MoECnn{name}Policy")
        assert alias is getattr(rlshare.policies, f"MoE{name}Policy")


def test_recent_steps_take_bounded_memory() -> None:
    steps = RecentSteps(2, n_bytes=40 * 100)
    for t in range(1000):
        obs = {"x": np.full((2, 5), t, np.float64)}  # 40 bytes a row
        steps.add(obs, np.array([1.0, 0.0]), np.array([False, False]))
    assert len(steps.recent()["x"]) <= 100
    assert steps.recent()["x"][-1, 0] == 999
    episode = steps.episode()["x"][:, 0]
    assert 50 <= len(episode) <= 100
    assert len(set(np.diff(episode))) == 1
    assert steps.rewards().sum() == 1000


class Exported(torch.nn.Module):
    """The deterministic action, as Stable-Baselines3's page on exporting takes it."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def forward(self, obs: torch.Tensor) -> Any:
        return self.made._predict(obs, deterministic=True)


@pytest.mark.filterwarnings("ignore")  # torch's own, of its exporters
@pytest.mark.parametrize(
    ("name", "grad"),
    [("PPO", True), ("PPO", False), ("SAC", False), ("TD3", True), ("DQN", False)],
)
def test_policies_leave_torch(name: str, grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", False)
    made = policy(name, **({"value_lr_scale": 0.5} if name == "PPO" else {})).eval()
    module, others = Exported(made), torch.randn(7, 3)
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(module, torch.randn(2, 3))
        shapes = ({0: torch.export.Dim("n")},)
        exported = torch.export.export(module, (torch.randn(2, 3),), dynamic_shapes=shapes)
        for other in (traced, exported.module()):
            assert torch.allclose(other(others).float(), module(others).float(), atol=1e-5)
