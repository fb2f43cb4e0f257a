"""Runs without a command line, and what their agents are evaluated in."""

from pathlib import Path

import numpy as np
import pytest

from rlshare.cli import main
from rlshare.runs.run import Run, configure, new_run, resumed_run
from rlshare.runs.trained import load_agent
from rlshare.runs.training import Training

ENV = """
import gymnasium as gym
from gymnasium import spaces

class Shifted(gym.Env):
    observation_space, action_space = spaces.Box(-1e3, 1e3, (1,)), spaces.Discrete(2)

    def __init__(self, world=None):
        self.world = {"level": 0.0, "length": 3} | (world or {})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_ = 0
        return self._see(), {}

    def step(self, action):
        self.step_ += 1
        return self._see(), self.world["level"], self.step_ == self.world["length"], False, {}

    def _see(self):
        return (100 + self.np_random.normal(size=1)).astype("float32")
"""


def new(folder: Path, policy: str = "mlp", **hyperparams: object) -> Run:
    (folder / "shifted.py").write_text(ENV)
    options = {
        "env": f"{folder / 'shifted.py'}:Shifted",
        "env_kwargs": {"world.level": 2.0},
        "policy": policy,
        "n_timesteps": 128,
        "eval_freq": 64,
        "eval_episodes": 2,
        "seed": 1,
    }
    small = {"n_envs": 2, "n_steps": 32, "batch_size": 32}
    return new_run(folder / "logs", *configure(options, {**small, **hyperparams}))


@pytest.mark.parametrize("resumed", [False, True])
def test_evaluations_see_what_training_sees(resumed: bool, tmp_path: Path) -> None:
    run = new(tmp_path, **{"normalize.norm_obs": True, "normalize.norm_reward": True})
    training = Training(run)
    outcome = training.run()
    if resumed:
        training = Training(resumed_run(run.folder.path, {"n_timesteps": 256}))
        outcome = training.run()
    assert training.evaluation is not None
    seen, own = training.evaluation.env.obs_rms, training.env.obs_rms  # type: ignore[attr-defined]
    assert own.mean == pytest.approx([100], abs=2)
    np.testing.assert_array_equal(seen.mean, own.mean)
    np.testing.assert_array_equal(seen.var, own.var)
    assert outcome.best_evaluation == 6.0  # its rewards are the true ones
    agent = load_agent(run.folder.path, load_best=False, device="cpu")
    np.testing.assert_array_equal(agent.env.obs_rms.mean, own.mean)


def test_arguments_of_an_environment_are_paths_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new(tmp_path)
    assert run.config.env_kwargs == {"world": {"level": 2.0}}
    Training(run).run()
    changed = ["--env-kwargs", "world.length:5", "--json"]
    assert main(["eval", str(run.folder.path), "-n", "1", *changed]) == 0
    assert '"returns": [10.0]' in capsys.readouterr().out


def test_verbose_says_where_an_error_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new(tmp_path)
    Training(run).run()
    args = run.folder.config_dir / "args.yml"
    args.write_text(args.read_text().replace("algo: ppo", "algo: dqn"))
    (run.folder.config_dir / "config.yml").write_text("n_timesteps: 128\n")
    assert main(["eval", str(run.folder.path)]) == 2
    short = capsys.readouterr().err
    assert main(["eval", str(run.folder.path), "--verbose", "1"]) == 2
    long = capsys.readouterr().err
    assert short.startswith("error: cannot load a dqn model")
    assert "Traceback" not in short
    assert long.startswith("Traceback")
    assert long.endswith(short)
