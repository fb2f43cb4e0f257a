"""What one training phase of AWR learns: its losses, their coefficients, its numbers."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rlshare.agents import AWR, TrajectoryBuffer

ONE_PHASE = {"train_freq": 64, "batch_size": 128, "seed": 0, "device": "cpu"}
N_STEPS = 512  # of 8 environments: the phase comes at their end


def bandit() -> Any:
    return make_vec_env(ContextualBandit, 8, seed=1)


def first_step(**settings: Any) -> dict[str, torch.Tensor]:
    """By how much one step of plain gradient descent moves the parameters of a shared mixture."""
    options = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    model = AWR(
        "MoEPolicy", bandit(), learning_rate=1.0, gradient_steps=1, policy_kwargs=options,
        **ONE_PHASE, **settings,
    )  # fmt: skip
    assert model.shared
    before = {name: p.detach().clone() for name, p in model.policy.named_parameters()}
    model.learn(N_STEPS)
    return {name: p.detach() - before[name] for name, p in model.policy.named_parameters()}


def test_vf_coef_is_the_share_of_the_values_loss_in_joint_steps() -> None:
    half, quarter = (first_step(vf_coef=coef, max_grad_norm=1e9) for coef in (0.5, 0.25))
    value, actor = "value_net.weight", "action_net.weight"
    assert half[value].abs().max() > 0
    torch.testing.assert_close(quarter[value], half[value] / 2, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(quarter[actor], half[actor], rtol=1e-4, atol=1e-7)


def test_the_gradient_of_torch_parameters_is_clipped() -> None:
    step = first_step(max_grad_norm=0.01)
    length = torch.cat([part.flatten() for part in step.values()]).norm()
    assert length.item() == pytest.approx(0.01, rel=1e-3)


def test_the_entropy_bonus_keeps_the_policy_wide() -> None:
    entropies = []
    for ent_coef in (0.0, 30.0):
        settings = {"gradient_steps": 30, "learning_rate": 0.02, "beta": 0.1}
        model = AWR("MlpPolicy", bandit(), ent_coef=ent_coef, **settings, **ONE_PHASE)
        model.learn(N_STEPS)
        obs = torch.as_tensor(model.replay_buffer.observations[:, 0])
        with torch.no_grad():
            entropies.append(model.policy.get_distribution(obs).entropy().mean().item())
    assert entropies[0] < 0.8 * np.log(3)
    assert entropies[1] > 0.95 * np.log(3)


def test_separate_actors_learn_from_advantages_over_the_new_values() -> None:
    """Every reward is 1: against the values before the phase, 0, each weight would be w_max."""

    def paid() -> gym.Env[Any, Any]:
        return gym.wrappers.TransformReward(ContextualBandit(), lambda _: 1.0)

    model = AWR(
        "GBTPolicy", DummyVecEnv([paid] * 8), gradient_steps=1, gamma=0.0, beta=0.1,
        normalize_advantage=False, policy_kwargs={"shared": False, "value_lr": 1.0}, **ONE_PHASE,
    )  # fmt: skip
    model.learn(N_STEPS)
    assert [ensemble.n_trees for ensemble in model.policy.ensembles] == [1, 1]
    assert model.logger.name_to_value["train/clip_fraction"] == 0


def test_an_environment_that_is_new_cuts_the_episodes() -> None:
    model = AWR(
        "GBTPolicy", make_vec_env("Pendulum-v1", 2, seed=0), train_freq=8, gradient_steps=1,
        batch_size=16, seed=0, device="cpu",
    ).learn(16)  # fmt: skip
    model.set_env(make_vec_env("Pendulum-v1", 2, seed=1))
    model.learn(16, reset_num_timesteps=False)
    assert model.replay_buffer.timeouts[7].tolist() == [1, 1]


def test_a_normaliser_is_that_of_now() -> None:
    space, actions = spaces.Box(-100.0, 100.0, (1,)), spaces.Discrete(2)
    buffer = TrajectoryBuffer(10, space, actions, "cpu")
    for t in range(4):
        number = np.array([[t]], np.float32)
        buffer.add(number, number + 1, np.zeros(1), np.array([t + 1.0]), np.zeros(1), [{}])
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]), epsilon=0.0)
    env.observation_space = space
    env.obs_rms.mean, env.obs_rms.var = np.array([1.0]), np.array([4.0])
    env.ret_rms.var = np.array(0.25)
    data = buffer.trajectories(env)
    assert data.observations_of(np.arange(4)).flatten().tolist() == [-0.5, 0.0, 0.5, 1.0]
    assert data.next_observations.flatten().tolist() == [1.5]  # of the last row alone
    data.compute_returns_and_advantages(np.zeros(4), np.zeros(1), 0.0, 1.0)
    assert data.returns.tolist() == [2.0, 4.0, 6.0, 8.0]
