"""scikit-learn's regression tree, where both mean the same: one output, greedy, l2, exact edges."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeRegressor

from rlshare.trees import BoostedTrees, TreeParams


@pytest.mark.parametrize("max_depth", [1, 2, 4])
@profile(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 200),
    d=st.integers(1, 4),
    min_samples_leaf=st.sampled_from([1, 5]),
)
def test_training_error_equals_scikit_learn(
    seed: int, n: int, d: int, min_samples_leaf: int, max_depth: int
) -> None:
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(n, 1)).astype(np.float32)
    shape: dict[str, Any] = {"max_depth": max_depth, "min_samples_leaf": min_samples_leaf}
    params = TreeParams(grow_policy="greedy", score="l2", n_bins=255, **shape)
    model = BoostedTrees(d, 1, params=params, learning_rate=1.0)
    model.step(X, -y)  # dL/dF at F = 0 of the squared error / 2
    other = DecisionTreeRegressor(random_state=0, **shape).fit(X, y)
    ours = ((y - model.predict(X)) ** 2).sum()
    theirs = ((y[:, 0] - other.predict(X)) ** 2).sum()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
