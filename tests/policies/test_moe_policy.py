"""MoE policies in stock algorithms of Stable-Baselines3."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlshare.moe import MoELayer
from rlshare.policies import (
    DictTreeRolloutBuffer,
    MoECallback,
    MoEExtractor,
    MoEPolicy,
    ResetDeadExperts,
    TreeRolloutBuffer,
)
from rlshare.policies.moe.callbacks import RecentSteps
from rlshare.policies.moe.extractor import expert_layers, extractor_inputs
from rlshare.policies.moe.figures import use_by_task

MOE = {"n_experts": 4, "top_k": 2, "width": 16, "hidden": 16}
ALGORITHMS: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any]]] = {
    "PPO": (PPO, "CartPole-v1", {"n_steps": 32, "batch_size": 16, "n_epochs": 2}),
    "A2C": (A2C, "CartPole-v1", {}),
    "DQN": (DQN, "CartPole-v1", {"learning_starts": 20, "target_update_interval": 10}),
    "SAC": (SAC, "Pendulum-v1", {"learning_starts": 20, "batch_size": 16}),
    "TD3": (TD3, "Pendulum-v1", {"learning_starts": 20, "batch_size": 16}),
}


def agent(name: str, moe: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    algorithm, env, settings = ALGORITHMS[name]
    policy_kwargs = {"moe": {**MOE, **(moe or {})}, **kwargs}
    return algorithm(
        "MoEPolicy", gym.make(env), policy_kwargs=policy_kwargs, seed=0, device="cpu", **settings
    )


def bandit(observation: str = "box", action: str = "discrete", **settings: Any) -> PPO:
    policy_kwargs = {"moe": MOE, **settings.pop("policy_kwargs", {})}
    defaults = {"n_steps": 16, "batch_size": 32, "learning_rate": 3e-3, "gamma": 0.0}
    env = DummyVecEnv([lambda: ContextualBandit(observation, action)] * 16)
    return PPO(
        MoEPolicy,
        env,
        policy_kwargs=policy_kwargs,
        seed=0,
        device="cpu",
        **{**defaults, **settings},
    )


def layers(policy: BasePolicy) -> dict[str, MoELayer]:
    return {name: extractor.experts for name, extractor in expert_layers(policy)}


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("shared", [True, False])
def test_trains_saves_loads_and_goes_on(name: str, shared: bool, tmp_path: Path) -> None:
    kwargs = {} if name == "DQN" else {"shared": shared}
    model = agent(name, **kwargs).learn(64)
    observations = np.stack([model.observation_space.sample() for _ in range(5)])
    actions = model.predict(observations, deterministic=True)[0]
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=model.env, device="cpu")
    assert np.array_equal(loaded.predict(observations, deterministic=True)[0], actions)
    loaded.learn(32, reset_num_timesteps=False)
    model.policy.save(tmp_path / "policy.pt")
    policy = type(model.policy).load(tmp_path / "policy.pt", device="cpu")
    assert np.array_equal(policy.predict(observations, deterministic=True)[0], actions)
    expected = {
        "DQN": ["q_net"],
        "PPO": ["shared"] if shared else ["pi", "vf"],
        "A2C": ["shared"] if shared else ["pi", "vf"],
    }.get(name, ["actor"] if shared else ["actor", "critic"])
    assert [name for name, _ in expert_layers(model.policy)] == expected


@pytest.mark.parametrize(
    ("observation", "action", "least"), [("dict", "discrete", 0.9), ("box", "box", 0.85)]
)
def test_learns_the_bandit(observation: str, action: str, least: float) -> None:
    falling = {"batch_size": 128, "learning_rate": lambda left: 1e-2 * left}
    model = bandit(observation, action, **falling).learn(2048)
    env = Monitor(ContextualBandit(observation, action))
    assert evaluate_policy(model, env, n_eval_episodes=200)[0] > least


@pytest.mark.parametrize(
    ("observation", "action"),
    [("discrete", "multidiscrete"), ("multidiscrete", "multibinary"), ("multibinary", "discrete")],
)
def test_trains_on_other_spaces(observation: str, action: str) -> None:
    model = bandit(observation, action)
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(256)
    after = model.policy.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_images_go_through_a_convolution(name: str) -> None:
    algorithm, _, settings = ALGORITHMS[name]
    env = FakeImageEnv(screen_height=40, screen_width=40, n_channels=1)
    model = algorithm(
        "MoECnnPolicy", env, policy_kwargs={"moe": MOE}, device="cpu", seed=0, **settings
    )
    model.learn(40)
    extractor = dict(expert_layers(model.policy)).popitem()[1]
    assert any(isinstance(module, torch.nn.Conv2d) for module in extractor.modules())


def test_balance_loss_is_learnt_in_stock_training() -> None:
    entropies = []
    for coef in (0.0, 1.0):
        model = bandit(policy_kwargs={"moe": {**MOE, "balance_coef": coef}}, batch_size=128)
        with torch.no_grad():
            for layer in layers(model.policy).values():
                layer.router_weight *= 30
        logged = Logged()
        model.learn(2048, callback=[MoECallback(), logged])
        entropies.append(logged.values["moe/shared/router_entropy_marginal"][-1])
    assert entropies[1] > entropies[0] + 0.05
    assert entropies[1] > 0.97


class Logged(BaseCallback):
    """Keeps what is logged, at the end of every rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[float]] = {}

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        for key, value in self.logger.name_to_value.items():
            self.values.setdefault(key, []).append(value)


