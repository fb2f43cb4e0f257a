"""How a linear part beside the trees moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rlshare.checks import positive
from rlshare.messages import nearest


@dataclass(frozen=True)
class LinearParams:
    """How a linear part moves.

    Args:
        rate: of the regression that each step adds, > 0; of a column whose learning rate has
            fallen to a share of its first, that share of it.
        ridge: penalty of the regression, in rows, > 0.

    Raises:
        ValueError: where a value breaks its rule; the message states both.
    """

    rate: float = 0.3
    ridge: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        for one in dataclasses.fields(self):
            value = positive(f"{one.name} of linear", getattr(self, one.name))
            object.__setattr__(self, one.name, value)  # frozen for everybody else

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Self | None:
        """Return the params that a mapping gives, None for None.

        Raises:
            ValueError: for anything else, an unknown key, or a value that breaks its rule.
        """
        if given is None:
            return None
        if not isinstance(given, Mapping):
            raise ValueError(f"linear must be None or a dict of rate and ridge, got {given!r}")
        known = [one.name for one in dataclasses.fields(cls)]
        for key in given:
            if key not in known:
                raise ValueError(
                    f"linear has no key {key!r}{nearest(key, known)} Known keys: {', '.join(known)}"
                )
        return cls(**given)
