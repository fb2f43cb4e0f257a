"""Draw added trees and a refitted forest that learn one function from noisy gradients.

    python benchmarks/grow_or_refit.py

Both see the same 1,000 batches of 64 points with gradients whose noise has a deviation of 2, and
their rates are the best of a grid for their final errors. Prints these; writes
results/grow_or_refit.png.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from learning import RESULTS
from numpy.typing import NDArray

from rlshare.trees import BoostedTrees, TreeParams

N_STEPS, BATCH, NOISE = 1000, 64, 2.0
SHOWN = (100, 1000)  # steps
RATES = (0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3)
GRID = np.linspace(0, 1, 501)[:, None]
LEARNERS = {
    "grow": ("a tree is added in every step", TreeParams(max_depth=4)),
    "refit": (
        "the leaves of 200 trees move",
        TreeParams(learner="refit", max_depth=4, random_state=1),
    ),
}


class Course(NamedTuple):
    """How a model learnt."""

    errors: NDArray[np.float64]  # root of the mean squared error after every step
    shown: list[NDArray[np.float32]]  # what it predicted on GRID after the steps SHOWN
    n_trees: int


def truth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth function with one step."""
    return np.sin(6 * x) + np.where(x > 0.6, 0.7, -0.2)


def course(params: TreeParams, rate: float, seed: int) -> Course:
    """Return how a model learns the function by such a rate."""
    rng = np.random.default_rng(seed)
    model = BoostedTrees(1, 1, params, rate)
    errors, shown = [], []
    for step in range(1, N_STEPS + 1):
        x = rng.random((BATCH, 1))
        noise = NOISE * rng.normal(size=x.shape)
        model.step(x, model.predict(x) - truth(x) + noise)
        found = model.predict(GRID)
        errors.append(float(np.sqrt(np.mean((found - truth(GRID)) ** 2))))
        if step in SHOWN:
            shown.append(found[:, 0])
    return Course(np.array(errors), shown, model.n_trees)


def main() -> None:
    """Choose the rates, learn, print and draw."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for colour, (learner, (words, params)) in zip(("C1", "C0"), LEARNERS.items(), strict=True):
        finals = {
            rate: np.mean([course(params, rate, seed).errors[-1] for seed in range(3)])
            for rate in RATES
        }
        best = min(finals, key=lambda rate: finals[rate])
        found = course(params, best, seed=9)
        print(
            f"{learner}: rate {best}, error {found.errors[-1]:.3f} "
            f"({finals[best]:.3f} over the seeds of the search), {found.n_trees} trees"
        )
        for axis, step, line in zip(axes, SHOWN, found.shown, strict=False):
            axis.plot(GRID[:, 0], line, colour, label=words)
            axis.set_title(f"after {step} steps")
        axes[-1].plot(np.arange(1, N_STEPS + 1), found.errors, colour, label=words)
    for axis in axes[:-1]:
        axis.plot(GRID[:, 0], truth(GRID)[:, 0], "k--", linewidth=1, label="the function")
        axis.set_xlabel("x")
    axes[-1].legend(fontsize="small")
    axes[-1].set(title="error", xlabel="steps", xscale="log", yscale="log")
    figure.savefig(RESULTS / "grow_or_refit.png", dpi=120)


if __name__ == "__main__":
    main()
