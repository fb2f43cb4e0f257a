"""What every recipe may say: sections of plain data, unknown keys refused.

Every optional field left out keeps the default of Stable-Baselines3 or of the policy, so a
recipe states only what differs, and ``null`` states None. Nothing in a recipe is evaluated.
"""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
)


class Settings(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not said, whose None stands for another default."""
        data: dict[str, Any] = dump(self)
        return {k: v for k, v in data.items() if v is not None or k in self.model_fields_set}


class RunLinear(Settings):
    """A value that falls (or rises) linearly over the run: ``{linear: [start, stop]}``."""

    linear: tuple[float, float]


def _number_or_linear(value: Any) -> Any:
    plain_number = isinstance(value, int | float) and not isinstance(value, bool)
    section = isinstance(value, dict) and set(value) == {"linear"}
    if not (value is None or plain_number or section or isinstance(value, RunLinear)):
        raise ValueError("must be a number or {linear: [start, stop]}")
    return value


Schedule = Annotated[float | RunLinear | None, BeforeValidator(_number_or_linear)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Normalize(Settings):
    """Running normalisation of what the environment returns (SB3's VecNormalize)."""

    norm_obs: bool = False
    norm_reward: bool = False
    clip_obs: float = 10.0
    clip_reward: float = 10.0


K = TypeVar("K", bound=Settings)


class Recipe(Settings, Generic[K]):
    """Settings of a run that every algorithm knows."""

    n_timesteps: PositiveInt = 1_000_000
    n_envs: PositiveInt = 1
    env_kwargs: dict[str, Any] = {}
    normalize: Normalize = Normalize()
    policy_kwargs: K

    learning_rate: Schedule = None
    gamma: Fraction | None = None

    def algorithm_settings(self) -> dict[str, Any]:
        """Return what is passed to the algorithm's constructor, schedules still as data."""
        own = {"n_timesteps", "n_envs", "env_kwargs", "normalize", "policy_kwargs"}
        return {
            k: getattr(self, k) for k in type(self).model_fields if k in self.model_fields_set - own
        }

    def optimizer_steps(self) -> int:
        """Return the number of optimizer steps of a whole run, each of which grows a tree."""
        raise NotImplementedError

    def to_data(self) -> dict[str, Any]:
        """Return the recipe as plain data, readable again by ``parse_recipe``."""
        return self.model_dump(mode="json")
