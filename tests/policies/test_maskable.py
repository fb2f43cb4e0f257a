"""MaskablePPO of sb3_contrib, stock, with trees and experts: no masked action is ever taken."""

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import BELOW_SB3, Program
from contextual_bandit import ContextualBandit
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import VecEnv

import rlshare  # noqa: F401  registers the aliases

contrib = pytest.importorskip("sb3_contrib")

from sb3_contrib.common.maskable.evaluation import evaluate_policy  # noqa: E402
from sb3_contrib.common.maskable.utils import get_action_masks  # noqa: E402

from rlshare.policies.maskable import (  # noqa: E402
    MaskableDictTreeRolloutBuffer,
    MaskableGBTPolicy,
    MaskableTreeRolloutBuffer,
)

TREES: dict[str, Any] = {"policy_lr": 0.5, "value_lr": 0.1}
EXPERTS: dict[str, Any] = {"moe": {"n_experts": 4, "top_k": 2}}


class MaskedBandit(ContextualBandit):
    """The bandit, which forbids one wrong action; to take it is an error."""

    def _allowed(self) -> list[np.ndarray[Any, Any]]:
        c = self.context
        if self.action == "discrete":
            return [np.arange(3) != (c + 1) % 3]
        return [np.arange(3) != (c + 1) % 3, np.array([True, True])]

    def action_masks(self) -> np.ndarray[Any, Any]:
        return np.concatenate(self._allowed())

    def step(self, action: Any) -> Any:
        for allowed, choice in zip(self._allowed(), np.atleast_1d(action), strict=True):
            if not allowed[choice]:
                raise AssertionError(f"{action} is masked")
        return super().step(action)


def bandit(observation: str = "box", action: str = "discrete") -> VecEnv:
    kwargs = {"observation": observation, "action": action}
    return make_vec_env(MaskedBandit, 16, seed=1, env_kwargs=kwargs)


def agent(policy: str, env: Any, policy_kwargs: dict[str, Any], **kwargs: Any) -> Any:
    return contrib.MaskablePPO(
        policy, env, n_steps=16, batch_size=128, n_epochs=4, seed=0, device="cpu",
        policy_kwargs=policy_kwargs, **{"learning_rate": 0.003, **kwargs},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "policy_kwargs", "observation", "action"),
    [
        ("GBTPolicy", TREES, "box", "discrete"),
        ("GBTPolicy", TREES | {"shared": False}, "dict", "multidiscrete"),
        ("GBTPolicy", TREES | {"linear": {"rate": [3.0, 0.3]}}, "box", "discrete"),
        ("MoEPolicy", EXPERTS, "box", "multidiscrete"),
        ("MoEPolicy", EXPERTS | {"shared": False}, "dict", "discrete"),
    ],
)
def test_learns_and_never_takes_a_masked_action(
    policy: str, policy_kwargs: dict[str, Any], observation: str, action: str
) -> None:
    env = bandit(observation, action)
    model = agent(policy, env, policy_kwargs).learn(2560)
    assert evaluate_policy(model, env, 60)[0] >= 0.85
    everything = model.get_parameters()["policy"]
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = contrib.MaskablePPO.load(file, env=env, device="cpu")
    assert everything.keys() == loaded.get_parameters()["policy"].keys()
    obs, masks = env.reset(), get_action_masks(env)
    actions = [m.predict(obs, deterministic=True, action_masks=masks)[0] for m in (model, loaded)]
    np.testing.assert_array_equal(actions[0], actions[1])
    loaded.learn(256)


@pytest.mark.parametrize(
    ("observation", "buffer"),
    [("box", MaskableTreeRolloutBuffer), ("dict", MaskableDictTreeRolloutBuffer)],
)
@pytest.mark.parametrize("budget", [None, 32])
def test_margins_are_kept_and_change_nothing(
    observation: str, buffer: type[Any], budget: int | None
) -> None:
    kwargs = TREES | {"tree_budget": budget, "compaction_max_kl": 1.0}
    if budget is not None:
        kwargs["value_lr"] = 0.0  # no value of noise stands in the way of a compaction
    plain = agent("GBTPolicy", bandit(observation), kwargs).learn(1536)
    kept = agent("GBTPolicy", bandit(observation), kwargs, rollout_buffer_class=buffer).learn(1536)
    ours, theirs = (m.policy.ensembles[0].to_bytes() for m in (kept, plain))
    assert ours == theirs
    assert kept.policy.n_tree_evaluations < plain.policy.n_tree_evaluations
    n_grown = 6 * 8  # in as many rollouts
    assert (kept.policy.n_trees < n_grown) is (budget is not None)


