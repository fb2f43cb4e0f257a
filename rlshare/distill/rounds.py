"""DAgger: a student learns on the states that it visits itself, from what a teacher does there.

Ross, Gordon and Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret
Online Learning" (AISTATS 2011, algorithm 3.1): the first round acts as the teacher, every later one
as the last student; all states are kept, and each student is fitted to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlshare.checks import integer

Student = TypeVar("Student")


class States(NamedTuple):
    """States and what the teacher does there.

    Attributes:
        rows: features [n, d].
        targets: columns of the teacher's distribution or its action, [n, K].
        weights: how much it matters to act as the teacher, >= 0, [n].
    """

    rows: NDArray[Any]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]


class Round(NamedTuple, Generic[Student]):
    """A round: its student, the states that it was fitted to, and how well it did.

    Attributes:
        number: 0, 1, ...
        student: as ``fit`` returned it.
        n_states: number of states so far.
        score: what ``score`` returned.
    """

    number: int
    student: Student
    n_states: int
    score: Any


def dagger(
    collect: Callable[[Student | None], States],
    fit: Callable[[States], Student],
    score: Callable[[Student], Any],
    n_rounds: int,
) -> Iterator[Round[Student]]:
    """Yield the rounds of DAgger one after the other; see ``best``.

    Args:
        collect: acts as the student, or as the teacher where it is None, and returns new states.
        fit: returns a student of all states so far.
        score: how good a student is: a number, or a tuple whose first entry counts most.
        n_rounds: at most so many.

    Raises:
        ValueError: for n_rounds < 1.
    """
    n_rounds = integer("n_rounds", n_rounds, 1)
    kept: list[States] = []
    student: Student | None = None
    for number in range(n_rounds):
        kept.append(collect(student))
        states = States(*(np.concatenate(part) for part in zip(*kept, strict=True)))
        student = fit(states)
        yield Round(number, student, len(states.rows), score(student))


def best(rounds: list[Round[Student]]) -> Round[Student]:
    """Return the round of the highest score, of equal ones the first."""
    return max(rounds, key=lambda each: each.score)
