"""Option types shared by the commands."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from rlshare.agents.registry import AlgoName

_PAIR_OPTIONS = ("--hyperparams", "--env-kwargs")


class PairsCommand(TyperCommand):
    """Lets an option take many pairs, as rl_zoo3 does: ``--hyperparams gamma:0.9 n_steps:64``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further pair, then parse as usual."""
        expanded: list[str] = []
        option = ""
        for arg in args:
            more = bool(option) and ":" in arg and not arg.startswith("-")
            if more and expanded[-1] != option:
                expanded.append(option)
            expanded.append(arg)
            if not more:
                option = arg if arg in _PAIR_OPTIONS else ""
        rest: list[str] = super().parse_args(ctx, expanded)
        return rest


def step_count(value: str | int) -> int:
    """Parse a number of environment steps: 20000, 20_000, 2e4, 20k or 1.5M."""
    text = str(value)  # an option's default comes as the number it is
    scale = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    try:
        steps = float(text[:-1] if scale > 1 else text) * scale
    except ValueError:
        steps = -1.0
    if not (steps >= 0 and steps.is_integer()):
        raise typer.BadParameter(f"must be a whole number such as 20000, 2e4 or 20k, got {text!r}")
    return int(steps)


EnvKwargs = Annotated[
    list[str] | None,
    typer.Option(
        "--env-kwargs", metavar="KEY:VALUE...", help="Arguments of the environment's constructor."
    ),
]
ConfFile = Annotated[
    Path | None,
    typer.Option("--conf-file", help="YAML file used instead of the built-in recipes."),
]
Device = Annotated[str, typer.Option(help="Torch device: cpu, cuda or auto.")]
NumThreads = Annotated[
    int,
    typer.Option(
        "--num-threads",
        min=1,
        help="Threads of torch and the trees; small agents are fastest on one.",
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RUN_DIR]", help="Run folder, or a model file in one.", show_default=False
    ),
]
Algo = Annotated[AlgoName, typer.Option(help="Without RUN_DIR: the latest run of this algorithm.")]
Env = Annotated[
    str | None, typer.Option(help="Without RUN_DIR: the latest run on this environment.")
]
LogFolder = Annotated[Path, typer.Option("-f", "--log-folder", help="Where the runs are.")]
LoadBest = Annotated[
    bool, typer.Option("--load-best", help="The model of the best evaluation, not the last one.")
]
