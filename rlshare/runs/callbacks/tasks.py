"""Returns by task."""

from collections import deque

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean

_EPISODES = 20  # that a logged mean is over


class TaskReturns(BaseCallback):
    """Logs means over each task's last 20 episodes.

    They are ``rollout/<task>/ep_rew_mean`` and, of tasks that say ``info["is_success"]`` at the end
    of an episode, ``rollout/<task>/success_rate``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, deque[float]] = {}

    def _on_step(self) -> bool:
        for info in self.locals.get("infos", ()):
            if "episode" in info and "task" in info:
                self._remember(f"rollout/{info['task']}/ep_rew_mean", info["episode"]["r"])
                if "is_success" in info:
                    self._remember(f"rollout/{info['task']}/success_rate", info["is_success"])
        return True

    def _remember(self, key: str, value: float) -> None:
        self._last.setdefault(key, deque(maxlen=_EPISODES)).append(float(value))

    def _on_rollout_end(self) -> None:
        for key, values in self._last.items():
            self.logger.record(key, safe_mean(values))
