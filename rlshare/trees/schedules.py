"""Learning rates as functions of t, the number of boosting steps made so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlshare.checks import is_real, non_negative


@dataclass(frozen=True)
class Linear:
    """``init + clamp(t / T, 0, 1) * (stop - init)``.

    Args:
        init: rate at step 0, >= 0.
        stop: rate from step T on, >= 0.
        T: boosting steps from init to stop, > 0.
    """

    init: float
    stop: float
    T: float

    def __post_init__(self) -> None:
        """Check the values."""
        _check_rate(self.init)
        _check_rate(self.stop)
        if not (isfinite(self.T) and self.T > 0):
            raise ValueError(f"T of a linear schedule must be > 0, got {self.T!r}")
        for name in ("init", "stop", "T"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def __call__(self, t: int) -> float:
        """Return the rate of boosting step t."""
        return self.init + min(max(t / self.T, 0.0), 1.0) * (self.stop - self.init)


@dataclass(frozen=True)
class Table:
    """``values[t]``, and the last value from then on."""

    values: Sequence[float]

    def __post_init__(self) -> None:
        """Check the values."""
        if len(self.values) == 0:
            raise ValueError("values of a table schedule must hold at least one rate, got none")
        for value in self.values:
            _check_rate(value)
        object.__setattr__(self, "values", tuple(map(float, self.values)))

    def __call__(self, t: int) -> float:
        """Return the rate of boosting step t."""
        return self.values[min(t, len(self.values) - 1)]


Schedule = Callable[[int], float]
LearningRate = float | Schedule | Sequence[float | Schedule]


@dataclass(frozen=True)
class Lost:
    """Stands where a saved model had a callable, which a file cannot hold."""

    def __call__(self, t: int) -> float:
        """Refuse to train."""
        raise ValueError(
            "this model was trained with a callable learning rate, which is not saved: "
            "pass learning_rate= to load() before training on"
        )


@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    value: float

    def __post_init__(self) -> None:
        """Check the value."""
        _check_rate(self.value)

    def __call__(self, t: int) -> float:
        """Return the rate."""
        return self.value


class Rates:
    """The learning rates of all outputs.

    Args:
        schedules: one an output.
    """

    def __init__(self, schedules: tuple[Schedule, ...]) -> None:
        self.schedules = schedules
        constant = [schedule.value for schedule in schedules if isinstance(schedule, Constant)]
        self._constant = np.array(constant) if len(constant) == len(schedules) else None

    def at(self, t: int) -> NDArray[np.float64]:
        """Return the rates [n_outputs] of boosting step t, not to be written to.

        Raises:
            ValueError: where a callable gives a rate that is negative or not finite.
        """
        if self._constant is not None:
            return self._constant
        return np.array([_rate_at(schedule, t) for schedule in self.schedules])

    def relative(self, t: int) -> NDArray[np.float64]:
        """Return the rates [n_outputs] of step t as shares of those of step 0, at most 1.

        A rate of 0 is the share 0, also where it began with 0.

        Raises:
            ValueError: as :meth:`at`.
        """
        now, first = self.at(t), self.at(0)
        out = np.zeros(len(now))
        return np.divide(now, np.maximum(now, first), where=now > 0, out=out)


def as_schedules(learning_rate: LearningRate, n_outputs: int) -> tuple[Schedule, ...]:
    """Return one schedule an output.

    Raises:
        ValueError: for a negative or non-finite rate, or a sequence of another length.
    """
    if callable(learning_rate) or is_real(learning_rate):
        return (_as_schedule(learning_rate),) * n_outputs
    if not isinstance(learning_rate, (Sequence, np.ndarray)):
        raise ValueError(
            "learning_rate must be a number, a schedule or a sequence of them, "
            f"got {learning_rate!r}"
        )
    if len(learning_rate) != n_outputs:
        raise ValueError(
            f"learning_rate must hold one rate an output, {n_outputs}, got {len(learning_rate)}"
        )
    return tuple(_as_schedule(rate) for rate in learning_rate)


def _as_schedule(rate: Any) -> Schedule:
    return rate if callable(rate) else Constant(float(non_negative("a learning rate", rate)))


def _rate_at(schedule: Schedule, t: int) -> float:
    rate = float(schedule(t))
    _check_rate(rate)
    return rate


def _check_rate(rate: float) -> None:
    if not (isfinite(rate) and rate >= 0):
        raise ValueError(f"a learning rate must be finite and >= 0, got {rate!r}")


def to_plain(schedule: Schedule) -> Any:
    """Return the schedule as JSON holds it."""
    match schedule:
        case Constant(value):
            return value
        case Linear(init, stop, T):
            return {"linear": [init, stop, T]}
        case Table(values):
            return {"table": list(values)}
        case _:
            return "callable"


def from_plain(plain: Any) -> Schedule:
    """Undo :func:`to_plain`.

    Raises:
        ValueError: where `plain` is none of its forms.
    """
    match plain:
        case bool():
            pass
        case int() | float():
            return Constant(float(plain))
        case {"linear": [init, stop, T]}:
            return Linear(float(init), float(stop), float(T))
        case {"table": list(values)}:
            return Table([float(v) for v in values])
        case "callable":
            return Lost()
    raise ValueError(f"{plain!r} is not a learning-rate schedule")
