"""What a model adds to its trees: a ridge regression of the gradients in every step, all summed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rlshare import _core
from rlshare.trees.linear_params import LinearParams
from rlshare.trees.linear_statistics import Doubles, Statistics

FloatArray = NDArray[np.float32]

_NAME = "linear"
_LARGEST = 1e200  # of a coefficient, times any float32 and summed far from overflow
_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class LinearPart:
    """What is added to the trees: to F_c(x), over the features j that are not missing in x,

    ``intercept_c + sum_j (coefficients_jc * clip(x_j, low_j, high_j) + offsets_jc)``.

    It takes all of a row into account at once, smoothly, where trees would need many steps. Sums
    are float64, rounded once.

    Attributes:
        params: how it moves, None where it stays as it is.
        coefficients: [n_features, n_outputs], in the units of the features, 0 of categorical ones.
        offsets: [n_features, n_outputs], what goes with a value that is there.
        intercept: [n_outputs].
        low: [n_features], the lowest value seen in training, NaN where there was none.
        high: [n_features], the highest.
        numeric: indices of the numeric features.
        statistics: of these, for the next steps.
    """

    params: LinearParams | None
    coefficients: Doubles
    offsets: Doubles
    intercept: Doubles
    numeric: NDArray[np.int64]
    statistics: Statistics

    def __post_init__(self) -> None:
        """Let nobody write to what predictions and copies share."""
        for array in self._arrays():
            array.flags.writeable = False

    @classmethod
    def none(cls, params: LinearParams, forest: _core.Forest) -> Self:
        """Return the linear part before the first step, 0 everywhere.

        Raises:
            ValueError: where no feature is numeric.
        """
        params.check_outputs(forest.n_outputs)
        numeric = np.flatnonzero(np.array(forest.categorical) == 0)
        if len(numeric) == 0:
            raise ValueError("linear must be None where no feature is numeric")
        zeros = np.zeros((forest.n_features, forest.n_outputs))
        statistics = Statistics.none(len(numeric))
        return cls(params, zeros, zeros, np.zeros(forest.n_outputs), numeric, statistics)

    @property
    def low(self) -> Doubles:
        """The lowest value of each feature seen in training [n_features]."""
        return self._of_all(self.statistics.low)

    @property
    def high(self) -> Doubles:
        """The highest value of each feature seen in training [n_features]."""
        return self._of_all(self.statistics.high)

    def _of_all(self, values: Doubles) -> Doubles:
        out = np.full(len(self.coefficients), np.nan)
        out[self.numeric] = values
        return out

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> list[Doubles]:
        s = self.statistics
        own = [self.coefficients, self.offsets, self.intercept]
        return [*own, s.low, s.high, s.weight, s.mean, s.square, s.moments]

    def add(self, X: FloatArray, out: FloatArray, n_threads: int) -> None:
        """Add the linear part of rows X [n, n_features] onto out [n, n_outputs]."""
        self._term.add(X, out, n_threads)

    @cached_property
    def _term(self) -> _core.LinearPart:
        moved = np.flatnonzero((self.coefficients != 0).any(1) | (self.offsets != 0).any(1))
        return _core.LinearPart(
            n_features=len(self.coefficients),
            intercept=self.intercept,
            features=moved.tolist(),
            coefficients=self.coefficients[moved],
            offsets=self.offsets[moved],
            low=self.low[moved],
            high=self.high[moved],
        )

    def after(
        self,
        X: FloatArray,
        grads: FloatArray,
        weights: FloatArray | None,
        rates: Doubles,
        used: NDArray[np.bool_],
    ) -> Self:
        """Return the linear part after a step.

        The gradients are regressed on the standardised features, with the second moments of many
        steps, and the regression times the rate is taken away. Where it would go beyond the
        gradients, which those moments do not exclude, it goes as far along as fits them best: on
        these rows F never moves by more than the rate times their root mean square.

        Args:
            X: rows [n, n_features], NaN where missing, categories as numbers.
            grads: theirs [n, n_outputs].
            weights: theirs, [n] or [n, n_outputs], or None.
            rates: [n_outputs], multiplied onto the rate.
            used: the features that may take part [n_features].

        Raises:
            ValueError: where coefficients would be beyond all bounds.
        """
        if self.params is None:
            return self
        of_output = np.ones((len(X), 1)) if weights is None else weights.astype(np.float64)
        of_output = of_output.reshape(len(X), -1)
        of_row = of_output.mean(1)
        kept = of_row > 0
        if not kept.any():
            return self
        if not kept.all():
            X, grads, of_output, of_row = X[kept], grads[kept], of_output[kept], of_row[kept]
        if len(self.numeric) < X.shape[1]:
            X = X[:, self.numeric]
        x, G = X.astype(np.float64), grads.astype(np.float64)
        with np.errstate(all="ignore"):  # what overflows is refused below
            return self._moved(x, G, of_output, of_row, rates, used)

    def _moved(
        self,
        x: Doubles,
        G: Doubles,
        of_output: Doubles,
        of_row: Doubles,
        rates: Doubles,
        used: NDArray[np.bool_],
    ) -> Self:
        assert self.params is not None  # as `after` has seen
        statistics = self.statistics.after(x, of_row)
        z1 = statistics.standardised(x)
        if not used.all():
            z1[:, :-1] *= used[self.numeric]
        statistics = statistics.with_moments(z1, of_row)
        total = of_output.sum(0)
        weighted = of_output / np.where(total > 0, total, 1.0)
        B = statistics.solve(z1.T @ (weighted * G), self.params.ridge / of_row.sum())
        B *= _line_search(z1 @ B, G, weighted) * np.array(self.params.rate) * rates
        slope = np.zeros((len(self.numeric), B.shape[1]))
        deviation = statistics.deviation[:, None]
        np.divide(B[:-1], deviation, where=deviation > 0, out=slope)
        coefficients, offsets = self.coefficients.copy(), self.offsets.copy()
        coefficients[self.numeric] -= slope
        offsets[self.numeric] += slope * statistics.mean[:, None]
        new = replace(
            self,
            coefficients=coefficients,
            offsets=offsets,
            intercept=self.intercept - B[-1],
            statistics=statistics,
        )
        if not new._is_bounded():
            raise ValueError(
                f"coefficients of the linear part must be within +-{_LARGEST}: features, gradients "
                "or weights are too large for it"
            )
        return new

    def _is_bounded(self) -> bool:
        own = np.concatenate([self.coefficients, self.offsets, self.intercept[None]])
        s = self.statistics
        finite = all(np.isfinite(each).all() for each in (s.weight, s.mean, s.square, s.moments))
        return bool(np.abs(own).max() <= _LARGEST) and finite  # NaN is not

    def to_sections(self) -> dict[str, bytes]:
        """Return the linear part as a section of a model file."""
        params = None if self.params is None else self.params.plain
        head = json.dumps({"params": params, "n_steps": self.statistics.n_steps}).encode()
        return {_NAME: b"\n".join([head, b"".join(array.tobytes() for array in self._arrays())])}

    @classmethod
    def from_sections(cls, sections: dict[str, bytes], forest: _core.Forest) -> Self | None:
        """Undo :meth:`to_sections`; None where there is no such section.

        Raises:
            ValueError: where it is damaged or does not belong to the forest.
        """
        if _NAME not in sections:
            return None
        part = cls.none(LinearParams(), forest)
        head, _, data = sections[_NAME].partition(b"\n")
        try:
            plain = json.loads(head)
            params, n_steps = LinearParams.of(plain["params"]), plain["n_steps"]
            if params is not None:
                params.check_outputs(forest.n_outputs)
            numbers = np.frombuffer(data, np.float64)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"its linear part is damaged: {error!r}") from error
        shapes = [array.shape for array in part._arrays()]
        sizes = [array.size for array in part._arrays()]
        if len(numbers) != sum(sizes) or type(n_steps) is not int or n_steps < 0:
            raise ValueError("its linear part is damaged: it does not fit the trees")
        parts = np.split(numbers, np.cumsum(sizes)[:-1])
        arrays = [a.reshape(shape).copy() for a, shape in zip(parts, shapes, strict=True)]
        statistics = Statistics(n_steps, *arrays[3:])
        part = replace(part, params=params, statistics=statistics, coefficients=arrays[0],
                       offsets=arrays[1], intercept=arrays[2])  # fmt: skip
        part._check()
        return part

    def _check(self) -> None:
        s, low, high = self.statistics, self.low, self.high
        known = (low >= -_MAX) & (low <= high) & (high <= _MAX)
        moved = (self.coefficients != 0).any(1) | (self.offsets != 0).any(1)
        if not self._is_bounded() or (moved & ~known).any():
            raise ValueError("its linear part is damaged: its coefficients are none")
        unknown = np.isnan(s.low) & np.isnan(s.high) & (s.weight == 0)
        if not (known[self.numeric] | unknown).all() or s.weight.min() < 0 or s.square.min() < 0:
            raise ValueError("its linear part is damaged: its statistics are none")


def _line_search(P: Doubles, G: Doubles, weight: Doubles) -> Doubles:
    """Return the share [D], in [0, 1], of P [n, D] that fits G best (Cauchy, 1847)."""
    along, squared = (weight * P * G).sum(0), (weight * np.square(P)).sum(0)
    share: Doubles = np.ones(len(along))
    np.divide(along, squared, where=squared > along, out=share)
    return np.maximum(share, 0, out=share)
