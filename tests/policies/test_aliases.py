"""The alias appears with Stable-Baselines3; what cannot have trees says why."""

from pathlib import Path

import pytest
from command import BELOW_SB3, Program, new_process
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

import rlshare  # noqa: F401  registers the alias
from rlshare.policies import GBTDQNPolicy, GBTPolicy, GBTSACPolicy, GBTTD3Policy


@pytest.mark.parametrize(
    "imports",
    [
        "import rlshare; from stable_baselines3 import PPO",
        "from stable_baselines3 import PPO; import rlshare",
        "import rlshare; from stable_baselines3.ppo.ppo import PPO",
        "import rlshare.policies; from stable_baselines3 import PPO",
        "import rlshare.policies.gbt.actor_critic; from stable_baselines3 import PPO",
    ],
)
def test_the_alias_is_there_in_any_order_of_imports(imports: str, tmp_path: Path) -> None:
    program = f"{imports}; c = PPO.policy_aliases['GBTPolicy']; print(c.__module__, c.__name__)"
    with Program("-c", program, cwd=tmp_path, imported=BELOW_SB3) as found:
        assert found.wait() == 0, found.stderr
    assert found.stdout.strip() == "rlshare.policies GBTPolicy"


def test_a_program_that_never_heard_of_rlshare_loads_the_agent(tmp_path: Path) -> None:
    model = PPO("GBTPolicy", "CartPole-v1", n_steps=64, batch_size=64, device="cpu").learn(64)
    model.save(tmp_path / "agent.zip")
    program = (
        "import sys; from stable_baselines3 import PPO; "
        "policy = PPO.load(sys.argv[1], device='cpu').policy; "
        "print(type(policy).__module__, policy.n_trees)"
    )
    file = str(tmp_path / "agent.zip")
    with Program("-c", program, file, cwd=tmp_path, imported=BELOW_SB3) as found:
        assert found.wait() == 0, found.stderr
    assert found.stdout.split() == ["rlshare.policies", str(model.policy.n_trees)]


def test_import_is_light(tmp_path: Path) -> None:
    program = "import sys, rlshare.trees; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    assert new_process("-c", program, cwd=tmp_path).stdout.strip() == "set()"


def test_trees_work_without_torch_and_sb3(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["torch"] = None
sys.modules["stable_baselines3"] = None
import numpy as np
from rlshare.trees import BoostedTrees
model = BoostedTrees(2, 1, learning_rate=1.0)
model.step(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0], [-1.0]]))
print(model.predict(np.array([[0.0, 1.0]]))[0, 0])
"""
    assert new_process("-c", program, cwd=tmp_path).stdout.strip() == "-1.0"


@pytest.mark.parametrize(
    ("name", "reason"), [("TRPO", "second derivatives"), ("ARS", "flat vector")]
)
def test_algorithms_of_sb3_contrib_say_why_not(name: str, reason: str) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    with pytest.raises(ValueError, match=reason):
        getattr(contrib, name)("GBTPolicy", "CartPole-v1")


@pytest.mark.parametrize(
    ("algorithm", "policy", "env"),
    [
        (PPO, GBTPolicy, "CartPole-v1"),
        (A2C, GBTPolicy, "CartPole-v1"),
        (DQN, GBTDQNPolicy, "CartPole-v1"),
        (SAC, GBTSACPolicy, "Pendulum-v1"),
        (TD3, GBTTD3Policy, "Pendulum-v1"),
        (DDPG, GBTTD3Policy, "Pendulum-v1"),
    ],
)
def test_alias_and_class_are_the_same(
    algorithm: type[BaseAlgorithm], policy: type[BasePolicy], env: str
) -> None:
    assert algorithm.policy_aliases["GBTPolicy"] is policy
    assert policy.__module__ == "rlshare.policies"
    assert type(algorithm(policy, env, device="cpu").policy) is policy
