"""Asking a tree policy leaves no trace in it; optimizers that are not its own are refused."""

import copy
import gc
import pickle
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

from rlshare.policies import GBTDQNPolicy, GBTPolicy, GBTSACPolicy, GBTTD3Policy

BOX = spaces.Box(-1.0, 1.0, (3,))
OBS, ACTIONS = torch.zeros(16, 3), torch.zeros(16, 3)


def actor_critic(**options: Any) -> GBTPolicy:
    return GBTPolicy(BOX, BOX, lambda _: 1.0, **{"tree": {}, **options})


def sac(critic: str = "tanh") -> GBTSACPolicy:
    return GBTSACPolicy(BOX, BOX, lambda _: 1.0, critic=critic, net_arch=[4])


def pending(policy: Any) -> int:
    return sum(len(module._tape) for module in policy.tree_modules)


@pytest.mark.parametrize(
    "ask",
    [
        lambda policy: policy.get_distribution(OBS),
        lambda policy: policy.predict_values(OBS),
        lambda policy: policy.evaluate_actions(OBS, ACTIONS),
        lambda policy: policy(OBS, deterministic=True),
        lambda policy: policy.predict(OBS.numpy()),
    ],
    ids=["distribution", "values", "log_prob", "forward", "predict"],
)
def test_a_policy_that_is_read_keeps_nothing(ask: Callable[[Any], Any]) -> None:
    policy = actor_critic(tree_budget=16)
    for mode, gradients in product([True, False], repeat=2):
        policy.train(mode)
        with torch.set_grad_enabled(gradients):
            for _ in range(5):
                ask(policy)
    policy.action_dist = None  # type: ignore[assignment]  # holds the last answer
    gc.collect()
    thetas = [x for x in gc.get_objects() if type(x) is torch.Tensor and x.shape == (16, 4)]
    assert not thetas
    assert pending(policy) == 0
    assert policy.budget is not None
    assert len(policy.budget.rows) == 0


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_after_a_look_by_predict_trees_learn_on(env: str) -> None:
    """SB3's predict leaves a policy in evaluation mode, where networks learn too."""
    policy = PPO("GBTPolicy", env, device="cpu", seed=0, policy_kwargs={"tree": {}}).policy
    obs = torch.randn(64, *policy.observation_space.shape)
    actions, _ = policy.predict(obs.numpy())
    loss = -policy.evaluate_actions(obs, torch.as_tensor(actions))[1].mean()
    policy.optimizer.zero_grad()
    loss.backward()
    policy.optimizer.step()
    assert policy.n_trees == 1


def test_a_pass_is_kept_once_its_gradient_came() -> None:
    policy = actor_critic()

    def learn() -> None:
        policy.evaluate_actions(OBS, ACTIONS)[1].mean().backward()

    learn()  # nothing of its graph is left, the gradient is
    gc.collect()
    assert pending(policy) == 1
    policy.optimizer.step()
    assert (policy.n_trees, pending(policy)) == (1, 0)
    learn()
    policy.optimizer.zero_grad()
    policy.optimizer.step()
    assert policy.n_trees == 1


def test_a_gradient_that_comes_after_the_step_is_not_taken() -> None:
    policy = actor_critic()
    late = policy.evaluate_actions(OBS, ACTIONS)[1].mean()
    policy.optimizer.step()
    late.backward()
    policy.optimizer.step()
    assert policy.n_trees == 0


Losses = dict[str, tuple[Callable[[], Any], Callable[[Any], torch.Tensor], Callable[[Any], Any]]]
LEARNERS: Losses = {
    "log_std": (
        actor_critic,
        lambda policy: -policy.evaluate_actions(OBS, ACTIONS)[1].mean(),
        lambda policy: policy.parameters(),
    ),
    "anchor": (
        lambda: GBTPolicy(BOX, spaces.Discrete(2), lambda _: 1.0, shared=False, tree={}),
        lambda policy: policy.predict_values(OBS).mean(),
        lambda policy: policy.parameters(),
    ),
    "q": (
        lambda: GBTDQNPolicy(BOX, spaces.Discrete(2), lambda _: 1.0, tree={}),
        lambda policy: policy.q_net(OBS).mean(),
        lambda policy: policy.q_net.parameters(),
    ),
    "sac": (
        lambda: sac("nn"),
        lambda policy: policy.actor(OBS).mean(),
        lambda policy: policy.parameters(),
    ),
    "sac critics": (
        sac,
        lambda policy: policy.critic(OBS, ACTIONS)[1].mean(),
        lambda policy: policy.critic.parameters(),
    ),
    "td3": (
        lambda: GBTTD3Policy(BOX, BOX, lambda _: 1.0),
        lambda policy: policy.actor(OBS).mean(),
        lambda policy: policy.actor.parameters(),
    ),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_another_optimizer_over_the_parameters_is_refused(name: str) -> None:
    make, loss, parameters = LEARNERS[name]
    policy = make()
    optimizer = torch.optim.Adam(parameters(policy), lr=1e-2)
    optimizer.zero_grad()
    loss(policy).backward()
    with pytest.raises(ValueError, match=r"step policy\.optimizer in its place"):
        optimizer.step()
    for each in policy.tree_optimizers:
        each.step()
    assert policy.n_trees > 0


def test_other_networks_beside_the_trees_have_their_own_optimizer() -> None:
    policy, network = actor_critic(), torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(network.parameters())
    (policy.predict_values(OBS).mean() + network(OBS).mean()).backward()
    optimizer.step()
    policy.optimizer.step()
    assert policy.n_trees == 1


def test_critics_that_are_networks_have_their_own_optimizer() -> None:
    policy = sac("nn")
    optimizer = torch.optim.Adam(policy.critic.parameters())
    policy.actor(OBS).mean().backward()
    policy.critic(OBS, ACTIONS)[0].mean().backward()
    optimizer.step()
    policy.actor.optimizer.step()
    assert policy.n_trees == 1


def test_frozen_parts_stay_and_the_trees_learn() -> None:
    policy = actor_critic()
    policy.log_std.requires_grad_(False)
    policy.evaluate_actions(OBS, ACTIONS + 1)[1].mean().backward()
    policy.optimizer.step()
    assert policy.n_trees == 1
    assert policy.log_std.tolist() == [-2.0] * 3
    frozen = sac("nn")
    for parameter in frozen.critic.parameters():
        parameter.requires_grad_(False)
    actions = frozen.actor(OBS)
    frozen.critic(OBS, actions)[0].mean().backward()
    frozen.actor.optimizer.step()
    assert frozen.n_trees == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", LEARNERS)
def test_copies_learn_on_alike(name: str, duplicate: Callable[[Any], Any]) -> None:
    make, loss, _ = LEARNERS[name]

    def learn(policy: Any) -> None:
        torch.manual_seed(0)  # actions of SAC are drawn
        for _ in range(3):
            loss(policy).backward()
            for optimizer in policy.tree_optimizers:
                optimizer.step()
                optimizer.zero_grad()

    policy = make()
    learn(policy)
    loss(policy).backward()  # a gradient that waits is no part of the copy
    other = duplicate(policy)
    assert pending(other) == 0
    for optimizer in policy.tree_optimizers:
        optimizer.zero_grad()
    learn(policy)
    before = [trees.n_trees for trees in other.ensembles]
    learn(other)
    assert before != [trees.n_trees for trees in other.ensembles]
    for ours, theirs in zip(policy.ensembles, other.ensembles, strict=True):
        assert ours.to_bytes() == theirs.to_bytes()
    states = policy.state_dict(), other.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
