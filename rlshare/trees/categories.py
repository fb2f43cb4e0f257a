"""Dictionaries that turn categories, strings or integers, into the numbers the core tests for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Category = str | int
Keys = NDArray[np.int64] | list[str | int | None]
_FLOAT32 = np.dtype(np.float32)
MISSING = float("nan")  # a missing or never-seen category equals nothing, and goes left
MAX_CATEGORIES = 2**24  # numbers up to here are exact in float32
MAX_CATEGORIES_PER_BATCH = 65535  # their codes are uint16


class CategoryEncoder:
    """One dictionary a categorical feature; a category's number is its order of first appearance.

    Args:
        n_features: columns of X.
        categories: the dictionary, as a list in order of numbers, of each categorical feature.
    """

    def __init__(self, n_features: int, categories: dict[int, list[Category]]) -> None:
        self.n_features = n_features
        self._row = (n_features,)
        self.numbers = {f: {key: i for i, key in enumerate(keys)} for f, keys in categories.items()}
        self._tables = {f: _Table.of(numbers) for f, numbers in self.numbers.items()}

    def categories(self) -> dict[int, list[Category]]:
        """Return each categorical feature's categories in order of their numbers."""
        return {f: list(numbers) for f, numbers in self.numbers.items()}

    def as_array(self, X: Any) -> NDArray[Any]:
        """Return X as an array, its shape checked, its values as they are."""
        plain = isinstance(X, np.ndarray) or not self.numbers
        array: NDArray[Any] = np.asarray(X, dtype=None if plain else object)
        if array.ndim != 2 or array.shape[1] != self.n_features:
            raise ValueError(f"X must have shape [n, {self.n_features}], got {list(array.shape)}")
        return array

    def encode(self, X: Any, learn: bool = False) -> NDArray[np.float32]:
        """Return X [n, n_features] as C-contiguous float32.

        Args:
            X: numbers; with categorical features integers, integral floats or an object array.
            learn: add never-seen categories first (all or none); they are missing otherwise.

        Raises:
            ValueError: for a wrong shape, or a categorical value that is no string or integer.
        """
        plain = type(X) is np.ndarray and X.dtype == _FLOAT32 and not self.numbers
        if plain and X.shape[1:] == self._row:  # what acting calls: no time to lose
            return np.ascontiguousarray(X)
        X = self.as_array(X)
        if not self.numbers:
            return _numeric(X)
        columns = {f: _column(X[:, f], f) for f in self.numbers}
        if learn:
            self._learn(columns)
        numeric = [f for f in range(self.n_features) if f not in self.numbers]
        out = np.empty(X.shape, np.float32)
        if numeric:
            out[:, numeric] = _numeric(X[:, numeric])
        for f, keys in columns.items():
            if isinstance(keys, np.ndarray):
                out[:, f] = self._table(f).look_up(keys)
                continue
            number = self.numbers[f].get
            out[:, f] = [MISSING if key is None else number(key, MISSING) for key in keys]
        return out

    def _table(self, feature: int) -> _Table:
        if self._tables[feature].size != len(self.numbers[feature]):
            self._tables[feature] = _Table.of(self.numbers[feature])
        return self._tables[feature]

    def _learn(self, columns: dict[int, Keys]) -> None:
        new: dict[int, list[Category]] = {}
        for f, keys in columns.items():
            if isinstance(keys, np.ndarray):
                if len(keys) <= MAX_CATEGORIES_PER_BATCH:  # those that are known are not new
                    keys = keys[np.isnan(self._table(f).look_up(keys))]
                keys = keys.tolist()
            # dict.fromkeys keeps the order of first appearance.
            distinct = [key for key in dict.fromkeys(keys) if key is not None]
            new[f] = [key for key in distinct if key not in self.numbers[f]]
            _at_most(MAX_CATEGORIES_PER_BATCH, len(distinct), "in one batch", f)
            _at_most(MAX_CATEGORIES, len(self.numbers[f]) + len(new[f]), "in all", f)
        for f, unseen in new.items():
            for key in unseen:
                self.numbers[f][key] = len(self.numbers[f])


def _at_most(limit: int, count: int, where: str, feature: int) -> None:
    if count > limit:
        raise ValueError(
            f"a categorical feature may have at most {limit} categories {where}, "
            f"feature {feature} has {count}"
        )


class _Table(NamedTuple):
    """A feature's dictionary as arrays: what it has of 64-bit integers, sorted."""

    keys: NDArray[np.int64]
    numbers: NDArray[np.float32]
    size: int  # of the dictionary

    @classmethod
    def of(cls, numbers: dict[Category, int]) -> _Table:
        """Return the table of a dictionary, which another thread may be adding to."""
        known = list(numbers.items())
        found = sorted((k, i) for k, i in known if isinstance(k, int) and -(2**63) <= k < 2**63)
        keys = np.array([key for key, _ in found], np.int64)
        return cls(keys, np.array([i for _, i in found], np.float32), len(known))

    def look_up(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the numbers of keys [n], MISSING where there is none."""
        if not len(self.keys):
            return np.full(len(keys), MISSING, np.float32)
        at = np.searchsorted(self.keys, keys)
        at[at == len(self.keys)] = 0
        return np.where(self.keys[at] == keys, self.numbers[at], np.float32(MISSING))


def _numeric(X: NDArray[Any]) -> NDArray[np.float32]:
    if X.dtype.kind not in "fiub" and X.dtype != object:
        raise ValueError(f"X must hold numbers in its numeric columns, got dtype {X.dtype}")
    try:
        with np.errstate(over="ignore"):  # beyond float32 is +-Inf, which is legal
            return np.ascontiguousarray(X, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"X must hold numbers in its numeric columns: {error}") from error


def _column(column: NDArray[Any], feature: int) -> Keys:
    """Return a categorical column: plain integers as an array, all else as a list of keys."""
    if column.dtype.kind in "iub" and column.dtype != np.uint64:
        return column.astype(np.int64)
    return _keys(column, feature)


def _keys(column: NDArray[Any], feature: int) -> list[Category | None]:
    """Return a categorical column as strings and Python integers, None where missing."""
    if column.dtype.kind in "iubU":
        return column.tolist()  # type: ignore[no-any-return]
    if column.dtype.kind == "f":
        fractional = np.isfinite(column) & (column != np.trunc(column)) | np.isinf(column)
        if fractional.any():
            raise _not_a_category(feature, column[fractional][0])
        return [None if value != value else int(value) for value in column.tolist()]
    return [_key(value, feature) for value in column]


def _key(value: object, feature: int) -> Category | None:
    if value is None or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer, np.bool_)):
        return int(value)
    raise _not_a_category(feature, value)


def _not_a_category(feature: int, value: object) -> ValueError:
    return ValueError(
        f"a categorical feature must hold strings or integers, feature {feature} holds {value!r}"
    )
