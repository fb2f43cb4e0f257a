"""Off-policy agents on trees: save, load, the replay buffer, copies; every way is bit-equal."""

import copy
import functools
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from rlshare.policies import GBTDQNPolicy, GBTSACPolicy, GBTTD3Policy

KINDS = [
    *("DQN hard", "DQN polyak", "SAC nn", "SAC quadratic", "TD3 nn", "TD3 tanh"),
    *("DQN hard refit", "DQN polyak refit", "SAC quadratic refit", "TD3 tanh refit"),
]
ALGORITHMS: dict[str, Any] = {"DQN": DQN, "SAC": SAC, "TD3": TD3}
CLASSES = {"DQN": GBTDQNPolicy, "SAC": GBTSACPolicy, "TD3": GBTTD3Policy}
every_kind = pytest.mark.parametrize("kind", KINDS)


def bandit(kind: str) -> VecEnv:
    kwargs = {"observation": "dict", "action": "discrete" if "DQN" in kind else "box"}
    return make_vec_env(ContextualBandit, 2, seed=3, env_kwargs=kwargs)


def agent(kind: str) -> Any:
    algorithm, variant, *learner = kind.split()
    tree = {"learner": "refit", "n_trees": 20} if learner else {"subsample": 0.8}
    policy: dict[str, Any] = {"tree": tree, "value_lr": [0.1, 0.05]}
    settings: dict[str, Any] = {}
    if algorithm == "DQN":
        polyak = variant == "polyak"
        settings |= {"tau": 0.1 if polyak else 1.0, "target_update_interval": 8 if polyak else 80}
    else:
        policy |= {"critic": variant, "net_arch": [16]}
        policy["policy_lr"] = {"init": 0.1, "stop": 0.01, "T": 20}
    return ALGORITHMS[algorithm](
        "GBTPolicy", bandit(kind), train_freq=4, batch_size=32, learning_starts=40, seed=0,
        learning_rate=lambda remaining: 0.001 * (0.5 + 0.5 * remaining), device="cpu",
        buffer_size=1000, policy_kwargs=policy, **settings,
    )  # fmt: skip


def fingerprint(policy: Any) -> list[Any]:
    parameters = [parameter.tolist() for parameter in policy.parameters()]
    return [*(trees.to_bytes() for trees in policy.ensembles), parameters]


def go_on(model: Any, kind: str) -> list[Any]:
    """Train on, on what depends on nothing but the model."""
    model.set_env(bandit(kind))
    model.set_random_seed(7)  # the action space's generator too
    model.learn(120, reset_num_timesteps=False)
    return fingerprint(model.policy)


@functools.cache
def trained(kind: str) -> Any:
    """An agent to look at, not to train on."""
    return agent(kind).learn(120)


@every_kind
def test_a_loaded_agent_goes_on_bit_equal(kind: str, tmp_path: Path) -> None:
    model = agent(kind).learn(160)
    model.save(tmp_path / "agent.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = type(model).load(tmp_path / "agent.zip", env=bandit(kind), device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    assert type(loaded.policy) is CLASSES[kind[:3]]
    assert fingerprint(loaded.policy) == fingerprint(model.policy)
    steps = [trees.n_steps_done for trees in model.policy.ensembles]
    assert go_on(loaded, kind) == go_on(model, kind)
    for before, trees in zip(steps, loaded.policy.ensembles, strict=True):
        assert trees.n_steps_done > before > 0


@every_kind
def test_to_act_no_environment_is_needed(kind: str, tmp_path: Path) -> None:
    model = trained(kind)
    model.save(tmp_path / "agent.zip")
    loaded = type(model).load(tmp_path / "agent.zip", device="cpu")
    obs = bandit(kind).reset()
    np.testing.assert_array_equal(
        loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )


@every_kind
def test_the_policy_alone(kind: str, tmp_path: Path) -> None:
    model = trained(kind)
    model.policy.save(str(tmp_path / "policy.pt"))
    policy = CLASSES[kind[:3]].load(str(tmp_path / "policy.pt"), device="cpu")
    assert fingerprint(policy) == fingerprint(model.policy)
    with pytest.raises(ValueError, match="initial learning rate, which must be > 0"):
        policy.tree_optimizers[0].step()


@every_kind
def test_a_network_alone_is_refused(kind: str, tmp_path: Path) -> None:
    policy = agent(kind).policy
    network = policy.q_net if "DQN" in kind else policy.actor
    with pytest.raises(NotImplementedError, match="save the policy or the model"):
        network.save(str(tmp_path / "network.pt"))


@every_kind
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_policies_are_copied_and_pickled_after_training(
    kind: str, duplicate: Callable[[Any], Any]
) -> None:
    model = agent(kind).learn(120)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    twin = type(model).load(file, env=bandit(kind), device="cpu")
    twin.replay_buffer = copy.deepcopy(model.replay_buffer)
    twin.policy = duplicate(model.policy)
    twin._create_aliases()
    before = fingerprint(model.policy)
    assert fingerprint(twin.policy) == before
    after = go_on(model, kind)
    assert fingerprint(twin.policy) == before != after  # the copy shares nothing
    assert go_on(twin, kind) == after


@every_kind
def test_get_and_set_parameters(kind: str) -> None:
    model = agent(kind).learn(120)
    parameters = copy.deepcopy(model.get_parameters())
    before = fingerprint(model.policy)
    assert go_on(model, kind) != before
    model.set_parameters(parameters, device="cpu")
    assert fingerprint(model.policy) == before


@every_kind
def test_the_zip_loads_weights_only_and_holds_the_trees_once(kind: str, tmp_path: Path) -> None:
    model = trained(kind)
    model.save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive, archive.open("policy.pth") as file:
        state = torch.load(io.BytesIO(file.read()), weights_only=True)
    states = [value for key, value in state.items() if key.endswith("_extra_state")]
    assert len(states) == len(model.policy.ensembles)
    assert all(value.dtype == torch.uint8 for value in states)


@every_kind
def test_a_damaged_file_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(kind)
    state = model.policy.state_dict()
    next(value for key, value in state.items() if key.endswith("_extra_state"))[40:60] = 255
    monkeypatch.setattr(model.policy, "state_dict", lambda *args, **kwargs: state)
    model.save(tmp_path / "agent.zip")
    with pytest.raises(RuntimeError, match="not a valid rlshare model file"):
        type(model).load(tmp_path / "agent.zip", device="cpu")
