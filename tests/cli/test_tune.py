"""Searching for settings with ``rlshare tune``."""

import csv
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from command import PATIENCE, RLSHARE, Program, new_process, refuses, rlshare, succeeds

from rlshare.agents import ALGORITHMS, POLICIES, load_recipe, parse_recipe
from rlshare.agents.recipes.search_space import first_trial, search_space, tuned

STUDY = Path("logs/tune/ppo_gbt_CartPole-v1")
# small and quick, and what is left to search is enough
FIXED = ["n_envs:4", "n_steps:64", "batch_size:64", "n_epochs:1"]
TINY = ["--env", "CartPole-v1", "-n", "768", "--hyperparams", *FIXED]


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / STUDY / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_study_goes_on_and_ends_in_a_recipe(tmp_path: Path) -> None:
    out = succeeds("tune", *TINY, "--n-trials", "2", cwd=tmp_path)
    assert "2 trials of 768 steps" in out
    first = trials(tmp_path)
    assert [row["state"] for row in first] == ["complete"] * 2
    assert "n_steps" not in first[0]
    own = load_recipe("ppo", "gbt", "CartPole-v1").to_data()
    assert float(first[0]["policy_kwargs.policy_lr"]) == own["policy_kwargs"]["policy_lr"]
    assert float(first[1]["policy_kwargs.policy_lr"]) != own["policy_kwargs"]["policy_lr"]
    out = succeeds("tune", *TINY, "--n-trials", "3", "--n-startup-trials", "2", cwd=tmp_path)
    assert "2 of them done" in out
    rows = trials(tmp_path)
    assert rows[:2] == first
    assert len(rows) == 3
    complete = [row for row in rows if row["state"] == "complete"]
    best = max(complete, key=lambda row: float(row["value"]))
    text = (tmp_path / STUDY / "best.yml").read_text()
    assert f"in trial {best['trial']} of 3" in text
    settings = yaml.safe_load(text)["gbt"]["CartPole-v1"]
    assert settings["gamma"] == float(best["gamma"])
    assert settings["n_timesteps"] == load_recipe("ppo", "gbt", "CartPole-v1").n_timesteps
    assert (tmp_path / STUDY / "history.png").read_bytes()[:4] == b"\x89PNG"
    conf = ["--conf-file", str(STUDY / "best.yml"), "--eval-freq", "0"]
    succeeds("train", "--env", "CartPole-v1", "-n", "256", *conf, cwd=tmp_path)
    other = refuses("tune", *TINY[:2], "-n", "1024", *TINY[4:], "--n-trials", "4", cwd=tmp_path)
    assert "was begun with another n_timesteps" in other


def test_trials_run_side_by_side_in_one_storage(tmp_path: Path) -> None:
    options = ["--n-trials", "3", "--n-jobs", "2", "--storage", "sqlite:///study.db"]
    succeeds("tune", *TINY, *options, cwd=tmp_path)
    assert 3 <= len(trials(tmp_path)) <= 4
    study = optuna.load_study(study_name=STUDY.name, storage=f"sqlite:///{tmp_path / 'study.db'}")
    values = [t.value for t in study.trials if t.value is not None]
    assert study.best_value == max(values)
    drawn = [tuple(t.params.values()) for t in study.trials]
    assert len(set(drawn)) == len(drawn)


def test_killed_studies_leave_no_trials_running(tmp_path: Path) -> None:
    options = ["--n-trials", "9", "--n-jobs", "2", "--n-evaluations", "500"]
    command = [RLSHARE, "tune", "--env", "CartPole-v1", "--hyperparams", *FIXED, "-n", "500000"]
    with subprocess.Popen([*command, *options], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        runs = tmp_path / STUDY / "ppo"
        while len(list(runs.glob("*/*events*"))) < 2:  # both trainings have begun
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
        process.communicate(timeout=PATIENCE)  # to the end of stdout, which every worker holds open
    monitors = list(runs.glob("*/*.monitor.csv"))
    for _ in range(60):
        sizes = [path.stat().st_size for path in monitors]
        time.sleep(1.0)
        if sizes == [path.stat().st_size for path in monitors]:
            break
    else:
        pytest.fail("trials go on a minute after their study was killed")


def test_ctrl_c_stops_a_study_that_then_goes_on(tmp_path: Path) -> None:
    command = [RLSHARE, "tune", "--env", "CartPole-v1", "--hyperparams", *FIXED, "-n", "100000"]
    with Program(*command, cwd=tmp_path) as process:
        monitors = tmp_path / STUDY / "ppo" / "CartPole-v1_1"
        while not list(monitors.glob("*events*")):  # its training has begun
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait()
    assert process.returncode == 130, process.stderr
    assert "the same command goes on" in process.stderr
    stopped = optuna.load_study(
        study_name=STUDY.name,
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / STUDY / "study.log"))
        ),
    )
    assert [t.user_attrs.get("interrupted") for t in stopped.trials] == [True]


