"""Which spaces the policies take, for which algorithm: one table, and its check."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

# Kinds of observations of every policy; a Dict holds the others.
OBSERVATIONS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict")
_ON_POLICY = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")
# Kinds of actions of each algorithm that has GBTPolicy, MoEPolicy and MoECnnPolicy.
ACTIONS: dict[str, tuple[str, ...]] = {
    "PPO": _ON_POLICY,
    "A2C": _ON_POLICY,
    "AWR": _ON_POLICY,
    "MaskablePPO": ("Discrete", "MultiDiscrete"),
    "DQN": ("Discrete",),
    "SAC": ("Box",),
    "TD3": ("Box",),
    "DDPG": ("Box",),
}


_LEAST_SIDE = 36  # of an image, in pixels: a smaller one does not fill NatureCNN's filters


def check_spaces(
    policy: str,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    actions: Sequence[str] = _ON_POLICY,
    networks: bool = False,
) -> None:
    """Refuse spaces that a policy cannot have.

    Args:
        policy: its alias.
        observation_space: of the environment.
        action_space: of the environment.
        actions: kinds of actions it takes, of ``ACTIONS``.
        networks: whether networks read the observations, as Stable-Baselines3 prepares them; trees
            take them as they are.

    Raises:
        ValueError: naming the space, and the ones there are.
    """
    if isinstance(observation_space, spaces.Dict):
        if not observation_space.spaces:
            raise ValueError(f"observations of {policy} must have at least one part, got {{}}")
        for key, part in observation_space.spaces.items():
            what = f"part {key!r} of a Dict observation of {policy}"
            _check_observation(what, part, OBSERVATIONS[:-1], networks)
    else:
        _check_observation(f"observations of {policy}", observation_space, OBSERVATIONS, networks)
    what = f"actions of {policy}"
    _check_kind(what, action_space, actions)
    _check_start(what, action_space)
    if isinstance(action_space, spaces.MultiBinary) and len(action_space.shape) != 1:
        raise ValueError(
            f"{what}: MultiBinary must have one dimension, got shape {action_space.shape}: flatten "
            "it in a wrapper of the environment"
        )


def _check_observation(
    what: str, space: spaces.Space[Any], kinds: Sequence[str], networks: bool
) -> None:
    _check_kind(what, space, kinds)
    if networks:
        _check_start(what, space)
        if isinstance(space, spaces.Box) and not space.shape:
            raise ValueError(
                f"{what}: a Box must have at least one dimension, got {space}: make it one of "
                "shape (1,) in a wrapper of the environment"
            )


def _check_kind(what: str, space: spaces.Space[Any], kinds: Sequence[str]) -> None:
    if not any(isinstance(space, getattr(spaces, kind)) for kind in kinds):
        raise ValueError(f"{what} must be {' or '.join(kinds)}, got {type(space).__name__}")
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim != 1:
        raise ValueError(
            f"{what}: MultiDiscrete must have one dimension, got nvec of shape {space.nvec.shape}: "
            "flatten it in a wrapper of the environment"
        )
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind not in "fiub":
        raise ValueError(f"{what}: a Box must hold real numbers, got {space.dtype}")
    if space.shape is not None and 0 in space.shape:
        raise ValueError(f"{what} must hold at least one number, got {space}")


def _check_start(what: str, space: spaces.Space[Any]) -> None:
    """Stable-Baselines3 counts from 0, as it draws actions and as it encodes observations."""
    if np.any(getattr(space, "start", 0)):
        raise ValueError(
            f"{what} must count from 0, got {space}: subtract the start in a wrapper of the "
            "environment"
        )


def has_images(space: spaces.Space[Any]) -> bool:
    """Return whether Stable-Baselines3 divides observations, or a part of them, by 255."""
    return any(is_image_space(part) for part in getattr(space, "spaces", {"": space}).values())


def is_convolved(space: spaces.Space[Any], normalize_images: bool) -> bool:
    """Return whether a space is one of images large enough for Stable-Baselines3's NatureCNN."""
    image = is_image_space(space, normalized_image=not normalize_images)
    return image and min(space.shape[1:]) >= _LEAST_SIDE  # type: ignore[index]


def check_images(observation_space: spaces.Space[Any], normalize_images: bool) -> None:
    """Refuse images that Stable-Baselines3 would send through filters they do not fill.

    Args:
        observation_space: of the environment, of images or a Dict.
        normalize_images: False where images are normalised already.

    Raises:
        ValueError: naming the image.
    """
    parts = getattr(observation_space, "spaces", {"image": observation_space})
    for key, part in parts.items():
        image = is_image_space(part, normalized_image=not normalize_images)
        if image and not is_convolved(part, normalize_images):
            raise ValueError(
                f"{key!r} must be an image of at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels, got "
                f"shape {part.shape}: resize or flatten it in a wrapper of the environment"
            )
