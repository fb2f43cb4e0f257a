"""Words of error messages that several packages share."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[object]) -> str:
    """Return ``", did you mean 'x'?"`` for the known name that is most alike, else ``"."``."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else "."