def test_callback_logs_every_figure() -> None:
    logged = Logged()
    agent("PPO", shared=False).learn(128, callback=[MoECallback(), logged])
    figures = [
        "load_frac",
        "gate_mean",
        "router_entropy_token",
        "router_entropy_marginal",
        "effective_experts",
        "dead_expert_frac",
        "max_violation",
        "dormant_ratio",
        "aux_loss",
        "router_drift",
    ]
    for layer in ("pi", "vf"):
        for figure in figures:
            assert f"moe/{layer}/{figure}" in logged.values, figure
        load = logged.values[f"moe/{layer}/load_frac"][-1]
        assert float(load.sum()) == pytest.approx(1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_tensorboard_gets_a_picture_of_the_routing(name: str, tmp_path: Path) -> None:
    model = agent(name)
    model.set_logger(configure(str(tmp_path), ["tensorboard"]))
    model.learn(128, callback=MoECallback(figure_freq=50))
    board = EventAccumulator(str(tmp_path)).Reload()
    layer = "q_net" if name == "DQN" else "shared"
    pictures = board.Images(f"moe/{layer}/routing")
    assert [image.encoded_image_string[:4] for image in pictures] == [b"\x89PNG"] * len(pictures)
    assert pictures


def test_episode_of_the_picture_is_the_last_whole_one_of_the_first_environment() -> None:
    steps = RecentSteps(2)
    for t in range(5):
        steps.add(np.array([[t], [-t]]), np.array([t, 0.0]), np.array([t == 2, False]))
    assert steps.episode().tolist() == [[0], [1], [2]]
    assert steps.rewards().tolist() == [0.0, 1.0, 2.0]
    assert len(steps.recent()) == 10


def test_use_by_task_is_the_share_of_its_rows() -> None:
    experts = np.array([[0, 1], [0, 2], [1, 2]], np.int32)
    shares = use_by_task(experts, np.array([0, 0, 2]), n_tasks=3, n_experts=4)
    assert shares.tolist() == [[1.0, 0.5, 0.5, 0.0], [0.0] * 4, [0.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize(("rate", "drifts"), [(0.0, False), (0.3, True)])
def test_router_drift_is_what_training_changed(rate: float, drifts: bool) -> None:
    logged = Logged()
    bandit(learning_rate=rate).learn(600, callback=[MoECallback(), logged])
    drift = logged.values["moe/shared/router_drift"]
    assert all((d > 0) is drifts for d in drift)


def sgd(value_lr_scale: float, shared: bool) -> PPO:
    model = bandit(
        learning_rate=0.1,
        policy_kwargs={
            "shared": shared,
            "value_lr_scale": value_lr_scale,
            "optimizer_class": torch.optim.SGD,
            "moe": {**MOE, "balance": "none"},
        },
    )
    return model


@pytest.mark.parametrize("shared", [True, False])
def test_value_lr_scale_scales_the_critic_and_only_it(shared: bool) -> None:
    steps = []
    for scale in (1.0, 0.25):
        model = sgd(scale, shared)
        policy = model.policy
        before = {n: p.detach().clone() for n, p in policy.named_parameters()}
        obs = torch.linspace(-1, 1, 30).view(10, 3)
        for group in policy.optimizer.param_groups:
            group["lr"] = 0.1  # as SB3's update_learning_rate does
        policy.predict_values(obs).sum().backward()
        policy.optimizer.step()
        assert all(group["lr"] == 0.1 for group in policy.optimizer.param_groups)
        steps.append({n: p.detach() - before[n] for n, p in policy.named_parameters()})
    for name, step in steps[0].items():
        assert torch.allclose(steps[1][name], 0.25 * step, atol=1e-7), name
    moved = {name for name, step in steps[0].items() if step.abs().sum() > 0}
    assert any("value_net" in name for name in moved)
    assert any("experts" in name for name in moved)


def test_value_lr_scale_leaves_the_actor_alone() -> None:
    steps = []
    for scale in (1.0, 0.25):
        policy = sgd(scale, shared=True).policy
        before = {n: p.detach().clone() for n, p in policy.named_parameters()}
        obs = torch.linspace(-1, 1, 30).view(10, 3)
        policy.evaluate_actions(obs, torch.zeros(10))[1].sum().backward()
        policy.optimizer.step()
        steps.append({n: p.detach() - before[n] for n, p in policy.named_parameters()})
    assert all(torch.equal(steps[0][name], steps[1][name]) for name in steps[0])


@pytest.mark.parametrize("observation", ["box", "dict"])
def test_stored_routes_hold_for_a_rollout(observation: str) -> None:
    buffer = DictTreeRolloutBuffer if observation == "dict" else TreeRolloutBuffer
    model = bandit(
        observation, policy_kwargs={"store_routes": True}, rollout_buffer_class=buffer
    ).learn(256)
    policy, layer = model.policy, layers(model.policy)["shared"]
    model.collect_rollouts(model.env, NoCallback(model), model.rollout_buffer, model.n_steps)
    data = next(iter(model.rollout_buffer.get(128)))
    policy.set_training_mode(True)
    before = policy.evaluate_actions(data.observations, data.actions)[1]
    layer.router_weight.data.neg_()  # turns every preference round; the gates do follow
    gates_changed = policy.evaluate_actions(data.observations, data.actions)[1]
    selected: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _, args: selected.append(args[2]))
    policy.evaluate_actions(data.observations, data.actions)
    assert torch.equal(selected[0], policy._routes["shared"][data.observations.row_ids])
    assert not torch.equal(before, gates_changed)
    model.collect_rollouts(model.env, NoCallback(model), model.rollout_buffer, model.n_steps)
    data = next(iter(model.rollout_buffer.get(128)))
    policy.evaluate_actions(data.observations, data.actions)
    x = (
        {k: torch.as_tensor(v) for k, v in data.observations.items()}
        if observation == "dict"
        else (data.observations)
    )
    extractor = policy.features_extractor
    assert torch.equal(selected[-1], extractor.select(extractor_inputs(policy, x)))


def NoCallback(model: PPO) -> BaseCallback:  # noqa: N802
    callback = Logged()
    callback.init_callback(model)
    return callback


def test_stored_routes_need_the_buffer() -> None:
    model = bandit(policy_kwargs={"store_routes": True})
    with pytest.raises(ValueError, match="needs rollout_buffer_class=rlshare"):
        model.learn(256)


def test_bias_moves_once_a_rollout() -> None:
    model = bandit(policy_kwargs={"moe": {**MOE, "gate": "sigmoid_bias"}})
    layer = layers(model.policy)["shared"]
    model.learn(256 * 3)
    model.policy.set_training_mode(False)
    steps = (layer.expert_bias / 1e-3).round()
    assert steps.abs().max() == 3
    assert torch.allclose(layer.expert_bias, steps * 1e-3)


@pytest.mark.parametrize("name", ["DQN", "SAC", "TD3"])
def test_targets_follow_the_bias(name: str) -> None:
    model = agent(name, {"gate": "sigmoid_bias"})
    model.learn(60)
    policy = model.policy
    online, target = (
        (policy.q_net, policy.q_net_target)
        if name == "DQN"
        else (policy.critic, policy.critic_target)
    )
    bias, followed = (net.features_extractor.experts.expert_bias for net in (online, target))
    assert bias.abs().max() > 0
    assert followed.abs().max() > 0


def test_the_task_reaches_the_router_through_a_normaliser() -> None:
    class Tasks(gym.Env[Any, Any]):
        observation_space = spaces.Box(-1.0, 1.0, (5,))
        action_space = spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.task = int(self.np_random.integers(3))
            return self._observe(), {}

        def step(self, action: Any) -> Any:
            return self._observe(), 0.0, True, False, {}

        def _observe(self) -> Any:
            one_hot = np.eye(3, dtype=np.float32)[self.task]
            return np.concatenate([self.np_random.normal(size=2), one_hot]).astype(np.float32)

    env = VecNormalize(DummyVecEnv([Tasks] * 4))
    moe = {**MOE, "n_tasks": 3, "router": "task"}
    model = PPO("MoEPolicy", env, policy_kwargs={"moe": moe}, n_steps=32, seed=0, device="cpu")
    model.learn(256)
    extractor = model.policy.features_extractor
    assert isinstance(extractor, MoEExtractor)
    assert extractor.experts.n_shared == 1
    obs = env.reset()
    task = extractor.task(torch.as_tensor(obs))
    assert task is not None
    assert task.argmax(1).tolist() == env.unnormalize_obs(obs)[:, 2:].argmax(1).tolist()
    assert set(task.unique().tolist()) <= {0.0, 1.0}


def test_dead_experts_come_back() -> None:
    model = agent("PPO", {"top_k": 1, "activation": "relu"})
    layer = layers(model.policy)["shared"]
    with torch.no_grad():
        layer.router_weight[3] = -10 * layer.router_weight[:3].abs().sum(0)
        layer.router_weight[3].clamp_(max=-10.0)  # features are >= 0: never selected
    callback = ResetDeadExperts(min_rows=50)
    model.learn(32 * 3, callback=callback)
    assert callback.n_resets >= 1
    assert (layer.router_weight[3] > -5).all()
    busiest = (layer.w1[3] - layer.w1[:3]).flatten(1).abs().mean(1).min()
    assert busiest < 0.1 * layer.w1[3].abs().mean()


def test_policies_are_copied() -> None:
    model = agent("PPO").learn(64)
    obs = torch.zeros(2, 4)
    twin = copy.deepcopy(model.policy)
    assert torch.equal(twin.predict_values(obs), model.policy.predict_values(obs))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"moe": {"n_expert": 4}}, "moe has no key 'n_expert', did you mean 'n_experts'"),
        ({"moe": {"top_k": 9}}, r"top_k must be an integer in \[1, 8\], got 9"),
        ({"moe": {"gate": "expert_choice"}}, "is refused"),
        ({"moe": {"n_tasks": 4, "router": "task"}}, "n_tasks = 4 needs a one-hot task"),
        ({"value_lr_scale": 0.0}, "value_lr_scale must be finite and > 0, got 0.0"),
    ],
)
def test_bad_options(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPO("MoEPolicy", ContextualBandit(), policy_kwargs=kwargs, device="cpu")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_adam_is_fused_unless_another_is_asked_for(name: str, tmp_path: Path) -> None:
    def optimizer(model: Any) -> torch.optim.Optimizer:
        policy = model.policy
        found: torch.optim.Optimizer = getattr(policy, "actor", policy).optimizer
        return found

    adam = {"optimizer_class": torch.optim.Adam}  # not A2C's RMSprop
    assert optimizer(agent(name, **adam)).defaults["fused"]
    given = agent(name, **adam, optimizer_kwargs={"eps": 1e-3})
    assert optimizer(given).defaults["fused"] is None
    assert optimizer(given).defaults["eps"] == 1e-3
    sgd = agent(name, optimizer_class=torch.optim.SGD)
    assert isinstance(optimizer(sgd), torch.optim.SGD)
