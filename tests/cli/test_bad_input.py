"""Bad input: one sentence with the rule and the value, exit code 2, and nothing lost."""

from pathlib import Path

import pytest
from command import refuses, succeeds

from rlshare.runs.checkpoint import list_checkpoints, load_checkpoint
from rlshare.runs.folder import open_run_folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--env", "CartPol-v1"], ["'CartPol-v1'", "did you mean 'CartPole-v1'?"]),
        (["--env", "no_module:Env-v0"], ["'no_module'"]),
        (["--env", "no_file.py:Env"], ["no_file.py"]),
        (["--algo", "pppo"], ["'pppo'", "'ppo'"]),
        (["--policy", "forest"], ["'forest'", "'gbt'"]),
        (["--hyperparams", "gama:0.9"], ["'gama'", "did you mean 'gamma'?"]),
        (["--hyperparams", "gamma:high"], ["gamma", "'high'"]),
        (["--hyperparams", "gamma:__import__('os').getpid()"], ["gamma", "__import__"]),
        (
            ["--hyperparams", "policy_kwargs.tree.max_dept:3"],
            ["did you mean 'policy_kwargs.tree.max_depth'?"],
        ),
        (
            ["--hyperparams", "policy_kwargs.tree.n_bins:300"],
            ["n_bins must be an integer in [1, 255], got 300"],
        ),
        (["--n-timesteps", "-5"], ["'-5'"]),
        (["--n-envs", "0"], ["n_envs", "got 0"]),
        (["--conf-file", "none.yaml"], ["none.yaml"]),
        (["--resume", "nowhere"], ["nowhere"]),
    ],
)
def test_train_refuses(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    sentence = refuses("train", *arguments, cwd=tmp_path)
    for word in words:
        assert word in sentence
    assert not list(tmp_path.iterdir())


def test_an_unknown_command(tmp_path: Path) -> None:
    assert "'trane'" in refuses("trane", cwd=tmp_path)


def test_a_log_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file/logs" in refuses("train", "--log-folder", "file/logs", cwd=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "flipped"])
@pytest.mark.parametrize("command", ["eval", "enjoy"])
def test_a_damaged_model(command: str, damage: str, run: Path) -> None:
    model = run / "CartPole-v1.zip"
    data = bytearray(model.read_bytes())
    if damage == "truncated":
        model.write_bytes(data[: len(data) // 2])
    if damage == "foreign":
        model.write_bytes(b"no model of anything")
    if damage == "flipped":
        data[len(data) // 2] ^= 0xFF
        model.write_bytes(data)
    extra = ["--video", "out.mp4"] if command == "enjoy" else []
    assert "CartPole-v1.zip" in refuses(command, str(run), *extra, cwd=run)


def test_a_resumed_run_keeps_what_it_is(run: Path) -> None:
    sentence = refuses("train", "--resume", str(run), "--seed", "5", cwd=run)
    assert "--seed cannot change with --resume" in sentence
    sentence = refuses("train", "--resume", str(run), cwd=run)
    assert "give a larger -n" in sentence


def test_a_corrupt_checkpoint_names_the_older_one(run: Path) -> None:
    older, newest = list_checkpoints(open_run_folder(run))
    newest.write_bytes(newest.read_bytes()[:-50])
    sentence = refuses("train", "--resume", str(run), "-n", "9000", cwd=run)
    assert newest.name in sentence
    assert older.name in sentence


def test_a_full_disk_loses_nothing(run: Path) -> None:
    """On the disk no file grows beyond 20 kB."""
    before = {path: path.read_bytes() for path in list_checkpoints(open_run_folder(run))}
    arguments = ["--resume", str(run), "-n", "60000", "--save-freq", "1024"]
    sentence = refuses("train", *arguments, cwd=run, file_size=20_000)
    assert "File too large" in sentence
    assert f"rlshare train --resume {run}" in sentence
    checkpoints = list_checkpoints(open_run_folder(run))
    assert set(before) & set(checkpoints)
    for path in checkpoints:
        load_checkpoint(path)
        assert before.get(path, path.read_bytes()) == path.read_bytes()
    assert not list((run / "checkpoints").glob(".*"))
    succeeds("train", "--resume", str(run), "-n", "9000", cwd=run)  # once there is space again


def test_a_read_only_file_in_the_run_folder(run: Path) -> None:
    """A folder in the place of a file refuses to be written, also for root."""
    (run / "progress.csv").unlink()
    (run / "progress.csv").mkdir()
    sentence = refuses("train", "--resume", str(run), "-n", "9000", cwd=run)
    assert "cannot write the run folder" in sentence
    for path in list_checkpoints(open_run_folder(run)):
        load_checkpoint(path)


def test_plot_of_something_else(tmp_path: Path) -> None:
    assert "monitor.csv" in refuses("plot", str(tmp_path), cwd=tmp_path)


def test_an_option_that_is_no_pair(tmp_path: Path) -> None:
    assert "key:value" in refuses("train", "--hyperparams", "gamma", cwd=tmp_path)
