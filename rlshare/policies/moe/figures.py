"""A picture of routing: how much each task uses each expert, and the experts of one episode."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

Floats = NDArray[np.floating[Any]]


def task_names(env: VecEnv, n_tasks: int) -> list[str]:
    """Return what a multi-task environment calls its tasks, or "task 0" and so on."""
    names: list[str] = env.get_attr("task_names")[0] if env.has_attr("task_names") else []
    return names if len(names) == n_tasks else [f"task {t}" for t in range(n_tasks)]


def use_by_task(
    experts: NDArray[np.int32], tasks: NDArray[np.int64], n_tasks: int, n_experts: int
) -> Floats:
    """Return the share of each task's rows that used each expert, [n_tasks, n_experts].

    Args:
        experts: selected for each row, [n, top_k].
        tasks: of each row, [n].
        n_tasks: at least 1.
        n_experts: of the layer.
    """
    shares = np.zeros((n_tasks, n_experts))
    for expert in experts.T:
        np.add.at(shares, (tasks, expert), 1.0)
    counts = np.bincount(tasks, minlength=n_tasks).reshape(-1, 1)
    return shares / np.maximum(counts, 1)


def draw_routing(
    shares: Floats, experts: NDArray[np.int32], rewards: Floats, names: Sequence[str]
) -> Figure:
    """Draw the use of the experts by task, and an episode's experts over its return.

    Args:
        shares: of :func:`use_by_task`.
        experts: selected in each step of the episode, [n, top_k].
        rewards: of each step, [n].
        names: of the tasks; none of a single one.
    """
    heights = [max(1, len(shares) / 2), 2, 1]
    figure = Figure(figsize=(9, 8), layout="constrained")
    by_task, timeline, below = figure.subplots(3, 1, height_ratios=heights)
    _draw_tasks(by_task, shares, names)
    _draw_episode(timeline, below, experts, rewards, shares.shape[1])
    return figure


def _draw_tasks(axes: Any, shares: Floats, names: Sequence[str]) -> None:
    n_tasks, n_experts = shares.shape
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.figure.colorbar(image, ax=axes, label="share of its steps")
    axes.set_xticks(range(n_experts))
    axes.set_yticks(range(n_tasks), names or [""])
    axes.set_xlabel("expert")


def _draw_episode(
    timeline: Any, below: Any, experts: NDArray[np.int32], rewards: Floats, n_experts: int
) -> None:
    active = np.zeros((n_experts, len(experts)))
    for selected in experts.T:
        active[selected, np.arange(len(experts))] = 1
    timeline.imshow(active, cmap="Greys", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    timeline.set_yticks(range(n_experts))
    timeline.hlines(np.arange(1, n_experts) - 0.5, -0.5, len(experts) - 0.5, "C7", linewidth=0.5)
    timeline.set_ylabel("active experts")
    timeline.set_title("one episode", fontsize=10)
    below.plot(np.cumsum(rewards), color="C0")
    below.set_xlim(-0.5, len(rewards) - 0.5)
    below.set_ylabel("return so far")
    below.set_xlabel("step")
    below.grid(alpha=0.3)
