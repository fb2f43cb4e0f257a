"""Do tasks pull shared parameters in opposite directions? results/gradient_cosine.csv.

    python benchmarks/gradient_cosine.py --arm moe 'logs/moe-*/ppo/*' --arm "dense, ..." ...

Reads finished run folders of a multi-task environment. For each task the trained agent acts for
some steps, and PPO's policy loss at the old policy gives a gradient: -E[A grad log pi], advantages
by GAE, normalised in each task, over the parameters of the features extractor without the router.
Reported is the mean cosine of two tasks, the share of pairs where it is negative
(conflicts, Yu et al., arXiv 2001.06782) and, to see how much of a gradient is chance, that of two
gradients of one task, from other steps.
"""

from __future__ import annotations

import argparse
import glob
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from curves import trained_by
from stable_baselines3.common.buffers import RolloutBuffer

from rlshare.policies import MoEPolicy
from rlshare.runs.trained import load_agent

RESULTS = Path(__file__).parent / "results"
ONE_TASK = {"schedule": "alternate", "steps_per_task": 10**9}


def gradient(agent: Any, seed: int, n_steps: int) -> torch.Tensor:
    """Return the gradient of the policy loss in the task ``seed`` modulo the number of tasks."""
    model, env = agent.model, agent.env
    policy: MoEPolicy = model.policy
    buffer = RolloutBuffer(
        n_steps,
        model.observation_space,
        model.action_space,
        device="cpu",
        gae_lambda=model.gae_lambda,
        gamma=model.gamma,
    )
    env.seed(seed)
    obs, start = env.reset(), np.ones(1)
    for _ in range(n_steps):
        with torch.no_grad():
            actions, values, log_probs = policy(torch.as_tensor(obs))
        clipped = np.clip(actions.numpy(), model.action_space.low, model.action_space.high)
        new_obs, rewards, dones, infos = env.step(clipped)
        if dones[0] and infos[0].get("TimeLimit.truncated"):
            last = torch.as_tensor(infos[0]["terminal_observation"])[None]
            rewards = rewards + model.gamma * policy.predict_values(last).item()
        buffer.add(obs, actions.numpy(), rewards, start, values, log_probs)
        obs, start = new_obs, dones
    with torch.no_grad():
        buffer.compute_returns_and_advantage(policy.predict_values(torch.as_tensor(obs)), start)
    data = next(buffer.get())
    _, log_prob, _ = policy.evaluate_actions(data.observations, data.actions)
    advantages = (data.advantages - data.advantages.mean()) / (data.advantages.std() + 1e-8)
    named = policy.features_extractor.named_parameters()
    weights = [p for name, p in named if p.requires_grad and "router" not in name]
    found = torch.autograd.grad(-(advantages * log_prob).mean(), weights)
    return torch.cat([g.flatten() for g in found])


def read(arm: str, folder: Path, n_steps: int) -> dict[str, Any]:
    """Return the row of a run."""
    run = json.loads((folder / "run.json").read_text())
    torch.manual_seed(0)
    agent = load_agent(folder, load_best=False, device="cpu", env_kwargs=ONE_TASK)
    agent.env.norm_reward = True  # as the value function learnt them
    agent.model.policy.set_training_mode(False)
    n_tasks = agent.env.get_attr("n_tasks")[0]
    found = torch.stack([gradient(agent, seed, n_steps) for seed in range(2 * n_tasks)])
    unit = found / found.norm(dim=1, keepdim=True)
    matrix = unit[:n_tasks] @ unit[n_tasks:].T
    cosines = matrix[~torch.eye(n_tasks, dtype=torch.bool)]
    agent.env.close()
    return {
        "arm": arm,
        "seed": run["args"]["seed"],
        "steps_per_task": n_steps,
        "mean_cosine": round(float(cosines.mean()), 4),
        "same_task_cosine": round(float(matrix.diagonal().mean()), 4),
        "share_negative": round(float((cosines < 0).double().mean()), 3),
        "versions": " ".join(f"{n}={v}" for n, v in run["versions"].items()),
        "command": trained_by(run["command"]),
    }


def main() -> None:
    """Measure every run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arm", nargs=2, action="append", metavar=("LABEL", "GLOB"), required=True)
    parser.add_argument("--steps", type=int, default=4000, help="of each task")
    args = parser.parse_args()
    rows = []
    for arm, pattern in args.arm:
        for folder in sorted(glob.glob(pattern)):
            rows.append(read(arm, Path(folder), args.steps))
            print(
                {k: v for k, v in rows[-1].items() if k not in ("versions", "command")}, flush=True
            )
    table = pd.DataFrame(rows)
    table.to_csv(RESULTS / "gradient_cosine.csv", index=False)
    measures = ["mean_cosine", "same_task_cosine", "share_negative"]
    print(table.groupby("arm", sort=False)[measures].agg(["mean", "std"]).to_string())


if __name__ == "__main__":
    main()
