"""GBTPolicy inside stock PPO and A2C: ratio, rates, tape, errors."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from contextual_bandit import ACTIONS, ContextualBandit
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.env_util import make_vec_env

from rlshare.policies import GBTPolicy, TreeRolloutBuffer
from rlshare.policies.gbt.options import learning_rate
from rlshare.trees import Linear, Table


def policy(
    action_space: spaces.Space[Any] | None = None, schedule: float = 1.0, **kwargs: Any
) -> GBTPolicy:
    box = spaces.Box(-1.0, 1.0, (3,))
    return GBTPolicy(
        box, action_space or spaces.Discrete(2), lambda _: schedule, **{"tree": {}, **kwargs}
    )


def backward(policy: GBTPolicy, n: int = 16) -> torch.Tensor:
    """A loss in all outputs of a policy, with gradients."""
    obs = torch.linspace(-1, 1, 3 * n).reshape(n, 3)
    actions = torch.as_tensor(np.stack([policy.action_space.sample() for _ in range(n)]))
    values, log_prob, entropy = policy.evaluate_actions(obs, actions)
    assert entropy is not None
    loss = (values.flatten() - obs.sum(dim=1)).square().mean() - log_prob.mean() - entropy.mean()
    policy.optimizer.zero_grad()
    loss.backward()
    return loss


# ---- the ratio of PPO


class RecordingPolicy(GBTPolicy):
    """Keeps the log probabilities that PPO sees while it trains."""

    def evaluate_actions(self, obs: Any, actions: Any) -> Any:
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        self.seen.append(log_prob.detach())
        return values, log_prob, entropy

    def train(self, mode: bool = True) -> "RecordingPolicy":
        self.seen: list[torch.Tensor] = []
        super().train(mode)
        return self


def recording(buffer_class: type[RolloutBuffer]) -> type[RolloutBuffer]:
    class RecordingBuffer(buffer_class):
        """Keeps the log probabilities of the actions taken in the rollout."""

        def reset(self) -> None:
            self.old: list[torch.Tensor] = []
            super().reset()

        def _get_samples(self, batch_inds: Any, env: Any = None) -> Any:
            samples = super()._get_samples(batch_inds, env)
            self.old.append(samples.old_log_prob)
            return samples

    return RecordingBuffer


@pytest.mark.parametrize("buffer_class", [RolloutBuffer, TreeRolloutBuffer])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("n_envs", "batch_size"), [(1, 24), (3, 18)])
def test_first_minibatch_has_ratio_exactly_one(
    buffer_class: type[RolloutBuffer], action: str, n_envs: int, batch_size: int
) -> None:
    env = make_vec_env(ContextualBandit, n_envs, seed=0, env_kwargs={"action": action})
    model = PPO(
        RecordingPolicy, env, n_steps=48, batch_size=batch_size, n_epochs=2, seed=0, device="cpu",
        rollout_buffer_class=recording(buffer_class), policy_kwargs={"policy_lr": 0.3},
    )  # fmt: skip
    for _ in range(4):
        model.learn(48 * n_envs, reset_num_timesteps=False)
        seen, old = model.policy.seen, model.rollout_buffer.old
        assert torch.equal(seen[0], old[0])
        assert not torch.equal(seen[-1], old[-1])


# ---- rates


def rates(policy: GBTPolicy) -> list[float]:
    return [float(rate) for trees in policy.ensembles for rate in trees.learning_rates()]


@pytest.mark.parametrize("shared", [True, False])
def test_policy_and_value_have_their_own_rates(shared: bool) -> None:
    made = policy(policy_lr=0.25, value_lr={"init": 0.5, "stop": 0.25, "T": 2}, shared=shared)
    assert rates(made) == [0.25, 0.25, 0.5]
    for expected in (0.375, 0.25, 0.25):
        backward(made)
        made.optimizer.step()
        assert rates(made) == [0.25, 0.25, expected]


def test_rates_are_plain_data() -> None:
    assert learning_rate("policy_lr", 1) == 1.0
    assert learning_rate("policy_lr", {"init": 0.2, "stop": 0.1, "T": 10}) == Linear(0.2, 0.1, 10)
    assert learning_rate("policy_lr", [0.2, 0.1]) == Table([0.2, 0.1])


@pytest.mark.parametrize("bad", [True, "0.1", {"init": 0.1}, None, lambda t: 0.1])
def test_other_rates_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="value_lr must be a number, a dict"):
        policy(value_lr=bad)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_a_schedule_of_sb3_drives_the_trees(algorithm: type[PPO] | type[A2C]) -> None:
    model = algorithm(
        "GBTPolicy", "CartPole-v1", learning_rate=lambda remaining: 0.008 * remaining, n_steps=64,
        device="cpu", policy_kwargs={"tree": {"max_depth": 0}, "policy_lr": 0.5, "value_lr": 0.25},
    )  # fmt: skip
    model.learn(256)  # progress remaining 0.75, 0.5, 0.25, 0
    trees = model.policy.ensembles[0]
    steps = trees.n_trees // 4
    for rollout, remaining in enumerate((0.75, 0.5, 0.25, 0.0)):
        used = trees.tree_structure(rollout * steps)["rates"]
        np.testing.assert_allclose(used, [0.5 * remaining] * 2 + [0.25 * remaining], rtol=1e-6)


def test_log_std_has_its_own_scheduled_rate() -> None:
    made = policy(
        spaces.Box(-1.0, 1.0, (2,)), log_std_init=-1.0, max_policy_grad_norm=1.0,
        log_std_lr={"init": 0.5, "stop": 0.25, "T": 1}, optimizer_class=torch.optim.SGD,
    )  # fmt: skip
    np.testing.assert_array_equal(made.log_std.detach(), [-1.0, -1.0])
    for expected in (0.5, 0.25):
        backward(made)
        before, grad = made.log_std.detach().clone(), made.log_std.grad
        made.optimizer.step()
        torch.testing.assert_close(made.log_std.detach(), before - expected * grad)


def test_log_std_is_absent_without_box_actions() -> None:
    made = policy()
    assert not hasattr(made, "log_std")
    assert len(list(made.parameters())) == 1
    assert policy(spaces.Box(-1.0, 1.0, (2,))).log_std.tolist() == [-2.0, -2.0]


def test_a2c_passes_its_optimizer_to_the_torch_parameters() -> None:
    model = A2C("GBTPolicy", "Pendulum-v1", device="cpu", policy_kwargs={"tree": {}})
    optimizer = model.policy.optimizer
    assert type(optimizer.torch_optimizer) is torch.optim.RMSprop
    model.learn(10)
    assert model.policy.n_trees == 2
    assert model.policy.log_std.tolist() != [-2.0]


# ---- trees, tape and gradients


def test_one_structure_moves_policy_and_value_when_shared() -> None:
    shared, separate = policy(shared=True), policy(shared=False)
    for made in (shared, separate):
        backward(made)
        made.optimizer.step()
    assert [trees.n_outputs for trees in shared.ensembles] == [3]
    assert [trees.n_outputs for trees in separate.ensembles] == [2, 1]
    assert (shared.n_trees, separate.n_trees) == (1, 2)


@pytest.mark.parametrize("shared", [True, False])
def test_heads_agree_with_evaluation(shared: bool) -> None:
    made = policy(shared=shared, policy_lr=0.5, value_lr=0.5)
    for _ in range(5):
        backward(made)
        made.optimizer.step()
    obs, actions = torch.rand(7, 3), torch.zeros(7, dtype=torch.int64)
    values, log_prob, _ = made.evaluate_actions(obs, actions)
    assert torch.equal(values, made.predict_values(obs))
    assert torch.equal(log_prob, made.get_distribution(obs).log_prob(actions))


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_are_clipped_per_sample_and_block(shared: bool) -> None:
    made = policy(
        tree={"max_depth": 0}, shared=shared, policy_lr=1.0, value_lr=1.0,
        max_policy_grad_norm=0.5, max_value_grad_norm=2.0,
    )  # fmt: skip
    theta = made.extract_features(torch.zeros(8, 3))
    (theta * torch.tensor([3.0, 4.0, -9.0])).sum(dim=1).mean().backward()
    made.optimizer.step()
    out = made.extract_features(torch.zeros(1, 3))
    np.testing.assert_allclose(out.detach(), [[-0.3, -0.4, 2.0]], rtol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("head", ["policy", "value"])
def test_a_non_finite_gradient_leaves_the_policy_as_it_was(shared: bool, head: str) -> None:
    made = policy(spaces.Box(-1.0, 1.0, (2,)), shared=shared)
    backward(made)
    made.optimizer.step()
    before = [trees.to_bytes() for trees in made.ensembles]
    log_std, state = made.log_std.detach().clone(), str(made.optimizer.state_dict())
    obs = torch.zeros(4, 3)
    values, log_prob, _ = made.evaluate_actions(obs, torch.zeros(4, 2))
    bad = torch.tensor([1.0, float("nan"), 1.0, 1.0])
    weights = {"policy": (bad, torch.ones(4)), "value": (torch.ones(4), bad)}[head]
    loss = (log_prob * weights[0]).mean() + (values.flatten() * weights[1]).mean()
    loss.backward()
    with pytest.raises(ValueError, match="gradients must be finite"):
        made.optimizer.step()
    assert [trees.to_bytes() for trees in made.ensembles] == before
    assert torch.equal(made.log_std, log_std)
    assert str(made.optimizer.state_dict()) == state
    made.optimizer.zero_grad()
    backward(made)
    made.optimizer.step()
    assert made.ensembles[0].n_trees == 2


def test_target_kl_stops_early_and_training_goes_on() -> None:
    model = PPO(
        "GBTPolicy", "CartPole-v1", n_steps=64, batch_size=32, n_epochs=10, target_kl=0.001,
        seed=0, device="cpu", policy_kwargs={"policy_lr": 1.0},
    )  # fmt: skip
    model.learn(256)
    assert 0 < model.policy.n_trees < 4 * 20
    # a pass that was abandoned by the early stop must not grow a tree later
    before = model.policy.n_trees
    model.policy.optimizer.step()
    assert model.policy.n_trees == before


def test_value_clipping_and_truncation_bootstraps_train() -> None:
    env = make_vec_env("Pendulum-v1", 2, seed=0)  # every episode ends by its time limit
    model = PPO("GBTPolicy", env, n_steps=256, batch_size=128, n_epochs=2, clip_range_vf=0.2,
                policy_kwargs={"tree": {}},
                seed=0, device="cpu", rollout_buffer_class=TreeRolloutBuffer)  # fmt: skip
    model.learn(1024)
    assert model.policy.n_trees == 2 * 2 * 4


def test_a_seed_makes_two_equal_agents() -> None:
    def agent() -> list[bytes]:
        model = PPO(
            "GBTPolicy", "CartPole-v1", n_steps=64, batch_size=32, n_epochs=2, seed=5, device="cpu",
            policy_kwargs={"tree": {"subsample": 0.5, "colsample": 0.5}},
        )  # fmt: skip
        return [trees.to_bytes() for trees in model.learn(256).policy.ensembles]

    assert agent() == agent()


# ---- refusals


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_state_dependent_exploration_is_refused(algorithm: type[PPO] | type[A2C]) -> None:
    with pytest.raises(ValueError, match=r"use_sde must be False .* last hidden layer"):
        algorithm("GBTPolicy", "Pendulum-v1", use_sde=True)


def test_unknown_tree_keys_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="tree has no key 'max_dept', did you mean 'max_depth'"):
        policy(tree={"max_dept": 3})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tree": {"n_bins": 300}}, r"n_bins must be .*\[1, 255\], got 300"),
        ({"max_policy_grad_norm": 0.0}, "max_policy_grad_norm must be None or > 0, got 0.0"),
        ({"max_value_grad_norm": -1.0}, "max_value_grad_norm must be None or > 0, got -1.0"),
        ({"policy_lr": -0.1}, "policy_lr must be finite and >= 0, got -0.1"),
        ({"log_std_lr": float("nan")}, "log_std_lr must be finite and >= 0, got nan"),
        ({"value_lr": {"init": -1.0, "stop": 0, "T": 1}}, "rate must be .*>= 0, got -1.0"),
        ({"tree": {"monotonic": [1]}}, "monotonic must hold .* triples"),
        ({"tree": {"monotonic": [(0, 3, 1)]}}, r"then the value, in \[0, 2\], got 3"),
        ({"tree": {"monotonic": [(3, 0, 1)]}}, r"features in \[0, 3\)"),
        ({"tree": {"monotonic": [(0, 0, 1)]}, "tree_budget": 50}, "tree_budget must be None with"),
    ],
)
def test_options_that_break_their_rule_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(**kwargs)


@pytest.mark.parametrize("shared", [True, False])
def test_monotonic_columns_are_the_policys_then_the_values(shared: bool) -> None:
    """More of the first observation: never fewer logits for action 1, never less value."""
    model = PPO(
        "GBTPolicy", make_vec_env(ContextualBandit, 4, seed=0), n_steps=64, batch_size=64,
        n_epochs=4, seed=0, device="cpu",
        policy_kwargs={
            "shared": shared, "policy_lr": 0.3, "value_lr": 0.3,
            "tree": {"monotonic": [(0, 1, 1), (0, 3, 1), (2, 2, -1)]},
        },
    )  # fmt: skip
    model.learn(2048)
    low = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.policy.extract_features(low)
        for feature, column, sign in [(0, 1, 1), (0, 3, 1), (2, 2, -1)]:
            high = low.clone()
            high[:, feature] += torch.rand(500, generator=torch.Generator().manual_seed(1))
            rise = sign * (model.policy.extract_features(high) - before)
            assert (rise[:, column] >= 0).all()
            assert (rise[:, column] > 0).any()
            assert (rise[:, 0] < 0).any()  # free to fall


def test_there_is_no_parameter_vector() -> None:
    with pytest.raises(NotImplementedError, match="its parameters are trees"):
        policy().parameters_to_vector()
    with pytest.raises(NotImplementedError, match="its parameters are trees"):
        policy().load_from_vector(np.zeros(1))


def test_rollout_bins_need_the_tree_buffer() -> None:
    kwargs: dict[str, Any] = {
        "env": "CartPole-v1", "n_steps": 64, "batch_size": 32, "device": "cpu",
        "policy_kwargs": {"tree": {"bins": "rollout"}},
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"rollout_buffer_class=rlshare\.policies\.TreeRoll"):
        PPO("GBTPolicy", **kwargs).learn(64)
    PPO("GBTPolicy", rollout_buffer_class=TreeRolloutBuffer, **kwargs).learn(64)


def test_unusual_observations_act() -> None:
    made = policy()
    actions, _ = made.predict(np.array([np.nan, np.inf, -np.inf], np.float32))
    assert actions in (0, 1)
    assert gym.spaces.Discrete(2).contains(int(actions))
