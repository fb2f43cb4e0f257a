"""Three updates of every algorithm with every policy, and a hash of what they left behind.

What is hashed is every tensor of the policy, and for trees what they predict: the way they are
stored is no part of it. Two machines whose exponentials differ in the last bit train differently,
so a hash belongs to an arithmetic, which :func:`arithmetic` names. Record on a new one by

    python tests/golden/traces.py
"""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

import rlshare  # noqa: F401  registers the aliases
from rlshare.agents import AWR
from rlshare.policies import TreeRolloutBuffer

RECORDED = Path(__file__).with_name("traces.json")


class Mixed(gym.Env[Any, Any]):
    """A category, a number and flags; the reward is for naming the category."""

    observation_space = spaces.Dict(
        {
            "kind": spaces.Discrete(5),
            "size": spaces.Box(-1.0, 1.0, (2,)),
            "flags": spaces.MultiBinary(3),
        }
    )
    action_space = spaces.MultiDiscrete([3, 2])

    def _look(self) -> dict[str, Any]:
        self.kind = int(self.np_random.integers(5))
        size = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return {"kind": self.kind, "size": size, "flags": self.np_random.integers(0, 2, 3, np.int8)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action[0] == self.kind % 3)
        return self._look(), reward, bool(self.np_random.random() < 0.1), False, {}


class Masked(gym.Env[Any, Any]):
    """Three contexts, in each of which one action is forbidden."""

    observation_space = spaces.Box(0.0, 2.0, (1,))
    action_space = spaces.Discrete(3)

    def action_masks(self) -> np.ndarray[Any, Any]:
        return np.arange(3) != (self.context + 1) % 3

    def _look(self) -> np.ndarray[Any, Any]:
        self.context = int(self.np_random.integers(3))
        return np.array([self.context], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.context)
        return self._look(), reward, bool(self.np_random.random() < 0.2), False, {}


class Pictures(gym.Env[Any, Any]):
    """Noise, brighter where the action should be 1."""

    observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
    action_space = spaces.Discrete(2)

    def _look(self) -> np.ndarray[Any, Any]:
        self.bright = int(self.np_random.integers(2))
        return self.np_random.integers(0, 128, (36, 36, 1), np.uint8) + np.uint8(64 * self.bright)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.bright)
        return self._look(), reward, bool(self.np_random.random() < 0.2), False, {}


def _on_policy(make: Any, policy: str, env: Any, n: int = 3, **options: Any) -> Any:
    kwargs: dict[str, Any] = {"n_steps": 64, "seed": 1, "device": "cpu", **options}
    if make is not A2C:
        kwargs = {"batch_size": 32, "n_epochs": 2, **kwargs}
    return lambda: make(policy, env, **copy.deepcopy(kwargs)).learn(64 * n)


def _off_policy(make: Any, policy: str, env: Any, **options: Any) -> Any:
    kwargs: dict[str, Any] = {
        "learning_starts": 40,
        "batch_size": 32,
        "train_freq": 40,
        "gradient_steps": 2,
    }
    kwargs = {**kwargs, "seed": 1, "device": "cpu", **options}
    return lambda: make(policy, env, **copy.deepcopy(kwargs)).learn(160)


def _awr(policy: str, env: Any, **options: Any) -> Any:
    kwargs: dict[str, Any] = {
        "beta": 0.05,
        "buffer_size": 50_000,
        "train_freq": 60,
        "gradient_steps": 3,
        "batch_size": 32,
        "seed": 1,
        "device": "cpu",
    }
    return lambda: AWR(policy, env, **copy.deepcopy({**kwargs, **options})).learn(180)


CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
_ADDED: dict[str, Any] = {"tree": {}}  # trees that are added, with their defaults
_BOX = {"policy_lr": 0.01, "log_std_init": -0.5}
_MOE = {"moe": {"n_experts": 4, "top_k": 2, "hidden": 16, "width": 16}}
_SMALL = {**_MOE, "net_arch": [16]}
TRACES: dict[str, Callable[[], BaseAlgorithm]] = {
    "ppo-gbt": _on_policy(PPO, "GBTPolicy", CARTPOLE, policy_kwargs=_ADDED),
    "ppo-gbt-box-separate": _on_policy(
        PPO, "GBTPolicy", PENDULUM, policy_kwargs={**_BOX, "shared": False}
    ),
    "ppo-gbt-greedy-rows": _on_policy(
        PPO,
        "GBTPolicy",
        CARTPOLE,
        rollout_buffer_class=TreeRolloutBuffer,
        learning_rate=lambda remaining: 3e-4 * remaining,
        policy_kwargs={
            "tree": {"grow_policy": "greedy", "bins": "rollout", "score": "l2", "colsample": 0.6},
            "policy_lr": {"init": 0.1, "stop": 0.01, "T": 10},
            "max_policy_grad_norm": 0.5,
        },
    ),
    "ppo-gbt-dict": _on_policy(PPO, "GBTPolicy", Mixed(), policy_kwargs=_ADDED),
    "ppo-gbt-monotonic": _on_policy(
        PPO, "GBTPolicy", CARTPOLE, policy_kwargs={"tree": {"monotonic": [(2, 1, 1), (0, 2, -1)]}}
    ),
    "a2c-gbt": _on_policy(A2C, "GBTPolicy", CARTPOLE, policy_kwargs=_ADDED),
    "a2c-gbt-box": _on_policy(A2C, "GBTPolicy", PENDULUM, policy_kwargs=_BOX),
    "awr-gbt": _awr("GBTPolicy", CARTPOLE, policy_kwargs={"value_lr": 0.05}),
    "awr-gbt-separate": _awr(
        "GBTPolicy", CARTPOLE, policy_kwargs={"shared": False, "value_lr": 0.005}
    ),
    "dqn-gbt": _off_policy(
        DQN, "GBTPolicy", CARTPOLE, target_update_interval=40, policy_kwargs=_ADDED
    ),
    "sac-gbt": _off_policy(SAC, "GBTPolicy", PENDULUM, policy_kwargs={"net_arch": [16]}),
    "sac-gbt-tree-critics": _off_policy(
        SAC, "GBTPolicy", PENDULUM, policy_kwargs={"critic": "quadratic", "tree": {"max_depth": 3}}
    ),
    "td3-gbt": _off_policy(
        TD3, "GBTPolicy", PENDULUM, policy_kwargs={"critic": "tanh", "n_critics": 1}
    ),
    "ppo_mask-gbt": _on_policy(MaskablePPO, "GBTPolicy", Masked(), policy_kwargs=_ADDED),
    "ppo-moe": _on_policy(PPO, "MoEPolicy", CARTPOLE, policy_kwargs=_MOE),
    "ppo-moe-value-scale": _on_policy(
        PPO, "MoEPolicy", CARTPOLE, policy_kwargs={**_MOE, "value_lr_scale": 0.5}
    ),
    "ppo-moe-separate": _on_policy(
        PPO,
        "MoEPolicy",
        PENDULUM,
        policy_kwargs={"moe": {**_MOE["moe"], "gate": "sigmoid_bias"}, "shared": False},
    ),
    "ppo-moe-routes": _on_policy(
        PPO,
        "MoEPolicy",
        CARTPOLE,
        rollout_buffer_class=TreeRolloutBuffer,
        policy_kwargs={**_MOE, "store_routes": True},
    ),
    "ppo-moe-dict": _on_policy(PPO, "MoEPolicy", Mixed(), policy_kwargs=_MOE),
    "ppo-moe-cnn": _on_policy(PPO, "MoECnnPolicy", Pictures(), policy_kwargs=_MOE),
    "ppo_mask-moe": _on_policy(MaskablePPO, "MoEPolicy", Masked(), policy_kwargs=_MOE),
    "a2c-moe": _on_policy(A2C, "MoEPolicy", CARTPOLE, policy_kwargs=_MOE),
    "awr-moe": _awr("MoEPolicy", CARTPOLE, policy_kwargs=_MOE),
    "dqn-moe": _off_policy(DQN, "MoEPolicy", CARTPOLE, policy_kwargs=_MOE),
    "sac-moe": _off_policy(SAC, "MoEPolicy", PENDULUM, policy_kwargs=_SMALL),
    "td3-moe": _off_policy(TD3, "MoEPolicy", PENDULUM, policy_kwargs=_SMALL),
}


def arithmetic() -> str:
    """A name of what this machine makes of the operations that training is made of."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((64, 64)).astype(np.float32)).requires_grad_()
    y = torch.log_softmax(torch.tanh(x @ x.T) + x.exp() / 7, dim=1)
    loss = y.square().mean() + torch.special.erfinv(x.tanh() * 0.9).sum() + x.abs().sqrt().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    found = hashlib.sha256(y.detach().numpy().tobytes() + x.grad.numpy().tobytes())
    angles = rng.standard_normal(1000)
    found.update(np.sin(angles).tobytes() + np.cos(angles).tobytes() + np.exp(angles).tobytes())
    return found.hexdigest()[:16]


def digest(policy: BasePolicy) -> str:
    """The hash of a policy."""
    found = hashlib.sha256()
    for name, value in policy.state_dict().items():
        if not name.endswith("_extra_state"):
            found.update(value.detach().numpy().tobytes())
    for trees in getattr(policy, "ensembles", []):
        rows = np.random.default_rng(0).standard_normal((512, trees.n_features)) * 2
        for feature in trees.params.categorical or ():
            rows[:, feature] = np.floor(np.abs(rows[:, feature]))
        assert trees.n_trees > 0
        found.update(trees.predict(rows.astype(np.float32)).tobytes())
    return found.hexdigest()


def trace(name: str) -> str:
    """Train as a trace says, on one thread, and return the policy's hash."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return digest(TRACES[name]().policy)
    finally:
        torch.set_num_threads(n_threads)


def recorded() -> dict[str, dict[str, str]]:
    """The hashes by arithmetic and trace."""
    found: dict[str, dict[str, str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    known = recorded() if RECORDED.exists() else {}
    known[arithmetic()] = {name: trace(name) for name in TRACES}
    RECORDED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
