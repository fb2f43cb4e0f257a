"""The options of a run, once: what they mean, and how a command line gives them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_type_hints

from rlshare.agents.registry import ALGORITHMS, POLICIES, AlgoName, PolicyName
from rlshare.envs.task_order import TaskOrder


@dataclass(frozen=True)
class Option:
    """How a command line gives a field of ``RunConfig``.

    Attributes:
        help: what it means.
        short: its one-letter name.
        low: its smallest value.
        high: its largest value.
        of_recipe: whether it replaces a setting of the recipe, which checks it.
        steps: whether it counts environment steps, which may be written 20k or 2e4.
        resumable: whether a resumed run may change it; all else is part of what the run is.
    """

    help: str
    short: str | None = None
    low: int | None = None
    high: int | None = None
    of_recipe: bool = False
    steps: bool = False
    resumable: bool = False


VecEnvName = Literal["dummy", "subproc"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of a run that outlive the command: written to args.yml, read by --resume.

    A field without a default may be left out on a command line: the recipe has it, or it is drawn.

    Raises:
        ValueError: a value breaks its rule.
    """

    algo: Annotated[AlgoName, Option("Algorithm.")] = "ppo"
    policy: Annotated[
        PolicyName, Option("Boosted trees, a mixture of experts, or SB3's stock network.")
    ] = "gbt"
    env: Annotated[
        str,
        Option(
            "gymnasium id, module:EnvId or file.py:Class. Trees see MiniGrid as categories, "
            "networks one-hot; ALE/ games show their RAM (--env-kwargs obs_type:rgb: the screen)."
        ),
    ] = "CartPole-v1"
    n_timesteps: Annotated[
        int,
        Option(
            "Environment steps, e.g. 20000, 2e4 or 20k (default: the recipe's).",
            short="-n",
            of_recipe=True,
            steps=True,
            resumable=True,
        ),
    ]
    n_envs: Annotated[int, Option("Copies of the environment.", of_recipe=True)]
    seed: Annotated[int, Option("Default: drawn, and recorded.", low=0, high=2**31 - 1)]
    env_kwargs: Annotated[dict[str, Any], Option("Arguments of the environment's constructor.")] = (
        field(default_factory=dict)
    )
    vec_env: Annotated[VecEnvName, Option("In one process or several.", resumable=True)] = "dummy"
    device: Annotated[str, Option("Torch device: cpu, cuda or auto.", resumable=True)] = "cpu"
    num_threads: Annotated[
        int,
        Option(
            "Threads of torch and the trees; small agents are fastest on one.",
            low=1,
            resumable=True,
        ),
    ] = 1
    eval_freq: Annotated[
        int,
        Option(
            "Environment steps between evaluations; 0: never.", low=0, steps=True, resumable=True
        ),
    ] = 25_000
    eval_episodes: Annotated[int, Option("Episodes of an evaluation.", low=1)] = 5
    save_freq: Annotated[
        int,
        Option(
            "Environment steps between checkpoints; 0: only first and last.",
            low=0,
            steps=True,
            resumable=True,
        ),
    ] = 25_000
    tensorboard_log: Annotated[
        str | None, Option("Folder for TensorBoard (default: the run's).")
    ] = None
    verbose: Annotated[
        int,
        Option(
            "1: print SB3's table of logged values too, and where an error was.",
            low=0,
            high=1,
            resumable=True,
        ),
    ] = 0
    task_schedule: Annotated[
        TaskOrder | None,
        Option("Of a multi-task environment: another task each episode, or stretches of one."),
    ] = None  # runs of earlier versions have none

    def __post_init__(self) -> None:
        from rlshare.agents.recipes.plain import plain  # numpy, which a command's help can spare
        from rlshare.checks import integer, one_of

        words = {"algo": ALGORITHMS, "policy": POLICIES, "vec_env": get_args(VecEnvName)}
        for name, allowed in words.items():
            one_of(name, getattr(self, name), allowed)
        for name, option in OPTIONS.items():
            if option.of_recipe or option.low is not None:
                low = 1 if option.low is None else option.low
                self._set(name, integer(name, getattr(self, name), low, option.high))
        self._set("env_kwargs", plain(self.env_kwargs))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen for everybody else


TYPES: Mapping[str, Any] = get_type_hints(RunConfig)
OPTIONS: Mapping[str, Option] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(RunConfig, include_extras=True).items()
}
