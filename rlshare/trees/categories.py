"""Dictionaries that turn categories, strings or integers, into the numbers the core tests for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Category = str | int
# of n rows and F categorical features: an array [n, F], or a list [n] a feature, None where missing
Keys = NDArray[np.int64] | list[list[Category | None]]
_FLOAT32 = np.dtype(np.float32)
MISSING = float("nan")  # a missing or never-seen category equals nothing, and goes left
_TIMES: tuple[type, ...] = (np.datetime64, np.timedelta64)
_NUMBERS: tuple[type, ...] = (Real, np.bool_, type(None))
MAX_CATEGORIES = 2**24  # numbers up to here are exact in float32
MAX_CATEGORIES_PER_BATCH = 65535  # their codes are uint16
MAX_TABLE = 2**20  # integers in the ranges of all features, 4 MB


class CategoryEncoder:
    """One dictionary a categorical feature; a category's number is its order of first appearance.

    Args:
        n_features: columns of X.
        categories: the dictionary, as a list in order of numbers, of each categorical feature.
        names: of the features, for messages.
    """

    def __init__(
        self,
        n_features: int,
        categories: dict[int, list[Category]],
        names: Sequence[str] | None = None,
    ) -> None:
        self.n_features = n_features
        self._labels = [str(f) if names is None else f"{f} ({names[f]})" for f in range(n_features)]
        self._row = (n_features,)
        self.numbers = {f: {key: i for i, key in enumerate(keys)} for f, keys in categories.items()}
        self._numeric = [f for f in range(n_features) if f not in categories]
        # the sizes of the dictionaries, and the table that was made of them then
        self._table: tuple[list[int], _Table | None] = [], None

    def categories(self) -> dict[int, list[Category]]:
        """Return each categorical feature's categories in order of their numbers."""
        return {f: list(numbers) for f, numbers in self.numbers.items()}

    def as_array(self, X: Any) -> NDArray[Any]:
        """Return X as an array, its shape checked, its values as they are but for masked ones."""
        if isinstance(X, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(X)
            X = X.data.astype(object)
            X[mask] = None
        plain = isinstance(X, np.ndarray) or not self.numbers
        array: NDArray[Any] = np.asarray(X, dtype=None if plain else object)
        if array.ndim != 2 or array.shape[1] != self.n_features:
            raise ValueError(f"X must have shape [n, {self.n_features}], got {list(array.shape)}")
        return array

    def encode(self, X: Any, learn: bool = False) -> NDArray[np.float32]:
        """Return X [n, n_features] as C-contiguous float32.

        Args:
            X: an array, masked array or data frame of numbers, and in categorical features of
                strings, integers or integral floats; see :func:`is_missing`.
            learn: add never-seen categories first (all or none); they are missing otherwise.

        Raises:
            ValueError: for a wrong shape, a numeric value that is no number, or a categorical one
                that is no string or integer.
        """
        plain = type(X) is np.ndarray and X.dtype == _FLOAT32 and not self.numbers
        if plain and X.shape[1:] == self._row:  # what acting calls: no time to lose
            return np.ascontiguousarray(X)
        X = self.as_array(X)
        if not self.numbers:
            return _numeric(X, self._labels)
        out = np.empty(X.shape, np.float32)
        if self._numeric:
            labels = [self._labels[f] for f in self._numeric]
            out[:, self._numeric] = _numeric(X[:, self._numeric], labels)
        categorical = list(self.numbers)
        keys = _keys(X[:, categorical], [self._labels[f] for f in categorical])
        if learn:
            self._learn(keys)
        out[:, categorical] = self._look_up(keys)
        return out

    def _look_up(self, keys: Keys) -> NDArray[np.float32]:
        """Return the numbers of keys [n, F], MISSING where there is none."""
        dictionaries = list(self.numbers.values())
        if isinstance(keys, np.ndarray):
            sizes = [len(numbers) for numbers in dictionaries]
            if self._table[0] != sizes:
                self._table = sizes, _Table.of(dictionaries)
            if (table := self._table[1]) is not None:
                return table.look_up(keys)
            keys = keys.T.tolist()
        columns = [
            [MISSING if key is None else numbers.get(key, MISSING) for key in column]
            for numbers, column in zip(dictionaries, keys, strict=True)
        ]
        return np.array(columns, np.float32).T

    def _learn(self, keys: Keys) -> None:
        if isinstance(keys, np.ndarray):
            new = np.ones(keys.shape, bool)
            if len(keys) <= MAX_CATEGORIES_PER_BATCH:  # those that are known cannot be too many
                new = np.isnan(self._look_up(keys))
            keys = [column[chosen].tolist() for column, chosen in zip(keys.T, new.T, strict=True)]
        unseen: dict[int, list[Category]] = {}
        for (f, numbers), column in zip(self.numbers.items(), keys, strict=True):
            # dict.fromkeys keeps the order of first appearance.
            distinct = [key for key in dict.fromkeys(column) if key is not None]
            unseen[f] = [key for key in distinct if key not in numbers]
            _at_most(MAX_CATEGORIES_PER_BATCH, len(distinct), "in one batch", self._labels[f])
            _at_most(MAX_CATEGORIES, len(numbers) + len(unseen[f]), "in all", self._labels[f])
        for f, new_keys in unseen.items():
            for key in new_keys:
                self.numbers[f][key] = len(self.numbers[f])


def _at_most(limit: int, count: int, where: str, feature: str) -> None:
    if count > limit:
        raise ValueError(
            f"a categorical feature may have at most {limit} categories {where}, "
            f"feature {feature} has {count}"
        )


class _Table(NamedTuple):
    """What F dictionaries have of 64-bit integers, as one array over their ranges."""

    lowest: NDArray[np.int64]  # [F]
    width: NDArray[np.uint64]  # [F], highest - lowest + 1; 0: no integers
    start: NDArray[np.uint64]  # [F], the widths before
    numbers: NDArray[np.float32]  # [sum of widths + 1], the last one MISSING

    @classmethod
    def of(cls, dictionaries: list[dict[Category, int]]) -> _Table | None:
        """Return the table of dictionaries, which another thread may be adding to.

        None if their ranges are too wide.
        """
        integers = [
            [(k, i) for k, i in list(d.items()) if isinstance(k, int) and -(2**63) <= k < 2**63]
            for d in dictionaries
        ]
        lowest = [min(d)[0] if d else 0 for d in integers]
        width = [max(d)[0] - low + 1 if d else 0 for d, low in zip(integers, lowest, strict=True)]
        *start, total = accumulate(width, initial=0)
        if total > MAX_TABLE:
            return None
        numbers = np.full(total + 1, MISSING, np.float32)
        for d, low, before in zip(integers, lowest, start, strict=True):
            numbers[[before + key - low for key, _ in d]] = [number for _, number in d]
        widths, starts = np.array(width, np.uint64), np.array(start, np.uint64)
        return cls(np.array(lowest, np.int64), widths, starts, numbers)

    def look_up(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the numbers of keys [n, F], MISSING where there is none."""
        distance = (keys - self.lowest).view(np.uint64)  # modulo 2^64, which is exact in the range
        nowhere = np.uint64(len(self.numbers) - 1)
        place = np.where(distance < self.width, distance + self.start, nowhere)
        return self.numbers.take(place.view(np.int64))


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, NaT, pandas.NA or numpy.ma.masked.

    Types are known by name: pandas need not be there.
    """
    if type(value).__name__ in ("NoneType", "NAType", "NaTType", "MaskedConstant"):
        return True
    return isinstance(value, (float, np.floating, *_TIMES)) and bool(value != value)


def _numeric(X: NDArray[Any], features: Sequence[str]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # beyond float32 is +-Inf, which is legal
        if X.dtype.kind in "fiub" or (X.dtype == object and _are_numbers(X)):
            return np.ascontiguousarray(X, np.float32)
        if X.dtype != object:
            raise ValueError(f"X must hold numbers in its numeric columns, got dtype {X.dtype}")
        rows = [[_number(value, f) for value, f in zip(row, features, strict=True)] for row in X]
        return np.array(rows, np.float32).reshape(X.shape)


def _are_numbers(X: NDArray[Any]) -> bool:
    """Return whether all objects are such that numpy makes the right numbers of them."""
    kinds = set(map(type, X.ravel().tolist()))
    return all(issubclass(kind, _NUMBERS) and kind not in _TIMES for kind in kinds)


def _number(value: Any, feature: str) -> float:
    if is_missing(value):
        return MISSING
    try:
        if isinstance(value, _TIMES):
            raise TypeError("a time is no number")
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X must hold numbers in its numeric columns, feature {feature} holds {value!r}"
        ) from error


def _keys(X: NDArray[Any], features: list[str]) -> Keys:
    """Return categorical columns: integers as an array, all else as a list of keys a feature."""
    integral = X.dtype.kind in "iub" and X.dtype != np.uint64
    if integral or (X.dtype.kind == "f" and ((np.trunc(X) == X) & (np.abs(X) < 2**63)).all()):
        return X.astype(np.int64)
    return [_column(X[:, i], f) for i, f in enumerate(features)]


def _column(column: NDArray[Any], feature: str) -> list[Category | None]:
    """Return a categorical column as strings and Python integers, None where missing."""
    if column.dtype.kind in "iubU":
        return column.tolist()  # type: ignore[no-any-return]
    if column.dtype.kind == "f":
        fractional = np.isfinite(column) & (column != np.trunc(column)) | np.isinf(column)
        if fractional.any():
            raise _not_a_category(feature, column[fractional][0])
        return [None if value != value else int(value) for value in column.tolist()]
    return [_key(value, feature) for value in column]


def _key(value: Any, feature: str) -> Category | None:
    if is_missing(value):
        return None
    if isinstance(value, str):
        return str(value)
    integral = isinstance(value, (float, np.floating)) and value == np.trunc(value)
    if isinstance(value, (int, np.integer, np.bool_)) or (integral and np.isfinite(value)):
        return int(value)
    raise _not_a_category(feature, value)


def _not_a_category(feature: str, value: object) -> ValueError:
    return ValueError(
        f"a categorical feature must hold strings or integers, feature {feature} holds {value!r}"
    )
