"""Which algorithms take which policies and spaces, by trying; --write puts it into the docs."""

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import sb3_contrib
import stable_baselines3
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

import rlshare.agents

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
MARKS = ("<!-- combinations: begin -->", "<!-- combinations: end -->")
POLICIES = ("GBTPolicy", "MoEPolicy", "MoECnnPolicy")
_SB3 = [getattr(stable_baselines3, name) for name in ("PPO", "A2C", "DQN", "SAC", "TD3", "DDPG")]
TAKEN: list[type[BaseAlgorithm]] = [*_SB3, sb3_contrib.MaskablePPO, rlshare.agents.AWR]
REFUSED: list[type[BaseAlgorithm]] = [
    getattr(sb3_contrib, name) for name in ("TRPO", "RecurrentPPO", "QRDQN", "TQC", "CrossQ", "ARS")
]
ACTIONS: dict[str, spaces.Space[Any]] = {
    "Discrete": spaces.Discrete(3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(3),
    "Box": spaces.Box(-1.0, 1.0, (2,)),
}
_BOX, _IMAGE = spaces.Box(-1.0, 1.0, (3,)), spaces.Box(0, 255, (3, 36, 36), np.uint8)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "Box": _BOX,
    "images": _IMAGE,
    "Discrete": spaces.Discrete(3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(3),
    "Dict": spaces.Dict({"kind": spaces.Discrete(3), "numbers": _BOX}),
    "Dict with images": spaces.Dict({"numbers": _BOX, "picture": _IMAGE}),
}


class Anything(gym.Env[Any, Any]):
    """Spaces, and whatever they hold."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def refusal(algorithm: type[BaseAlgorithm], policy: str, observations: Any, actions: Any) -> str:
    """Return what an agent of them answers when it is made; "" where it is, and acts."""
    settings = {"buffer_size": 10} if hasattr(algorithm, "load_replay_buffer") else {}
    try:
        model = algorithm(policy, Anything(observations, actions), **settings)
        model.predict(observations.sample())
    except (AssertionError, NotImplementedError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def lines() -> list[str]:
    """Return the tables in Markdown."""
    found = []
    for policy in POLICIES:
        found += [f"## {policy}", "", "| algorithm | actions | observations |", "|---|---|---|"]
        seen = OBSERVATIONS["images" if policy == "MoECnnPolicy" else "Box"]
        for algorithm in TAKEN:
            actions = [k for k, a in ACTIONS.items() if not refusal(algorithm, policy, seen, a)]
            if actions:
                own = ACTIONS[actions[0]]
                observations = [
                    k for k, o in OBSERVATIONS.items() if not refusal(algorithm, policy, o, own)
                ]
                row = [algorithm.__name__, ", ".join(actions), ", ".join(observations)]
                found.append(f"| {' | '.join(row)} |")
        found.append("")
    found += ["## Refused", "", "| algorithm | why |", "|---|---|"]
    for algorithm in REFUSED:
        reasons = dict.fromkeys(_reason(algorithm, policy) for policy in POLICIES)
        found.append(f"| {algorithm.__name__} | {'; '.join(reasons)} |")
    return found


def _reason(algorithm: type[BaseAlgorithm], policy: str) -> str:
    """Return why neither discrete nor continuous actions are taken, "works" if one is."""
    answers = [refusal(algorithm, policy, _BOX, ACTIONS[kind]) for kind in ("Discrete", "Box")]
    if "" in answers:
        return "works"
    reasons = [text.partition(f"not with {algorithm.__name__}: ")[2] for text in answers]
    return max(reasons, key=len) or answers[0]


def page(text: str) -> str:
    """Return a page with the tables of now."""
    head, rest = text.split(MARKS[0])
    return f"{head}{MARKS[0]}\n{chr(10).join(lines())}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
