"""What earlier versions wrote is read, gives what it gave, and is trained on."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from traces import digest

from rlshare.agents import AWR
from rlshare.cli import main
from rlshare.trees import BoostedTrees

FIXTURES = Path(__file__).with_name("fixtures")
MODELS = json.loads((FIXTURES / "models" / "expected.json").read_text(encoding="utf-8"))
RUNS = json.loads((FIXTURES / "runs" / "expected.json").read_text(encoding="utf-8"))
BANDIT = Path(__file__).parent / "cli" / "masked_bandit.py"


def rows(values: list[list[Any]]) -> np.ndarray[Any, Any]:
    numbers = not isinstance(values[0][0], str)
    return np.array(values, np.float32 if numbers else object)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file(name: str) -> None:
    path, was = FIXTURES / "models" / f"{name}.rlshare", MODELS[name]
    lost = name == "callable"  # a callable is not in the file
    model = BoostedTrees.load(path, learning_rate=0.1 if lost else None)
    X = rows(was["rows"])
    assert (model.n_trees, model.n_steps_done) == (was["n_trees"], was["n_steps_done"])
    assert model.predict(X).tolist() == was["predict"]
    for kind, sums in was["importances"].items():
        assert model.feature_importances(kind).tolist() == sums
    again = BoostedTrees.from_bytes(model.to_bytes())
    for _ in range(2):  # and both train on alike
        for trained in (model, again):
            trained.step(X, trained.predict(X) - 1)
    assert model.to_bytes() == again.to_bytes()


@pytest.mark.filterwarnings("ignore:`n_steps=8` is ignored")  # SB3, of the buffer that it chose
@pytest.mark.parametrize("name", RUNS)
def test_a_run_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(FIXTURES / "runs" / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.copy(BANDIT, tmp_path)
    monkeypatch.chdir(tmp_path)
    algo, env = name.split("-", 1)
    run = tmp_path / algo / env
    classes: dict[str, Any] = {"ppo": PPO, "a2c": A2C, "awr": AWR, "dqn": DQN}
    classes |= {"sac": SAC, "td3": TD3}
    if algo == "ppo_mask":
        classes[algo] = pytest.importorskip("sb3_contrib").MaskablePPO
    (file,) = (path for path in run.glob("*.zip") if path.stem != "best_model")
    assert digest(classes[algo].load(file, device="cpu").policy) == RUNS[name]
    assert main(["eval", str(run), "-n", "1"]) == 0
    assert main(["train", "--resume", str(run), "-n", "768"]) == 0
    assert classes[algo].load(file, device="cpu").num_timesteps == 768
