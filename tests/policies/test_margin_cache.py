"""Row identity from the rollout buffer: exact, and the trees are walked once per row."""

from typing import Any

import numpy as np
import pytest
from contextual_bandit import ContextualBandit
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from rlshare.policies import DictTreeRolloutBuffer, GBTPolicy, TreeRolloutBuffer

STOCK = {"box": RolloutBuffer, "discrete": RolloutBuffer, "dict": DictRolloutBuffer}
TREE = {"box": TreeRolloutBuffer, "discrete": TreeRolloutBuffer, "dict": DictTreeRolloutBuffer}


class Learning(BaseCallback):
    """Counts the tree evaluations of the training phases alone."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = 0
        self.mark: int | None = None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.mark is not None:
            self.evaluations += self.now() - self.mark

    def _on_rollout_end(self) -> None:
        self.mark = self.now()

    def now(self) -> int:
        assert isinstance(self.model.policy, GBTPolicy)
        return self.model.policy.n_tree_evaluations


def train(
    observation: str,
    buffer_class: type[RolloutBuffer],
    n_rollouts: int = 4,
    n_epochs: int = 3,
    **policy_kwargs: Any,
) -> tuple[PPO, int]:
    env = make_vec_env(ContextualBandit, 16, seed=1, env_kwargs={"observation": observation})
    model = PPO(
        "GBTPolicy", env, n_steps=8, batch_size=32, n_epochs=n_epochs, seed=0, device="cpu",
        rollout_buffer_class=buffer_class, policy_kwargs={"policy_lr": 0.2, **policy_kwargs},
    )  # fmt: skip
    callback = Learning()
    model.learn(128 * n_rollouts, callback)
    return model, callback.evaluations


@pytest.mark.parametrize("observation", TREE)
@pytest.mark.parametrize("shared", [True, False])
def test_the_trained_model_is_bit_identical_with_and_without(
    observation: str, shared: bool
) -> None:
    with_cache, few = train(observation, TREE[observation], shared=shared)
    without, many = train(observation, STOCK[observation], shared=shared)
    assert few < many
    for ours, theirs in zip(with_cache.policy.ensembles, without.policy.ensembles, strict=True):
        assert ours.to_bytes() == theirs.to_bytes()


def test_tree_evaluations_drop_tenfold() -> None:
    _, few = train("box", TreeRolloutBuffer, 6, n_epochs=15)
    _, many = train("box", RolloutBuffer, 6, n_epochs=15)
    assert many >= 10 * few


def test_a2c_agrees_with_and_without() -> None:
    def trees(buffer_class: type[RolloutBuffer]) -> bytes:
        model = A2C("GBTPolicy", "CartPole-v1", seed=0, device="cpu",
                    rollout_buffer_class=buffer_class)  # fmt: skip
        bytes_: bytes = model.learn(200).policy.ensembles[0].to_bytes()
        return bytes_

    assert trees(TreeRolloutBuffer) == trees(RolloutBuffer)


@pytest.mark.parametrize("observation", TREE)
def test_samples_know_their_rows(observation: str) -> None:
    model, _ = train(observation, TREE[observation], n_epochs=1)
    buffer = model.rollout_buffer
    for samples in buffer.get(24):
        rows = samples.observations.row_ids
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(samples.returns.numpy(), buffer.returns[rows].flatten())
        if observation == "dict":
            for key, part in samples.observations.items():
                np.testing.assert_array_equal(part.numpy(), buffer.observations[key][rows])
        else:
            np.testing.assert_array_equal(samples.observations.numpy(), buffer.observations[rows])


def test_a_new_rollout_has_new_rows() -> None:
    model, _ = train("box", TreeRolloutBuffer, n_epochs=1)
    policy, buffer = model.policy, model.rollout_buffer
    policy.set_training_mode(True)
    old = next(buffer.get(16))
    policy.evaluate_actions(old.observations, old.actions.long().flatten())
    model.collect_rollouts(model.env, started(model), buffer, 8)
    policy.set_training_mode(True)
    new = next(buffer.get(16))
    cached, _, _ = policy.evaluate_actions(new.observations, new.actions.long().flatten())
    plain, _, _ = policy.evaluate_actions(new.observations.clone(), new.actions.long().flatten())
    np.testing.assert_array_equal(cached.detach(), plain.detach())


def started(model: PPO) -> Learning:
    callback = Learning()
    callback.init_callback(model)
    return callback


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("observation", TREE)
def test_rollout_bins_learn_the_bandit(observation: str, shared: bool) -> None:
    model, _ = train(
        observation, TREE[observation], 8, tree={"bins": "rollout"}, policy_lr=0.5, shared=shared
    )
    env = make_vec_env(ContextualBandit, 64, seed=9, env_kwargs={"observation": observation})
    actions, _ = model.predict(env.reset(), deterministic=True)
    _, rewards, _, _ = env.step(actions)
    assert rewards.mean() >= 0.85
