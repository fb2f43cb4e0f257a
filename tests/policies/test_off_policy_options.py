"""What the tree policies of DQN, SAC and TD3 make of their options, and how they begin."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.optimizer import BoostingOptimizer

X = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)
both = pytest.mark.parametrize("algorithm", [SAC, TD3])


def policy(algorithm: type[BaseAlgorithm], **options: Any) -> Any:
    env = "CartPole-v1" if algorithm is DQN else "Pendulum-v1"
    return algorithm("GBTPolicy", env, seed=0, device="cpu", policy_kwargs=options).policy


def longest_step(module: TreeEnsemble, optimizer: BoostingOptimizer) -> float:
    """How far the outputs of a row move on gradients of great norm."""
    x = np.resize(X, (64, module.trees.n_features))
    before = module.trees.predict(x)
    (1e4 * module(x).sum()).backward()
    optimizer.step()
    return float(np.linalg.norm(module.trees.predict(x) - before, axis=1).max())


@pytest.mark.parametrize("algorithm", [SAC, TD3, DQN])
def test_gradients_of_values_are_clipped(algorithm: Any) -> None:
    form = {} if algorithm is DQN else {"critic": "quadratic"}
    made = policy(algorithm, value_lr=0.5, max_value_grad_norm=0.2, **form)
    network, optimizer = (
        (made.q_net, made.optimizer) if form == {} else (made.critic, made.critic.optimizer)
    )
    for module in network.trees:
        assert longest_step(module, optimizer) == pytest.approx(0.1, rel=1e-4)


@both
def test_constraints_are_the_actors(algorithm: Any) -> None:
    made = policy(algorithm, critic="quadratic", tree={"monotonic": [(0, 0, 1)]})
    actor, *critics = (ensemble.params.monotonic for ensemble in made.ensembles)
    assert [tuple(each) for each in actor] == [(0, 0, 1)]
    assert critics == [None, None]


@both
def test_the_target_of_a_network_begins_equal_to_it(algorithm: Any) -> None:
    made = policy(algorithm, critic="nn", net_arch=[8])
    obs, actions = torch.from_numpy(X), torch.zeros(len(X), 1)
    for online, target in zip(
        made.critic(obs, actions), made.critic_target(obs, actions), strict=True
    ):
        assert torch.equal(online, target)
