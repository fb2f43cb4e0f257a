"""--resume restores everything; a stopped run says how to go on."""

import pickle
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from agents_alike import parts, steps
from command import RLSHARE, Program, succeeds

RUN = Path("logs/ppo/Pendulum-v1_1")
# Box actions, normalised rewards and a learning-rate schedule: all that a checkpoint must hold.
SETTINGS = ["--env", "Pendulum-v1", "--n-envs", "2", "--seed", "3", "--eval-freq", "1000"]
SETTINGS += ["--save-freq", "1000", "--eval-episodes", "1"]
PAIRS = ["--hyperparams", "learning_rate.linear:[0.001, 0.0]", "n_epochs:2"]


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("*_steps.zip"), key=steps)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    succeeds("train", *SETTINGS, *PAIRS, "-n", "2048", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def gone_on(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resumed(begun, tmp_path_factory.mktemp("gone_on") / "run")


def resumed(begun: Path, folder: Path) -> Path:
    shutil.copytree(begun, folder)
    out = succeeds("train", "--resume", str(RUN), "-n", "4096", cwd=folder)
    assert "from step 2,048" in out
    return folder / RUN


def test_two_resumes_of_one_checkpoint_are_bit_identical(
    begun: Path, gone_on: Path, tmp_path: Path
) -> None:
    first, second = gone_on, resumed(begun, tmp_path / "second")
    before, after = parts(newest(begun / RUN)), parts(newest(first))
    assert steps(newest(first)) == 4096
    assert after == parts(newest(second))
    assert after.keys() == before.keys()
    assert after != before
    logs = [pd.read_csv(run / "progress.csv")["train/loss"].dropna() for run in (first, second)]
    assert logs[0].tolist() == logs[1].tolist()


def test_a_resumed_run_keeps_to_its_tree_budget(tmp_path: Path) -> None:
    """The rows that a compaction needs are those from before the run stopped."""
    begun = tmp_path / "begun"
    begun.mkdir()
    budget = ["policy_kwargs.tree_budget:50", "policy_kwargs.compaction_max_kl:1.0"]
    more_trees = ["n_epochs:4", "batch_size:128"]
    settings = [*SETTINGS, "--recipe", "paper", "--hyperparams", *budget, *more_trees]
    succeeds("train", *settings, "-n", "2048", cwd=begun)
    first, second = (resumed(begun, tmp_path / name) for name in ("first", "second"))
    assert parts(newest(first)) == parts(newest(second))
    progress = pd.read_csv(first / "progress.csv")
    after = progress[progress["time/total_timesteps"] > 2048]
    assert after["train/compaction_kl"].notna().iloc[0]
    assert after["train/n_trees"].max() < 16 * 8


def test_a_resumed_run_goes_on_where_it_stopped(gone_on: Path) -> None:
    progress = pd.read_csv(gone_on / "progress.csv")
    trained = progress.dropna(subset=["train/n_trees"])
    at = trained["time/total_timesteps"]
    assert at.is_monotonic_increasing
    assert at.is_unique
    assert at.max() == 4096
    assert trained["train/n_trees"].is_monotonic_increasing
    # The schedule is that of the longer run from the resumption on, and ends near 0.
    rates = trained.set_index("time/total_timesteps")["train/learning_rate"]
    assert rates.iloc[-1] < 0.2 * rates.iloc[0]
    episodes = sum(len(pd.read_csv(file, skiprows=1)) for file in gone_on.glob("*.monitor.csv"))
    assert episodes == pytest.approx(4096 / 200, abs=4)  # episodes under way were begun anew


def test_changed_settings_would_be_another_run(begun: Path) -> None:
    config = yaml.safe_load((begun / RUN / "Pendulum-v1" / "config.yml").read_text())
    assert config["learning_rate"] == {"linear": [0.001, 0.0]}
    assert config["n_epochs"] == 2


def test_a_resumed_run_keeps_its_normalizer_and_evaluations(begun: Path, gone_on: Path) -> None:
    before, after = (
        pickle.loads((path / "Pendulum-v1" / "vecnormalize.pkl").read_bytes())
        for path in (begun / RUN, gone_on)
    )
    assert after.ret_rms.count == pytest.approx(before.ret_rms.count + 2048)
    old, new = (np.load(path / "evaluations.npz") for path in (begun / RUN, gone_on))
    n_old = len(old["timesteps"])
    assert np.array_equal(new["timesteps"][:n_old], old["timesteps"])
    assert np.array_equal(new["results"][:n_old], old["results"])
    assert new["timesteps"][n_old:].min() > old["timesteps"].max()
    assert new["timesteps"].max() == 4096


def test_a_resumed_run_may_be_evaluated_more_often(tmp_path: Path) -> None:
    pairs = ["--hyperparams", "n_steps:32", "batch_size:32"]
    common = ["--n-envs", "1", "--seed", "1", "--eval-episodes", "1"]
    succeeds("train", "-n", "256", "--eval-freq", "100k", *common, *pairs, cwd=tmp_path)
    run = tmp_path / "logs/ppo/CartPole-v1_1"
    succeeds("train", "--resume", str(run), "-n", "512", "--eval-freq", "64", cwd=tmp_path)
    assert np.load(run / "evaluations.npz")["timesteps"].tolist() == [256, 320, 384, 448, 512]


def test_a_signal_in_the_last_rollout_lets_the_run_end(tmp_path: Path) -> None:
    """Past -n only the rollout's rest is missing; stopped there, a resume would have no step."""
    command = [RLSHARE, "train", "-n", "20", "--n-envs", "1", "--eval-freq", "0"]
    command += ["--hyperparams", "n_steps:4000", "batch_size:4000", "n_epochs:1"]
    run = tmp_path / "logs/ppo/CartPole-v1_1"
    monitor = run / "0.monitor.csv"
    with Program(*command, cwd=tmp_path) as process:
        while process.poll() is None and not (
            monitor.exists() and len(monitor.read_text().splitlines()) > 10  # beyond step 20
        ):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.wait()
    assert process.returncode == 0, process.stderr
    assert "stopping" in process.stderr  # the signal came while it trained
    assert (run / "CartPole-v1.zip").exists()
    assert steps(newest(run)) == 4000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    command = [RLSHARE, "train", "--env", "CartPole-v1", "-n", "10M", "--eval-freq", "0"]
    command += ["--save-freq", "1M"]
    with Program(*command, cwd=tmp_path) as process:
        checkpoints = tmp_path / "logs/ppo/CartPole-v1_1/checkpoints"
        while not list(checkpoints.glob("*_steps.zip")) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)  # some way into the training
        process.send_signal(number)
        process.wait()
    assert process.returncode == 130, process.stderr
    assert "go on with: rlshare train --resume logs/ppo/CartPole-v1_1" in process.stdout
    assert "Traceback" not in process.stderr
    reached = steps(max(checkpoints.glob("*_steps.zip"), key=steps))
    assert reached > 0
    longer = ["--resume", "logs/ppo/CartPole-v1_1", "-n", str(reached + 1024)]
    assert f"from step {reached:,}" in succeeds("train", *longer, cwd=tmp_path)


def test_a_write_cut_off_leaves_no_trace(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    run = tmp_path / "run" / RUN
    half = run / "checkpoints" / ".3072_steps.zip.12345.tmp"
    half.write_bytes(newest(run).read_bytes()[:1000])
    elsewhere = run / "Pendulum-v1" / ".args.yml.12345.tmp"
    elsewhere.write_bytes(b"half")
    succeeds("train", "--resume", str(run), "-n", "3072", cwd=tmp_path)
    assert not half.exists()
    assert not elsewhere.exists()
    assert steps(newest(run)) >= 3072
