"""Whether AWR with its defaults learns with trees: results/awr_defaults.csv.

    python benchmarks/awr_defaults.py

CartPole should come to 400, and Pendulum far above random actions (about -1,200): returns of 20
deterministic episodes after 60,000 steps, five seeds each.
"""

import argparse
import csv
from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from rlshare.agents import AWR

RESULTS = Path(__file__).parent / "results" / "awr_defaults.csv"
ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1")


def returns_after_training(env: str, seed: int, n_timesteps: int) -> tuple[float, float]:
    """Return mean and standard deviation of 20 episodes."""
    model = AWR("GBTPolicy", env, seed=seed, device="cpu").learn(n_timesteps)
    judge = Monitor(gym.make(env))
    judge.reset(seed=1000 + seed)
    mean, deviation = evaluate_policy(model.policy, judge, n_eval_episodes=20)
    return float(mean), float(deviation)  # type: ignore[arg-type]


def main() -> None:
    """Train all and write the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-timesteps", type=int, default=60_000)
    args = parser.parse_args()
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["env", "seed", "n_timesteps", "mean_return", "std_return"])
        for env in ENVIRONMENTS:
            for seed in range(args.seeds):
                mean, deviation = returns_after_training(env, seed, args.n_timesteps)
                table.writerow([env, seed, args.n_timesteps, round(mean, 1), round(deviation, 1)])
                file.flush()


if __name__ == "__main__":
    main()
