"""SB3's callbacks, wrappers and vector environments around a tree policy."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contextual_bandit import ContextualBandit
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from rlshare.policies import TreeCallback


def agent(env: Any = None, **kwargs: Any) -> PPO:
    env = env or make_vec_env(ContextualBandit, 4, seed=0)
    return PPO("GBTPolicy", env, n_steps=32, batch_size=64, n_epochs=2, seed=0, device="cpu",
               policy_kwargs={"policy_lr": 0.5}, **kwargs)  # fmt: skip


def test_every_callback_of_sb3(tmp_path: Path) -> None:
    evaluation = EvalCallback(
        make_vec_env(ContextualBandit, seed=1),
        callback_on_new_best=StopTrainingOnRewardThreshold(2.0),
        callback_after_eval=StopTrainingOnNoModelImprovement(50),
        eval_freq=40,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        verbose=0,
    )
    checkpoints = CheckpointCallback(100, str(tmp_path / "checkpoints"))
    seen: list[int] = []
    periodic = EveryNTimesteps(256, callback=_Append(seen))
    model = agent().learn(1024, CallbackList([evaluation, checkpoints, periodic, TreeCallback()]))
    assert evaluation.best_mean_reward > 0.85
    assert len(list((tmp_path / "checkpoints").glob("*.zip"))) == 2
    assert len(seen) == 4
    best = PPO.load(tmp_path / "best_model.zip", device="cpu")
    assert 0 < best.policy.n_trees <= model.policy.n_trees
    with np.load(tmp_path / "evaluations.npz") as record:
        assert record["results"].max() == 1.0


class _Append(BaseCallback):
    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def _on_step(self) -> bool:
        self.seen.append(self.num_timesteps)
        return True


def test_training_stops_where_a_callback_says_so() -> None:
    model = agent().learn(4096, StopTrainingOnMaxEpisodes(200))
    assert model.num_timesteps == 4 * 200  # the callback counts episodes per environment
    threshold = EvalCallback(
        make_vec_env(ContextualBandit, seed=1),
        callback_on_new_best=StopTrainingOnRewardThreshold(0.9),
        eval_freq=32,
        verbose=0,
    )
    model = agent().learn(8192, threshold)
    assert model.num_timesteps < 8192


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_tree_callback_logs_trees_and_time(
    algorithm: type[PPO] | type[A2C], tmp_path: Path
) -> None:
    model = algorithm(
        "GBTPolicy", "CartPole-v1", n_steps=64, device="cpu", policy_kwargs={"tree": {}}
    )
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(256, TreeCallback(), log_interval=1)
    rows = np.genfromtxt(tmp_path / "progress.csv", delimiter=",", names=True)
    n_trees = rows["trainn_trees"]
    per_rollout = model.policy.n_trees // 4
    np.testing.assert_array_equal(n_trees, per_rollout * np.arange(4))
    assert np.isnan(rows["timetree_fit_ms"][0])  # nothing was grown before the first rollout
    assert (rows["timetree_fit_ms"][1:] > 0).all()


@pytest.mark.parametrize(("algorithm", "n_ensembles"), [(DQN, 1), (SAC, 3), (TD3, 3)])
def test_tree_callback_off_policy(algorithm: Any, n_ensembles: int, tmp_path: Path) -> None:
    action = "discrete" if algorithm is DQN else "box"
    env = make_vec_env(ContextualBandit, seed=0, env_kwargs={"action": action})
    kwargs: dict[str, Any] = {"tree": {}} if algorithm is DQN else {"critic": "linear"}
    model = algorithm("GBTPolicy", env, device="cpu", learning_starts=10, policy_kwargs=kwargs)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(100, TreeCallback(), log_interval=20)
    rows = np.genfromtxt(tmp_path / "progress.csv", delimiter=",", names=True)
    assert len(model.policy.ensembles) == n_ensembles
    assert 0 < rows["trainn_trees"][-2] < rows["trainn_trees"][-1] <= model.policy.n_trees
    assert rows["timetree_fit_ms"][-1] > 0


def test_the_time_of_a_step_is_that_of_the_last_training() -> None:
    model, callback = PPO("GBTPolicy", "CartPole-v1", device="cpu"), TreeCallback()
    model.set_logger(configure(None, []))
    callback.init_callback(model)
    (optimizer,) = model.policy.tree_optimizers
    for seconds in (1.0, 3.0):
        optimizer.fit_seconds += seconds
        optimizer.n_fits += 10
        callback.on_rollout_end()
        found = model.logger.name_to_value["time/tree_fit_ms"]
        assert found == pytest.approx(100 * seconds)
        model.logger.dump()


def test_tree_callback_leaves_other_policies_alone(tmp_path: Path) -> None:
    model = A2C("MlpPolicy", "CartPole-v1", device="cpu")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(20, TreeCallback(), log_interval=1)
    assert "n_trees" not in (tmp_path / "progress.csv").read_text()


def test_normalised_rewards_train_and_normalised_observations_are_warned_of() -> None:
    rewards = VecNormalize(make_vec_env(ContextualBandit, 4, seed=0), norm_obs=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = agent(rewards).learn(1024, TreeCallback())
    observations = make_vec_env(ContextualBandit, 64, seed=9)
    actions, _ = model.predict(observations.reset(), deterministic=True)
    assert observations.step(actions)[1].mean() >= 0.85
    both = VecNormalize(make_vec_env(ContextualBandit, 4, seed=0))
    with pytest.warns(UserWarning, match="norm_obs=False"):
        agent(both).learn(128, TreeCallback())


def test_environments_in_processes_give_the_same_agent() -> None:
    def trees(**kwargs: Any) -> bytes:
        env = make_vec_env("CartPole-v1", 2, seed=0, **kwargs)
        out: bytes = agent(env).learn(256).policy.ensembles[0].to_bytes()
        env.close()
        return out

    assert trees(vec_env_cls=SubprocVecEnv) == trees()
    fork = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}}
    assert trees(**fork) == trees()
