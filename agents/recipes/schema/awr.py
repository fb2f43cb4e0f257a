"""Recipes of advantage-weighted regression."""

from typing import ClassVar, Generic

from pydantic import PositiveFloat

from rlshare.agents.recipes.schema.base import Fraction, K
from rlshare.agents.recipes.schema.off_policy import ReplayRecipe


class AWRRecipe(ReplayRecipe[K], Generic[K]):
    """Settings of ``rlshare.agents.AWR``."""

    default_train_freq: ClassVar[int] = 2000
    default_gradient_steps: ClassVar[int] = 150

    gae_lambda: Fraction | None = None
    beta: PositiveFloat | None = None
    w_max: PositiveFloat | None = None
    normalize_advantage: bool | None = None
    ent_coef: float | None = None
    vf_coef: float | None = None
    max_grad_norm: float | None = None
