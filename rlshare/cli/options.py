"""Options of several commands: those of a run, made from ``RunConfig``, and others."""

import inspect
import traceback
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from rlshare.agents.registry import AlgoName, RecipeSet
from rlshare.runs.config import OPTIONS, TYPES, RunConfig
from rlshare.runs.errors import UserError

_PAIR_OPTIONS = ("--hyperparams", "--env-kwargs")
F = TypeVar("F", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose options of pairs take many, as in rl_zoo3: ``--hyperparams a:1 b:2``."""

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
                name = arg.partition("=")[0]
                option = name if name in _PAIR_OPTIONS else ""
        rest: list[str] = super().parse_args(ctx, expanded)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run it; with --verbose the place of an error is printed above its sentence."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            if ctx.params.get("verbose") and error.__cause__ is not None:
                traceback.print_exception(error.__cause__)
            raise


def run_options(*names: str) -> Callable[[F], F]:
    """Give a command, which takes them by keyword, options of ``RunConfig``: all, or those named.

    An option whose field has no default is None where it is not given.
    """

    def with_options(command: F) -> F:
        own = inspect.signature(command, eval_str=True)
        shared = [_parameter(f) for f in fields(RunConfig) if not names or f.name in names]
        others = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        both = [p.replace(kind=p.KEYWORD_ONLY) for p in (*shared, *others)]
        changed: Any = command  # where typer looks for the options
        changed.__signature__ = own.replace(parameters=both)
        changed.__annotations__ = {p.name: p.annotation for p in both}
        return command

    return with_options


def _parameter(field: Field[Any]) -> inspect.Parameter:
    option, annotation = OPTIONS[field.name], TYPES[field.name]
    default = None if field.default is MISSING else field.default
    kwargs: dict[str, Any] = {"help": option.help}
    if option.steps:
        kwargs |= {"parser": step_count, "metavar": "STEPS"}
    else:
        kwargs |= {"min": option.low, "max": option.high}
    if annotation == dict[str, Any]:
        annotation = list[str]
        kwargs["metavar"] = "KEY:VALUE..."
    flags = [flag for flag in (option.short, "--" + field.name.replace("_", "-")) if flag]
    hint = annotation if field.default is not MISSING else annotation | None
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[hint, typer.Option(*flags, **kwargs)],
    )


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
    typer.Option("--env-kwargs", metavar="KEY:VALUE...", help=OPTIONS["env_kwargs"].help),
]
ConfFile = Annotated[
    Path | None,
    typer.Option("--conf-file", help="YAML file used instead of the built-in recipes."),
]
RecipeSetOption = Annotated[
    RecipeSet,
    typer.Option(
        "--recipe", help="tuned, or the settings published with GBRL where these are others."
    ),
]
Device = Annotated[str, typer.Option(help=OPTIONS["device"].help)]
NumThreads = Annotated[int, typer.Option("--num-threads", min=1, help=OPTIONS["num_threads"].help)]
Verbose = Annotated[int, typer.Option(min=0, max=1, help="1: print where an error was.")]
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
