"""A whole PPO update and an acting step of MoEPolicy beside a network: results/moe_policy.csv.

    python benchmarks/moe_policy.py

The network is the same policy with a dense layer of as many active multiplications in place of the
experts and their router, as SB3 makes it, and once more with the fused Adam that MoEPolicy takes.
An update is what PPO does with a minibatch: evaluate, backward, clip, Adam. Medians in
microseconds, the policies in turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rlshare.policies import MoEPolicy, matched_mlp

RESULTS = Path(__file__).parent / "results"
OBS, ACT = spaces.Box(-1.0, 1.0, (64,)), spaces.Box(-1.0, 1.0, (6,))
SIZES = ((64, 64), (256, 256))  # width of the features, hidden units of an expert
BATCH, ACTING = 256, 8
BLOCK = 10


class Dense(BaseFeaturesExtractor):
    """What MoEExtractor is, with a network for the experts."""

    def __init__(self, space: spaces.Box, width: int, hidden: int) -> None:
        super().__init__(space, width)
        self.layers = nn.Sequential(
            nn.Linear(64, width),
            nn.Tanh(),
            nn.Linear(width, hidden),
            nn.Tanh(),
            nn.Linear(hidden, width),
            nn.Tanh(),
        )

    def forward(self, observations: Tensor) -> Tensor:
        found: Tensor = self.layers(observations)
        return found


def policies(width: int, hidden: int) -> dict[str, ActorCriticPolicy]:
    """Return the mixture, E = 16 and k = 4, and the networks."""
    moe = {"width": width, "hidden": hidden, "n_experts": 16, "top_k": 4}
    sizes = {"width": width, "hidden": matched_mlp(moe)["flops"]["hidden"]}

    def dense(**kwargs: Any) -> ActorCriticPolicy:
        return ActorCriticPolicy(
            OBS,
            ACT,
            lambda _: 3e-4,
            net_arch=[],
            features_extractor_class=Dense,
            features_extractor_kwargs=sizes,
            **kwargs,
        )

    fused = {"eps": 1e-5, "fused": True}
    return {
        "moe": MoEPolicy(OBS, ACT, lambda _: 3e-4, moe=moe),
        "dense": dense(),
        "dense, fused": dense(optimizer_kwargs=fused),
    }


def update(policy: ActorCriticPolicy, obs: Tensor, actions: Tensor) -> None:
    """Do what PPO does with a minibatch, its ratio apart."""
    values, log_prob, entropy = policy.evaluate_actions(obs, actions)
    loss = -log_prob.mean() + 0.5 * values.square().mean()
    if entropy is not None:
        loss = loss - 0.001 * entropy.mean()
    policy.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
    policy.optimizer.step()


def act(policy: ActorCriticPolicy, obs: Tensor, _: Tensor) -> None:
    """Act as in collecting a rollout."""
    with torch.no_grad():
        policy(obs)


def measure(call: Any, n: int, sizes: tuple[int, int], seconds: float) -> dict[str, float]:
    """Return the median microseconds of the call with each policy."""
    torch.manual_seed(0)
    obs, actions = torch.rand(n, 64), torch.rand(n, 6)
    made = policies(*sizes)
    times: dict[str, list[float]] = {name: [] for name in made}
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for name, policy in made.items():
            for i in range(-BLOCK // 2, BLOCK):
                begin = time.perf_counter()
                call(policy, obs, actions)
                if i >= 0:
                    times[name].append(1e6 * (time.perf_counter() - begin))
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="for each row")
    parser.add_argument("--output", type=Path, default=RESULTS / "moe_policy.csv")
    args = parser.parse_args()
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for sizes in SIZES:
            for name, call, n in (("update", update, BATCH), ("act", act, ACTING)):
                found = measure(call, n, sizes, args.seconds)
                row = {
                    "call": name,
                    "rows": n,
                    "width": sizes[0],
                    "hidden": sizes[1],
                    "threads": threads,
                    "moe us": round(found["moe"], 1),
                    "dense us": round(found["dense"], 1),
                    "dense, fused us": round(found["dense, fused"], 1),
                    "ratio": round(found["moe"] / found["dense"], 3),
                    "ratio, both fused": round(found["moe"] / found["dense, fused"], 3),
                }
                print(*row.values(), sep="\t", flush=True)
                versions = f"torch {torch.__version__}"
                command = "python benchmarks/moe_policy.py " + " ".join(sys.argv[1:])
                rows.append({**row, "versions": versions, "command": command.strip()})
    pd.DataFrame(rows).to_csv(args.output, index=False)


if __name__ == "__main__":
    main()
