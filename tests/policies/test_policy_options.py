"""What ``policy_kwargs`` of tree policies may hold, and which spaces they take."""

import inspect
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from rlshare.agents import AWR
from rlshare.policies import (
    GBTDQNPolicy,
    GBTPolicy,
    GBTSACPolicy,
    GBTTD3Policy,
    MoEDQNPolicy,
    MoEPolicy,
    MoESACPolicy,
    MoETD3Policy,
)
from rlshare.policies.gbt.options import (
    TreeActorCriticOptions,
    TreeActorOptions,
    TreeQOptions,
    TreeStochasticActorOptions,
    read_options,
)
from rlshare.policies.spaces import ACTIONS, OBSERVATIONS, check_spaces

BOX = spaces.Box(-1.0, 1.0, (3,))
FAMILIES: dict[str, tuple[type, type, type, Any]] = {
    "ppo": (GBTPolicy, ActorCriticPolicy, TreeActorCriticOptions, spaces.Discrete(2)),
    "dqn": (GBTDQNPolicy, DQNPolicy, TreeQOptions, spaces.Discrete(2)),
    "sac": (GBTSACPolicy, SACPolicy, TreeStochasticActorOptions, BOX),
    "td3": (GBTTD3Policy, TD3Policy, TreeActorOptions, BOX),
}


def options_of_sb3(policy: type) -> list[str]:
    names = list(inspect.signature(policy.__init__).parameters)  # type: ignore[misc]
    return [name for name in names[4:] if name != "use_sde"]


EVERY_OPTION = [
    (name, option) for name, each in FAMILIES.items() for option in options_of_sb3(each[1])
]


@pytest.mark.parametrize(("family", "option"), EVERY_OPTION)
def test_an_option_of_sb3_works_or_is_refused_with_the_reason(family: str, option: str) -> None:
    policy, stock, options, actions = FAMILIES[family]
    default = inspect.signature(stock.__init__).parameters[option].default  # type: ignore[misc]
    known = list(options.__dataclass_fields__)  # type: ignore[attr-defined]
    if option in known:
        value = [8] if option == "net_arch" else default
        policy(BOX, actions, lambda _: 1.0, **{option: value})
        return
    with pytest.raises(
        ValueError, match=f"GBTPolicy has no option '{option}' here: .*tree"
    ) as said:
        policy(BOX, actions, lambda _: 1.0, **{option: default})
    assert all(name in str(said.value) for name in known)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_option_is_refused_with_the_nearest(family: str) -> None:
    policy, _, _, actions = FAMILIES[family]
    with pytest.raises(ValueError, match="no option 'value_rl' here, did you mean 'value_lr'"):
        policy(BOX, actions, lambda _: 1.0, value_rl=0.1)


@pytest.mark.parametrize("family", ["sac", "td3"])
def test_layers_of_critics_come_as_a_list_or_as_sb3s_dict(family: str) -> None:
    policy, _, _, actions = FAMILIES[family]
    for net_arch in ([8], {"qf": [8]}, {"pi": [], "qf": [8]}, np.array([8]), [{"qf": [8]}]):
        made = policy(BOX, actions, lambda _: 1.0, net_arch=net_arch)
        assert made.critic.qf0[0].out_features == 8
    made = policy(BOX, actions, lambda _: 1.0, net_arch=None)
    assert made.options.net_arch == {"sac": [256, 256], "td3": [400, 300]}[family]
    for wrong in (8, "big", {"qf": 8}, {"qf": None}):
        with pytest.raises(ValueError, match="net_arch must be a list of widths or a dict"):
            policy(BOX, actions, lambda _: 1.0, net_arch=wrong)
    with pytest.raises(ValueError, match="net_arch of 'pi' must be empty, got 8"):
        policy(BOX, actions, lambda _: 1.0, net_arch={"pi": 8, "qf": [8]})
    with pytest.raises(ValueError, match="net_arch of 'pi' must be empty, got"):
        policy(BOX, actions, lambda _: 1.0, net_arch={"pi": [8], "qf": [8]})
    with pytest.raises(ValueError, match="parts of net_arch must be one of pi, qf, got 'vf'"):
        policy(BOX, actions, lambda _: 1.0, net_arch={"vf": [8]})


EXPERTS = {"ppo": MoEPolicy, "dqn": MoEDQNPolicy, "sac": MoESACPolicy, "td3": MoETD3Policy}
Adam = torch.optim.Adam


