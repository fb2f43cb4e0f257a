"""What stands in front of the experts: the extractor that Stable-Baselines3 has for the space."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)

from rlshare.policies.options import check_kwargs
from rlshare.policies.spaces import check_images, is_convolved

EncoderClass = type[BaseFeaturesExtractor]


def encoder_class(space: spaces.Space[Any], normalize_images: bool) -> EncoderClass:
    """Return NatureCNN for images of 36 or more pixels a side, CombinedExtractor for a Dict.

    Everything else is flattened. With ``normalize_images=False`` every Box of three dimensions is
    an image, channels first, as Stable-Baselines3 takes it.
    """
    if isinstance(space, spaces.Dict):
        return CombinedExtractor
    return NatureCNN if is_convolved(space, normalize_images) else FlattenExtractor


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

    Raises:
        ValueError: for what is no extractor, for other arguments than it has, and for images that
            are too small for it.
    """
    if chosen is not None and not (
        isinstance(chosen, type) and issubclass(chosen, BaseFeaturesExtractor)
    ):
        raise ValueError(
            f"features_extractor_class must be a subclass of BaseFeaturesExtractor, got {chosen!r}"
        )
    kind = encoder_class(space, normalize_images) if chosen is None else chosen
    check_kwargs("features_extractor_kwargs", options, kind, given=("observation_space",))
    options = dict(options or {})
    if kind in (NatureCNN, CombinedExtractor):
        check_images(space, normalize_images)
    if not normalize_images and issubclass(kind, NatureCNN | CombinedExtractor):
        options["normalized_image"] = True  # as SB3's BaseModel tells its own
    return kind(space, **options)
