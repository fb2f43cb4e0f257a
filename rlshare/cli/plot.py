"""``rlshare plot``: learning curves of runs as PNG."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rlshare.runs.errors import UserError, user_errors


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

    from rlshare.results.curves import running_mean
    from rlshare.results.episodes import Episodes

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    labels = [_label(path) for path in run_dirs]
    colors = {label: f"C{i}" for i, label in enumerate(dict.fromkeys(labels))}
    for i, (path, label) in enumerate(zip(run_dirs, labels, strict=True)):
        with user_errors():
            episodes = Episodes.read(path)
        if not len(episodes):
            raise UserError(f"{path} has no finished episode yet")
        color, first = colors[label], label not in labels[:i]
        runs = f" ({labels.count(label)} runs)" if labels.count(label) > 1 else ""
        axes.plot(
            episodes.end_step,
            running_mean(episodes.returns, window),
            color=color,
            lw=1.2,
            label=label + runs if first else None,
        )
        if len(run_dirs) == 1:  # single episodes of many runs would hide the curves
            points = (episodes.end_step, episodes.returns)
            axes.plot(*points, ".", ms=2, alpha=0.25, color=color, zorder=1)
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


def _label(path: Path) -> str:
    """Return what runs of several seeds have in common: algorithm, policy and environment."""
    try:
        args = json.loads((path / "run.json").read_text(encoding="utf-8"))["args"]
        return f"{args['algo']} {args['policy']}, {args['env']}"
    except (OSError, ValueError, KeyError, TypeError):  # a run of another tool
        return path.resolve().name
