"""How a linear part beside the trees moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rlshare.checks import positive
from rlshare.messages import nearest


@dataclass(frozen=True)
class LinearParams:
    """How a linear part moves.

    Args:
        rate: of the regression that each step adds, > 0, or a sequence of one an output; of a
            column whose learning rate has fallen to a share of its first, that share of it.
        ridge: penalty of the regression, in rows, > 0.

    Raises:
        ValueError: where a value breaks its rule; the message states both.
    """

    rate: float | Sequence[float] = 0.3
    ridge: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        self._set("ridge", positive("ridge of linear", self.ridge))
        if isinstance(self.rate, Sequence | np.ndarray) and np.ndim(self.rate) == 1:
            rates = tuple(positive("rate of linear", rate) for rate in self.rate)
            self._set("rate", rates)
        else:
            self._set("rate", positive("rate of linear", self.rate))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen for everybody else

    @property
    def plain(self) -> dict[str, Any]:
        """The params as a mapping of plain data."""
        rate = list(self.rate) if isinstance(self.rate, Sequence) else self.rate
        return {"rate": rate, "ridge": self.ridge}

    def check_outputs(self, n: int) -> None:
        """Refuse rates of another number than ``n`` outputs.

        Raises:
            ValueError: where they are.
        """
        if isinstance(self.rate, Sequence) and len(self.rate) != n:
            raise ValueError(
                f"rate of linear must be a number or one for each output, {n}, got {self.rate}"
            )

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
