"""``rlshare eval``: the score of a trained agent."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rlshare.cli.options import (
    Algo,
    Device,
    Env,
    EnvKwargs,
    LoadBest,
    LogFolder,
    NumThreads,
    RunDir,
    Verbose,
)
from rlshare.runs.trained import find_run, load_agent


def evaluate(
    run_dir: RunDir = None,
    algo: Algo = "ppo",
    env: Env = None,
    log_folder: LogFolder = Path("logs"),
    load_best: LoadBest = False,
    n_episodes: Annotated[
        int, typer.Option("-n", "--n-episodes", min=1, help="Episodes to play.")
    ] = 20,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Sample actions instead of taking the likeliest.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the episodes.")] = 0,
    env_kwargs: EnvKwargs = None,
    device: Device = "cpu",
    num_threads: NumThreads = 1,
    verbose: Verbose = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play episodes with a trained agent and print the return, by task where there are several.

    A success rate is printed where the environment says info["is_success"].
    """
    import numpy as np
    import torch
    from stable_baselines3.common.utils import set_random_seed

    from rlshare.agents import parse_pairs
    from rlshare.runs.errors import user_errors
    from rlshare.runs.infos import LastInfos
    from rlshare.runs.masks import evaluator

    torch.set_num_threads(num_threads)
    with user_errors():
        kwargs = parse_pairs(env_kwargs or (), "--env-kwargs")
    path = find_run(run_dir, algo, env, log_folder)
    agent = load_agent(path, load_best, device, kwargs)
    set_random_seed(seed)
    agent.env.seed(seed)
    infos = LastInfos()
    episodes: Any = evaluator(agent.config.algo)(
        agent.model,
        agent.env,
        n_eval_episodes=n_episodes,
        deterministic=not stochastic,
        callback=infos,
        return_episode_rewards=True,
    )
    returns, lengths = episodes
    agent.env.close()
    mean, std = float(np.mean(returns)), float(np.std(returns))
    successes, tasks = infos.values("is_success"), infos.values("task")
    if as_json:
        result = {
            "env": agent.config.env, "algo": agent.config.algo, "policy": agent.config.policy,
            "mean": mean, "std": std, "n_episodes": n_episodes, "seed": seed,
            "deterministic": not stochastic, "returns": list(map(float, returns)),
            "lengths": list(map(int, lengths)),
        }  # fmt: skip
        if successes:
            result["successes"] = list(map(bool, successes))
        if tasks:
            result["tasks"] = tasks
        print(json.dumps(result))
    else:
        print(
            f"return {mean:.2f} +- {std:.2f}{_rate(successes)} over {n_episodes} episodes of "
            f"{agent.config.env}"
        )
        for task in dict.fromkeys(tasks):
            of = [i for i, name in enumerate(tasks) if name == task]
            rate = _rate([successes[i] for i in of] if successes else [])
            print(f"  {task}: return {np.mean([returns[i] for i in of]):.2f}{rate}")


def _rate(successes: list[bool]) -> str:
    return f", success rate {sum(successes) / len(successes):.2f}" if successes else ""
