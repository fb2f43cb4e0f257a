"""``rlshare plot --experts``: which experts an agent uses, by task and through an episode."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlshare.runs.errors import UserError
from rlshare.runs.trained import TrainedAgent, load_agent

_EPISODES = 10


def plot_experts(run: Path, output: Path) -> None:
    """Draw how often each task uses each expert, and the experts of one episode over its return.

    Raises:
        UserError: the agent has no experts.
    """
    from rlshare.policies.moe.extractor import expert_layers
    from rlshare.policies.moe.figures import draw_routing, task_names, use_by_task

    agent = load_agent(run, load_best=False, device="cpu")
    layers = dict(expert_layers(agent.model.policy))
    if not layers:
        raise UserError(f"{run} has no experts: it was trained with --policy {agent.config.policy}")
    name, extractor = next(iter(layers.items()))
    experts, tasks, rewards, n_first = _act(agent, extractor)
    names = task_names(agent.env, extractor.n_tasks)
    shares = use_by_task(experts, tasks, max(1, len(names)), extractor.experts.n_experts)
    figure = draw_routing(shares, experts[:n_first], rewards[:n_first], names)
    figure.suptitle(
        f"{agent.config.algo} {agent.config.policy}, {agent.config.env}: experts of {name!r} "
        f"in {max(_EPISODES, len(names))} episodes"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    print(f"wrote {output}")


def _act(
    agent: TrainedAgent, extractor: Any
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], int]:
    """Run episodes with the likeliest actions.

    Returns the selected experts [n, top_k], the task [n] and the reward [n] of every step, and how
    many steps the first episode had.
    """
    from rlshare.policies.moe.extractor import extractor_inputs

    model, env = agent.model, agent.env
    env.seed(0)
    obs = env.reset()
    experts, tasks, rewards = [], [], []
    ends: list[int] = []
    while len(ends) < max(_EPISODES, extractor.n_tasks):
        inputs = extractor_inputs(model.policy, model.policy.obs_to_tensor(obs)[0])
        task = extractor.task(inputs)
        experts.append(extractor.select(inputs)[0].numpy())
        tasks.append(0 if task is None else int(torch.argmax(task[0])))
        obs, reward, done, _ = env.step(model.predict(obs, deterministic=True)[0])
        rewards.append(float(reward[0]))
        if done[0]:
            ends.append(len(rewards))
    env.close()
    return np.array(experts), np.array(tasks), np.array(rewards), ends[0]
