"""Which spaces the policies take, for which algorithm: one table, and its check."""

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces

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


def check_spaces(
    policy: str,
    observation_space: spaces.Space[object],
    action_space: spaces.Space[object],
    actions: Sequence[str] = _ON_POLICY,
) -> None:
    """Refuse spaces that a policy cannot have.

    Args:
        policy: its name.
        observation_space: of the environment.
        action_space: of the environment.
        actions: kinds of actions it takes, of ``ACTIONS``.

    Raises:
        ValueError: naming the space, and the ones there are.
    """
    if isinstance(observation_space, spaces.Dict):
        if not observation_space.spaces:
            raise ValueError(f"observations of {policy} must have at least one part, got {{}}")
        for key, part in observation_space.spaces.items():
            _check_kind(f"part {key!r} of a Dict observation of {policy}", part, OBSERVATIONS[:-1])
    else:
        _check_kind(f"observations of {policy}", observation_space, OBSERVATIONS)
    _check_kind(f"actions of {policy}", action_space, actions)
    if isinstance(action_space, spaces.MultiBinary) and len(action_space.shape) != 1:
        raise ValueError(
            f"MultiBinary actions of {policy} must have one dimension, got shape "
            f"{action_space.shape}: flatten them in a wrapper of the environment"
        )


def _check_kind(what: str, space: spaces.Space[object], kinds: Sequence[str]) -> None:
    if not any(isinstance(space, getattr(spaces, kind)) for kind in kinds):
        raise ValueError(f"{what} must be {' or '.join(kinds)}, got {type(space).__name__}")
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim != 1:
        raise ValueError(
            f"{what}: MultiDiscrete must have one dimension, got nvec of shape {space.nvec.shape}: "
            "flatten it in a wrapper of the environment"
        )
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind not in "fiub":
        raise ValueError(f"{what}: a Box must hold real numbers, got {space.dtype}")