def test_trials_that_fail_are_counted_and_named(tmp_path: Path) -> None:
    options = ["--n-trials", "2", "--env", "CartPole-v1", "-n", "512"]
    bad = ["--hyperparams", "n_envs:1", "n_steps:1"]  # PPO needs more than one row
    found = rlshare("tune", *options, *bad, cwd=tmp_path)
    assert found.returncode == 2
    assert "trial   0  failed: " in found.stdout
    assert "none of 2 trials was completed" in found.stderr


def test_a_missing_optuna_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['optuna'] = None; from rlshare.cli import main; "
        "sys.exit(main(['tune', '--n-trials', '1']))"
    )
    found = new_process("-c", code, cwd=tmp_path)
    assert found.returncode == 2
    assert "pip install 'rlshare[tune]'" in found.stderr


def test_the_first_trial_is_the_recipe_where_the_space_holds_it() -> None:
    space = search_space("ppo", "gbt", continuous=True)
    base = load_recipe("ppo", "gbt", "Pendulum-v1", recipe_set="paper").to_data()
    values = first_trial(base, space)
    assert values["policy_kwargs.policy_lr"] == base["policy_kwargs"]["policy_lr"]
    assert values["n_epochs"] == base["n_epochs"]
    assert "gamma" not in values  # .915, none of the choices
    assert "ent_coef" not in values  # 0, below the range
    assert tuned({**base, "vf_coef": 0.436}, values) == {**base, "vf_coef": 0.436}  # four digits
    layers = {**base, "learning_rate": {"linear": [0.0003, 0.0]}}
    assert first_trial(layers, space)["learning_rate"] == "{linear: [0.0003, 0.0]}"


def test_every_sample_of_leaves_that_move_is_a_recipe() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    base = load_recipe("ppo", "gbt", "CartPole-v1").to_data()
    space = search_space("ppo", "gbt", continuous=False, refits=True)
    assert first_trial(base, space)["policy_kwargs.policy_lr"] == 10.0
    for _ in range(20):
        settings = tuned(base, study.ask(space).params)
        parse_recipe("ppo", "gbt", settings, "sample")
        assert 1.0 <= settings["policy_kwargs"]["policy_lr"] <= 50.0


@pytest.mark.parametrize(("algo", "env"), [("dqn", "CartPole-v1"), ("sac", "Pendulum-v1")])
def test_leaves_that_move_with_a_replay_buffer(algo: str, env: str) -> None:
    """Only rates that the policy has, and an actor's in the range of added trees."""
    added = search_space(algo, "gbt", continuous=algo == "sac")
    space = search_space(algo, "gbt", continuous=algo == "sac", refits=True)
    rates = {"dqn": {"value_lr": (0.1, 2.0)}, "sac": {"policy_lr": (0.001, 0.5)}}[algo]
    found = {key: at for key, at in space.items() if key.endswith("_lr")}
    assert {key.split(".")[1]: (at.low, at.high) for key, at in found.items()} == rates
    assert "policy_kwargs.tree.n_trees" in space.keys() - added.keys()
    settings = load_recipe(algo, "gbt", env).to_data()
    settings["policy_kwargs"]["tree"] = {"learner": "refit"}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(10):
        parse_recipe(algo, "gbt", tuned(settings, study.ask(space).params), "sample")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_sample_is_a_recipe(algo: str, policy: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    base = load_recipe(algo, policy, "Pendulum-v1", recipe_set="paper").to_data()
    for _ in range(20):
        values: dict[str, Any] = study.ask(search_space(algo, policy, continuous=True)).params
        settings = tuned(base, values)
        recipe = parse_recipe(algo, policy, settings, "sample")
        assert np.isclose(settings["gamma"], values["gamma"])
        if algo == "ppo":
            assert settings["batch_size"] <= settings["n_steps"] * recipe.n_envs
    assert not any(key.endswith("log_std_init") for key in search_space(algo, policy, False))
