"""DAgger on a chain of states, against a replay of its own written out by hand."""

from typing import Any

import numpy as np
import pytest

from rlshare.distill import States, best, dagger
from rlshare.distill.rounds import Round

N_STATES = 6
# The teacher goes right from states below 4, where its episode would end, and left from there.
TEACHER = np.array([1, 1, 1, 1, 0, 0])


def one_hot(actions: np.ndarray) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[actions]


class Chain:
    """States 0 .. 5, actions left and right; a student begins in state 5, the teacher in 0."""

    def __init__(self) -> None:
        self.acted: list[np.ndarray | None] = []

    def collect(self, student: np.ndarray | None) -> States:
        self.acted.append(student)
        state, policy = (0, TEACHER) if student is None else (N_STATES - 1, student)
        visited = []
        for _ in range(4):
            visited.append(state)
            state = int(np.clip(state + (1 if policy[state] else -1), 0, N_STATES - 1))
        rows = np.array(visited)
        return States(rows[:, None], one_hot(TEACHER[rows]), np.ones(4, np.float32))


def fit(states: States) -> np.ndarray:
    """The majority of what the teacher did in each state, right where it was never seen."""
    votes = np.zeros((N_STATES, 2))
    np.add.at(votes, states.rows[:, 0], states.targets)
    return np.where(votes.sum(axis=1) > 0, votes.argmax(axis=1), 1)


def test_later_rounds_visit_the_student_s_states_and_keep_the_earlier() -> None:
    chain = Chain()

    def agree(student: Any) -> float:
        return float((student == TEACHER).mean())

    rounds = list(dagger(chain.collect, fit, agree, 3))
    # Round 0 sees 0 1 2 3; its student goes right everywhere, and so stays in 5; asked there, it
    # learns to go left, and meets 4, from where it would still go right.
    expected = [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]]
    assert [each.student.tolist() for each in rounds] == expected
    assert [each.n_states for each in rounds] == [4, 8, 12]
    assert [each.score for each in rounds] == pytest.approx([4 / 6, 5 / 6, 1])
    assert chain.acted[0] is None
    assert chain.acted[1] is rounds[0].student
    assert chain.acted[2] is rounds[1].student
    assert best(rounds) is rounds[2]


def test_the_first_of_equally_good_rounds_is_kept() -> None:
    rounds = [Round(i, i, 0, score) for i, score in enumerate([(1.0, 0.5), (2.0, 0.1), (2.0, 0.1)])]
    assert best(rounds).number == 1
    assert best([*rounds, Round(3, 3, 0, (2.0, 0.2))]).number == 3


def test_rounds_come_one_by_one() -> None:
    chain = Chain()
    rounds = dagger(chain.collect, fit, lambda _: 0.0, 100)
    next(rounds)
    assert len(chain.acted) == 1


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match=r"n_rounds must be .*got 0"):
        next(dagger(Chain().collect, fit, lambda _: 0.0, 0))
