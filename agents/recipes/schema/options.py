"""Sections of a recipe whose keys and rules are those of a constructor, which checks them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import Field, create_model, model_validator

from rlshare.agents.recipes.schema.base import RunLinear, Settings

_Rate = Annotated[RunLinear | Any, Field(union_mode="left_to_right")]


class Options(Settings):
    """A section whose constructor has taken what a recipe says there."""

    constructor: ClassVar[Callable[..., object]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        said = self.model_dump().items()
        type(self).constructor(**{key: _of_one_step(value) for key, value in said})
        return self


def _of_one_step(value: Any) -> Any:
    """Return a rate as a constructor knows it; how long the run is does not matter here."""
    if isinstance(value, dict) and isinstance(value.get("linear"), tuple):  # a RunLinear
        init, stop = value["linear"]
        return {"init": init, "stop": stop, "T": 1}
    return value


def section_of(
    constructor: Callable[..., object],
    keys: Iterable[str],
    sections: Mapping[str, type[Settings]] | None = None,
) -> type[Settings]:
    """Return the section that holds the arguments of a constructor.

    Args:
        constructor: called with what a recipe says; a ValueError is the recipe's.
        keys: its arguments that are plain data; those named ``*_lr`` may be linear over the run.
        sections: those that are sections themselves, empty where they are not given.
    """
    found: dict[str, Any] = {}
    for key in keys:
        inner = (sections or {}).get(key)
        if inner is not None:
            found[key] = (inner | None, inner())
        else:
            found[key] = (_Rate if key.endswith("_lr") else Any, None)
    made = create_model(constructor.__name__, __base__=Options, __module__=__name__, **found)
    made.constructor = staticmethod(constructor)
    return cast("type[Settings]", made)
