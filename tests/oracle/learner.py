"""One boosting step of the learner under test, from the settings of a reference problem."""

from __future__ import annotations

from typing import Any

import numpy as np
from reference import Array

from rlshare.trees import BoostedTrees, TreeParams

RATE = 0.5


def learner(X: Array, n_outputs: int, settings: dict[str, Any], **others: Any) -> BoostedTrees:
    settings = {**settings, "categorical": list(settings.get("categorical", ())) or None}
    return BoostedTrees(
        X.shape[1], n_outputs, params=TreeParams(**settings), learning_rate=RATE, **others
    )


def one_step(X: Array, G: Array, settings: dict[str, Any], **step: Any) -> BoostedTrees:
    model = learner(X, G.shape[1], settings)
    model.step(X, np.ascontiguousarray(G, dtype=np.float32), **step)
    return model
