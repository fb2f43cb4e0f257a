"""The reference itself, on cases worked by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import (
    Candidate,
    Problem,
    categories,
    grow,
    quantile_thresholds,
    standardised,
    uniform_thresholds,
)


def test_imports_nothing_from_the_library() -> None:
    code = "import sys, reference; print([m for m in sys.modules if m.startswith('rlshare')])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert run.stdout.strip() == "[]", run.stderr


def test_worked_quantile_example() -> None:
    x = np.arange(10, dtype=np.float32)
    assert quantile_thresholds(x, 3).tolist() == [2, 5, 7]


def test_every_distinct_value_is_a_quantile_candidate_where_there_are_few() -> None:
    x = np.array([3, 1, np.nan, 2, 2], dtype=np.float32)
    assert quantile_thresholds(x, 255).tolist() == [1, 2, 3]


def test_uniform_thresholds_span_the_finite_values() -> None:
    x = np.array([0, 1, np.inf, np.nan, -np.inf], dtype=np.float32)
    assert uniform_thresholds(x, 4).tolist() == [0, 0.25, 0.5, 0.75]


def test_constant_feature_offers_no_candidate() -> None:
    X = np.ones((5, 1), dtype=np.float32)
    assert Problem(X, np.ones((5, 1))).tests == []


def test_categories_keep_their_order_and_leave_out_the_missing() -> None:
    assert categories(np.array(["b", None, "a", "b"], dtype=object)) == ["b", "a"]


def test_missing_values_go_left() -> None:
    X = np.array([[np.nan, None], [2.0, "a"]], dtype=object)
    assert Candidate(0, -5.0).right(X).tolist() == [False, True]
    assert Candidate(1, "a", categorical=True).right(X).tolist() == [False, True]


def test_missing_values_are_parted_from_the_lowest_number() -> None:
    X = np.array([[np.nan], [-np.inf], [1.0]], dtype=np.float32)
    tests = Problem(X, np.ones((3, 1))).tests
    assert [test.threshold for test in tests] == [-np.inf, float(np.finfo(np.float32).min)]
    assert tests[0].right(X[:, :1]).tolist() == [False, True, True]
    assert tests[1].right(X[:, :1]).tolist() == [False, False, True]


def test_standardised_columns_have_unit_sample_variance() -> None:
    G = np.array([[1.0, 7.0], [2.0, 7.0], [6.0, 7.0]])
    S = standardised(G, np.ones_like(G))
    np.testing.assert_allclose(S[:, 0].std(ddof=1), 1)
    assert not S[:, 1].any()


@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
@pytest.mark.parametrize("score", ["l2", "cosine"])
def test_separable_gradients_are_split_in_one_test(grow_policy: str, score: str) -> None:
    X = np.array([[0], [1], [2], [3]], dtype=np.float32)
    G = np.array([[1], [1], [-3], [-3]], dtype=np.float32)
    root = grow(Problem(X, G, score=score, max_depth=1), grow_policy)
    assert root.test == Candidate(0, 1.0)
    assert [root.predict(row)[0] for row in X] == [1, 1, -3, -3]