@pytest.mark.parametrize("kind", ["trees", "experts"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer_class": None}, "optimizer_class must be a class of optimizers .*got None"),
        ({"optimizer_class": "adam"}, "optimizer_class must be a class of optimizers .*'adam'"),
        ({"optimizer_class": torch.nn.Linear}, "optimizer_class must be a class of optimizers"),
        ({"optimizer_class": torch.optim.LBFGS}, "must step without a closure"),
        ({"optimizer_class": torch.optim.SparseAdam}, "must step without sparse gradients"),
        ({"optimizer_kwargs": {"lr": 0.1}}, "optimizer_kwargs must be without 'lr', got 0.1"),
        ({"optimizer_kwargs": {"ep": 0.1}}, "optimizer_kwargs has no 'ep', did you mean 'eps'"),
        ({"optimizer_kwargs": {"params": []}}, "optimizer_kwargs has no 'params'"),
        ({"optimizer_kwargs": 3}, "optimizer_kwargs must be a dict of arguments of Adam, got 3"),
        ({"optimizer_class": partial(Adam, eps=0.1), "optimizer_kwargs": {"lr": 1}}, "without"),
    ],
)
def test_an_optimizer_that_cannot_be_is_refused(
    kind: str, family: str, options: dict[str, Any], message: str
) -> None:
    policy = FAMILIES[family][0] if kind == "trees" else EXPERTS[family]
    with pytest.raises(ValueError, match=message):
        policy(BOX, FAMILIES[family][3], lambda _: 1.0, **options)
    policy(BOX, FAMILIES[family][3], lambda _: 1.0, optimizer_class=partial(Adam, eps=0.1))


NUMBERS = {
    "value_lr": 0.125,
    "policy_lr": 0.5,
    "log_std_lr": 0.25,
    "log_std_init": -1.0,
    "max_policy_grad_norm": 2.0,
    "max_value_grad_norm": 4.0,
    "compaction_max_kl": 0.5,
    "tree_budget": 64,
    "n_critics": 3,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.array])
def test_numbers_of_numpy_are_numbers(family: str, kind: Any) -> None:
    _, _, options, _ = FAMILIES[family]
    known = options.__dataclass_fields__  # type: ignore[attr-defined]
    plain = {name: value for name, value in NUMBERS.items() if name in known}
    if family != "ppo":
        plain.pop("tree_budget", None)
    integers = {"tree_budget", "n_critics"}
    given = {name: (np.int64 if name in integers else kind)(value) for name, value in plain.items()}
    made, expected = read_options(options, given), read_options(options, plain)
    assert made == expected
    for name in plain:
        assert type(getattr(made, name)) in (int, float)


