"""Python loops compiled by numba, kept on disk between processes where that is possible."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Return ``function`` compiled at its first call (``numba.njit``), results as in Python.

    Without ``fastmath``: sums keep their order, and nothing is contracted.
    """
    try:
        return cast("F", numba.njit(cache=True)(function))
    except RuntimeError:  # neither the package's folder nor the user's can hold the cache
        return cast("F", numba.njit(function))
