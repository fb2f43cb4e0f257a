"""AWR learns with trees, experts and networks, and refuses what cannot work."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from contextual_bandit import ContextualBandit
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.save_util import save_to_pkl
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlshare.agents import AWR, DictTrajectoryBuffer
from rlshare.policies import TreeCallback

TREES: dict[str, Any] = {"policy_lr": 0.05, "value_lr": 0.1}
ENOUGH = 0.85  # the best policy earns 1, the best constant action at most .7


def bandit(observation: str = "box", action: str = "discrete", n_envs: int = 8) -> VecEnv:
    kwargs = {"observation": observation, "action": action}
    return make_vec_env(ContextualBandit, n_envs, seed=1, env_kwargs=kwargs)


def agent(
    policy: str = "GBTPolicy", env: Any = None, policy_kwargs: Any = None, **kwargs: Any
) -> AWR:
    settings = {"train_freq": 64, "gradient_steps": 20, "batch_size": 128, "seed": 0} | kwargs
    defaults = TREES if policy == "GBTPolicy" else {}
    return AWR(
        policy, bandit() if env is None else env, device="cpu",
        policy_kwargs=defaults | (policy_kwargs or {}), **settings,
    )  # fmt: skip


def trees(model: AWR) -> list[bytes]:
    return [ensemble.to_bytes() for ensemble in model.policy.ensembles]


@pytest.mark.parametrize(
    ("observation", "action", "shared"),
    [
        ("box", "discrete", False),
        ("dict", "multidiscrete", True),
        ("discrete", "multibinary", False),
        ("dict", "box", True),
    ],
)
def test_trees_learn_the_bandit(observation: str, action: str, shared: bool) -> None:
    env = bandit(observation, action, n_envs=16)
    policy_kwargs: dict[str, Any] = {"shared": shared}
    if action == "box":
        policy_kwargs |= {
            "policy_lr": 0.005,
            "log_std_init": -1.0,
            "max_policy_grad_norm": None,
            "tree": {"min_samples_leaf": 10},
        }
    model = agent(env=env, train_freq=32, policy_kwargs=policy_kwargs, beta=1.0).learn(3072)
    assert model.policy.n_trees == 6 * 20 * (1 if shared else 2)
    assert evaluate_policy(model, env, 60)[0] >= ENOUGH


@pytest.mark.parametrize(
    ("policy", "policy_kwargs"),
    [
        ("MlpPolicy", {}),
        ("MoEPolicy", {"moe": {"n_experts": 4, "top_k": 2}}),
        ("MoEPolicy", {"moe": {"n_experts": 4, "top_k": 2}, "shared": False}),
        ("MoEPolicy", {"moe": {"n_experts": 4, "top_k": 2}, "store_routes": True}),
    ],
)
def test_networks_learn_the_bandit(policy: str, policy_kwargs: dict[str, Any]) -> None:
    env = bandit(n_envs=16)
    model = agent(policy, env, policy_kwargs, train_freq=32, learning_rate=0.01).learn(2560)
    assert model.shared == (policy == "MoEPolicy" and policy_kwargs.get("shared", True))
    assert evaluate_policy(model, bandit(), 60)[0] >= ENOUGH


def test_trees_learn_from_rollout_bins_and_normalized_rewards() -> None:
    env = VecNormalize(bandit(n_envs=16), norm_obs=False)
    model = agent(env=env, train_freq=32, policy_kwargs={"tree": {"bins": "rollout"}}).learn(2048)
    assert evaluate_policy(model, bandit(), 60)[0] >= ENOUGH


class Phases(BaseCallback):
    """Counts the (row, tree) pairs walked while training."""

    def _init_callback(self) -> None:
        self.walked: list[int] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.mark = self.model.policy.n_tree_evaluations

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.walked.append(self.model.policy.n_tree_evaluations - self.mark)


@pytest.mark.parametrize("shared", [True, False])
def test_a_phase_costs_as_much_with_many_trees_as_with_few(shared: bool) -> None:
    """Rows of the buffer keep their sums over the trees; only new rows are walked in full."""
    env = make_vec_env("CartPole-v1", 4, seed=1)
    phases = Phases()
    model = agent(
        env=env,
        policy_kwargs={"shared": shared},
        buffer_size=2400,
        train_freq=30,
        gradient_steps=4,
        batch_size=64,
    )
    model.learn(120 * 40, phases)
    last = phases.walked[-1]
    n_trees, n_ensembles = 39 * 4, len(model.policy.ensembles)
    assert n_trees == model.policy.ensembles[0].n_trees - 4
    assert model.replay_buffer.full
    new_rows, new_trees = 120 * n_trees, 2400 * 4
    assert last < 1.5 * n_ensembles * (new_rows + new_trees)
    assert last < 0.2 * n_ensembles * 2400 * n_trees


class NewBuffers(AWR):
    """Forgets, before every training phase, what the trees know of its rows."""

    def train(self, gradient_steps: int, batch_size: int) -> None:
        for module in self.policy.trees.values():
            module._cache = None
        super().train(gradient_steps, batch_size)


@pytest.mark.parametrize("budget", [None, 64])
def test_the_trained_trees_are_bit_identical_without_kept_margins(budget: int | None) -> None:
    """Also where the buffer is written over, and where old trees are compacted."""
    found = []
    for cls in (AWR, NewBuffers):
        env = make_vec_env("CartPole-v1", 4, seed=1)
        model = cls(
            "GBTPolicy", env, seed=0, device="cpu", buffer_size=1200, train_freq=50,
            gradient_steps=10, batch_size=64,
            policy_kwargs=TREES | {"tree_budget": budget, "compaction_max_kl": 1.0},
        )  # fmt: skip
        model.learn(1600)
        found.append(trees(model))
    assert found[0] == found[1]
    n_steps = 1600 // 200 * 10
    assert (model.policy.n_trees < n_steps) == (budget is not None)


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("GBTPolicy", None),
        ("GBTPolicy", {"shared": False}),
        ("MoEPolicy", None),
        ("MlpPolicy", None),
    ],
)
def test_continuous_actions_do_not_diverge_by_default(policy: str, options: Any) -> None:
    model = AWR(
        policy, "Pendulum-v1", seed=0, train_freq=200, gradient_steps=30, device="cpu",
        policy_kwargs=options,
    ).learn(400)  # fmt: skip
    obs, _ = model.policy.obs_to_tensor(pendulums())
    with torch.no_grad():
        mean = model.policy.get_distribution(obs).distribution.mean
    assert mean.abs().max() < 20  # torques are within 2
    assert model.policy.log_std.abs().max() < 5


def pendulums() -> Any:
    angles = np.linspace(-np.pi, np.pi, 64)
    return np.stack([np.cos(angles), np.sin(angles), 2 * angles], axis=1).astype(np.float32)


def test_separate_trees_learn_the_value_before_the_policy() -> None:
    model = agent(policy_kwargs={"shared": False})
    assert not model.shared
    model.learn(64 * 8)
    assert [ensemble.n_trees for ensemble in model.policy.ensembles] == [20, 20]


def test_weights_are_cut_off_and_greedier_when_cold() -> None:
    advantages = np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0], np.float32)
    warm = agent(beta=1.0, w_max=5.0, normalize_advantage=False)._weights(advantages)
    np.testing.assert_allclose(warm, [0, np.exp(-1), 1, np.exp(1), 5], rtol=1e-6)
    cold = agent(beta=0.1, w_max=5.0, normalize_advantage=False)._weights(advantages)
    np.testing.assert_allclose(cold, [0, np.exp(-10), 1, 5, 5], rtol=1e-6)
    standard = agent(beta=1.0, w_max=5.0)._weights(advantages)
    shifted = agent(beta=1.0, w_max=5.0)._weights(3 * advantages + 7)
    np.testing.assert_allclose(standard, shifted, rtol=1e-5)


@pytest.mark.parametrize("w_max", [3.0, 5.0, 20.0])
def test_clip_fraction_counts_the_weights_that_were_cut_off(w_max: float) -> None:
    model = agent(beta=0.05, w_max=w_max)
    model.learn(512)
    found = model._weights(np.linspace(-1, 1, 101, dtype=np.float32))
    assert (found >= w_max).sum() == (found > 0.999 * w_max).sum() > 40
    assert 0 < model.logger.name_to_value["train/clip_fraction"] < 1


def test_box_actions_are_stored_as_drawn_and_taken_within_bounds() -> None:
    env = make_vec_env("Pendulum-v1", 2, seed=0)
    model = agent(env=env, policy_kwargs={"log_std_init": 2.0}, train_freq=50)
    model.learn(100)
    stored = model.replay_buffer.actions[:50]
    assert np.abs(stored).max() > 2  # the bounds of Pendulum
    model.learn(100)  # and the environment did not complain


def fresh(model: AWR) -> AWR:
    """The model and its buffer, saved and loaded."""
    file, buffer = io.BytesIO(), io.BytesIO()
    model.save(file)
    model.save_replay_buffer(buffer)
    file.seek(0)
    buffer.seek(0)
    loaded = AWR.load(file, env=bandit("dict"), device="cpu")
    loaded.load_replay_buffer(buffer)
    return loaded


@pytest.mark.parametrize("shared", [True, False])
def test_a_loaded_agent_with_its_buffer_goes_on_bit_equal(shared: bool) -> None:
    model = agent(env=bandit("dict"), policy_kwargs={"shared": shared}, learning_rate=lambda p: p)
    model.learn(1024)
    loaded = fresh(model)
    assert isinstance(loaded.replay_buffer, DictTrajectoryBuffer)
    assert DictTrajectoryBuffer.__module__ == AWR.__module__ == "rlshare.agents"
    assert loaded.replay_buffer.size() == 128
    for one in (model, loaded):
        one.set_env(bandit("dict"))
        set_random_seed(7)
        one.learn(1024, reset_num_timesteps=False)
    assert trees(loaded) == trees(model)
    assert len(trees(loaded)) == (1 if shared else 2)


def test_an_agent_learns_on_without_its_buffer() -> None:
    model = agent().learn(512)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = AWR.load(file, env=bandit(n_envs=4), device="cpu")  # of another number of environments
    assert loaded.replay_buffer.size() == 0
    loaded.learn(512, reset_num_timesteps=False)
    assert loaded.replay_buffer.n_envs == 4
    assert loaded.policy.n_trees > model.policy.n_trees


def test_a_new_start_of_the_environments_cuts_the_episodes() -> None:
    env = make_vec_env("Pendulum-v1", 2, seed=0)
    model = agent(env=env, train_freq=8, policy_kwargs={"policy_lr": 0.001}).learn(16)
    assert model.replay_buffer.dones[7].tolist() == [0, 0]
    model.learn(16, reset_num_timesteps=False)
    assert model.replay_buffer.dones[7].tolist() == [0, 0]
    model.learn(16)
    assert model.replay_buffer.timeouts[15].tolist() == [1, 1]


def test_other_buffers_are_refused(tmp_path: Path) -> None:
    model = agent().learn(512)
    model.save_replay_buffer(tmp_path / "eight")
    stock = ReplayBuffer(64, model.observation_space, model.action_space, n_envs=8)
    save_to_pkl(tmp_path / "stock", stock)
    save_to_pkl(tmp_path / "text", "no buffer")
    for path, other in (
        ("eight", agent(env=bandit(n_envs=4))),
        ("eight", agent(env=bandit("multibinary"))),
        ("stock", model),
        ("text", model),
    ):
        before = other.replay_buffer
        with pytest.raises(ValueError, match="the replay buffer must have"):
            other.load_replay_buffer(tmp_path / path)
        assert other.replay_buffer is before
    agent().load_replay_buffer(tmp_path / "eight")


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"beta": 0.0}, "beta must be finite and > 0, got 0.0"),
        ({"beta": float("nan")}, "beta must be finite and > 0, got nan"),
        ({"w_max": -1.0}, "w_max must be finite and > 0, got -1.0"),
        ({"gae_lambda": 1.5}, r"gae_lambda must be in \[0, 1\], got 1.5"),
        ({"gamma": -0.1}, r"gamma must be in \[0, 1\], got -0.1"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"gradient_steps": -1}, "gradient_steps must be an integer >= 1, got -1"),
        ({"train_freq": (None, "episode")}, "train_freq must be an integer >= 1, got None"),
        ({"train_freq": (4, "epoch")}, "train_freq must be steps, or"),
        ({"train_freq": (4,)}, "train_freq must be steps, or"),
        ({"normalize_advantage": 1}, "normalize_advantage must be True or False, got 1"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"train_freq": 0}, "train_freq"),
        ({"vf_coef": 0.0}, "vf_coef must be > 0 where actor and critic share trees"),
        ({"policy": "MoEPolicy", "vf_coef": 0.0}, "share trees or a feature extractor"),
        (
            {"policy": "MoEPolicy", "policy_kwargs": {"shared": False, "store_routes": True}},
            "store_routes must be False",
        ),
        ({"policy_kwargs": {"use_sde": True}}, "use_sde must be False"),
        ({"policy": "MlpPolicy", "policy_kwargs": {"use_sde": True}}, "use_sde must be False"),
    ],
)
def test_bad_settings_are_refused(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        agent(**kwargs)


NUMBERS = (
    "learning_rate buffer_size batch_size gamma gae_lambda train_freq gradient_steps beta w_max "
    "ent_coef vf_coef max_grad_norm stats_window_size verbose"
)


@pytest.mark.parametrize("value", [None, "x", True, float("nan")])
@pytest.mark.parametrize("name", NUMBERS.split())
def test_what_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value!r}"):
        AWR("GBTPolicy", "CartPole-v1", device="cpu", **{name: value})


def test_the_value_coefficient_is_free_where_nothing_is_shared() -> None:
    agent(policy_kwargs={"shared": False}, vf_coef=0.0).learn(512)


def test_a_policy_without_values_is_refused() -> None:
    from stable_baselines3.dqn.policies import DQNPolicy

    with pytest.raises(ValueError, match=r"policy must be an ActorCriticPolicy.*DQNPolicy"):
        AWR(DQNPolicy, "CartPole-v1")  # type: ignore[arg-type]


class Unlearnable(gym.Env[Any, Any]):
    """Pays NaN."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), float("nan"), True, False, {}


def test_a_reward_that_is_nan_leaves_the_trees_as_they_were() -> None:
    model = agent(env=make_vec_env(Unlearnable, 1))
    with pytest.raises(ValueError, match="must be finite"):
        model.learn(128)
    assert model.policy.n_trees == 0


def test_the_logger_knows_the_users_keys() -> None:
    seen: dict[str, Any] = {}

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            seen.update(self.logger.name_to_value)
            return True

    model = agent(env=bandit(action="box"), policy_kwargs={"policy_lr": 0.001})
    model.learn(1024, [TreeCallback(), Look()], log_interval=10_000)
    keys = "policy_loss value_loss entropy_loss explained_variance clip_fraction std n_trees"
    assert {f"train/{key}" for key in keys.split()} <= seen.keys()
    assert 0 <= seen["train/clip_fraction"] <= 1


def test_recipes_stay_light() -> None:
    program = "import sys, rlshare.agents; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "set()"


def test_numpy_numbers_are_settings_like_any_other() -> None:
    settings = {"train_freq": (np.int64(32), "step"), "stats_window_size": np.int64(5)}
    made = agent(gradient_steps=np.int64(2), gamma=np.float32(0.5), **settings).learn(64)
    assert made.policy.n_trees == 2