def test_arrays_of_rates_are_lists() -> None:
    made = TreeActorCriticOptions(
        policy_lr=np.array([0.5, 0.25], np.float32),
        value_lr={"init": np.float32(0.5), "stop": np.array(0.25), "T": np.int64(10)},
        shared=np.bool_(False),
    )
    assert made.policy_lr == [0.5, 0.25]
    assert made.value_lr == {"init": 0.5, "stop": 0.25, "T": 10.0}
    assert made.shared is False
    assert TreeActorCriticOptions(**made.plain()) == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared": 1}, "shared must be True or False, got 1"),
        ({"log_std_init": "wide"}, "log_std_init must be a finite number, got 'wide'"),
        ({"policy_lr": [0.1, None]}, "policy_lr must be a finite number, got None"),
        ({"policy_lr": np.ones((2, 2))}, "policy_lr must be a number, a dict"),
        ({"policy_lr": []}, "at least one rate"),
        ({"max_policy_grad_norm": True}, "max_policy_grad_norm must be None or > 0, got True"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeActorCriticOptions(**options)


def test_numbers_of_numpy_go_into_awr() -> None:
    AWR(
        "GBTPolicy", "CartPole-v1", learning_rate=np.float32(1e-3), buffer_size=np.int64(500),
        batch_size=np.array(16), gamma=np.float32(0.9), gae_lambda=np.float64(0.9),
        train_freq=np.int64(32), gradient_steps=np.int32(2), beta=np.array(0.5),
        w_max=np.float32(20), ent_coef=np.float32(0), vf_coef=np.float32(0.5),
        max_grad_norm=np.float32(0.5), seed=np.int64(1), device="cpu",
    ).learn(64)  # fmt: skip


# ---- spaces


class World(gym.Env[Any, Any]):
    """Any spaces."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 1.0, False, False, {}


PARTS: dict[str, spaces.Space[Any]] = {
    "Box": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    "Discrete": spaces.Discrete(3),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary([2, 2]),
}
OBSERVED = {**PARTS, "Dict": spaces.Dict(PARTS), "int": spaces.Box(0, 9, (2,), np.int16)}
ACTED = {**PARTS, "Box": BOX, "MultiBinary": spaces.MultiBinary(2)}
STOCK = {"PPO": PPO, "A2C": A2C, "AWR": AWR, "DQN": DQN, "SAC": SAC, "TD3": TD3, "DDPG": DDPG}


def test_the_table_names_every_kind() -> None:
    assert set(OBSERVATIONS) == set(OBSERVED) - {"int"}
    assert set(ACTIONS) == {*STOCK, "MaskablePPO"}


@pytest.mark.parametrize("observation", OBSERVED)
@pytest.mark.parametrize("algorithm", STOCK)
def test_the_spaces_of_the_table_train(algorithm: str, observation: str) -> None:
    kind = {"PPO": {"n_steps": 8, "batch_size": 8, "n_epochs": 1}, "A2C": {}}
    replay = {"learning_starts": 4, "batch_size": 4}
    settings: dict[str, Any] = kind.get(algorithm, replay)
    if algorithm == "AWR":
        settings = {"train_freq": 8, "gradient_steps": 1, "batch_size": 4}
    chosen = ACTIONS[algorithm]
    action = chosen[list(OBSERVED).index(observation) % len(chosen)]
    env = World(OBSERVED[observation], ACTED[action])
    model = STOCK[algorithm]("GBTPolicy", env, device="cpu", **settings).learn(10)
    assert model.policy.n_trees > 0


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (spaces.MultiDiscrete([[2, 3], [2, 3]]), BOX, r"nvec of shape \(2, 2\)"),
        (spaces.Tuple([BOX, BOX]), BOX, "observations of GBTPolicy must be .*got Tuple"),
        (spaces.Text(3), BOX, "got Text"),
        (spaces.Sequence(BOX), BOX, "got Sequence"),
        (spaces.Graph(BOX, None), BOX, "got Graph"),
        (spaces.Dict({"a": spaces.Dict({"b": BOX})}), BOX, "part 'a' of a Dict .* got Dict"),
        (spaces.Dict({}), BOX, "at least one part"),
        (BOX, spaces.MultiDiscrete([[2, 3]]), r"actions of GBTPolicy: .*nvec of shape \(1, 2\)"),
        (BOX, spaces.Tuple([BOX]), "actions of GBTPolicy must be .*got Tuple"),
        (BOX, spaces.MultiBinary([2, 2]), r"actions .*: MultiBinary .* got shape \(2, 2\)"),
        (BOX, spaces.Discrete(2, start=1), "actions of GBTPolicy must count from 0, got Disc"),
        (BOX, spaces.MultiDiscrete([2], start=[1]), "actions of GBTPolicy must count from 0"),
        (BOX, spaces.Box(-1.0, 1.0, (0,)), "actions of GBTPolicy must hold at least one number"),
        (spaces.Box(-1.0, 1.0, (2, 0)), BOX, "observations .* must hold at least one number"),
        (BOX, spaces.Dict({"a": BOX}), "got Dict"),
    ],
)
def test_other_spaces_are_refused_by_name(observation: Any, action: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GBTPolicy(observation, action, lambda _: 1.0)


@pytest.mark.parametrize(
    ("policy", "action", "message"),
    [
        (GBTDQNPolicy, BOX, "actions of GBTPolicy must be Discrete, got Box"),
        (GBTSACPolicy, spaces.Discrete(2), "actions of GBTPolicy must be Box, got Discrete"),
        (GBTTD3Policy, spaces.Discrete(2), "actions of GBTPolicy must be Box, got Discrete"),
    ],
)
def test_actions_of_another_algorithm_are_refused(policy: Any, action: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(BOX, action, lambda _: 1.0)


STARTED = spaces.Discrete(3, start=5)
SMALL_IMAGE = spaces.Box(0, 255, (3, 20, 20), np.uint8)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (STARTED, "observations of GBTPolicy must count from 0, got Discrete"),
        (spaces.Dict(a=STARTED), "part 'a' of a Dict observation of GBTPolicy must count from 0"),
        (spaces.Box(-1.0, 1.0, ()), "a Box must have at least one dimension"),
        (spaces.Dict(a=SMALL_IMAGE), "'a' must be an image of at least 36 x 36 pixels"),
    ],
)
def test_trees_take_what_networks_beside_them_cannot(space: Any, message: str) -> None:
    GBTPolicy(space, BOX, lambda _: 1.0).predict(space.sample())
    GBTSACPolicy(space, BOX, lambda _: 1.0, critic="tanh").predict(space.sample())
    for policy in (GBTSACPolicy, GBTTD3Policy):
        with pytest.raises(ValueError, match=message):
            policy(space, BOX, lambda _: 1.0)


def test_a_box_must_hold_numbers() -> None:
    strange = spaces.Box(-1.0, 1.0, (2,))
    strange.dtype = np.dtype(np.complex64)  # type: ignore[misc]
    with pytest.raises(ValueError, match="a Box must hold real numbers, got complex64"):
        check_spaces("GBTPolicy", strange, BOX)


def test_threads_of_the_caller_stay() -> None:
    from rlshare.trees import BoostedTrees
    from rlshare.trees.torch.module import TreeEnsemble

    assert TreeEnsemble(BoostedTrees(2, 1, n_threads=3)).trees.n_threads == 3
    module = TreeEnsemble(BoostedTrees(2, 1))
    assert module.trees.n_threads == torch.get_num_threads()
    module.load_state_dict(TreeEnsemble(BoostedTrees(2, 1, n_threads=3)).state_dict())
    assert module.trees.n_threads == torch.get_num_threads()
