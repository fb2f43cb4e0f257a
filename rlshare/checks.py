"""Checks of arguments: a Python number, or an error with the rule and the value.

numpy's scalars and arrays without dimensions are numbers too; booleans are none.
"""

from collections.abc import Iterable
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return numpy's scalars and arrays [] as what they hold, everything else as it is."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    return value


def is_real(value: Any) -> bool:
    """Return whether a value is a real number, NaN and infinities included."""
    value = plain(value)
    return isinstance(value, Real) and not isinstance(value, bool)


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return an integer in [low, high], or >= low, or any.

    Raises:
        ValueError: if it is none.
    """
    found = plain(value)
    is_integer = isinstance(found, Integral) and not isinstance(found, bool)
    if not is_integer or (low is not None and found < low) or (high is not None and found > high):
        rule = "" if low is None else f" >= {low}" if high is None else f" in [{low}, {high}]"
        raise ValueError(f"{name} must be an integer{rule}, got {value!r}")
    return int(found)


def _number(name: str, value: Any, rule: str, low: float, above: bool, high: float) -> float:
    found = float(plain(value)) if is_real(value) else inf
    if not isfinite(found) or found < low or (above and found == low) or found > high:
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return found


def non_negative(name: str, value: Any) -> float:
    """Return a finite number >= 0.

    Raises:
        ValueError: if it is none.
    """
    return _number(name, value, "finite and >= 0", 0.0, False, inf)


def positive(name: str, value: Any) -> float:
    """Return a finite number > 0.

    Raises:
        ValueError: if it is none.
    """
    return _number(name, value, "finite and > 0", 0.0, True, inf)


def finite(name: str, value: Any) -> float:
    """Return a finite number.

    Raises:
        ValueError: if it is none.
    """
    return _number(name, value, "a finite number", -inf, False, inf)


def switch(name: str, value: Any) -> bool:
    """Return True or False, of numpy too.

    Raises:
        ValueError: if it is neither.
    """
    found = plain(value)
    if not isinstance(found, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return found


def share(name: str, value: Any) -> float:
    """Return a number in (0, 1].

    Raises:
        ValueError: if it is none.
    """
    return _number(name, value, "in (0, 1]", 0.0, True, 1.0)


def fraction(name: str, value: Any) -> float:
    """Return a number in [0, 1].

    Raises:
        ValueError: if it is none.
    """
    return _number(name, value, "in [0, 1]", 0.0, False, 1.0)


def one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse what is none of the allowed words.

    Raises:
        ValueError: naming them all.
    """
    words = list(allowed)
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {value!r}")
