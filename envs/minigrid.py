"""MiniGrid's views as categories for trees, and one-hot for networks."""

import hashlib
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.mission import MissionSpace
from numpy.typing import NDArray

_DIRECTIONS = ("right", "down", "left", "up")
_HASHES = 2**62  # codes of missions that cannot be listed


class MiniGridCategories(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """MiniGrid's observation as integer categories, 51 with the usual view of 7x7 cells.

    A MultiDiscrete: a category for each cell, column by column as in MiniGrid's ``image`` [x, y],
    then the agent's direction, then the mission. A cell's category stands for the string
    "object,color,state": (object * n_colors + color) * 4 + state. The mission's category is its
    index among the texts of the mission space; BabyAI's texts cannot be listed, and there it is a
    hash of the text with 62 bits. Codes depend on the observation alone, so that copies of the
    environment, and runs, agree on them. ``feature_names`` and ``category_name`` say what they
    stand for.

    Args:
        env: MiniGrid or BabyAI environment with its own observations.

    Raises:
        ValueError: for an environment whose observations are not MiniGrid's, and when a cell holds
            a number that MiniGrid has no object, color or state for.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        self._view = _View(env.observation_space)
        n_missions = _HASHES if self._view.missions is None else len(self._view.missions)
        nvec = [*[int(np.prod(self._view.sizes))] * self._view.n_cells, 4, n_missions]
        self.observation_space = spaces.MultiDiscrete(nvec)

    def observation(self, observation: dict[str, Any]) -> NDArray[np.int64]:
        """Return the categories, int64 [n_cells + 2]."""
        image = self._view.checked(observation["image"])
        cells = np.ravel_multi_index(tuple(image.T), self._view.sizes)
        mission = self._view.mission(observation["mission"])
        return np.array([*cells, observation["direction"], mission], np.int64)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features: cells by their place as the agent sees it."""
        return [*self._view.cell_names(), "direction", "mission"]

    def category_name(self, feature: int, category: int) -> str:
        """Return the string that a category of a feature stands for.

        Raises:
            ValueError: if the feature has no such category.
        """
        nvec = self.observation_space.nvec  # type: ignore[attr-defined]
        if not (0 <= feature < len(nvec) and 0 <= category < nvec[feature]):
            raise ValueError(f"feature {feature} of {len(nvec)} has no category {category}")
        if feature < self._view.n_cells:
            return _cell_name(*np.unravel_index(category, self._view.sizes))
        if feature == self._view.n_cells:
            return _DIRECTIONS[category]
        missions = self._view.missions
        return f"mission {category:#x}" if missions is None else missions[category]


class MiniGridOneHot(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """MiniGrid's observation as zeros and ones, for networks.

    A float32 Box: of each cell, in the order of MiniGridCategories, its object, color and state
    one-hot apart, then the direction and the mission one-hot.

    Args:
        env: MiniGrid environment with its own observations.

    Raises:
        ValueError: as MiniGridCategories, and for missions that cannot be listed (BabyAI).
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        self._view = _View(env.observation_space)
        if self._view.missions is None:
            raise ValueError(
                "one-hot missions need a mission space whose texts can be listed, got "
                f"{type(env.observation_space['mission']).__name__}; trees take any mission"  # type: ignore[index]
            )
        sizes = (*self._view.sizes * self._view.n_cells, 4, len(self._view.missions))
        self._starts = np.cumsum((0, *sizes[:-1]))
        self.observation_space = spaces.Box(0.0, 1.0, (sum(sizes),), np.float32)

    def observation(self, observation: dict[str, Any]) -> NDArray[np.float32]:
        """Return zeros and ones, float32 [n_cells * 21 + 4 + n_missions]."""
        image = self._view.checked(observation["image"])
        mission = self._view.mission(observation["mission"])
        row = np.zeros(self.observation_space.shape or (), np.float32)
        row[self._starts + np.array([*image.ravel(), observation["direction"], mission])] = 1
        return row


class _View:
    """What the spaces of a MiniGrid environment say about its observations."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        if not is_minigrid(space):
            raise ValueError(f"observations must be MiniGrid's image, direction, mission: {space}")
        self.shape: tuple[int, ...] = space["image"].shape  # type: ignore[index]
        self.n_cells = self.shape[0] * self.shape[1]
        self.sizes = (max(OBJECT_TO_IDX.values()) + 1, max(COLOR_TO_IDX.values()) + 1, 4)
        self.missions = _texts(space["mission"])  # type: ignore[index]
        self._numbers = {text: i for i, text in enumerate(self.missions or ())}

    def checked(self, image: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Return the cells [n_cells, 3] of an image [width, height, 3]."""
        cells = image.reshape(self.n_cells, 3).astype(np.intp)
        if (cells >= self.sizes).any():
            odd = cells[(cells >= self.sizes).any(axis=1)][0]
            raise ValueError(f"a cell (object, color, state) must be < {self.sizes}, got {odd}")
        return cells

    def mission(self, text: str) -> int:
        """Return the number of a mission."""
        if self.missions is None:
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            return int.from_bytes(digest, "big") % _HASHES
        if text not in self._numbers:
            raise ValueError(f"mission must be a text of the mission space, got {text!r}")
        return self._numbers[text]

    def cell_names(self) -> list[str]:
        """Return each cell's place as seen from the agent, at the middle of the last row."""
        width, height = self.shape[:2]
        return [
            f"{height - 1 - y} ahead" + _aside(x - width // 2)
            for x in range(width)
            for y in range(height)
        ]


def is_minigrid(space: spaces.Space[Any]) -> bool:
    """Whether a space is that of MiniGrid's own observations."""
    return (
        isinstance(space, spaces.Dict)
        and set(space) == {"image", "direction", "mission"}
        and isinstance(space["mission"], MissionSpace)
    )


def _texts(space: MissionSpace) -> list[str] | None:
    """List the missions of a space; None if it accepts others than those it would list."""
    if type(space).contains is not MissionSpace.contains:
        return None
    choices = product(*(space.ordered_placeholders or ()))
    return list(dict.fromkeys(space.mission_func(*words) for words in choices))


def _aside(columns: int) -> str:
    return f", {abs(columns)} {'right' if columns > 0 else 'left'}" if columns else ""


def _cell_name(kind: np.intp, color: np.intp, state: np.intp) -> str:
    objects, colors, door = (
        {index: name for name, index in table.items()}
        for table in (OBJECT_TO_IDX, COLOR_TO_IDX, STATE_TO_IDX)
    )
    names = {"door": door, "agent": dict(enumerate(_DIRECTIONS))}.get(objects[int(kind)], {})
    return f"{objects[int(kind)]},{colors[int(color)]},{names.get(int(state), int(state))}"
