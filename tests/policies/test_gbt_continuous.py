"""Stock SAC, TD3 and DDPG on trees: gradients through dQ/da, critics, targets, learning."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import OBSERVATIONS, ContextualBandit
from quadratic_bandit import QuadraticBandit
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import ContinuousCritic

from rlshare.policies import GBTTD3Policy

FORMS = ["linear", "tanh", "quadratic"]
both = pytest.mark.parametrize("algorithm", [SAC, TD3])


def agent(
    algorithm: type[OffPolicyAlgorithm], env: Any = None, settings: Any = None, **policy: Any
) -> Any:
    env = env or make_vec_env(QuadraticBandit, 4, seed=1)
    if policy.get("critic", "nn") == "nn":
        policy = {"net_arch": [32, 32]} | policy
    settings = {
        "train_freq": 4, "batch_size": 64, "learning_starts": 64, "seed": 0,
    } | (settings or {})  # fmt: skip
    return algorithm("GBTPolicy", env, device="cpu", policy_kwargs=policy, **settings)


def noise() -> NormalActionNoise:
    return NormalActionNoise(np.zeros(2), np.full(2, 0.3))


def batch_of(model: Any, n: int = 64) -> tuple[np.ndarray[Any, Any], Any]:
    """Observations as the trees see them, and as the networks do."""
    obs = model.replay_buffer.sample(n).observations
    return obs.numpy(), obs


class TestForms:
    @both
    @pytest.mark.parametrize("form", FORMS)
    def test_the_gradient_of_q_in_the_action_is_that_of_the_formula(
        self, algorithm: Any, form: str
    ) -> None:
        model = agent(algorithm, critic=form).learn(300)
        x, obs = batch_of(model)
        actions = torch.empty(64, 2).uniform_(-1, 1).requires_grad_()
        for k, q in enumerate(model.critic(obs, actions)):
            (d_q,) = torch.autograd.grad(q.sum(), actions, retain_graph=True)
            theta = model.critic.trees[k].trees.predict(x)
            b, w, c = theta[:, 0], theta[:, 1:3], theta[:, 3:]
            a = actions.detach().numpy()
            if form == "linear":
                value, expected = b + (w * a).sum(1), w
            elif form == "tanh":
                t = np.tanh(a + c)
                value, expected = b + (w * t).sum(1), w * (1 - t**2)
            else:
                curve = np.log1p(np.exp(c))
                value = b + (w * a - curve * a**2).sum(1)
                expected = w - 2 * curve * a
            np.testing.assert_allclose(q.detach().numpy()[:, 0], value, atol=1e-5)
            np.testing.assert_allclose(d_q.numpy(), expected, atol=1e-5)
            assert (np.abs(d_q.numpy()).max(axis=1) > 0).all()  # nowhere is the actor left alone

    @pytest.mark.parametrize("form", FORMS)
    def test_the_first_critic_alone(self, form: str) -> None:
        model = agent(TD3, critic=form).learn(300)
        _, obs = batch_of(model)
        actions = torch.empty(64, 2).uniform_(-1, 1)
        torch.testing.assert_close(
            model.critic.q1_forward(obs, actions), model.critic(obs, actions)[0].detach()
        )

    @pytest.mark.parametrize("critic", ["trees", "gbt", None])
    def test_trees_over_the_action_are_not_offered(self, critic: Any) -> None:
        with pytest.raises(ValueError, match=r"critic must be one of nn, linear.*dQ/da would be 0"):
            agent(SAC, critic=critic)


class TestSteps:
    def test_the_actor_steps_along_the_gradient_of_q(self) -> None:
        settings = {"policy_delay": 1, "tau": 0.0}
        model = agent(TD3, settings=settings, critic="quadratic", value_lr=0.2).learn(400)
        reference = model.policy.actor.trees[0].trees.copy()
        np.random.seed(3)
        x, _ = batch_of(model)
        np.random.seed(3)
        torch.manual_seed(3)
        model.train(1, batch_size=64)
        theta = reference.predict(x)
        a = np.tanh(theta)
        columns = model.critic.trees[0].trees.predict(x)  # the critic has made its step before
        w, curve = columns[:, 1:3], np.log1p(np.exp(columns[:, 3:]))
        grads = -(w - 2 * curve * a) * (1 - a**2)
        norm = np.linalg.norm(grads, axis=1, keepdims=True)
        assert (norm > 1).any()  # so that clipping is seen
        assert (norm < 1).any()
        reference.step(x, grads / np.maximum(norm, 1))
        np.testing.assert_allclose(
            model.policy.actor.trees[0].trees.predict(x), reference.predict(x), atol=1e-5
        )

    @both
    @pytest.mark.parametrize("form", FORMS)
    def test_gradients_that_the_actor_leaves_on_a_critic_are_not_its_step(
        self, algorithm: Any, form: str
    ) -> None:
        model = agent(
            algorithm, critic=form, n_critics=1, value_lr=0.3, tree={"max_depth": 2}
        ).learn(300)
        model.train(4, batch_size=64)
        critic = model.critic
        reference = critic.trees[0].trees.copy()
        x, obs = batch_of(model)
        actions = torch.empty(64, 2).uniform_(-1, 1)
        critic.optimizer.zero_grad()
        q = critic(obs, actions)[0]
        (q**2).mean().backward()
        critic.optimizer.step()
        a, theta = actions.numpy(), reference.predict(x)
        if form == "linear":
            slopes = a
        elif form == "tanh":
            t = np.tanh(a + theta[:, 3:])
            slopes = np.concatenate([t, theta[:, 1:3] * (1 - t**2)], axis=1)
        else:
            slopes = np.concatenate([a, -(a**2) / (1 + np.exp(-theta[:, 3:]))], axis=1)
        reference.step(x, 2 * q.detach().numpy() * np.concatenate([np.ones((64, 1)), slopes], 1))
        np.testing.assert_allclose(
            critic.trees[0].trees.predict(x), reference.predict(x), atol=1e-4
        )

    def test_every_update_grows_one_tree(self) -> None:
        model = agent(TD3, settings={"policy_delay": 2}, critic="quadratic").learn(164)
        n = model._n_updates
        assert n > 4
        assert [trees.n_trees for trees in model.policy.ensembles] == [n // 2, n, n]
        model = agent(SAC, critic="nn").learn(164)
        assert [trees.n_trees for trees in model.policy.ensembles] == [model._n_updates]
        assert float(model.log_ent_coef.detach()) != 0.0  # the entropy coefficient is learnt


class TestCritics:
    @both
    def test_a_network_is_that_of_stable_baselines3(self, algorithm: Any) -> None:
        model = agent(algorithm, net_arch=[8]).learn(164)
        assert type(model.critic) is ContinuousCritic
        assert [p.shape[0] for p in model.critic.qf0.parameters()] == [8, 8, 1, 1]
        assert isinstance(model.critic.optimizer, torch.optim.Adam)

    @both
    def test_twins_differ_by_their_draws(self, algorithm: Any) -> None:
        x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
        model = agent(algorithm, critic="quadratic").learn(300)
        first, second = (module.trees.predict(x) for module in model.critic.trees)
        assert (first != second).any()
        model = agent(algorithm, critic="quadratic", tree={"subsample": 1.0}).learn(300)
        first, second = (module.trees.predict(x) for module in model.critic.trees)
        np.testing.assert_array_equal(first, second)

    def test_targets_are_the_averages_of_their_online_ensembles(self) -> None:
        model = agent(TD3, settings={"policy_delay": 2, "tau": 0.1}, critic="tanh").learn(300)
        pairs = [(model.actor, model.actor_target), (model.critic, model.critic_target)]
        for online, target in pairs:
            for ours, theirs in zip(online.trees, target.trees, strict=True):
                n, per_update = ours.trees.n_trees, 1 if online is model.actor else 2
                updates = n // per_update - np.arange(n) // per_update
                np.testing.assert_allclose(theirs.weights, 1 - 0.9**updates, atol=1e-9)

    def test_ddpg_has_one_critic(self) -> None:
        model = agent(DDPG, critic="linear").learn(164)
        assert len(model.critic.trees) == 1
        assert type(model.policy) is GBTTD3Policy


class TestLearning:
    @both
    @pytest.mark.parametrize("critic", ["nn", "quadratic"])
    def test_finds_the_optimum_of_a_quadratic_reward(self, algorithm: Any, critic: str) -> None:
        settings: dict[str, Any] = {"batch_size": 256, "gamma": 0.0, "learning_rate": 3e-3}
        settings |= {"ent_coef": 0.01} if algorithm is SAC else {"action_noise": noise()}
        settings["train_freq"] = 1  # a gradient step for 4 environments
        policy = {"tree": {"max_depth": 2, "min_samples_leaf": 8}, "policy_lr": 0.1}
        policy |= {"log_std_init": -1.0, "log_std_lr": 0.05} if algorithm is SAC else {}
        model = agent(algorithm, settings=settings, critic=critic, **policy).learn(1200)
        s = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
        error = np.abs(model.predict(s, deterministic=True)[0] - QuadraticBandit.best(s))
        assert error.mean() < 0.4  # 0.6 for the best constant action

    @pytest.mark.parametrize("critic", ["nn", "tanh"])
    @pytest.mark.parametrize("observation", OBSERVATIONS)
    def test_any_observation(self, observation: str, critic: str) -> None:
        kwargs = {"observation": observation, "action": "box"}
        env = make_vec_env(ContextualBandit, 4, seed=1, env_kwargs=kwargs)
        model = agent(SAC, env, critic=critic, policy_lr=0.5).learn(200)
        seen = [env.reset() for _ in range(10)]
        actions = np.concatenate([model.predict(obs, deterministic=True)[0] for obs in seen])
        assert actions.shape == (40, 2)
        assert len(np.unique(actions, axis=0)) > 1  # the actor tells observations apart


@both
def test_a_learning_rate_schedule_drives_the_trees(algorithm: type[BaseAlgorithm]) -> None:
    settings = {"learning_rate": lambda remaining: 0.01 * remaining}
    model = agent(algorithm, settings=settings, critic="linear", policy_lr=0.2).learn(400)  # type: ignore[type-var]
    for trees, rate in zip(model.policy.ensembles, (0.2, 0.1, 0.1), strict=True):
        first, last = (trees.tree_structure(i)["rates"][0] for i in (0, trees.n_trees - 1))
        assert 0.7 * rate < first < rate
        assert last < 0.05 * rate


def test_the_initial_spread() -> None:
    model = agent(SAC, log_std_init=-1.5)
    _, log_std, _ = model.actor.get_action_dist_params(torch.zeros(3, 2))
    torch.testing.assert_close(log_std, torch.full((3, 2), -1.5))


@both
def test_acting_leaves_nothing_behind(algorithm: Any) -> None:
    model = agent(algorithm, critic="linear").learn(164)
    n_trees = model.policy.n_trees
    action, _ = model.predict(np.zeros(2, np.float32), deterministic=True)
    assert action.shape == (2,)
    assert model.predict(np.zeros((5, 2), np.float32))[0].shape == (5, 2)
    assert not model.actor.trees[0]._tape
    assert model.policy.n_trees == n_trees


def test_state_dependent_exploration_is_refused() -> None:
    with pytest.raises(ValueError, match="use_sde must be False"):
        agent(SAC, settings={"use_sde": True})


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tree": {"depth": 3}}, "no key 'depth'"),
        ({"tree": {"bins": "rollout"}}, 'tree bins must be "batch" with a replay buffer'),
        ({"policy_lr": -1.0}, "policy_lr must be finite and >= 0, got -1.0"),
        ({"critic": "linear", "value_lr": "fast"}, "value_lr must be a number"),
        ({"max_policy_grad_norm": 0.0}, "max_policy_grad_norm must be None or > 0, got 0.0"),
        ({"n_critics": 0}, "n_critics must be an integer >= 1, got 0"),
        ({"tree_budget": 100}, "tree_budget must be None with DQN, SAC and TD3, got 100"),
    ],
)
def test_bad_options(algorithm: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent(algorithm, **options)


class TestOptimizersOfOnesOwn:
    @both
    @pytest.mark.parametrize("copied", [False, True])
    def test_one_over_what_needs_gradients_is_refused(self, algorithm: Any, copied: bool) -> None:
        policy = agent(algorithm).policy
        if copied:
            policy = copy.deepcopy(policy)
        learnt = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        own = torch.optim.Adam(learnt)
        obs = torch.zeros(4, *policy.observation_space.shape)
        policy.critic.q1_forward(obs, policy.actor(obs)).mean().backward()
        before = [parameter.clone() for parameter in learnt]
        with pytest.raises(ValueError, match="trees are no torch parameters, and Adam over those"):
            own.step()
        assert all(map(torch.equal, before, learnt))
        policy.critic.optimizer.step()  # the policy's own, in any order
        policy.actor.optimizer.step()
        assert policy.n_trees == 1
        own.step()  # while no gradient waits

    @both
    def test_one_for_the_critics_learns_in_the_algorithm(self, algorithm: Any) -> None:
        model = agent(algorithm)
        critic = model.policy.critic
        critic.optimizer = torch.optim.SGD(critic.parameters(), lr=1e-3)
        before = [parameter.clone() for parameter in critic.parameters()]
        model.learn(200)
        assert model.policy.n_trees > 0
        assert not any(map(torch.equal, before, critic.parameters()))
