"""Whether an installed rlshare works: ``python tests/smoke.py``, after a wheel was installed."""

import sys
import tempfile
from pathlib import Path

import numpy as np

import rlshare
from rlshare.trees import BoostedTrees


def trees_learn_and_load() -> None:
    """Boosted trees fit a step, and a saved model predicts the same."""
    X = np.linspace(0, 1, 200, dtype=np.float32)[:, None]
    y = (X > 0.3).astype(np.float32)
    model = BoostedTrees(n_features=1, n_outputs=1, learning_rate=0.5)
    model.fit(X, y, n_trees=20)
    if not np.abs(model.predict(X) - y).max() < 0.01:
        raise SystemExit("the trees have not learnt a step")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.rlshare"
        model.save(path)
        if not np.array_equal(BoostedTrees.load(path).predict(X), model.predict(X)):
            raise SystemExit("a loaded model predicts something else")


def policies_train() -> None:
    """PPO trains trees and experts by their names."""
    from stable_baselines3 import PPO

    for policy in ("GBTPolicy", "MoEPolicy"):
        model = PPO(policy, "CartPole-v1", n_steps=64, batch_size=64, device="cpu")
        model.learn(64)


if __name__ == "__main__":
    place = Path(rlshare.__file__)
    if not place.is_relative_to(sys.prefix):
        raise SystemExit(f"rlshare is not installed in {sys.prefix}: {place}")
    trees_learn_and_load()
    policies_train()
    print(f"rlshare works: {place.parent}")
