"""Bootstrap intervals: known ones, and what is drawn together."""

import numpy as np
import pytest

from rlshare.results.intervals import bootstrap_interval, interquartile_mean


def test_that_of_a_mean_is_the_normal_one() -> None:
    sample = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(np.mean, sample, n_draws=4000)
    half = 1.96 * sample.std() / 20
    assert (low, high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.02)
    assert bootstrap_interval(np.mean, sample, n_draws=100) == bootstrap_interval(
        np.mean, sample, n_draws=100
    )


def test_the_difference_of_two_arms() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([11.0, 12.0, 13.0, 14.0])
    low, high = bootstrap_interval(lambda x, y: y.mean() - x.mean(), a, b)
    assert 8.0 <= low < 10.5 < high <= 13.0
    constant = bootstrap_interval(lambda x, y: y.mean() - x.mean(), np.ones(3), np.full(5, 4.0))
    assert constant == (3.0, 3.0)


def test_each_task_draws_runs_of_its_own() -> None:
    # Two tasks whose runs cancel: drawn together, every mean would be 0.
    sample = np.array([[1.0, -1.0], [-1.0, 1.0]])
    low, high = bootstrap_interval(np.mean, sample, n_draws=1000)
    assert (low, high) == (-1.0, 1.0)
    # and every column keeps its own values
    apart = bootstrap_interval(lambda x: x[:, 0].max(), np.array([[1.0, 9.0], [2.0, 8.0]]))
    assert apart == (1.0, 2.0)


def test_the_interquartile_mean() -> None:
    assert interquartile_mean(np.array([[-100.0, 1.0], [2.0, 100.0]])) == 1.5
    assert interquartile_mean(np.array([5.0, 1.0, 3.0])) == 3.0
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 1000.0])) == 2.5


@pytest.mark.parametrize("samples", [(), (np.ones(3), np.ones(0))])
def test_a_sample_has_a_run(samples: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(ValueError, match="a run each"):
        bootstrap_interval(np.mean, *samples)
