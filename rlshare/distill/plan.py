"""What is distilled into what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlshare.checks import integer, switch
from rlshare.trees import TreeParams
from rlshare.trees.params import MAX_DEPTH

_SMALL = 100  # trees of a critic beside a single tree


@dataclass(frozen=True)
class Plan:
    """What is distilled into what.

    Args:
        n_trees: of a forest of oblivious trees.
        max_depth: levels of tests, 1 to 16.
        single_tree: one greedy tree, to be read, in place of a forest; ``n_trees`` says nothing.
        n_rounds: of DAgger.
        n_frames: environment steps of a round.
        seed: of everything that is drawn.
        n_threads: of the trees; None for as many as there are cores. The result does not depend
            on it.

    Raises:
        ValueError: a value breaks its rule.
    """

    n_trees: int = 500
    max_depth: int = 6
    single_tree: bool = False
    n_rounds: int = 10
    n_frames: int = 10_000
    seed: int = 0
    n_threads: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("n_trees", 1, None),
            ("max_depth", 1, MAX_DEPTH),
            ("n_rounds", 1, None),
            ("n_frames", 1, None),
            ("seed", 0, 2**31 - 1),
        ):
            self._set(name, integer(name, getattr(self, name), low, high))
        if self.n_threads is not None:
            self._set("n_threads", integer("n_threads", self.n_threads, 1))
        self._set("single_tree", switch("single_tree", self.single_tree))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen for everybody else

    def params(self, categorical: list[int]) -> TreeParams:
        """Return the parameters of the trees, with the space's categorical features."""
        return TreeParams(
            max_depth=self.max_depth,
            grow_policy="greedy" if self.single_tree else "oblivious",
            score="l2",
            categorical=categorical or None,
        )

    @property
    def n_value_trees(self) -> int:
        """Trees of the critic."""
        return _SMALL if self.single_tree else self.n_trees

    def seed_of(self, *keys: int) -> int:
        """Return a seed that depends on what it is for."""
        return int(np.random.SeedSequence([self.seed, *keys]).generate_state(1)[0] % 2**31)
