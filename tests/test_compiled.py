"""Compiled functions: as in Python, also where no cache can be kept."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from rlshare.compiled import compiled

SOURCE = "def fill(x):\n    for i in range(len(x)):\n        x[i] = i / 3\n"


def test_a_function_that_no_file_holds_is_compiled_without_a_cache() -> None:
    names: dict[str, Any] = {}
    exec(compile(SOURCE, "<nowhere>", "exec"), names)
    plain = cast("Callable[[Any], None]", names["fill"])
    ours, theirs = np.empty(5), np.empty(5)
    compiled(plain)(ours)
    plain(theirs)
    np.testing.assert_array_equal(ours, theirs)
