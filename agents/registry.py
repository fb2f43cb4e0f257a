"""Which algorithms there are: a record each, which everything else looks up.

Light: what a record names by its path is imported when it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rlshare.agents.recipes.schema.base import Recipe

_SCHEMA = "rlshare.agents.recipes.schema"
_SEARCH = "rlshare.agents.recipes.search_space"


@dataclass(frozen=True)
class Algorithm:
    """What is said about an algorithm, once. Paths are "module:name".

    Attributes:
        name: on the command line, and of the file of its recipes.
        path: of the class.
        recipe: path of the schema of its settings.
        policy_kwargs: path of the schema of a policy's options, by policy.
        search: path of the function that says what ``rlshare tune`` searches.
        on_policy: whether it learns from rollouts, else from a replay buffer.
        masked: whether it acts by the masks of an environment.
        rows_buffers: paths of the rollout buffers that tell a policy its rows, for arrays and for
            Dict observations.
        extra: of rlshare, that installs the package of the class.
    """

    name: str
    path: str
    recipe: str
    policy_kwargs: Mapping[str, str]
    search: str
    on_policy: bool = True
    masked: bool = False
    rows_buffers: tuple[str, str] | None = None
    extra: str | None = None

    def load(self) -> Any:
        """Return the class.

        Raises:
            ImportError: its package is not installed.
        """
        return resolve_name(self.path)

    def recipe_class(self, policy: str) -> "type[Recipe[Any]]":
        """Return the schema of a recipe for one of its policies.

        Raises:
            ValueError: the policy is unknown.
        """
        if policy not in self.policy_kwargs:
            known = ", ".join(self.policy_kwargs)
            raise ValueError(f"policy must be one of {known}, got {policy!r}")
        found: type[Recipe[Any]] = resolve_name(self.recipe)[
            resolve_name(self.policy_kwargs[policy])
        ]
        return found

    def rows_buffer(self, is_dict: bool) -> Any:
        """Return the rollout buffer that tells a policy its rows; None with a replay buffer."""
        return self.rows_buffers and resolve_name(self.rows_buffers[is_dict])


_ACTOR_CRITIC = {
    "gbt": f"{_SCHEMA}.trees:ActorCritic",
    "moe": f"{_SCHEMA}.experts:ActorCritic",
    "mlp": f"{_SCHEMA}.on_policy:MLPKwargs",
}
_ACTOR_AND_CRITICS = {
    "moe": f"{_SCHEMA}.experts:ActorAndCritics",
    "mlp": f"{_SCHEMA}.off_policy:ActorCriticsKwargs",
}
_ROWS = (
    "rlshare.policies.rows:TreeRolloutBuffer",
    "rlshare.policies.rows:DictTreeRolloutBuffer",
)
_RECORDS = (
    Algorithm(
        "ppo",
        "stable_baselines3:PPO",
        f"{_SCHEMA}.on_policy:PPORecipe",
        _ACTOR_CRITIC,
        f"{_SEARCH}:ppo",
        rows_buffers=_ROWS,
    ),
    Algorithm(
        "ppo_mask",
        "sb3_contrib:MaskablePPO",
        f"{_SCHEMA}.on_policy:PPORecipe",
        _ACTOR_CRITIC,
        f"{_SEARCH}:ppo",
        masked=True,
        rows_buffers=(
            "rlshare.policies.maskable:MaskableTreeRolloutBuffer",
            "rlshare.policies.maskable:MaskableDictTreeRolloutBuffer",
        ),
        extra="sb3-contrib",
    ),
    Algorithm(
        "a2c",
        "stable_baselines3:A2C",
        f"{_SCHEMA}.on_policy:A2CRecipe",
        _ACTOR_CRITIC,
        f"{_SEARCH}:a2c",
        rows_buffers=_ROWS,
    ),
    Algorithm(
        "awr",
        "rlshare.agents.awr.algorithm:AWR",
        f"{_SCHEMA}.awr:AWRRecipe",
        _ACTOR_CRITIC,
        f"{_SEARCH}:awr",
        on_policy=False,
    ),
    Algorithm(
        "dqn",
        "stable_baselines3:DQN",
        f"{_SCHEMA}.off_policy:DQNRecipe",
        {
            "gbt": f"{_SCHEMA}.trees:QFunction",
            "moe": f"{_SCHEMA}.experts:QNetwork",
            "mlp": f"{_SCHEMA}.off_policy:QNetworkKwargs",
        },
        f"{_SEARCH}:dqn",
        on_policy=False,
    ),
    Algorithm(
        "sac",
        "stable_baselines3:SAC",
        f"{_SCHEMA}.off_policy:SACRecipe",
        {"gbt": f"{_SCHEMA}.trees:StochasticActor", **_ACTOR_AND_CRITICS},
        f"{_SEARCH}:sac",
        on_policy=False,
    ),
    Algorithm(
        "td3",
        "stable_baselines3:TD3",
        f"{_SCHEMA}.off_policy:TD3Recipe",
        {"gbt": f"{_SCHEMA}.trees:Actor", **_ACTOR_AND_CRITICS},
        f"{_SEARCH}:td3",
        on_policy=False,
    ),
)
ALGORITHMS = tuple(record.name for record in _RECORDS)
POLICIES = ("gbt", "moe", "mlp")
if TYPE_CHECKING:
    AlgoName = str
else:
    AlgoName = Literal[ALGORITHMS]
PolicyName = Literal["gbt", "moe", "mlp"]
RecipeSet = Literal["tuned", "paper"]


def algorithm(name: str) -> Algorithm:
    """Return the record of an algorithm.

    Raises:
        ValueError: it is unknown.
    """
    for record in _RECORDS:
        if record.name == name:
            return record
    raise ValueError(f"algo must be one of {', '.join(ALGORITHMS)}, got {name!r}")


def recipe_class(algo: str, policy: str) -> "type[Recipe[Any]]":
    """Return the schema of an (algorithm, policy) pair.

    Raises:
        ValueError: the algorithm or the policy is unknown.
    """
    return algorithm(algo).recipe_class(policy)
