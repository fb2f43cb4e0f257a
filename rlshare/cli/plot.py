"""``rlshare plot``: learning curves of runs as PNG."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlshare.runs.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def plot(
    run_dirs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, a curve each; runs that differ by seed share a colour."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The PNG to write.")] = Path(
        "learning_curve.png"
    ),
    window: Annotated[
        int, typer.Option("-w", "--window", min=1, help="Episodes in the running mean.")
    ] = 100,
    experts: Annotated[
        bool,
        typer.Option("--experts", help="Draw the experts that the agent of one run uses instead."),
    ] = False,
) -> None:
    """Draw the return of training episodes over environment steps."""
    if output.suffix.lower() != ".png":
        raise UserError(f"--output must name a .png file, got {output}")
    if experts:
        if len(run_dirs) != 1:
            raise UserError(f"--experts draws one run, got {len(run_dirs)}")
        from rlshare.cli.plot_experts import plot_experts

        return plot_experts(run_dirs[0], output)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import EngFormatter

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    labels = [_label(path) for path in run_dirs]
    colors = {label: f"C{i}" for i, label in enumerate(dict.fromkeys(labels))}
    for i, (path, label) in enumerate(zip(run_dirs, labels, strict=True)):
        steps, returns = read_curve(path)
        color, first = colors[label], label not in labels[:i]
        runs = f" ({labels.count(label)} runs)" if labels.count(label) > 1 else ""
        axes.plot(
            *_running_mean(steps, returns, window),
            color=color,
            lw=1.2,
            label=label + runs if first else None,
        )
        if len(run_dirs) == 1:  # single episodes of many runs would hide the curves
            axes.plot(steps, returns, ".", ms=2, alpha=0.25, color=color, zorder=1)
    axes.set_xlabel("environment steps")
    axes.set_ylabel(f"return (mean of {window} episodes)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    plt.close(figure)
    print(f"wrote {output}")


def read_curve(path: Path) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Return (steps, returns) of a run's training episodes in the order they ended.

    Raises:
        UserError: there are no monitor files, none with an episode, or a damaged one.
    """
    import numpy as np

    files = sorted(path.glob("*.monitor.csv"))
    if not files:
        raise UserError(f"{path} is not a run folder: it has no *.monitor.csv")
    episodes = [episode for file in files for episode in _read_monitor(file)]
    if not episodes:
        raise UserError(f"{path} has no finished episode yet")
    _, lengths, returns = np.array(sorted(episodes)).T
    return np.cumsum(lengths), returns


def _read_monitor(file: Path) -> list[tuple[float, float, float]]:
    """Return (time of the end, length, return) of each episode."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        began = json.loads(lines[0].removeprefix("#"))["t_start"]
        rows = [line.split(",") for line in lines[2:]]
        return [(began + float(t), float(length), float(r)) for r, length, t, *_ in rows]
    except (UnicodeDecodeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"not a monitor file of Stable-Baselines3: {file}: {error}") from None


def _running_mean(
    steps: "np.ndarray[Any, Any]", returns: "np.ndarray[Any, Any]", window: int
) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    import numpy as np

    total = np.concatenate([[0.0], np.cumsum(returns)])
    last = np.arange(1, len(returns) + 1)
    first = np.maximum(last - window, 0)
    return steps, (total[last] - total[first]) / (last - first)


def _label(path: Path) -> str:
    """Return what runs of several seeds have in common: algorithm, policy and environment."""
    try:
        args = json.loads((path / "run.json").read_text(encoding="utf-8"))["args"]
        return f"{args['algo']} {args['policy']}, {args['env']}"
    except (OSError, ValueError, KeyError, TypeError):  # a run of another tool
        return path.resolve().name
