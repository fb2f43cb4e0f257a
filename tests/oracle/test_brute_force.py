"""The learner's tree against brute force, on small random batches."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from inspect_tree import CHECKS
from learner import RATE, learner, one_step
from reference import Problem, grow
from scalar_predict import scalar_predict
from strategies import Batch, batches

from rlshare.trees import force_isa, supported_isas

GROWTH = ["oblivious", "greedy"]
KINDS = ["quantile", "uniform"]
both_growths = pytest.mark.parametrize("grow_policy", GROWTH)
both_scores = pytest.mark.parametrize("score", ["l2", "cosine"])
both_kinds = pytest.mark.parametrize("candidates", KINDS)


@both_growths
@both_scores
@both_kinds
@profile(max_examples=40)
@given(batch=batches())
def test_tree_equals_brute_force(
    batch: Batch, grow_policy: str, score: str, candidates: str
) -> None:
    settings = dict(batch.settings, score=score, candidates=candidates)
    model = one_step(batch.X, batch.G, dict(settings, grow_policy=grow_policy))
    tree = model.tree_structure(0)
    CHECKS[grow_policy](Problem(batch.X, batch.G, **settings), tree)
    categorical = tuple(batch.settings["categorical"])
    expected = [scalar_predict(model.bias, [tree], row, categorical) for row in batch.X]
    np.testing.assert_array_equal(model.predict(batch.X), expected)


@both_growths
@both_kinds
@profile(max_examples=60)
@given(batch=batches(integers=True))
def test_first_of_equal_candidates_wins(batch: Batch, grow_policy: str, candidates: str) -> None:
    settings = dict(batch.settings, score="cosine", candidates=candidates)
    tree = one_step(batch.X, batch.G, dict(settings, grow_policy=grow_policy)).tree_structure(0)
    CHECKS[grow_policy](Problem(batch.X, batch.G, **settings), tree, exact=True)


@both_growths
@both_scores
@profile(max_examples=25)
@given(batch=batches(), l2=st.sampled_from([0.1, 1.0, 10.0]))
def test_l2_regularization(batch: Batch, l2: float, grow_policy: str, score: str) -> None:
    settings = dict(batch.settings, score=score, l2_regularization=l2)
    tree = one_step(batch.X, batch.G, dict(settings, grow_policy=grow_policy)).tree_structure(0)
    CHECKS[grow_policy](Problem(batch.X, batch.G, **settings), tree)


@both_growths
@both_scores
@pytest.mark.parametrize("per_output", [False, True])
@profile(max_examples=25)
@given(
    batch=batches(),
    seed=st.integers(0, 2**32 - 1),
    zeros=st.sampled_from([0.0, 0.5, 1.0]),
    l2=st.sampled_from([0.0, 0.0, 1.0]),
)
def test_sample_weights(
    batch: Batch, seed: int, zeros: float, l2: float, grow_policy: str, score: str, per_output: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = batch.G.shape if per_output else (len(batch.G), 1)
    weight = np.where(rng.random(shape) < zeros, 0, rng.exponential(size=shape)).astype(np.float32)
    settings = dict(batch.settings, score=score, l2_regularization=l2)
    model = one_step(
        batch.X,
        batch.G,
        dict(settings, grow_policy=grow_policy),
        sample_weight=weight if per_output else weight[:, 0],
    )
    problem = Problem(batch.X, batch.G, W=np.broadcast_to(weight, batch.G.shape), **settings)
    CHECKS[grow_policy](problem, model.tree_structure(0))


@both_growths
@both_scores
@pytest.mark.parametrize("seed", [6, 235, 241])
def test_weights_of_many_magnitudes(grow_policy: str, score: str, seed: int) -> None:
    """A side whose weights vanish beside the other's, or are all zero, keeps its own mean."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 3)).astype(np.float32)
    G = rng.normal(size=(200, 2)).astype(np.float32)
    some = rng.exponential(size=200)
    for weight in (np.where(X[:, 0] > 0.3, 0, some), np.exp(5 * X[:, 0]) * some):
        weight = weight.astype(np.float32)
        settings: dict[str, Any] = {"score": score, "max_depth": 2}
        model = one_step(X, G, dict(settings, grow_policy=grow_policy), sample_weight=weight)
        problem = Problem(X, G, W=np.broadcast_to(weight[:, None], G.shape), **settings)
        CHECKS[grow_policy](problem, model.tree_structure(0))