def test_masks_enter_every_way_to_act() -> None:
    policy = agent("GBTPolicy", bandit(), TREES).policy
    obs = torch.zeros(5, 3)
    masks = np.tile([False, True, False], (5, 1))
    for actions in (
        policy(obs, action_masks=masks)[0],
        policy.get_distribution(obs, masks).get_actions(),
        torch.as_tensor(policy.predict(obs.numpy(), action_masks=masks)[0]),
    ):
        assert actions.tolist() == [1] * 5
    values, log_prob, entropy = policy.evaluate_actions(obs, torch.ones(5), torch.as_tensor(masks))
    assert values.shape == (5, 1)
    assert log_prob.tolist() == entropy.tolist() == [0.0] * 5
    _, log_prob, _ = policy.evaluate_actions(obs, torch.ones(5))
    np.testing.assert_allclose(log_prob.detach(), np.log(1 / 3), rtol=1e-6)


def test_copies_are_whole() -> None:
    model = agent("GBTPolicy", bandit(), TREES).learn(256)
    model.policy(torch.zeros(1, 3))
    other = copy.deepcopy(model.policy)
    masks = np.array([[False, False, True]])
    assert other.predict(np.zeros((1, 3), np.float32), action_masks=masks)[0].tolist() == [2]


def test_rollout_bins_need_rows() -> None:
    kwargs = TREES | {"tree": {"bins": "rollout"}}
    with pytest.raises(ValueError, match="row_ids"):
        agent("GBTPolicy", bandit(), kwargs).learn(256)
    agent("GBTPolicy", bandit(), kwargs, rollout_buffer_class=MaskableTreeRolloutBuffer).learn(256)


def test_actions_that_cannot_be_masked_are_refused() -> None:
    space = spaces.Box(-1.0, 1.0, (1,))
    with pytest.raises(ValueError, match="must be Discrete or MultiDiscrete, got MultiBinary"):
        MaskableGBTPolicy(space, spaces.MultiBinary(2), lambda _: 1e-3)


@pytest.mark.parametrize(
    "imports",
    [
        "import rlshare; from sb3_contrib import MaskablePPO",
        "from sb3_contrib import MaskablePPO; import rlshare",
        "import rlshare.policies.maskable; from sb3_contrib import MaskablePPO",
        "import stable_baselines3, rlshare; from sb3_contrib.ppo_mask import MaskablePPO",
    ],
)
def test_the_alias_is_there_in_any_order_of_imports(imports: str, tmp_path: Path) -> None:
    program = f"{imports}; c = MaskablePPO.policy_aliases['GBTPolicy']; print(c.__module__)"
    with Program("-c", program, cwd=tmp_path, imported=BELOW_SB3) as found:
        found.wait()
    assert found.stdout.strip() == "rlshare.policies.maskable", found.stderr


def test_without_sb3_contrib_the_extra_is_named(tmp_path: Path) -> None:
    program = "import sys; sys.modules['sb3_contrib'] = None; import rlshare.policies.maskable"
    with Program("-c", program, cwd=tmp_path, imported=BELOW_SB3) as found:
        found.wait()
    assert "pip install 'rlshare[sb3-contrib]'" in found.stderr.splitlines()[-1]


class MaskedImages(FakeImageEnv):
    """Images, of whose actions the first is forbidden."""

    def action_masks(self) -> np.ndarray[Any, Any]:
        return np.arange(self.action_space.n) > 0  # type: ignore[attr-defined]

    def step(self, action: Any) -> Any:
        assert action > 0
        return super().step(action)


@pytest.mark.parametrize("channel_first", [True, False])
def test_experts_learn_from_images_under_masks(channel_first: bool) -> None:
    env = MaskedImages(screen_height=36, screen_width=36, n_channels=1, channel_first=channel_first)
    model = contrib.MaskablePPO(
        "MoECnnPolicy", env, n_steps=16, batch_size=8, n_epochs=1, policy_kwargs=EXPERTS,
        device="cpu",
    )  # fmt: skip
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(32)
    assert type(model.policy.features_extractor.base) is NatureCNN
    assert not all(map(torch.equal, before, model.policy.parameters()))


@pytest.mark.parametrize(("policy", "options"), [("GBTPolicy", TREES), ("MoEPolicy", EXPERTS)])
def test_a_schedule_drives_the_rates(policy: str, options: dict[str, Any]) -> None:
    model = agent(policy, bandit(), options, learning_rate=lambda remaining: 0.01 * (1 + remaining))
    model.learn(512)  # learnt from when half of it remains, and when nothing does
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    if policy == "GBTPolicy":
        trees = model.policy.ensembles[0]
        rates = [trees.tree_structure(i)["rates"][0] for i in (0, trees.n_trees - 1)]
        assert rates == pytest.approx([0.375, 0.25])
