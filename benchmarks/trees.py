"""Steps, predictions and memory of rlshare beside gbrl, xgboost and lightgbm, on the same data.

    pip install ".[benchmark]"
    python benchmarks/trees.py

Medians of repeated calls, a process a peer. Threads are equal, but for gbrl, which chooses its own.
Lightgbm's trees have one output: its figures are for the first output alone, and flatter it.
"""

from __future__ import annotations

import argparse
import csv
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from peers import PEERS, Rlshare, ask, command, data, interpreter, median_ms, report

RESULTS = Path(__file__).parent / "results" / "trees.csv"
LIMIT = 900.0  # seconds a process may take
Figures = dict[str, float]


@dataclass(frozen=True)
class Target:
    """What a figure may be at most, and how many times rlshare's a peer's must be at least."""

    limit: float
    gbrl: float = 0
    xgboost: float = 0
    lightgbm: float = 0

    def __str__(self) -> str:
        wanted = {peer: getattr(self, peer) for peer in list(PEERS)[1:]}
        times = [f"{peer} >= {factor:g}x" for peer, factor in wanted.items() if factor]
        return "; ".join([f"<= {self.limit:g}", *times])

    def met(self, value: float, ratios: Figures) -> bool:
        """Say whether a figure and its ratios fulfil this."""
        return value <= self.limit and all(
            ratios.get(peer, 0) >= getattr(self, peer) for peer in list(PEERS)[1:]
        )


TARGETS = {
    "step 2048x17x7, codes ready, ms": Target(0.45, gbrl=400, xgboost=10),
    "step 2048x17x7, quantiles included, ms": Target(0.9),
    "step 256x4x3, codes ready, ms": Target(0.05),
    "step 256x4x3, quantiles included, ms": Target(0.1),
    "step 8192x128x19, depth 6, 2 threads, codes ready, ms": Target(30, xgboost=15),
    "step 8192x128x19, depth 6, 2 threads, quantiles included, ms": Target(60),
    "predict 2000 oblivious trees, ns per (row, tree)": Target(1.5, xgboost=3, lightgbm=3),
    "predict 2000 greedy trees, ns per (row, tree)": Target(3),
    "predict one row, 1500 oblivious trees, us": Target(4),
    "empty oblivious model, depth 10, 7 outputs, bytes": Target(1e6),
    "empty greedy model, depth 10, 7 outputs, bytes": Target(1e6),
    "100k trees, bytes over those of float32 leaves": Target(1.5),
    "100k trees, predict 16 rows, ms": Target(4),
    "100k trees, save, s": Target(1),
    "100k trees, load, s": Target(1),
}


def step(
    peer: str, seconds: float, shape: tuple[int, int, int], depth: int = 4, threads: int = 1
) -> Figures:
    """Time a boosting step on fixed gradients, without and with the making of codes."""
    n, d, outputs = shape
    X, G = data(n, d, outputs)
    model = PEERS[peer](d, outputs, "oblivious", depth, threads=threads)
    deep = f", depth {depth}, {threads} threads" if depth > 4 else ""
    name = f"step {n}x{d}x{outputs}{deep}"

    def from_rows() -> None:
        model.bin(X)
        model.step(G)

    found = {f"{name}, quantiles included, ms": median_ms(from_rows, seconds)}
    if model.bins_beforehand:
        model.bin(X)
        found[f"{name}, codes ready, ms"] = median_ms(partial(model.step, G), seconds)
    return found


def predict(peer: str, seconds: float) -> Figures:
    """Time predictions of many rows and of one."""
    found = {}
    n, d, outputs, trees, trees_one_row = 2048, 17, 3, 2000, 1500
    X, _ = data(n, d, outputs)
    for policy in PEERS[peer].policies:
        model = PEERS[peer](d, outputs, policy)
        model.grow(trees_one_row)
        one_row_ms = median_ms(partial(model.predict, X[:1]), seconds)
        found[f"predict one row, {trees_one_row} {policy} trees, us"] = 1e3 * one_row_ms
        model = PEERS[peer](d, outputs, policy)
        model.grow(trees)
        name = f"predict {trees} {policy} trees, ns per (row, tree)"
        found[name] = 1e6 / (n * trees) * median_ms(partial(model.predict, X), seconds)
    return found


