"""What a checkpoint holds, which is the newest, and what a resumed run adds up."""

import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import PPO

from rlshare.runs.checkpoint import (
    generator_states,
    list_checkpoints,
    load_checkpoint,
    restore_generators,
)
from rlshare.runs.folder import latest_run_folder, new_run_folder
from rlshare.runs.logs import rewind_logs
from rlshare.runs.run import Run, configure, new_run, resumed_run
from rlshare.runs.training import Training


def new(folder: Path, **hyperparams: Any) -> Run:
    options = {"env": "Pendulum-v1", "policy": "mlp", "n_timesteps": 64, "eval_freq": 0, "seed": 1}
    small = {"n_envs": 2, "n_steps": 16, "batch_size": 32, "n_epochs": 1}
    return new_run(folder / "logs", *configure(options, {**small, **hyperparams}))


def test_every_generator_goes_on_where_it_was() -> None:
    model = PPO("MlpPolicy", "Pendulum-v1", seed=0, device="cpu")

    def draws() -> list[float]:
        action = model.action_space.sample()
        return [float(action[0]), random.random(), np.random.random(), torch.rand(1).item()]

    states = pickle.loads(pickle.dumps(generator_states(model)))
    first = draws()
    assert all(later != earlier for later, earlier in zip(draws(), first, strict=True))
    restore_generators(model, states)
    assert draws() == first


def test_checkpoints_and_runs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for _ in range(11):
        folder = new_run_folder(tmp_path, "ppo", "CartPole-v1")
        folder.config_dir.mkdir()
        (folder.config_dir / "args.yml").write_text(yaml.safe_dump({"env": "CartPole-v1"}))
    new_run_folder(tmp_path, "ppo", "CartPole-v10")  # another environment
    newest = latest_run_folder(tmp_path, "ppo", "CartPole-v1")
    assert newest.path.name == "CartPole-v1_11"
    for steps in (1000, 900, 10_000):
        (newest.checkpoints / f"{steps}_steps.zip").touch()
    (newest.checkpoints / "20000_steps.zip.part").touch()
    found = [path.name for path in list_checkpoints(newest)]
    assert found == ["900_steps.zip", "1000_steps.zip", "10000_steps.zip"]


def test_a_resumed_run_adds_to_the_time_and_has_its_own_speed(tmp_path: Path) -> None:
    run = new(tmp_path)
    Training(run).run()
    training = Training(resumed_run(run.folder.path, {"n_timesteps": 128}))
    assert training.checkpoint is not None
    late = replace(training.checkpoint.state, wall_time_s=1e6)
    training.checkpoint = replace(training.checkpoint, state=late)
    outcome = training.run()
    clock = training.clock
    assert clock.steps_per_second * clock.seconds == pytest.approx(64, rel=0.1)  # of 128 steps
    assert outcome.wall_time_s > 1e6
    assert load_checkpoint(list_checkpoints(run.folder)[-1]).state.wall_time_s > 1e6


def test_rewards_are_normalised_by_the_returns_of_the_recipes_gamma(tmp_path: Path) -> None:
    pair = {"gamma": 0.5, "normalize.norm_reward": True, "normalize.norm_obs": False}
    training = Training(new(tmp_path, **pair))
    training.run()
    assert training.env.gamma == training.model.gamma == 0.5  # type: ignore[attr-defined]


def test_the_row_of_a_checkpoints_own_step_is_kept(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path, "ppo", "CartPole-v1")
    progress = folder.path / "progress.csv"
    progress.write_text("time/total_timesteps,loss\n64,1\n128,2\n192,3\n2")
    rewind_logs(folder, {}, 128)
    assert progress.read_text() == "time/total_timesteps,loss\n64,1\n128,2\n"
