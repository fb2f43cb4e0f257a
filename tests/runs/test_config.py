"""The options of a run: from Python, from a command line, and on resuming."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rlshare.cli import main
from rlshare.cli.options import run_options
from rlshare.cli.train import train
from rlshare.runs.config import OPTIONS, RunConfig
from rlshare.runs.errors import UserError
from rlshare.runs.run import configure, new_run, resumed_run
from rlshare.runs.training import Training

SMALL = {"n_envs": 2, "n_steps": 64, "batch_size": 64}


def config(**options: Any) -> RunConfig:
    return RunConfig(**{"n_timesteps": 64, "n_envs": 2, "seed": 1, **options})


def test_every_field_is_an_option_of_train() -> None:
    parameters = inspect.signature(train).parameters
    assert set(OPTIONS) == {field.name for field in dataclasses.fields(RunConfig)}
    assert set(OPTIONS) <= set(parameters)
    assert {name for name in OPTIONS if parameters[name].default is None} == {
        "n_timesteps", "n_envs", "seed", "env_kwargs", "tensorboard_log", "task_schedule",
    }  # fmt: skip


def test_a_command_takes_some_of_them() -> None:
    @run_options("env", "seed")
    def command(own: int = 3, **options: Any) -> None: ...

    assert list(inspect.signature(command).parameters) == ["env", "seed", "own"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"algo": "pppo"}, "algo must be one of ppo, .*, got 'pppo'"),
        ({"policy": "forest"}, "policy must be one of gbt, moe, mlp, got 'forest'"),
        ({"vec_env": "threads"}, "vec_env must be one of dummy, subproc"),
        ({"n_envs": 0}, "n_envs must be an integer >= 1, got 0"),
        ({"n_timesteps": 1.5}, "n_timesteps must be an integer >= 1, got 1.5"),
        ({"seed": 2**31}, "seed must be an integer in"),
        ({"eval_freq": -1}, "eval_freq must be an integer >= 0, got -1"),
    ],
)
def test_what_breaks_its_rule(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**options)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    options = {
        "n_timesteps": np.int64(128),
        "seed": np.uint8(3),
        "eval_freq": np.array(0),
        "env_kwargs": {"sutton_barto_reward": np.bool_(True)},
    }
    kwargs = {"policy_lr": np.float32(0.5), "tree": {"max_depth": np.int64(2)}}
    hyperparams = {"gamma": np.float32(0.5), **SMALL, "n_envs": np.int32(2)}
    run = new_run(tmp_path, *configure(options, {**hyperparams, "policy_kwargs": kwargs}))
    for file in ("args.yml", "config.yml"):
        assert yaml.safe_load((run.folder.config_dir / file).read_text())  # plain data
    assert run.folder.read() == (run.config, run.recipe)
    assert Training(run).run().num_timesteps == 128


def test_a_resumed_run_keeps_what_null_turned_off(tmp_path: Path) -> None:
    off = {"policy_kwargs.max_policy_grad_norm": None, "target_kl": None, **SMALL}
    run = new_run(tmp_path, *configure({"n_timesteps": 128, "eval_freq": 0, "seed": 1}, off))
    Training(run).run()
    config_file = yaml.safe_load((run.folder.config_dir / "config.yml").read_text())
    assert config_file["policy_kwargs"]["max_policy_grad_norm"] is None
    assert config_file["target_kl"] is None
    again = resumed_run(run.folder.path, {"n_timesteps": 256})
    assert "max_policy_grad_norm" in again.recipe.policy_kwargs.model_fields_set
    assert again.recipe.policy_kwargs.max_policy_grad_norm is None
    assert Training(again).model.policy.options.max_policy_grad_norm is None  # type: ignore[union-attr]
    with pytest.raises(UserError, match="--env, --n-envs cannot change with --resume"):
        resumed_run(run.folder.path, {"n_envs": 3, "env": "Acrobot-v1"})


def test_pairs_with_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = ["--hyperparams=n_envs:2", "n_steps:64", "batch_size:64", "gamma:0.5"]
    pairs += ["--env-kwargs=render_mode:null"]
    assert main(["train", "-n", "128", "--eval-freq", "0", *pairs, "--seed", "1"]) == 0
    where = Path("logs/ppo/CartPole-v1_1/CartPole-v1")
    settings = yaml.safe_load((where / "config.yml").read_text())
    assert (settings["n_envs"], settings["n_steps"], settings["gamma"]) == (2, 64, 0.5)
    assert yaml.safe_load((where / "args.yml").read_text())["env_kwargs"] == {"render_mode": None}
