"""What columns of trees say about actions, for every kind of action space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class ActionColumns:
    """The K columns of a policy: logits of choices, or means.

    Targets have the same columns: probabilities of choices (of a MultiBinary that of 1), or the
    action of a Box. The gradient of the soft cross-entropy, and of half the squared error, is then
    ``link(F) - targets`` in either case.

    Args:
        space: Discrete, MultiDiscrete, MultiBinary or Box.

    Raises:
        ValueError: for another space.
    """

    space: spaces.Space[Any]

    def __post_init__(self) -> None:
        known = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)
        if not isinstance(self.space, known):
            raise ValueError(
                "actions must be Discrete, MultiDiscrete, MultiBinary or Box, got "
                f"{type(self.space).__name__}"
            )

    @property
    def is_continuous(self) -> bool:
        """Whether the columns are actions themselves."""
        return isinstance(self.space, spaces.Box)

    @property
    def blocks(self) -> list[slice]:
        """Columns of which one is chosen; a MultiBinary and a Box have none."""
        if isinstance(self.space, spaces.Discrete):
            sizes = [int(self.space.n)]
        elif isinstance(self.space, spaces.MultiDiscrete):
            sizes = [int(n) for n in self.space.nvec]
        else:
            sizes = []
        ends = np.cumsum(sizes, dtype=int)
        return [slice(int(end - n), int(end)) for n, end in zip(sizes, ends, strict=True)]

    @property
    def n_columns(self) -> int:
        """Their number K."""
        blocks = self.blocks
        return blocks[-1].stop if blocks else int(np.prod(self.space.shape or (1,)))

    def link(self, F: Floats) -> Floats:
        """Return probabilities, or means, [n, K] of logits, or means, ``F`` [n, K]."""
        if self.is_continuous:
            return F
        out = np.empty_like(F)
        for block in self.blocks:
            z = F[:, block]
            p = np.exp(z - z.max(axis=1, keepdims=True))
            out[:, block] = p / p.sum(axis=1, keepdims=True)
        if not self.blocks:
            out[:] = 1 / (1 + np.exp(-np.clip(F, -80, 80)))
        return out

    def choices(self, F: Floats) -> NDArray[Any]:
        """Return the best action [n, number of choices] of logits or means; ties to the lowest."""
        if self.is_continuous:
            low, high = (bound.reshape(1, -1) for bound in (self.space.low, self.space.high))  # type: ignore[attr-defined]
            return np.clip(F, low, high)
        if not self.blocks:
            return (F > 0).astype(np.int8)
        return np.stack([F[:, block].argmax(axis=1) for block in self.blocks], axis=1)

    def actions(self, F: Floats) -> NDArray[Any]:
        """Return the best actions as a vectorised environment takes them."""
        return self._shaped(self.choices(F))

    def sample(self, F: Floats, log_std: Floats, rng: np.random.Generator) -> NDArray[Any]:
        """Draw actions for a vectorised environment; of a Box with these log deviations [K]."""
        if self.is_continuous:
            return self._shaped(self.choices(F + np.exp(log_std) * rng.standard_normal(F.shape)))
        if not self.blocks:
            return self._shaped((rng.random(F.shape) < self.link(F)).astype(np.int8))
        return self._shaped(self.choices(F + rng.gumbel(size=F.shape)))

    def _shaped(self, choices: NDArray[Any]) -> NDArray[Any]:
        if isinstance(self.space, spaces.Discrete):
            return choices[:, 0]
        shaped = choices.reshape(len(choices), *(self.space.shape or ()))
        return shaped.astype(self.space.dtype) if self.is_continuous else shaped

    def one_hot(self, targets: Floats) -> Floats:
        """Return targets [n, K] whose best choice has probability 1; of a Box as they are."""
        if self.is_continuous:
            return targets
        out = np.zeros_like(targets)
        for block in self.blocks:
            best = targets[:, block].argmax(axis=1)
            out[np.arange(len(out)), block.start + best] = 1
        if not self.blocks:
            out[:] = targets > 0.5
        return out

    def agreement(self, F: Floats, targets: Floats) -> float:
        """Return the share of rows with the target's best action.

        Of a Box it is the share of the targets' variance that the actions explain, at most 1.
        """
        if self.is_continuous:
            rest = ((self.choices(F) - targets) ** 2).sum()
            total = ((targets - targets.mean(axis=0)) ** 2).sum()
            return float(1 - rest / total) if total > 0 else float(rest == 0)
        logits = targets - 0.5 if not self.blocks else targets
        return float((self.choices(F) == self.choices(logits)).all(axis=1).mean())
