"""Save, load and go on: every way is bit-equal, and what is no model is refused."""

import copy
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
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from rlshare.policies import DictTreeRolloutBuffer, GBTPolicy, TreeRolloutBuffer


def bandit(observation: str = "dict", action: str = "box", n_envs: int = 4) -> VecEnv:
    kwargs = {"observation": observation, "action": action}
    return make_vec_env(ContextualBandit, n_envs, seed=3, env_kwargs=kwargs)


def agent(shared: bool = True, algorithm: str = "PPO", **tree: Any) -> BaseAlgorithm:
    policy_kwargs = {
        "tree": {"subsample": 0.8, **tree},
        "policy_lr": {"init": 0.1, "stop": 0.01, "T": 20},
        "value_lr": [0.1, 0.05],
        "log_std_lr": {"init": 0.1, "stop": 0.01, "T": 20},
        "shared": shared,
    }
    if algorithm == "A2C":
        return A2C("GBTPolicy", bandit(), seed=0, device="cpu", policy_kwargs=policy_kwargs)
    return PPO(
        "GBTPolicy", bandit(), n_steps=32, batch_size=32, n_epochs=2, seed=0, device="cpu",
        learning_rate=lambda remaining: 0.001 * (0.5 + 0.5 * remaining),
        rollout_buffer_class=DictTreeRolloutBuffer, policy_kwargs=policy_kwargs,
    )  # fmt: skip


def fingerprint(policy: Any) -> list[Any]:
    parameters = [parameter.tolist() for parameter in policy.parameters()]
    return [*(trees.to_bytes() for trees in policy.ensembles), parameters]


def go_on(model: BaseAlgorithm) -> list[Any]:
    """Train on a rollout that depends on nothing but the model."""
    model.set_env(bandit())
    set_random_seed(7)
    model.learn(256, reset_num_timesteps=True)
    return fingerprint(model.policy)


def saved_and_loaded(model: BaseAlgorithm) -> BaseAlgorithm:
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return type(model).load(file, env=bandit(), device="cpu")


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_a_loaded_agent_goes_on_bit_equal(algorithm: str, shared: bool) -> None:
    model = agent(shared, algorithm).learn(256)
    loaded = saved_and_loaded(model)
    assert type(loaded.policy) is GBTPolicy
    assert fingerprint(loaded.policy) == fingerprint(model.policy)
    assert go_on(loaded) == go_on(model)
    assert loaded.policy.n_trees > agent(shared, algorithm).learn(256).policy.n_trees


def test_rollout_bins_go_on_bit_equal() -> None:
    model = agent(bins="rollout").learn(256)
    loaded = saved_and_loaded(model)
    assert go_on(loaded) == go_on(model)


def test_files_on_disk(tmp_path: Path) -> None:
    model = agent().learn(128)
    model.save(tmp_path / "agent")
    loaded = PPO.load(tmp_path / "agent.zip", device="cpu")  # without an environment: to act
    obs = bandit().reset()
    np.testing.assert_array_equal(
        loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )


def test_the_policy_alone(tmp_path: Path) -> None:
    model = agent(shared=False).learn(128)
    model.policy.save(str(tmp_path / "policy.pt"))
    policy = GBTPolicy.load(str(tmp_path / "policy.pt"), device="cpu")
    assert fingerprint(policy) == fingerprint(model.policy)
    obs = bandit().reset()
    np.testing.assert_array_equal(
        policy.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )
    with pytest.raises(ValueError, match="initial learning rate, which must be > 0"):
        policy.optimizer.step()


def test_get_and_set_parameters() -> None:
    model = agent().learn(256)
    parameters = copy.deepcopy(model.get_parameters())  # torch parameters come as references
    before = fingerprint(model.policy)
    after = go_on(model)
    assert after != before
    model.set_parameters(parameters, device="cpu")
    assert fingerprint(model.policy) == before
    assert go_on(model) == after


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_policies_are_copied_and_pickled_after_training(
    duplicate: Callable[[Any], Any],
) -> None:
    model = agent(shared=False).learn(256)
    other = duplicate(model.policy)
    assert fingerprint(other) == fingerprint(model.policy)
    assert other.optimizer.ensembles[0] is other.trees["policy"]
    before = fingerprint(other)
    after = go_on(model)
    assert fingerprint(other) == before  # the copy shares nothing
    model.policy = other
    assert go_on(model) == after


def test_loading_between_minibatches_forgets_the_cached_rows() -> None:
    model = agent().learn(128)
    parameters = model.get_parameters()
    policy, buffer = model.policy, model.rollout_buffer
    policy.set_training_mode(True)
    samples = next(buffer.get(16))
    policy.evaluate_actions(samples.observations, samples.actions)
    go_on(model)
    policy.set_training_mode(True)
    samples = next(buffer.get(16))
    policy.evaluate_actions(samples.observations, samples.actions)
    policy.load_state_dict(parameters["policy"])
    cached, _, _ = policy.evaluate_actions(samples.observations, samples.actions)
    plain, _, _ = policy.evaluate_actions(dict(samples.observations), samples.actions)
    assert torch.equal(cached, plain)


def test_trees_of_another_shape_are_a_runtime_error() -> None:
    model = agent().learn(128)
    other = PPO("GBTPolicy", bandit("box", "discrete"), device="cpu")
    before = fingerprint(other.policy)
    with pytest.raises(RuntimeError):
        other.set_parameters({"policy": model.policy.state_dict()}, exact_match=False)
    assert fingerprint(other.policy) == before


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    model = PPO("GBTPolicy", "CartPole-v1", n_steps=64, batch_size=64, device="cpu").learn(64)
    state = model.policy.state_dict()
    state["trees.shared._extra_state"][40:60] = 255
    model.policy.state_dict = lambda *args, **kwargs: state
    model.save(tmp_path / "agent.zip")
    with pytest.raises(RuntimeError, match="not a valid rlshare model file"):
        PPO.load(tmp_path / "agent.zip", device="cpu")


def test_the_zip_loads_weights_only(tmp_path: Path) -> None:
    agent().learn(128).save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive, archive.open("policy.pth") as file:
        state = torch.load(io.BytesIO(file.read()), weights_only=True)
    assert state["trees.shared._extra_state"].dtype == torch.uint8


def test_a_new_agent_is_small(tmp_path: Path) -> None:
    model = PPO("GBTPolicy", "CartPole-v1", rollout_buffer_class=TreeRolloutBuffer, device="cpu")
    assert len(model.policy.ensembles[0].to_bytes()) < 10_000