@both_growths
@both_kinds
@pytest.mark.parametrize("n", [255, 256, 257, 700])
def test_batches_larger_than_the_bins(grow_policy: str, candidates: str, n: int) -> None:
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    X[:, 1] = rng.choice([np.nan, -np.inf, -0.0, 0.0, 1.5, np.inf], n)
    X[:, 2] = np.exp(20 * X[:, 2])
    G = (rng.normal(size=(n, 2)) + (X[:, :1] > 0.3)).astype(np.float32)
    for n_bins in (16, 255):
        settings: dict[str, Any] = {"candidates": candidates, "n_bins": n_bins, "max_depth": 3}
        model = one_step(X, G, dict(settings, grow_policy=grow_policy))
        CHECKS[grow_policy](Problem(X, G, **settings), model.tree_structure(0))


@both_growths
@both_scores
@both_kinds
@pytest.mark.parametrize("isa", supported_isas())
def test_missing_numbers(grow_policy: str, score: str, candidates: str, isa: str) -> None:
    """More values than bins, -Inf, a column that is 1 or missing; gradients that depend on it."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(600, 4)).astype(np.float32)
    X[:, 1] = rng.choice([np.nan, -np.inf, np.finfo(np.float32).min, 0.0, np.inf], 600)
    X[:, 2] = 1.0
    X[rng.random(X.shape) < 0.3] = np.nan
    G = (rng.normal(size=(600, 2)) + 2 * np.isnan(X[:, 1:3]) - np.isneginf(X[:, 1:2])).astype("f4")
    settings: dict[str, Any] = {"score": score, "candidates": candidates}
    force_isa(isa)
    try:
        for more in (
            {},
            {"n_bins": 3},
            {"min_samples_leaf": 40},
            {"feature_weights": [1, 0.9, 2, 1]},
        ):
            model = one_step(X, G, dict(settings, grow_policy=grow_policy, **more))
            tree = model.tree_structure(0)
            CHECKS[grow_policy](Problem(X, G, **settings, **more), tree)
            expected = [scalar_predict(model.bias, [tree], row) for row in X]
            np.testing.assert_array_equal(model.predict(X), expected)
    finally:
        force_isa(None)


@both_growths
@both_scores
@pytest.mark.parametrize("n_outputs", [6, 7, 8, 11, 12, 15, 16, 19, 20, 33])
def test_many_outputs(grow_policy: str, score: str, n_outputs: int) -> None:
    rng = np.random.default_rng(n_outputs)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    G = rng.normal(size=(50, n_outputs)).astype(np.float32)
    weight = rng.exponential(size=G.shape).astype(np.float32)
    settings: dict[str, Any] = {"score": score, "max_depth": 3}
    grown = dict(settings, grow_policy=grow_policy)
    for W in (None, weight):
        model = one_step(X, G, grown, sample_weight=W)
        CHECKS[grow_policy](Problem(X, G, W=W, **settings), model.tree_structure(0))


@both_growths
@both_scores
@both_kinds
@profile(max_examples=15)
@given(batch=batches(), seed=st.integers(0, 2**32 - 1))
def test_reused_codes(
    batch: Batch, seed: int, grow_policy: str, score: str, candidates: str
) -> None:
    """Thresholds come from the rows that were binned; the tree from the rows that were chosen."""
    n = len(batch.X)
    rows = np.random.default_rng(seed).permutation(n)[: max(1, n // 2)].astype(np.int64)
    settings = dict(batch.settings, score=score, candidates=candidates)
    model = learner(batch.X, batch.G.shape[1], dict(settings, grow_policy=grow_policy))
    model.step(model.bin(batch.X), batch.G[rows], rows=rows)
    problem = Problem(batch.X[rows], batch.G[rows], edges_from=batch.X, **settings)
    CHECKS[grow_policy](problem, model.tree_structure(0))


@both_growths
@both_scores
@profile(max_examples=15)
@given(batch=batches(numeric_only=True), n_trees=st.integers(1, 4))
def test_boosting_equals_the_reference_model(
    batch: Batch, n_trees: int, grow_policy: str, score: str
) -> None:
    """Whole predictions, where no choice was close: same trees on the same gradients."""
    settings = dict(batch.settings, score=score)
    rng = np.random.default_rng(n_trees)
    # Distinct finite values, so that only equal partitions can score alike.
    X = rng.permuted(np.linspace(-1, 1, batch.X.size)).reshape(batch.X.shape).astype(np.float32)
    model = learner(X, batch.G.shape[1], dict(settings, grow_policy=grow_policy))
    expected = np.zeros(batch.G.shape)
    for _ in range(n_trees):
        G = rng.normal(size=batch.G.shape).astype(np.float32)
        root = grow(Problem(X, G, **settings), grow_policy)
        expected -= RATE * np.array([root.predict(row) for row in X])
        model.step(X, G)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-4, atol=1e-5)
