"""How sure a result is: bootstrap intervals over runs, and the mean that outliers do not move."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Sample = NDArray[np.float64]


def bootstrap_interval(
    statistic: Callable[..., float], *samples: Sample, n_draws: int = 10_000
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a statistic (Efron, 1979).

    Args:
        statistic: called with as many arrays of the same shapes, whose runs are drawn with
            replacement, always the same.
        samples: results of runs [n_runs], or of runs on several tasks [n_runs, n_tasks]; of these
            each task draws runs of its own (stratified, Agarwal et al., arXiv 2108.13264).
        n_draws: how often.

    Raises:
        ValueError: there is no sample, or one without a run.
    """
    if not samples or any(len(sample) == 0 for sample in samples):
        raise ValueError(f"samples must have a run each, got {[len(s) for s in samples]}")
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(sample), size=(n_draws, *sample.shape)) for sample in samples]
    found = []
    for i in range(n_draws):
        pairs = zip(samples, drawn, strict=True)
        found.append(statistic(*(np.take_along_axis(s, rows[i], axis=0) for s, rows in pairs)))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def interquartile_mean(values: Sample) -> float:
    """Return the mean of the middle half of all values."""
    ordered = np.sort(values, axis=None)
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())