def storage(peer: str, seconds: float) -> Figures:
    """Measure memory, and a large model; of rlshare only."""
    if peer != "rlshare":
        return {}
    from rlshare.trees import BoostedTrees

    found = {}
    d, outputs, trees = 17, 7, 100_000
    for policy in Rlshare.policies:
        empty = Rlshare(d, outputs, policy, depth=10).model
        found[f"empty {policy} model, depth 10, {outputs} outputs, bytes"] = empty.nbytes
    large = Rlshare(d, outputs, "oblivious")
    large.grow(trees, rows=64)
    X, _ = data(16, d, outputs)
    leaves = trees * 2**large.depth * outputs * np.dtype(np.float32).itemsize
    found["100k trees, bytes over those of float32 leaves"] = large.model.nbytes / leaves
    found["100k trees, predict 16 rows, ms"] = median_ms(partial(large.predict, X), seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        found["100k trees, save, s"] = median_ms(partial(large.model.save, path), seconds) / 1e3
        found["100k trees, load, s"] = median_ms(partial(BoostedTrees.load, path), seconds) / 1e3
    return found


PARTS: dict[str, Callable[[str, float], Figures]] = {
    "step": partial(step, shape=(2048, 17, 7)),
    "small step": partial(step, shape=(256, 4, 3)),
    "large step": partial(step, shape=(8192, 128, 19), depth=6, threads=2),
    "predict": predict,
    "storage": storage,
}


def cell(figures: Figures, name: str) -> float | None:
    """Return a peer's figure, or that of what it does instead of what the name says.

    Gbrl makes quantiles in every step; xgboost and lightgbm have no oblivious trees.
    """
    stand_in = name.replace("codes ready", "quantiles included").replace("oblivious", "greedy")
    return figures.get(name, figures.get(stand_in))


def main() -> None:
    """Measure every peer in turn and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("PEER", "PART"), help="one, as JSON")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.measure:
        peer, part = args.measure
        report(peer, PARTS[part](peer, args.seconds))
        return
    figures: dict[str, Figures] = {peer: {} for peer in PEERS}
    versions, notes = {}, []
    for part, peer in product(PARTS, PEERS):
        python = interpreter(peer, args.peer_python)
        arguments = ["--measure", peer, part, "--seconds", str(args.seconds)]
        found = ask(python, __file__, arguments, LIMIT)
        if isinstance(found, str):
            notes.append(f"{peer}, {part}: {found}")
            continue
        versions[peer] = found["version"]
        figures[peer] |= found["figures"]
    write(args.output, figures, versions)
    print("\n".join(notes))


def write(path: Path, figures: dict[str, Figures], versions: dict[str, str]) -> None:
    """Write and print one row a figure."""
    others = list(PEERS)[1:]
    versions |= {"numpy": np.__version__, "python": platform.python_version()}
    text = " ".join(f"{name}={version}" for name, version in versions.items())
    ratio_columns = [f"ratio_{peer}" for peer in others]
    header = ["figure", *PEERS, *ratio_columns, "target", "met", "versions", "command"]
    header[header.index("lightgbm")] = "lightgbm_one_output"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for name, target in TARGETS.items():
            ours = figures["rlshare"][name]
            theirs = {peer: cell(figures[peer], name) for peer in others}
            ratios = {peer: value / ours for peer, value in theirs.items() if value is not None}
            values = ["" if v is None else f"{v:.4g}" for v in (ours, *theirs.values())]
            times = [f"{ratios[peer]:.3g}" if peer in ratios else "" for peer in others]
            met = "yes" if target.met(ours, ratios) else "no"
            writer.writerow([name, *values, *times, target, met, text, command(__file__)])
            beside = [
                f"{peer} {v} ({r}x)"
                for peer, v, r in zip(others, values[1:], times, strict=True)
                if v
            ]
            print(f"{name}: {values[0]}; {', '.join(beside)} [{target}: {met}]", flush=True)


if __name__ == "__main__":
    main()
