"""``rlshare plot --experts``: which experts an agent uses, by task and through an episode."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlshare.cli.errors import UserError
from rlshare.cli.trained import TrainedAgent, load_agent

_EPISODES = 10


@dataclass
class Episodes:
    """What an agent did: by step the selected experts [n, top_k], task, reward, and episode."""

    experts: NDArray[np.int32]
    tasks: NDArray[np.int64]
    rewards: NDArray[np.float64]
    episodes: NDArray[np.int64]


def plot_experts(run: Path, output: Path) -> None:
    """Draw how often each task uses each expert, and the experts of one episode over its return.

    Raises:
        UserError: the agent has no experts.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from rlshare.policies.moe import expert_layers

    agent = load_agent(run, load_best=False, device="cpu")
    layers = dict(expert_layers(agent.model.policy))
    if not layers:
        raise UserError(f"{run} has no experts: it was trained with --policy {agent.args.policy}")
    name, extractor = next(iter(layers.items()))
    names = _task_names(agent.env, extractor.n_tasks)
    seen = _act(agent, extractor, max(_EPISODES, len(names)))
    n_experts = extractor.experts.n_experts
    heights = [max(1, len(names) / 2), 2, 1]
    figure, (by_task, timeline, below) = plt.subplots(
        3, 1, figsize=(9, 8), layout="constrained", height_ratios=heights
    )
    _draw_tasks(by_task, seen, n_experts, names)
    _draw_episode(timeline, below, seen, n_experts)
    figure.suptitle(f"{agent.args.algo} {agent.args.policy}, {agent.args.env}: experts of {name!r}")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    plt.close(figure)
    print(f"wrote {output}")


def _task_names(env: Any, n_tasks: int) -> list[str]:
    """What the tasks that the agent sees are called."""
    names: list[str] = env.get_attr("task_names")[0] if env.has_attr("task_names") else []
    return names if len(names) == n_tasks else [f"task {t}" for t in range(n_tasks)]


def _act(agent: TrainedAgent, extractor: Any, n_episodes: int) -> Episodes:
    """Run episodes with the likeliest actions, and keep what the router selected."""
    from stable_baselines3.common.preprocessing import preprocess_obs

    model, env = agent.model, agent.env
    env.seed(0)
    obs = env.reset()
    experts, tasks, rewards, episodes = [], [], [], []
    episode = 0
    while episode < n_episodes:
        tensors = model.policy.obs_to_tensor(obs)[0]
        inputs = preprocess_obs(
            tensors, model.observation_space, normalize_images=model.policy.normalize_images
        )
        task = extractor.task(inputs)
        experts.append(extractor.select(inputs)[0].numpy())
        tasks.append(0 if task is None else int(torch.argmax(task[0])))
        obs, reward, done, _ = env.step(model.predict(obs, deterministic=True)[0])
        rewards.append(float(reward[0]))
        episodes.append(episode)
        episode += int(done[0])
    env.close()
    return Episodes(
        np.array(experts), np.array(tasks), np.array(rewards), np.array(episodes, np.int64)
    )


def _draw_tasks(axes: Any, seen: Episodes, n_experts: int, names: list[str]) -> None:
    shares = np.zeros((max(1, len(names)), n_experts))
    for expert in seen.experts.T:
        np.add.at(shares, (seen.tasks, expert), 1.0)
    steps = np.bincount(seen.tasks, minlength=len(shares)).reshape(-1, 1)
    shares /= np.maximum(steps, 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.figure.colorbar(image, ax=axes, label="share of its steps")
    axes.set_xticks(range(n_experts))
    axes.set_yticks(range(len(shares)), names or [""])
    axes.set_xlabel("expert")
    axes.set_title(f"use of the experts in {seen.episodes[-1] + 1} episodes", fontsize=10)


def _draw_episode(timeline: Any, below: Any, seen: Episodes, n_experts: int) -> None:
    first = seen.episodes == 0
    experts, rewards = seen.experts[first], seen.rewards[first]
    active = np.zeros((n_experts, len(experts)))
    for selected in experts.T:
        active[selected, np.arange(len(experts))] = 1
    timeline.imshow(active, cmap="Greys", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    timeline.set_yticks(range(n_experts))
    timeline.hlines(np.arange(1, n_experts) - 0.5, -0.5, len(experts) - 0.5, "C7", linewidth=0.5)
    timeline.set_ylabel("active experts")
    timeline.set_title("first episode", fontsize=10)
    below.plot(np.cumsum(rewards), color="C0")
    below.set_xlim(-0.5, len(rewards) - 0.5)
    below.set_ylabel("return so far")
    below.set_xlabel("step")
    below.grid(alpha=0.3)
