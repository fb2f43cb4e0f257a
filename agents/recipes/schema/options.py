"""Sections of a recipe whose fields are those of a dataclass, which checks them itself."""

from dataclasses import fields
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import Field, create_model, model_validator

from rlshare.agents.recipes.schema.base import RunLinear, Settings

_Rate = Annotated[RunLinear | Any, Field(union_mode="left_to_right")]


class Options(Settings):
    """The section of a dataclass: what a recipe says there must make one."""

    checked_by: ClassVar[type[Any]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.checked_by(**{key: _of_one_step(value) for key, value in self.model_dump().items()})
        return self


def _of_one_step(value: Any) -> Any:
    """Return a rate as the dataclass knows it; how long the run is does not matter here."""
    if isinstance(value, dict) and isinstance(value.get("linear"), tuple):  # a RunLinear
        init, stop = value["linear"]
        return {"init": init, "stop": stop, "T": 1}
    return value


def section_of(
    dataclass: type[Any], sections: dict[str, type[Settings]] | None = None, leave: str = ""
) -> type[Settings]:
    """Return the section of a dataclass.

    Args:
        dataclass: whose fields are the keys; those named ``*_lr`` may be linear over the run.
        sections: keys that are sections themselves, empty where they are not given.
        leave: a field that is no plain data.
    """
    found: dict[str, Any] = {}
    for field in fields(dataclass):
        inner = (sections or {}).get(field.name)
        if inner is not None:
            found[field.name] = (inner | None, inner())
        elif field.name != leave:
            found[field.name] = (_Rate if field.name.endswith("_lr") else Any, None)
    made = create_model(dataclass.__name__, __base__=Options, __module__=__name__, **found)
    made.checked_by = dataclass
    return cast("type[Settings]", made)
