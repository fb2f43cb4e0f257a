"""Running statistics of numeric features, and ridge regressions on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

MAX_DENSE = 1024  # features of which all second moments are kept; of more the diagonal only
_SHARE = 0.01  # of a step in the second moments, once there were as many steps
_JITTER = 1e-10  # of the largest second moment, which rounding stays below


@dataclass(frozen=True, eq=False)
class Statistics:
    """What was seen of p numeric features in training.

    Mean and deviation are over all rows so far: they only standardise. How the features go together
    now is in the second moments, which forget. If deviations forgot too, that of a feature at rest
    would vanish, and the first row in which it moved again would be infinitely far away.

    Attributes:
        n_steps: how many there were.
        low: [p], the lowest finite value, NaN where there was none.
        high: [p], the highest.
        weight: [p], sum of the weights of the rows with a finite value.
        mean: [p], weighted.
        square: [p], weighted sum of squared distances from the mean.
        moments: [p + 1, p + 1], mean over the steps of z1 z1^T, z1 = [z, 1] with the standardised
            features z, of which the last hundred count most; its diagonal [p + 1] where p > 1024.
    """

    n_steps: int
    low: Doubles
    high: Doubles
    weight: Doubles
    mean: Doubles
    square: Doubles
    moments: Doubles

    @classmethod
    def none(cls, p: int) -> Self:
        """Return the statistics before the first step."""
        nan, zero = np.full(p, np.nan), np.zeros(p)
        moments = np.zeros(p + 1 if p > MAX_DENSE else (p + 1, p + 1))
        return cls(0, nan, nan, zero, zero, zero, moments)

    @property
    def deviation(self) -> Doubles:
        """Standard deviations [p], 0 of a feature that never varied."""
        varies = self.high > self.low  # means of equal values may be off by a rounding
        out = np.zeros(len(varies))
        np.divide(self.square, self.weight, where=varies, out=out)
        return np.sqrt(out)

    def after(self, x: Doubles, weight: Doubles) -> Self:
        """Return the statistics of each feature after rows x [n, p] of weights > 0 [n]."""
        there = np.isfinite(x)
        if there.all():
            lowest, highest, values = x.min(0), x.max(0), x
            total = np.full(x.shape[1], weight.sum())
        else:
            values = np.where(there, x, np.nan)
            lowest, highest = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
            values, total = np.where(there, x, 0), weight @ there
        mean = weight @ values / np.where(total > 0, total, 1.0)
        distance = values - mean
        distance[~there] = 0
        square = weight @ np.square(distance, out=distance)
        share = total / np.where(total > 0, self.weight + total, 1.0)
        shift = mean - self.mean
        return replace(
            self,
            low=np.fmin(self.low, lowest),
            high=np.fmax(self.high, highest),
            weight=self.weight + total,
            mean=self.mean + share * shift,
            square=self.square + square + share * self.weight * np.square(shift),
        )

    def standardised(self, x: Doubles) -> Doubles:
        """Return z1 [n, p + 1] of rows x [n, p]: 0 is missing, or of a feature that never varied.

        Infinities count as the outermost values seen so far, in which the rows are.
        """
        finite = np.isfinite(x).all()
        if not finite:
            x = np.clip(x, self.low, self.high)  # NaN stays, also where no value was seen
        deviation = self.deviation
        z1 = np.ones((len(x), x.shape[1] + 1))
        z = z1[:, :-1]
        np.subtract(x, self.mean, out=z)
        z *= np.divide(1, deviation, where=deviation > 0, out=np.zeros(len(deviation)))
        if not finite:
            z[np.isnan(z)] = 0
        return z1

    def with_moments(self, z1: Doubles, weight: Doubles) -> Self:
        """Return the second moments after rows z1 [n, p + 1] of weights [n]."""
        share = max(_SHARE, 1 / (self.n_steps + 1))
        weighted = z1 * np.sqrt(weight / weight.sum())[:, None]
        new = np.square(weighted).sum(0) if self.moments.ndim == 1 else weighted.T @ weighted
        moments = self.moments + share * (new - self.moments)
        return replace(self, moments=moments, n_steps=self.n_steps + 1)

    def solve(self, b: Doubles, penalty: float) -> Doubles:
        """Return B [p + 1, D] with (moments + penalty I) B = b.

        Raises:
            ValueError: where the moments, of a damaged file, are none.
        """
        diagonal = self.moments if self.moments.ndim == 1 else self.moments.diagonal()
        penalty = max(penalty, _JITTER * float(diagonal.max()))
        if self.moments.ndim == 1:
            return b / (diagonal + penalty)[:, None]
        from scipy import linalg  # slow to import, and trees alone do without

        matrix = self.moments.copy()
        matrix.flat[:: len(matrix) + 1] += penalty
        try:
            factor = linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"second moments of the linear part must be positive definite: {error}"
            ) from error
        found: Doubles = linalg.cho_solve(factor, b, check_finite=False)
        return found
