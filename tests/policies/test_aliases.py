"""The alias appears with Stable-Baselines3; what cannot have trees says why."""

import subprocess
import sys

import pytest
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

import rlshare  # noqa: F401  registers the alias
from rlshare.policies import GBTPolicy


def python(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    "imports",
    [
        "import rlshare; from stable_baselines3 import PPO",
        "from stable_baselines3 import PPO; import rlshare",
        "import rlshare; from stable_baselines3.ppo.ppo import PPO",
        "import rlshare.policies; from stable_baselines3 import PPO",
        "import rlshare.policies.gbt; from stable_baselines3 import PPO",
    ],
)
def test_the_alias_is_there_in_any_order_of_imports(imports: str) -> None:
    name = python(
        f"{imports}; c = PPO.policy_aliases['GBTPolicy']; print(c.__module__, c.__name__)"
    )
    assert name == "rlshare.policies GBTPolicy"


def test_import_is_light() -> None:
    program = "import sys, rlshare.trees; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    assert python(program) == "set()"


def test_trees_work_without_torch_and_sb3() -> None:
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
    assert python(program) == "-1.0"


@pytest.mark.parametrize(
    ("algorithm", "env", "reason"),
    [
        (DQN, "CartPole-v1", "not available yet"),
        (SAC, "Pendulum-v1", "constant between thresholds"),
        (TD3, "Pendulum-v1", "constant between thresholds"),
        (DDPG, "Pendulum-v1", "constant between thresholds"),
    ],
)
def test_other_algorithms_say_why_not(
    algorithm: type[BaseAlgorithm], env: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"GBTPolicy works with PPO and A2C, not with .*{reason}"):
        algorithm("GBTPolicy", env)


@pytest.mark.parametrize(
    ("name", "reason"), [("TRPO", "second derivatives"), ("ARS", "flat vector")]
)
def test_algorithms_of_sb3_contrib_say_why_not(name: str, reason: str) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    with pytest.raises(ValueError, match=reason):
        getattr(contrib, name)("GBTPolicy", "CartPole-v1")


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_alias_and_class_are_the_same(algorithm: type[BaseAlgorithm]) -> None:
    assert algorithm.policy_aliases["GBTPolicy"] is GBTPolicy
    assert type(algorithm(GBTPolicy, "CartPole-v1", device="cpu").policy) is GBTPolicy
