"""What a trained agent of Stable-Baselines3 does, as targets for a student."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from rlshare.distill.actions import ActionColumns

Observations = Any  # an array [n, ...], or a dict of them
_AT_ONCE = 4096  # observations of a forward pass
# Errors make a student less sure than its teacher: on LunarLander drawn actions of a student at 1
# return 147, at 1/2 they return 249, as its best actions do. The best actions are the same at any.
_TEMPERATURE = 0.5


class Teacher:
    """An agent that is asked what it does.

    Targets are: of PPO, A2C and AWR the probabilities of the choices, from twice their logits; of
    DQN those of its own epsilon-greedy policy, with the last epsilon; of a Box the action without
    noise, clipped or squashed to its bounds, whatever the algorithm.

    Args:
        model: of Stable-Baselines3.
        normalizer: whose statistics its observations are normalised by; None for none.

    Raises:
        ValueError: for an agent that acts by masks, or an action space that students cannot have.
    """

    def __init__(self, model: BaseAlgorithm, normalizer: VecNormalize | None = None) -> None:
        if type(model).__name__ == "MaskablePPO":
            raise ValueError(
                "the teacher must act without masks, got MaskablePPO: the student's choices would "
                "not know which actions are allowed"
            )
        self.model, self.normalizer = model, normalizer
        self.columns = ActionColumns(model.action_space)

    def act(self, observations: Observations) -> NDArray[Any]:
        """Return the best actions for observations as the environment shows them."""
        return self.model.predict(self._seen(observations), deterministic=True)[0]

    def label(self, observations: Observations) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return targets [n, K] and weights [n] for n observations.

        The weight is what the worst action would lose: the difference of the largest and the
        smallest log probability, or Q (VIPER: Bastani, Pu and Solar-Lezama, arXiv 1805.08328); 1
        with a Box.
        """
        seen = self._seen(observations)
        n = len(next(iter(seen.values())) if isinstance(seen, dict) else seen)
        found = [self._label(_part(seen, i, i + _AT_ONCE)) for i in range(0, n, _AT_ONCE)]
        targets, weights = zip(*found, strict=True)
        return np.concatenate(targets, dtype=np.float32), np.concatenate(weights, dtype=np.float32)

    @property
    def log_std(self) -> NDArray[np.float32] | None:
        """Log standard deviations [K] of its actions; None where they are not parameters."""
        found = getattr(self.model.policy, "log_std", None)
        if found is None or found.shape != (self.columns.n_columns,):
            return None
        return np.asarray(found.detach().cpu(), np.float32)

    def _seen(self, observations: Observations) -> Observations:
        if self.normalizer is None:
            return observations
        return self.normalizer.normalize_obs(observations)

    @torch.no_grad()
    def _label(self, seen: Observations) -> tuple[NDArray[Any], NDArray[Any]]:
        policy: Any = self.model.policy
        if self.columns.is_continuous:
            actions = self.model.predict(seen, deterministic=True)[0]
            return actions.reshape(len(actions), -1), np.ones(len(actions))
        policy.set_training_mode(False)
        tensors = policy.obs_to_tensor(seen)[0]
        if isinstance(policy, ActorCriticPolicy):
            return self._choices(policy.get_distribution(tensors).distribution)
        q = policy.q_net(tensors).cpu().numpy()
        epsilon = self.model.exploration_final_eps  # type: ignore[attr-defined]
        targets = np.full_like(q, epsilon / q.shape[1])
        targets[np.arange(len(q)), q.argmax(axis=1)] += 1 - epsilon
        return targets, q.max(axis=1) - q.min(axis=1)

    def _choices(self, distribution: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        parts = distribution if isinstance(distribution, list) else [distribution]
        logits = [part.logits.cpu().numpy() for part in parts]
        targets = self.columns.link(np.concatenate(logits, axis=1) / _TEMPERATURE)
        if not self.columns.blocks:  # coins
            return targets, np.abs(logits[0]).sum(axis=1)
        return targets, np.sum([z.max(axis=1) - z.min(axis=1) for z in logits], axis=0)


def _part(observations: Observations, start: int, stop: int) -> Observations:
    if isinstance(observations, dict):
        return {key: part[start:stop] for key, part in observations.items()}
    return observations[start:stop]
