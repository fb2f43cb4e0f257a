"""How the cost of a step and of a prediction grows: results/growth.csv and growth.png.

    python benchmarks/growth.py

One size is varied at a time around 2048 rows, 17 features, 7 outputs, 255 bins, depth 4, one thread
(but gbrl, which chooses its own). A step includes the making of codes, as gbrl's must; a
prediction is of 2048 rows, or of one, with trees grown on few rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter
from peers import PEERS, ask, command, data, interpreter, median_ms, report

RESULTS = Path(__file__).parent / "results"
BASE = {"rows": 2048, "features": 17, "outputs": 7, "bins": 255}
VARIED = {
    "rows": (128, 512, 2048, 8192, 32768),
    "features": (4, 17, 64, 256),
    "outputs": (1, 3, 7, 19, 63),
    "bins": (15, 63, 255),
}
TREES = (100, 1000, 10_000, 100_000)
MOST_TREES = {"gbrl": 1000, "xgboost": 1000, "lightgbm": 1000}  # more take minutes to grow
PER_PEER_S = 400.0
NAMES = {
    "rows": "rows of a step",
    "features": "features of a step",
    "outputs": "outputs of a step",
    "bins": "bins of a step",
    "trees": "trees, predicting 2048 rows",
    "trees, one row": "trees, predicting one row",
}


def steps(peer: str, seconds: float) -> dict[str, float]:
    """Return milliseconds a step, by "size value"."""
    found = {}
    for size, values in VARIED.items():
        for value in values:
            shape = BASE | {size: value}
            model = PEERS[peer](shape["features"], shape["outputs"], "oblivious", 4, shape["bins"])
            X, G = data(shape["rows"], shape["features"], shape["outputs"])

            def step(model: Any = model, X: Any = X, G: Any = G) -> None:
                model.bin(X)
                model.step(G)

            found[f"{size} {value}"] = median_ms(step, seconds)
    return found


def predictions(peer: str, seconds: float) -> dict[str, float]:
    """Return milliseconds a prediction, by "size value"."""
    found = {}
    X, _ = data(BASE["rows"], BASE["features"], BASE["outputs"])
    model = PEERS[peer](BASE["features"], BASE["outputs"], PEERS[peer].policies[0])
    grown = 0
    for trees in TREES:
        if trees > MOST_TREES.get(peer, trees):
            break
        model.grow(trees - grown)
        grown = trees
        found[f"trees {trees}"] = median_ms(partial(model.predict, X), seconds)
        found[f"trees, one row {trees}"] = median_ms(partial(model.predict, X[:1]), seconds)
    return found


def plot(rows: list[list[Any]], path: Path) -> None:
    """Draw one panel a size, log-log."""
    figure, panels = plt.subplots(2, 3, figsize=(12, 7))
    for (size, label), panel in zip(NAMES.items(), panels.flat, strict=True):
        for peer in PEERS:
            points = [(value, ms) for name, value, p, ms, *_ in rows if (name, p) == (size, peer)]
            if points:
                panel.loglog(*zip(*points, strict=True), "o-", label=peer)
        panel.set_xlabel(label)
        panel.set_ylabel("ms")
        panel.grid(which="major", alpha=0.3)
        panel.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper center", ncols=len(PEERS))
    figure.text(0.5, 0.005, "lightgbm: trees of one output only", ha="center")
    figure.tight_layout(rect=(0, 0.02, 1, 0.95))
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every peer in turn, write the CSV and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("PEER", "PART"), help="one, as JSON")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers"
    )
    args = parser.parse_args()
    parts = {"steps": steps, "predictions": predictions}
    if args.measure:
        peer, part = args.measure
        report(peer, parts[part](peer, args.seconds))
        return
    rows: list[list[Any]] = []
    for peer in PEERS:
        for part in parts:
            arguments = ["--measure", peer, part, "--seconds", str(args.seconds)]
            found = ask(interpreter(peer, args.peer_python), __file__, arguments, PER_PEER_S)
            if isinstance(found, str):
                print(f"{peer}, {part}: {found}")
                continue
            print(peer, part, json.dumps(found["figures"]), flush=True)
            for name, ms in found["figures"].items():
                size, value = name.rsplit(" ", 1)
                versions = f"{peer}={found['version']}"
                rows.append([size, int(value), peer, f"{ms:.4g}", versions, command(__file__)])
    with (RESULTS / "growth.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["varied", "value", "peer", "ms", "version", "command"])
        writer.writerows(rows)
    plot([[*row[:3], float(row[3]), *row[4:]] for row in rows], RESULTS / "growth.png")


if __name__ == "__main__":
    main()
