"""The alias appears with Stable-Baselines3; what cannot have trees says why."""

from pathlib import Path
from typing import ClassVar

import pytest
import stable_baselines3
from command import BELOW_SB3, Program, new_process
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

from rlshare.agents import AWR
from rlshare.policies import (
    GBTDQNPolicy,
    GBTPolicy,
    GBTSACPolicy,
    GBTTD3Policy,
    MoEDQNPolicy,
    MoEPolicy,
    MoESACPolicy,
    MoETD3Policy,
)

sb3_contrib = pytest.importorskip("sb3_contrib")
from rlshare.policies.maskable import MaskableGBTPolicy, MaskableMoEPolicy  # noqa: E402


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


CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"


class OwnPPO(PPO):
    """An algorithm of a user's."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {}


class OwnTRPO(sb3_contrib.TRPO):
    """Like the one it inherits from, it cannot have our policies."""


class OwnTrees(GBTPolicy):
    """A policy of a user's."""


# The classes that each algorithm takes.
ON_POLICY = {GBTPolicy, OwnTrees, MoEPolicy, MaskableGBTPolicy, MaskableMoEPolicy}
TAKES: dict[type[BaseAlgorithm], set[type]] = {
    PPO: ON_POLICY,
    OwnPPO: ON_POLICY,
    A2C: ON_POLICY,
    AWR: ON_POLICY,
    sb3_contrib.MaskablePPO: {MaskableGBTPolicy, MaskableMoEPolicy},
    DQN: {GBTDQNPolicy, MoEDQNPolicy},
    SAC: {GBTSACPolicy, MoESACPolicy},
    TD3: {GBTTD3Policy, MoETD3Policy},
    DDPG: {GBTTD3Policy, MoETD3Policy},
}
REASONS: dict[type[BaseAlgorithm], str] = {
    sb3_contrib.TRPO: "not with TRPO: it takes second derivatives",
    OwnTRPO: "not with TRPO: it takes second derivatives",
    sb3_contrib.ARS: "not with ARS: it perturbs the flat vector",
    sb3_contrib.RecurrentPPO: "not with RecurrentPPO: its policies carry the state of an LSTM",
    sb3_contrib.QRDQN: "not with QRDQN: its networks predict quantiles",
    sb3_contrib.TQC: "not with TQC: its critics predict quantiles",
    sb3_contrib.CrossQ: "not with CrossQ: its critics are networks",
}
CLASSES = sorted(set().union(*TAKES.values()), key=lambda policy: policy.__name__)


def env_of(algorithm: type[BaseAlgorithm]) -> str:
    continuous = (SAC, TD3, DDPG, sb3_contrib.TQC, sb3_contrib.CrossQ)
    return PENDULUM if issubclass(algorithm, continuous) else CARTPOLE


def test_every_algorithm_is_known() -> None:
    for package in (stable_baselines3, sb3_contrib):
        for found in vars(package).values():
            if isinstance(found, type) and issubclass(found, BaseAlgorithm):
                assert (found in TAKES) != (found in REASONS)


@pytest.mark.parametrize("policy", CLASSES)
@pytest.mark.parametrize("algorithm", [*TAKES, *REASONS])
def test_a_class_works_or_is_refused_with_the_reason(
    algorithm: type[BaseAlgorithm], policy: type[BasePolicy]
) -> None:
    env = env_of(algorithm)
    if policy in TAKES.get(algorithm, ()):
        assert type(algorithm(policy, env, device="cpu").policy) is policy
        return
    name = f"{algorithm.__name__} takes (GBT|MoE|Maskable).*Policy, not {policy.__name__}: ask for"
    with pytest.raises(ValueError, match=REASONS.get(algorithm, name)):
        algorithm(policy, env, device="cpu")


@pytest.mark.parametrize("alias", ["GBTPolicy", "MoEPolicy", "MoECnnPolicy"])
@pytest.mark.parametrize("algorithm", REASONS)
def test_an_alias_is_refused_as_the_class_is(algorithm: type[BaseAlgorithm], alias: str) -> None:
    with pytest.raises(ValueError, match=REASONS[algorithm]):
        algorithm(alias, env_of(algorithm), device="cpu")


def test_a_model_is_refused_by_another_algorithm(tmp_path: Path) -> None:
    PPO(GBTPolicy, CARTPOLE, n_steps=8, batch_size=8, device="cpu").save(tmp_path / "model.zip")
    assert type(A2C.load(tmp_path / "model.zip", device="cpu").policy) is GBTPolicy
    with pytest.raises(ValueError, match="DQN takes GBTDQNPolicy, not GBTPolicy"):
        DQN.load(tmp_path / "model.zip", device="cpu")


def test_other_policies_are_left_alone() -> None:
    model = PPO(ActorCriticPolicy, CARTPOLE, n_steps=8, batch_size=8, device="cpu")
    assert model.policy_class is ActorCriticPolicy
    assert vars(model)["policy_class"] is ActorCriticPolicy  # where it is saved from


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
