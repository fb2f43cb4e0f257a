"""Stock DQN on trees: the step it takes, its target, what it learns, what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import OBSERVATIONS, ContextualBandit
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from rlshare.policies import GBTDQNPolicy


def bandit(observation: str = "box", n_envs: int = 8) -> VecEnv:
    return make_vec_env(ContextualBandit, n_envs, seed=1, env_kwargs={"observation": observation})


def agent(env: Any = "CartPole-v1", policy: dict[str, Any] | None = None, **settings: Any) -> DQN:
    settings = {"train_freq": 8, "batch_size": 128, "learning_starts": 100, "seed": 0} | settings
    return DQN("GBTPolicy", env, device="cpu", policy_kwargs=policy or {"tree": {}}, **settings)


@pytest.mark.parametrize("learner", ["grow", "refit"])
def test_a_gradient_step_is_one_boosting_step_on_the_gradients_of_the_taken_actions(
    learner: str,
) -> None:
    """Of leaves that move, each action's are counted by the rows that took it."""
    options = {"value_lr": 0.3, "tree": {"learner": learner}}
    model = agent(target_update_interval=40, policy=options).learn(400)
    policy, n = model.policy, 64
    reference = policy.ensembles[0].copy()
    np.random.seed(5)
    batch = model.replay_buffer.sample(n)
    x, actions = batch.observations.numpy(), batch.actions.numpy()[:, 0]
    with torch.no_grad():
        value = policy.q_net_target(batch.next_observations).max(1, keepdim=True)[0]
        target = batch.rewards + (1 - batch.dones) * model.gamma * value
    rows, grads = np.arange(n), np.zeros((n, 2), np.float32)
    q = reference.predict(x)[rows, actions]
    grads[rows, actions] = np.clip(q - target.numpy()[:, 0], -1, 1)  # of smooth_l1
    taken = np.eye(2)[actions]
    reference.step(x, grads, sample_weight=taken if learner == "refit" else None)
    np.random.seed(5)
    model.train(1, batch_size=n)
    assert policy.ensembles[0].n_trees == reference.n_trees
    assert policy.ensembles[0].n_steps_done == reference.n_steps_done
    np.testing.assert_allclose(policy.ensembles[0].predict(x), reference.predict(x), atol=1e-6)


def test_a_hard_target_is_the_first_trees() -> None:
    model = agent(target_update_interval=150).learn(500)
    q_net, target = model.policy.q_net, model.policy.q_net_target
    x = model.replay_buffer.observations[:200, 0]
    k = target.trees[0].n_full
    assert 0 < k < model.policy.n_trees
    np.testing.assert_array_equal(
        target(torch.from_numpy(x)).numpy(), model.policy.ensembles[0].predict(x, 0, k)
    )
    assert next(iter(q_net.parameters())).tolist() == [1.0] * model.policy.n_trees


def test_a_polyak_target_moves_little_by_little() -> None:
    model = agent(target_update_interval=8, tau=0.05).learn(1000)
    weights = model.policy.q_net_target.trees[0].weights.numpy()
    # the target moves before each gradient step, so the newest tree is yet to come
    ages = np.arange(len(weights))[::-1]
    np.testing.assert_allclose(weights, 1 - 0.95**ages, atol=1e-9)


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_learns_the_bandit(observation: str) -> None:
    model = agent(
        bandit(observation), {"value_lr": 0.5}, train_freq=4, gamma=0.0, batch_size=256,
        exploration_fraction=0.5, exploration_final_eps=0.1,
    ).learn(2000)  # fmt: skip
    env = make_vec_env(ContextualBandit, seed=2, env_kwargs={"observation": observation})
    assert evaluate_policy(model, env, n_eval_episodes=60)[0] >= 0.85


def test_learns_to_balance_the_pole() -> None:
    tree = {"score": "l2", "max_depth": 6, "min_samples_leaf": 4}
    model = agent(
        policy={"value_lr": 1.0, "tree": tree}, n_steps=8, train_freq=32, gradient_steps=2,
        batch_size=512, learning_starts=1000, target_update_interval=256,
        exploration_fraction=0.8,
    )  # fmt: skip
    before = evaluate_policy(model, model.get_env(), 10)[0]
    after = evaluate_policy(model.learn(5000), model.get_env(), 10)[0]
    assert before < 30
    assert after > 150


def test_a_learning_rate_schedule_drives_the_trees() -> None:
    model = agent(learning_rate=lambda remaining: 0.01 * remaining, policy={"value_lr": 0.2})
    trees = model.learn(800).policy.ensembles[0]
    first, last = (trees.tree_structure(i)["rates"][0] for i in (0, trees.n_trees - 1))
    assert first == pytest.approx(0.2 * (1 - 104 / 800))
    assert last == pytest.approx(0.0, abs=1e-9)


def test_acting_leaves_nothing_behind() -> None:
    model = agent(bandit("dict")).learn(400)
    space = model.observation_space
    one, many = space.sample(), model.get_env().reset()
    n_trees = model.policy.n_trees
    action, _ = model.predict(one, deterministic=True)
    assert action.shape == ()
    assert model.predict(many, deterministic=True)[0].shape == (8,)
    batch = {key: np.stack([value, value]) for key, value in one.items()}
    assert (model.predict(batch, deterministic=True)[0] == action).all()
    assert not model.policy.q_net.trees[0]._tape
    assert model.policy.n_trees == n_trees


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tree": {"depth": 3}}, "no key 'depth'"),
        ({"tree": {"bins": "rollout"}}, 'tree bins must be "batch" with a replay buffer'),
        ({"value_lr": -1.0}, "value_lr must be finite and >= 0, got -1.0"),
        ({"tree_budget": 100}, "tree_budget must be None with DQN, SAC and TD3, got 100"),
        ({"max_value_grad_norm": 0.0}, "max_value_grad_norm must be None or > 0, got 0.0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent(policy=options)


def test_a_vector_of_parameters_is_refused() -> None:
    policy = agent().policy
    assert type(policy) is GBTDQNPolicy
    with pytest.raises(NotImplementedError, match="trees"):
        policy.parameters_to_vector()
