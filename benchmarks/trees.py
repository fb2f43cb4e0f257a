"""One boosting step and one prediction of rlshare beside gbrl 1.1.9: same data, a process a peer.

    pip install ".[benchmark]"
    python benchmarks/trees.py

Medians of repeated calls, one thread for rlshare; gbrl is left its own default. `--gbrl-python`
names the interpreter of another environment where gbrl is installed.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "trees.csv"
STEPS = ((2048, 17, 7), (256, 4, 3))  # rows, features, outputs; depth 4
PREDICT = (2048, 17, 3, 500)  # rows, features, outputs, trees


def median_ms(call: Callable[[], object], seconds: float) -> float:
    """Return the median time of a call repeated for so many seconds, at least three times."""
    times: list[float] = []
    call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def data(n: int, d: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same observations and gradients for every peer."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(np.float32)
    return X, rng.normal(size=(n, outputs)).astype(np.float32)


def measure_rlshare(seconds: float) -> dict[str, float]:
    """Time rlshare."""
    from rlshare.trees import BoostedTrees

    found = {}
    for n, d, outputs in STEPS:
        X, G = data(n, d, outputs)
        model = BoostedTrees(d, outputs, n_threads=1)
        codes, name = model.bin(X), f"step {n}x{d}x{outputs}"
        found[f"{name}, codes ready, ms"] = median_ms(partial(model.step, codes, G), seconds)
        found[f"{name}, quantiles included, ms"] = median_ms(partial(model.step, X, G), seconds)
    n, d, outputs, trees = PREDICT
    X, G = data(n, d, outputs)
    model = BoostedTrees(d, outputs, n_threads=1)
    codes = model.bin(X)
    for _ in range(trees):
        model.step(codes, G)
        model.predict(X, model.n_trees - 1, out=G)
    per_pair = 1e6 / (n * trees)
    found["predict, ns per (row, tree)"] = per_pair * median_ms(lambda: model.predict(X), seconds)
    found["predict one row, us"] = 1e3 * median_ms(lambda: model.predict(X[:1]), seconds)
    return found


def measure_gbrl(seconds: float) -> dict[str, float]:
    """Time gbrl, which always makes its candidates from the batch."""
    from gbrl.models.gbt import GBTModel

    def make(d: int, outputs: int) -> GBTModel:
        model = GBTModel(
            tree_struct={
                "max_depth": 4,
                "n_bins": 256,
                "min_data_in_leaf": 0,
                "par_th": 10,
                "grow_policy": "oblivious",
            },
            input_dim=d,
            output_dim=outputs,
            optimizers={"algo": "SGD", "init_lr": 0.1, "start_idx": 0, "stop_idx": outputs},
            params={"split_score_func": "Cosine", "generator_type": "Quantile"},
            device="cpu",
        )
        model.set_bias(np.zeros(outputs, np.float32))
        return model

    found = {}
    for n, d, outputs in STEPS:
        X, G = data(n, d, outputs)
        name = f"step {n}x{d}x{outputs}, quantiles included, ms"
        found[name] = median_ms(partial(make(d, outputs).step, X, G), seconds)
    n, d, outputs, trees = PREDICT
    X, G = data(n, d, outputs)
    model = make(d, outputs)
    for i in range(trees):
        part = slice((37 * i) % (n - 64), (37 * i) % (n - 64) + 64)  # its full steps are slow
        model.step(X[part], G[part])
    per_pair = 1e6 / (n * trees)
    found["predict, ns per (row, tree)"] = per_pair * median_ms(lambda: model(X), seconds)
    found["predict one row, us"] = 1e3 * median_ms(lambda: model(X[:1]), seconds)
    return found


def main() -> None:
    """Measure both peers in turn and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=("rlshare", "gbrl"), help="measure one, print JSON")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--gbrl-python", default=sys.executable)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.peer:
        measure = measure_rlshare if args.peer == "rlshare" else measure_gbrl
        figures = measure(args.seconds)
        print(json.dumps({"version": version(args.peer), "figures": figures}))
        return
    found = {}
    for peer, python in (("rlshare", sys.executable), ("gbrl", args.gbrl_python)):
        command = [python, __file__, "--peer", peer, "--seconds", str(args.seconds)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found[peer] = json.loads(run.stdout.splitlines()[-1])
    ours, theirs = found["rlshare"]["figures"], found["gbrl"]["figures"]
    with args.output.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["figure", "rlshare", "gbrl", "ratio", "versions", "command"])
        versions = f"rlshare={found['rlshare']['version']} gbrl={found['gbrl']['version']} "
        versions += f"numpy={np.__version__} python={platform.python_version()}"
        for name, value in ours.items():
            peer = theirs.get(name.replace("codes ready", "quantiles included"))
            cells = [f"{value:.4g}", f"{peer:.4g}", f"{peer / value:.3g}"]
            writer.writerow([name, *cells, versions, "python benchmarks/trees.py"])
            print(f"{name:50s} rlshare {cells[0]:>9s}   gbrl {cells[1]:>9s}   ratio {cells[2]}")


if __name__ == "__main__":
    main()
