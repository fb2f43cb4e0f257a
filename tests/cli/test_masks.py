"""Action masks on the command line; the environment raises where one is not heeded."""

import json
import sys
from pathlib import Path

import pytest
from command import refuses, succeeds

from rlshare.cli import main

pytest.importorskip("sb3_contrib")
from sb3_contrib import MaskablePPO

from rlshare.policies import maskable

ENV = f"{Path(__file__).with_name('masked_bandit.py')}:MaskedBandit"
RUN = "logs/ppo_mask/MaskedBandit_1"
SMALL = ["--n-envs", "4", "--eval-freq", "1024", "--eval-episodes", "5", "--seed", "0"]
ROLLOUT = ["n_steps:32", "batch_size:128", "n_epochs:4"]
FAST = ["learning_rate:.01"]
SETTINGS = {
    "gbt": ["policy_kwargs.policy_lr:0.5", "policy_kwargs.value_lr:0.1"],
    "moe": ["policy_kwargs.moe.n_experts:4", "policy_kwargs.store_routes:true", *FAST],
    "mlp": FAST,
}


@pytest.mark.parametrize("policy", ["gbt", "moe", "mlp"])
def test_trains_resumes_evaluates_and_records_without_a_masked_action(
    policy: str, tmp_path: Path
) -> None:
    given = ["--algo", "ppo_mask", "--policy", policy, "--env", ENV, *SMALL]
    pairs = ["--hyperparams", *ROLLOUT, *SETTINGS[policy]]
    succeeds("train", *given, "-n", "2048", *pairs, cwd=tmp_path)
    succeeds("train", "--resume", RUN, "-n", "3072", cwd=tmp_path)
    score = json.loads(succeeds("eval", RUN, "-n", "60", "--json", cwd=tmp_path))
    assert score["algo"] == "ppo_mask"
    assert score["mean"] >= 0.9  # unmasked, the first wrong action would have raised
    drawn = json.loads(succeeds("eval", RUN, "--stochastic", "--json", cwd=tmp_path))
    assert drawn["n_episodes"] == 20
    succeeds("enjoy", RUN, "-n", "3", "--video", "bandit.mp4", cwd=tmp_path)
    assert (tmp_path / "bandit.mp4").stat().st_size > 0
    model = MaskablePPO.load(tmp_path / RUN / "MaskedBandit.zip")
    assert model.num_timesteps == 3072
    if policy != "mlp":
        assert model.rollout_buffer_class is maskable.MaskableTreeRolloutBuffer


def test_dict_observations(tmp_path: Path) -> None:
    given = ["--algo", "ppo_mask", "--env", ENV, "--env-kwargs", "dictionary:true", *SMALL]
    succeeds("train", *given, "-n", "512", "--hyperparams", *ROLLOUT, cwd=tmp_path)
    model = MaskablePPO.load(tmp_path / RUN / "MaskedBandit.zip")
    assert model.rollout_buffer_class is maskable.MaskableDictTreeRolloutBuffer


def test_is_tuned(tmp_path: Path) -> None:
    given = ["--algo", "ppo_mask", "--env", ENV, "-n", "512", "--n-trials", "1"]
    out = succeeds("tune", *given, "--hyperparams", "n_envs:4", *ROLLOUT, cwd=tmp_path)
    assert "best: trial 0" in out


@pytest.mark.parametrize("command", ["train", "tune"])
def test_an_environment_without_masks_is_refused(command: str, tmp_path: Path) -> None:
    sentence = refuses(command, "--algo", "ppo_mask", "--env", "CartPole-v1", cwd=tmp_path)
    assert "needs an environment with a method action_masks()" in sentence
    assert "CartPoleEnv has none" in sentence
    assert not (tmp_path / "logs").exists()


def test_the_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    command = ["train", "--algo", "ppo_mask", "--env", ENV, "-f", str(tmp_path / "logs")]
    assert main(command) == 2
    assert "needs sb3_contrib: pip install 'rlshare[sb3-contrib]'" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()
