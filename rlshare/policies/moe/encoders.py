"""What stands in front of the experts: the extractor that Stable-Baselines3 has for the space."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)

_LEAST_SIDE = 36  # of an image, in pixels: a smaller one does not fill NatureCNN's filters

EncoderClass = type[BaseFeaturesExtractor]


def encoder_class(space: spaces.Space[Any], normalize_images: bool) -> EncoderClass:
    """Return NatureCNN for images of 36 or more pixels a side, CombinedExtractor for a Dict.

    Everything else is flattened. With ``normalize_images=False`` every Box of three dimensions is
    an image, channels first, as Stable-Baselines3 takes it.
    """
    if isinstance(space, spaces.Dict):
        return CombinedExtractor
    if is_image_space(space, normalized_image=not normalize_images):
        assert space.shape is not None
        if min(space.shape[1:]) >= _LEAST_SIDE:
            return NatureCNN
    return FlattenExtractor


def encoder(
    space: spaces.Space[Any],
    chosen: EncoderClass | None,
    options: dict[str, Any] | None,
    normalize_images: bool,
) -> BaseFeaturesExtractor:
    """Return the extractor in front of the experts.

    Args:
        space: of the observations.
        chosen: its class, None for that of :func:`encoder_class`.
        options: its arguments beside the space.
        normalize_images: False where images are normalised already.
    """
    kind = encoder_class(space, normalize_images) if chosen is None else chosen
    options = dict(options or {})
    if not normalize_images and issubclass(kind, NatureCNN | CombinedExtractor):
        options["normalized_image"] = True  # as SB3's BaseModel tells its own
    return kind(space, **options)


def check_spaces(observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
    """Refuse spaces that Stable-Baselines3 cannot make features or a distribution of.

    Raises:
        ValueError: naming the space.
    """
    parts = observation.spaces if isinstance(observation, spaces.Dict) else {"": observation}
    for key, part in parts.items():
        if not _is_flat(part):
            entry = f", entry {key!r}," if key else ""
            raise ValueError(
                f"observations{entry} must be Box, Discrete, MultiDiscrete of one dimension, "
                f"MultiBinary or a Dict of these, got {part}"
            )
    if not _is_flat(action) or (isinstance(action, spaces.MultiBinary) and len(action.shape) > 1):
        raise ValueError(
            "actions must be Box, Discrete, or MultiDiscrete or MultiBinary of one dimension, got "
            f"{action}"
        )


def _is_flat(space: spaces.Space[Any]) -> bool:
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ndim == 1
    return isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary)
