"""Learning curves: returns over the environment steps of a run."""

import numpy as np
from numpy.typing import NDArray

from rlshare.results.episodes import Episodes


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return for each value [n] the mean of the last ``window`` up to it, at first of fewer."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    means: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return means


def window_means(episodes: Episodes, ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean return of the episodes of each window of steps.

    Args:
        episodes: of one run.
        ends: last step of each window [n], rising; later episodes belong to none.

    Returns:
        means [n], NaN where no episode ended.
    """
    window = np.searchsorted(ends, episodes.end_step)
    sums = np.bincount(window, episodes.returns, len(ends) + 1)[: len(ends)]
    counts = np.bincount(window, minlength=len(ends) + 1)[: len(ends)]
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)


def first_held(episodes: Episodes, threshold: float, n: int) -> int | None:
    """Return the step at which the mean of the last n episodes first reached a threshold."""
    means = running_mean(episodes.returns, n)
    held = np.flatnonzero(means[n - 1 :] >= threshold)
    return int(episodes.end_step[held[0] + n - 1]) if len(held) else None
