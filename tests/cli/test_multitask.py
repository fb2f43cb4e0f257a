"""Several tasks on the command line: schedule, logs and scores by task."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import refuses, succeeds

_TASKS = """
from gymnasium.envs.classic_control import PendulumEnv
from rlshare.envs import MultiTask, Task


class Swing(PendulumEnv):
    def reset(self, **kwargs):
        self.left = 16
        return super().reset(**kwargs)

    def step(self, action):
        self.left -= 1
        obs, reward, end, _, info = super().step(action)
        return obs, reward, end, self.left == 0, {**info, "is_success": self.g < 5}


def make(**kwargs):
    file = __file__ + ":Swing"
    return MultiTask([Task("light", file, {"g": 2.0}), Task("heavy", file, {"g": 9.0})], **kwargs)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two tasks, all of it on the first, as its stretches are longer than the run."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tasks.py").write_text(_TASKS)
    settings = ["n_envs:1", "n_steps:64", "batch_size:64", "normalize.norm_obs:false"]
    arguments = ["--policy", "mlp", "--env", "tasks.py:make", "--task-schedule", "alternate"]
    arguments += ["--seed", "0", "-n", "128", "--eval-freq", "64", "--eval-episodes", "2"]
    succeeds("train", *arguments, "--hyperparams", *settings, cwd=folder)
    return folder / "logs" / "ppo" / "make_1"


def test_training_follows_the_schedule_and_logs_by_task(trained: Path) -> None:
    with (trained / "progress.csv").open() as file:
        row = next(csv.DictReader(file))
    names = ("light", "heavy")
    seen = [name for name in names if f"rollout/{name}/ep_rew_mean" in row]
    assert len(seen) == 1
    assert float(row[f"rollout/{seen[0]}/success_rate"]) == (seen == ["light"])


def test_evaluations_take_the_tasks_in_turn(trained: Path) -> None:
    with (trained / "progress.csv").open() as file:
        assert float(next(csv.DictReader(file))["eval/success_rate"]) == 0.5
    successes = np.load(trained / "evaluations.npz")["successes"]
    assert successes.shape == (2, 2)
    assert successes.sum(1).tolist() == [1, 1]


def test_eval_scores_each_task(trained: Path) -> None:
    data = json.loads(succeeds("eval", str(trained), "-n", "4", "--json", cwd=trained))
    assert data["tasks"] == ["light", "heavy"] * 2
    assert data["successes"] == [True, False] * 2
    lines = succeeds("eval", str(trained), "-n", "4", cwd=trained).splitlines()
    assert ", success rate 0.50 over 4 episodes" in lines[0]
    assert lines[1].startswith("  light: return ")
    assert lines[1].endswith(", success rate 1.00")
    assert lines[2].endswith(", success rate 0.00")


def test_a_schedule_of_one_task_is_refused(tmp_path: Path) -> None:
    arguments = ["--env", "CartPole-v1", "--task-schedule", "mixed"]
    sentence = refuses("train", *arguments, cwd=tmp_path)
    assert "--task-schedule mixed needs a multi-task environment" in sentence
    assert "CartPole-v1 has one task" in sentence
    assert not list(tmp_path.iterdir())
