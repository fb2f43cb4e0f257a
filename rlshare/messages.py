"""Words of error messages that several packages share."""

from collections.abc import Iterable


def closest(name: object, known: Iterable[object]) -> str | None:
    """Return the known name that is most alike, or None where none is."""
    import difflib  # only errors need it

    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return near[0] if near else None


def nearest(name: object, known: Iterable[object]) -> str:
    """Return ``", did you mean 'x'?"`` for the known name that is most alike, else ``"."``."""
    near = closest(name, known)
    return "." if near is None else f", did you mean {near!r}?"
