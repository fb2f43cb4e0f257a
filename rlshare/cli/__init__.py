"""The command line. Heavy packages are imported inside the command that needs them."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from rlshare.cli.distill import distill
from rlshare.cli.enjoy import enjoy
from rlshare.cli.eval import evaluate
from rlshare.cli.info import info
from rlshare.cli.options import Command
from rlshare.cli.plot import plot
from rlshare.cli.recipes import recipes
from rlshare.cli.train import train
from rlshare.cli.tune import tune
from rlshare.runs.errors import UserError

app = typer.Typer(
    name="rlshare",
    help="Train, watch and compare agents of gradient-boosted trees and mixtures of experts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(cls=Command)(train)
app.command(cls=Command)(tune)
app.command(cls=Command)(distill)
app.command(cls=Command)(enjoy)
app.command("eval", cls=Command)(evaluate)
app.command(cls=Command)(plot)
app.command(cls=Command)(recipes)
app.command(cls=Command)(info)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Bad input is one sentence on stderr and exit code 2; an interrupted run is 130.
    """
    args = None if argv is None else list(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            result = app(args=args, prog_name="rlshare", standalone_mode=False)
    except (UserError, typer.TyperException) as error:
        text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        text = text.replace("Value error, ", "")  # pydantic's, inside typer's
        if text:  # without arguments the help has been printed already
            print(f"error: {text}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a read-only folder: nothing a traceback would explain
        place = f" {error.filename}" if error.filename else ""
        print(f"error: cannot read or write{place}: {error.strerror or error}", file=sys.stderr)
        return 2
    return int(result or 0)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a library's warning as one line, without its source line."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
