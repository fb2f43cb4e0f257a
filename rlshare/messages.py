"""Words of error messages that several packages share."""

from collections.abc import Iterable


def nearest(name: object, known: Iterable[object]) -> str:
    """Return ``", did you mean 'x'?"`` for the known name that is most alike, else ``"."``."""
    import difflib  # only errors need it

    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else "."
