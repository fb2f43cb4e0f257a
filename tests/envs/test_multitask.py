"""Several tasks as one environment: whose turn it is, what is observed, what is logged."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3
from stable_baselines3.common.logger import configure

from rlshare.envs import MultiTask, Task, make_env, make_vec_env
from rlshare.runs.callbacks.tasks import TaskReturns

CHEETAH = "rlshare/HalfCheetahTasks-v0"
PENDULUMS = [Task(f"g{g}", "Pendulum-v1", {"g": g}) for g in (2.0, 10.0, 20.0)]


def turns(env: MultiTask, n: int, length: int = 3) -> list[str]:
    """Names of the tasks of n episodes, each cut after some steps."""
    found = []
    for episode in range(n):
        info = env.reset(seed=5 if episode == 0 else None)[1]
        found.append(info["task"])
        for _ in range(length):
            assert env.step(env.action_space.sample())[4]["task"] == info["task"]
    return found


def test_mixed_tasks_take_turns() -> None:
    assert turns(MultiTask(PENDULUMS, first=1), 5) == ["g10.0", "g20.0", "g2.0", "g10.0", "g20.0"]


def test_alternating_tasks_last_their_steps() -> None:
    env = MultiTask(PENDULUMS, "alternate", first=0, steps_per_task=7)
    assert turns(env, 8) == ["g2.0"] * 3 + ["g10.0"] * 3 + ["g20.0"] * 2


def test_copies_of_a_vector_begin_with_different_tasks() -> None:
    env = make_vec_env(CHEETAH, 8, seed=11)
    assert set(np.argmax(np.asarray(env.reset())[:, 17:], axis=1)) == set(range(8))


def test_the_observation_ends_with_the_task() -> None:
    env = MultiTask(PENDULUMS)
    for task in range(3):
        obs, info = env.reset(seed=3, options={"task": task})
        assert obs.shape == (6,)
        assert obs.dtype == np.float32
        assert obs[3:].tolist() == np.eye(3)[task].tolist()
        assert info["task"] == env.task_names[task]
        assert env.observation_space.contains(obs)


def test_a_task_behaves_as_alone() -> None:
    env, alone = MultiTask(PENDULUMS, first=2), gym.make("Pendulum-v1", g=20.0)
    env.reset(seed=0)
    alone.reset(seed=0)
    alone.unwrapped.state = env._envs[2].unwrapped.state.copy()  # type: ignore[attr-defined]
    for _ in range(50):
        action = env.action_space.sample()
        ours, theirs = env.step(action), alone.step(action)
        assert np.allclose(ours[0][:3], theirs[0])
        assert ours[1] == pytest.approx(float(theirs[1]))


def test_a_picture_shows_the_present_task() -> None:
    env = MultiTask(PENDULUMS[:2], render_mode="rgb_array")
    pictures = []
    for task in range(2):
        env.reset(seed=0, options={"task": task})
        env._envs[task].unwrapped.state = np.array([float(task), 0.0])  # type: ignore[attr-defined]
        pictures.append(env.render())
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(env.render(), env._envs[1].render())
    env.close()


def test_means_are_over_the_last_twenty_episodes_of_a_task() -> None:
    model, callback = PPO("MlpPolicy", "CartPole-v1", device="cpu"), TaskReturns()
    model.set_logger(configure(None, []))
    callback.init_callback(model)
    for r in range(30):
        infos = [{"task": task, "episode": {"r": sign * r}} for task, sign in (("a", 1), ("b", -1))]
        callback.update_locals({"infos": [*infos, {"task": "a"}]})
        callback.on_step()
    callback.on_rollout_end()
    logged = model.logger.name_to_value
    assert logged["rollout/a/ep_rew_mean"] == -logged["rollout/b/ep_rew_mean"] == 19.5


@pytest.mark.filterwarnings("ignore:.*WARN:")  # gymnasium advises, we mean it
def test_checkers_accept_the_suite() -> None:
    env = make_env(CHEETAH)
    assert isinstance(env.unwrapped, MultiTask)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_of_sb3(env.unwrapped)


def rollout(task: int, action: float, steps: int = 60) -> tuple[np.ndarray[Any, Any], float]:
    env = make_env(CHEETAH)
    obs, _ = env.reset(seed=1, options={"task": task})
    rewards = 0.0
    for _ in range(steps):
        obs, reward, *_ = env.step(np.full(6, action, np.float32))
        rewards += reward
    return obs, rewards


def test_goals_of_the_cheetah() -> None:
    forward, backward, slow, fast = (rollout(task, 0.3) for task in range(4))
    assert np.array_equal(forward[0][:17], backward[0][:17])  # the same body
    control = 60 * 0.1 * 6 * 0.3**2
    assert forward[1] + backward[1] == pytest.approx(-2 * control, rel=1e-5)
    assert fast[1] < slow[1] < -control


def test_bodies_of_the_cheetah() -> None:
    bodies = [make_env("rlshare/HalfCheetahTask-v0", {"legs": s}) for s in (0.7, 1.0, 1.3)]
    models = [env.unwrapped.model for env in bodies]  # type: ignore[attr-defined]
    assert [m.body_mass.sum() for m in models] == pytest.approx([14.0] * 3)
    thigh = [m.geom("bthigh").size[1] for m in models]
    assert thigh == pytest.approx([0.7 * thigh[1], thigh[1], 1.3 * thigh[1]])
    heavy = make_env("rlshare/HalfCheetahTask-v0", {"gravity": 1.5}).unwrapped.model  # type: ignore[attr-defined]
    assert heavy.opt.gravity[2] == pytest.approx(-9.81 * 1.5)


def test_returns_are_logged_by_task() -> None:
    env = make_vec_env(CHEETAH, 2, seed=0)
    logged: dict[str, float] = {}

    class Keep(TaskReturns):
        def _on_rollout_end(self) -> None:
            super()._on_rollout_end()
            logged.update(self.logger.name_to_value)

    PPO("MlpPolicy", env, n_steps=1000, batch_size=500, n_epochs=1).learn(2000, callback=Keep())
    assert sum(key.endswith("/ep_rew_mean") and key.count("/") == 2 for key in logged) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": []}, "at least one"),
        ({"tasks": [PENDULUMS[0]] * 2}, "distinct names"),
        ({"tasks": PENDULUMS, "schedule": "random"}, "schedule must be one of mixed, alternate"),
        ({"tasks": PENDULUMS, "steps_per_task": 0}, "steps_per_task must be >= 1, got 0"),
        ({"tasks": [Task("a", "FrozenLake-v1")]}, "must have a Box observation"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiTask(**arguments)


def test_tasks_of_different_shapes_are_refused() -> None:
    tasks = [Task("a", "Pendulum-v1"), Task("b", "MountainCarContinuous-v0")]
    with pytest.raises(ValueError, match="observations of one shape and the same actions"):
        MultiTask(tasks)


def test_bounds_are_those_of_all_tasks(tmp_path: Path) -> None:
    (tmp_path / "fast.py").write_text(
        "from gymnasium.envs.classic_control import Continuous_MountainCarEnv\n"
        "from gymnasium.spaces import Box\n\n\nclass Fast(Continuous_MountainCarEnv):\n"
        "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n"
        "        self.observation_space = Box(-1.0, 1.0, (2,))\n"
    )
    tasks = [Task("a", "MountainCarContinuous-v0"), Task("b", f"{tmp_path / 'fast.py'}:Fast")]
    space = MultiTask(tasks).observation_space
    assert space.low.tolist() == pytest.approx([-1.2, -1.0, 0, 0])
    assert space.high.tolist() == pytest.approx([1.0, 1.0, 1, 1])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"direction": 0}, "direction must be 1 or -1"), ({"legs": 0.0}, "legs must be > 0, got 0.0")],
)
def test_bad_cheetahs(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env("rlshare/HalfCheetahTask-v0", kwargs)
