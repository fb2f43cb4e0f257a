"""Agents whose torch parts lie on a GPU, where Stable-Baselines3's device="auto" puts them."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv
from torch.nn.functional import one_hot

from rlshare.agents import AWR
from rlshare.moe import MoELayer

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU and torch's CUDA"
)

ON_POLICY = {"n_steps": 32}
REPLAY = {"buffer_size": 1000, "learning_starts": 40, "train_freq": 4, "batch_size": 32}
AGENTS: dict[str, tuple[Any, str, str, dict[str, Any]]] = {
    "PPO trees": (PPO, "GBTPolicy", "discrete", {**ON_POLICY, "batch_size": 32}),
    "PPO trees, box": (PPO, "GBTPolicy", "box", {**ON_POLICY, "batch_size": 32}),
    "PPO trees with a budget": (
        PPO, "GBTPolicy", "discrete",
        {**ON_POLICY, "batch_size": 32, "policy_kwargs": {"tree_budget": 40}},
    ),
    "PPO experts": (PPO, "MoEPolicy", "discrete", {**ON_POLICY, "batch_size": 32}),
    "A2C trees": (A2C, "GBTPolicy", "discrete", ON_POLICY),
    "A2C experts": (A2C, "MoEPolicy", "discrete", ON_POLICY),
    "AWR trees": (AWR, "GBTPolicy", "discrete", {"train_freq": 50, "gradient_steps": 5}),
    "AWR experts": (AWR, "MoEPolicy", "box", {"train_freq": 50, "gradient_steps": 5}),
    "DQN trees": (DQN, "GBTPolicy", "discrete", REPLAY),
    "DQN experts": (DQN, "MoEPolicy", "discrete", REPLAY),
    "SAC trees, network": (
        SAC, "GBTPolicy", "box", {**REPLAY, "policy_kwargs": {"critic": "nn", "net_arch": [16]}},
    ),
    "SAC trees": (SAC, "GBTPolicy", "box", {**REPLAY, "policy_kwargs": {"critic": "quadratic"}}),
    "SAC experts": (SAC, "MoEPolicy", "box", REPLAY),
    "TD3 trees": (TD3, "GBTPolicy", "box", {**REPLAY, "policy_kwargs": {"critic": "tanh"}}),
    "TD3 experts": (TD3, "MoEPolicy", "box", REPLAY),
    "DDPG trees": (DDPG, "GBTPolicy", "box", REPLAY),
}  # fmt: skip


def bandit(action: str) -> VecEnv:
    return make_vec_env(ContextualBandit, 2, seed=3, env_kwargs={"action": action})


@pytest.mark.parametrize("name", AGENTS)
def test_trains_on_the_gpu_and_acts_alike_on_the_cpu(name: str, tmp_path: Path) -> None:
    algorithm, policy, action, settings = AGENTS[name]
    env = bandit(action)
    model = algorithm(policy, env, seed=0, **settings)
    assert model.device.type == "cuda"
    assert {parameter.device.type for parameter in model.policy.parameters()} == {"cuda"}
    before = model.predict(env.reset(), deterministic=True)[0]
    assert len(before) == 2
    model.learn(400)
    model.save(tmp_path / "agent")
    rows = np.random.default_rng(0).uniform(-2, 2, (64, 3)).astype(np.float32)
    wanted, _ = model.predict(rows, deterministic=True)
    for device in ("cuda", "cpu"):
        loaded = algorithm.load(tmp_path / "agent", env=env, device=device)
        actions, _ = loaded.predict(rows, deterministic=True)
        np.testing.assert_allclose(actions, wanted, atol=1e-4, err_msg=device)
        loaded.learn(100, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("gate", "router"),
    [
        *product(
            ("softmax_topk", "soft_dense", "sigmoid_bias"),
            ("features", "task", "both", "per_task"),
        ),
        ("merge", "task"),
    ],
)
def test_mixtures_are_the_same_on_the_gpu(gate: str, router: str) -> None:
    torch.manual_seed(0)
    layer = MoELayer(19, 23, n_experts=4, top_k=2, n_tasks=3, gate=gate, router=router, n_shared=1)
    x, task = torch.randn(37, 19), one_hot(torch.randint(3, (37,)), 3).float()
    found = []
    for device in ("cpu", "cuda"):
        layer.zero_grad()
        layer.to(device)
        y = layer(x.to(device), task.to(device))
        y.square().sum().backward()
        gradients = {n: p.grad.cpu() for n, p in layer.named_parameters() if p.grad is not None}
        found.append({"y": y.detach().cpu(), **gradients})
    assert found[0].keys() == found[1].keys()
    for key, wanted in found[0].items():
        torch.testing.assert_close(found[1][key], wanted, rtol=1e-3, atol=1e-4, msg=key)
