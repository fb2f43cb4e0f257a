"""The libraries that trees.py and growth.py measure, behind one interface, a process each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LONG_MS = 5000.0  # a call that takes longer is made once


def median_ms(call: Callable[[], object], seconds: float) -> float:
    """Return the median time of a call repeated for so many seconds, at least three times."""
    times: list[float] = []
    start = time.perf_counter()
    call()
    first = 1e3 * (time.perf_counter() - start)
    if first > LONG_MS:
        return first
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def data(n: int, d: int, outputs: int) -> tuple[Floats, Floats]:
    """Return the same observations and gradients for every peer."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(np.float32)
    return X, rng.normal(size=(n, outputs)).astype(np.float32)


class Peer(ABC):
    """A model of one library, that grows one tree a step on gradients it is given."""

    bins_beforehand: ClassVar[bool] = True
    policies: ClassVar[tuple[str, ...]] = ("oblivious", "greedy")
    cheap_rows: ClassVar[int] = 256  # enough for full trees of depth 4

    def __init__(
        self,
        d: int,
        outputs: int,
        policy: str = "greedy",
        depth: int = 4,
        bins: int = 255,
        threads: int = 1,
    ) -> None:
        self.d, self.outputs, self.policy = d, outputs, policy
        self.depth, self.bins, self.threads = depth, bins, threads

    @abstractmethod
    def bin(self, X: Floats) -> None:
        """Make the candidate thresholds and the codes of the rows that step is to use."""

    @abstractmethod
    def step(self, G: Floats) -> None:
        """Grow one tree on the gradients [n, outputs] of the rows last binned."""

    @abstractmethod
    def predict(self, X: Floats) -> object:
        """Return the prediction of all trees."""

    def grow(self, trees: int, rows: int | None = None) -> None:
        """Grow so many trees, each on gradients of its own, on a few rows."""
        rng = np.random.default_rng(1)
        X, _ = data(rows or self.cheap_rows, self.d, self.outputs)
        self.bin(X)
        for _ in range(trees):
            weights = rng.normal(size=(self.d, self.outputs)).astype(np.float32)
            self.step(np.sin(X @ weights))


class Rlshare(Peer):
    """rlshare."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from rlshare.trees import BoostedTrees, TreeParams

        super().__init__(*args, **kwargs)
        params = TreeParams(max_depth=self.depth, n_bins=self.bins, grow_policy=self.policy)
        self.model = BoostedTrees(self.d, self.outputs, params, n_threads=self.threads)

    def bin(self, X: Floats) -> None:
        """Make codes."""
        self.codes = self.model.bin(X)

    def step(self, G: Floats) -> None:
        """Grow a tree."""
        self.model.step(self.codes, G)

    def predict(self, X: Floats) -> object:
        """Predict."""
        return self.model.predict(X)


class Gbrl(Peer):
    """gbrl, which makes its candidates from the batch in every step and chooses its threads."""

    bins_beforehand = False
    cheap_rows = 64  # its steps are slow

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from gbrl.models.gbt import GBTModel

        super().__init__(*args, **kwargs)
        self.model = GBTModel(
            tree_struct={
                "max_depth": self.depth,
                "n_bins": self.bins + 1,
                "min_data_in_leaf": 0,
                "par_th": 10,
                "grow_policy": self.policy,
            },
            input_dim=self.d,
            output_dim=self.outputs,
            optimizers={"algo": "SGD", "init_lr": 0.1, "start_idx": 0, "stop_idx": self.outputs},
            params={"split_score_func": "Cosine", "generator_type": "Quantile"},
            device="cpu",
        )
        self.model.set_bias(np.zeros(self.outputs, np.float32))

    def bin(self, X: Floats) -> None:
        """Keep the rows."""
        self.rows = X

    def step(self, G: Floats) -> None:
        """Make candidates and grow a tree."""
        self.model.step(self.rows, G)

    def predict(self, X: Floats) -> object:
        """Predict."""
        return self.model(X)


class Xgboost(Peer):
    """xgboost's hist with leaves of all outputs; unit hessians make a leaf the mean gradient."""

    policies = ("greedy",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import xgboost

        super().__init__(*args, **kwargs)
        self.xgboost = xgboost
        self.booster: Any = None

    def bin(self, X: Floats) -> None:
        """Make a QuantileDMatrix."""
        labels = np.zeros((len(X), self.outputs), np.float32)  # they tell it the outputs
        bins, threads = self.bins + 1, self.threads
        self.codes = self.xgboost.QuantileDMatrix(X, labels, max_bin=bins, nthread=threads)
        self.hessians = np.ones_like(labels)
        if self.booster is None:
            params = {
                "tree_method": "hist",
                "multi_strategy": "multi_output_tree",
                "max_depth": self.depth,
                "max_bin": bins,
                "eta": 0.1,
                "base_score": 0.0,
                "nthread": threads,
            }
            self.booster, self.trees = self.xgboost.Booster(params, [self.codes]), 0

    def step(self, G: Floats) -> None:
        """Boost, without the prediction that update would make for its objective."""
        self.booster.boost(self.codes, self.trees, grad=G, hess=self.hessians)
        self.trees += 1

    def predict(self, X: Floats) -> object:
        """Predict in place."""
        return self.booster.inplace_predict(X)


class Lightgbm(Peer):
    """lightgbm on the FIRST OUTPUT ONLY, since its trees have one."""

    policies = ("greedy",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import lightgbm

        super().__init__(*args, **kwargs)
        self.lightgbm = lightgbm
        self.params = {
            "objective": "none",
            "num_leaves": 2**self.depth,
            "max_depth": self.depth,
            "max_bin": self.bins,
            "min_data_in_bin": 1,
            "min_data_in_leaf": 1,
            "learning_rate": 0.1,
            "num_threads": self.threads,
            "verbosity": -1,
        }

    def bin(self, X: Floats) -> None:
        """Make a Dataset and a Booster, which is bound to it."""
        labels = np.zeros(len(X), np.float32)
        codes = self.lightgbm.Dataset(X, labels, params=self.params)
        self.hessians = np.ones(len(X), np.float32)
        self.booster = self.lightgbm.Booster(self.params, codes)

    def step(self, G: Floats) -> None:
        """Boost with the first column of the gradients."""
        gradients = np.ascontiguousarray(G[:, 0])
        self.booster.update(fobj=lambda scores, codes: (gradients, self.hessians))

    def predict(self, X: Floats) -> object:
        """Predict."""
        return self.booster.predict(X, raw_score=True, num_threads=self.threads)


PEERS: dict[str, type[Peer]] = {
    "rlshare": Rlshare,
    "gbrl": Gbrl,
    "xgboost": Xgboost,
    "lightgbm": Lightgbm,
}


def report(peer: str, figures: Mapping[str, float]) -> None:
    """Print what `ask` reads: the last line of a process that measured one peer."""
    found = version(peer) if peer in ("rlshare", "gbrl") else import_module(peer).__version__
    print(json.dumps({"version": found, "figures": figures}))


def ask(python: str, script: str, arguments: list[str], limit: float) -> dict[str, Any] | str:
    """Return what a script's process reports, or, as text, why it reports nothing."""
    try:
        run = subprocess.run(
            [python, script, *arguments], capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"no result within {limit:.0f} s"
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        return (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
    return dict(json.loads(run.stdout.splitlines()[-1]))


def interpreter(peer: str, peer_python: str) -> str:
    """Return the interpreter that has a peer: this one has rlshare."""
    return sys.executable if peer == "rlshare" else peer_python


def command(script: str) -> str:
    """Return the command for a results file."""
    return f"python benchmarks/{Path(script).name}"
