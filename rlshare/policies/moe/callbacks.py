"""What MoE policies log and do during ``learn``."""

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, TensorBoardOutputFormat
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from rlshare.moe import Telemetry
from rlshare.moe.telemetry import DEAD_SHARE
from rlshare.policies.moe.extractor import (
    MoEExtractor,
    expert_layers,
    extractor_inputs,
    select_experts,
)

_TEXT_FORMATS = ("stdout", "log", "json", "csv")  # which cannot hold a histogram
_ROWS_PER_REPORT = 2048
_DRIFT_ROWS = 512
_FIGURE_ROWS = 2048
_FIGURE_BYTES = 16 << 20  # that the observations of a picture may take, each of its two halves


class MoECallback(BaseCallback):
    """Logs ``moe/<layer>/...`` for every expert layer that learns.

    The scalars of :class:`rlshare.moe.Report`, and as histograms ``load_frac`` and ``gate_mean`` by
    expert; the layers are "shared", or "pi" and "vf", "actor" and "critic", "q_net". On-policy also
    ``router_drift``, the share of the experts of the last rollout's rows that the training on it
    replaced by others. TensorBoard also gets a picture, ``routing``: the use of the experts by task
    and the experts of an episode over its return.

    Args:
        figure_freq: environment steps between two pictures, 0 for none.

    Raises:
        ValueError: for a negative ``figure_freq``.
    """

    def __init__(self, figure_freq: int = 50_000) -> None:
        super().__init__()
        if figure_freq < 0:
            raise ValueError(f"figure_freq must be >= 0, got {figure_freq}")
        self.figure_freq = figure_freq

    def _init_callback(self) -> None:
        self._layers = dict(expert_layers(self.model.policy))
        self._telemetry = {name: Telemetry(e.experts) for name, e in self._layers.items()}
        self._before: tuple[Any, dict[str, Tensor]] | None = None
        draws = any(isinstance(f, TensorBoardOutputFormat) for f in self.logger.output_formats)
        self._steps = (
            RecentSteps(self.training_env.num_envs) if draws and self.figure_freq else None
        )
        self._drawn_at = 0

    def _on_step(self) -> bool:
        if self._steps is not None:
            # before SB3 puts the next observation in its place
            self._steps.add(self.model._last_obs, self.locals["rewards"], self.locals["dones"])
        return True

    def _on_rollout_end(self) -> None:
        if isinstance(self.model, OnPolicyAlgorithm) and self._layers:
            rows = self._rows_of_rollout(self.model)
            self._before = rows, select_experts(self.model.policy, rows)

    def _on_rollout_start(self) -> None:
        self._report()

    def _on_training_end(self) -> None:
        self._report()

    def _report(self) -> None:
        for name, telemetry in self._telemetry.items():
            # off-policy a training may be one batch
            if telemetry.rows < (1 if self._before else _ROWS_PER_REPORT):
                continue
            report = telemetry.report()
            for key, value in report.scalars().items():
                self.logger.record(f"moe/{name}/{key}", value)
            self.logger.record(f"moe/{name}/load_frac", report.load, exclude=_TEXT_FORMATS)
            self.logger.record(f"moe/{name}/gate_mean", report.gate_mean, exclude=_TEXT_FORMATS)
        if self._before is not None:
            rows, before = self._before
            for name, now in select_experts(self.model.policy, rows).items():
                kept = (now[:, :, None] == before[name][:, None, :]).any(2).float().mean()
                self.logger.record(f"moe/{name}/router_drift", 1 - float(kept))
            self._before = None
        if self._steps is not None and self.num_timesteps >= self._drawn_at + self.figure_freq:
            self._drawn_at = self.num_timesteps
            self._draw(self._steps)

    def _draw(self, steps: "RecentSteps") -> None:
        from rlshare.policies.moe.figures import draw_routing, task_names, use_by_task

        policy, rows = self.model.policy, steps.recent()
        selected, of_episode = (select_experts(policy, r) for r in (rows, steps.episode()))
        for name, extractor in self._layers.items():
            n_tasks, n_experts = max(1, extractor.n_tasks), extractor.experts.n_experts
            figure = draw_routing(
                use_by_task(
                    selected[name].cpu().numpy(),
                    _tasks(policy, extractor, rows),
                    n_tasks,
                    n_experts,
                ),
                of_episode[name].cpu().numpy(),
                steps.rewards(),
                task_names(self.training_env, extractor.n_tasks),
            )
            key = f"moe/{name}/routing"
            self.logger.record(key, Figure(figure, close=False), exclude=_TEXT_FORMATS)

    def _rows_of_rollout(self, model: OnPolicyAlgorithm) -> Any:
        """A copy of the last observations of a rollout."""
        stored = model.rollout_buffer.observations

        def last(array: Any) -> Any:
            return array.reshape(-1, *array.shape[2:])[-_DRIFT_ROWS:].copy()

        return {k: last(v) for k, v in stored.items()} if isinstance(stored, dict) else last(stored)


def _tasks(policy: BasePolicy, extractor: MoEExtractor, rows: Any) -> NDArray[np.int64]:
    """The index of each row's task, 0 without tasks."""
    if not extractor.n_tasks:
        return np.zeros(_n_rows(rows), np.int64)
    tasks = extractor.task(extractor_inputs(policy, rows))
    assert tasks is not None
    return tasks.argmax(1).cpu().numpy()


class RecentSteps:
    """The last observations of all environments, and the last whole episode of the first one.

    Until that has ended, the episode is the one under way. Of both as many steps are kept as fit
    into memory that is bounded: of large observations, and of a long episode, every second, every
    fourth ... step, whose rewards are summed.

    Args:
        n_envs: environments.
        n_bytes: that the observations of each of both may take.
    """

    def __init__(self, n_envs: int, n_bytes: int = _FIGURE_BYTES) -> None:
        self._n_envs, self._n_bytes = n_envs, n_bytes
        self._recent: deque[Any] = deque()
        self._running = _Episode()
        self._whole: _Episode | None = None

    def add(self, obs: Any, rewards: Any, dones: Any) -> None:
        """Add a step: the observations acted on, and what followed."""
        size = max(1, _n_bytes(obs) // self._n_envs)  # of a row
        rows = max(1, min(_FIGURE_ROWS, self._n_bytes // size))
        self._recent.append(_first(obs, rows))
        while len(self._recent) > max(1, rows // self._n_envs):
            self._recent.popleft()
        self._running.add(_first(obs, 1), float(rewards[0]), rows)
        if dones[0]:
            self._whole, self._running = self._running, _Episode()

    def recent(self) -> Any:
        """Return the rows of all environments."""
        return _concatenated(list(self._recent))

    def episode(self) -> Any:
        """Return the rows of the episode."""
        return _concatenated((self._whole or self._running).rows)

    def rewards(self) -> NDArray[np.float64]:
        """Return the rewards of the episode, each of the steps since the row before."""
        return np.array((self._whole or self._running).rewards)


class _Episode:
    """The steps of an episode, every second of them left out whenever they are too many."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.rewards: list[float] = []
        self._every, self._n = 1, 0

    def add(self, obs: Any, reward: float, most: int) -> None:
        if self._n % self._every == 0:
            self.rows.append(obs)
            self.rewards.append(0.0)
        self.rewards[-1] += reward
        self._n += 1
        if len(self.rows) > most:
            self.rows = self.rows[::2]
            self.rewards = [sum(self.rewards[i : i + 2]) for i in range(0, len(self.rewards), 2)]
            self._every *= 2


def _n_bytes(obs: Any) -> int:
    return sum(v.nbytes for v in obs.values()) if isinstance(obs, dict) else int(obs.nbytes)


def _n_rows(obs: Any) -> int:
    return len(next(iter(obs.values())) if isinstance(obs, dict) else obs)


def _first(obs: Any, n: int) -> Any:
    """A copy of the first rows, for a view would keep all."""
    return {k: v[:n].copy() for k, v in obs.items()} if isinstance(obs, dict) else obs[:n].copy()


def _concatenated(batches: list[Any]) -> Any:
    if isinstance(batches[0], dict):
        return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    return np.concatenate(batches)


class ResetDeadExperts(BaseCallback):
    """Replaces experts that are hardly used by near copies of the most used one.

    After a rollout's training, an expert with less than ``share`` of an even load over at least
    ``min_rows`` rows is dead: it becomes a copy of the busiest with a little noise, and the moments
    of the optimizer for its weights become 0.

    Args:
        share: of an even load, in (0, 1).
        min_rows: rows between two looks.
    """

    def __init__(self, share: float = DEAD_SHARE, min_rows: int = 10_000) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        self.share, self.min_rows = share, min_rows
        self.n_resets = 0

    def _init_callback(self) -> None:
        self._seen = {
            name: extractor.experts.statistics.counts.clone()
            for name, extractor in expert_layers(self.model.policy)
        }

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        for name, extractor in expert_layers(self.model.policy):
            self._look(name, extractor)

    def _look(self, name: str, extractor: MoEExtractor) -> None:
        layer = extractor.experts
        counts = layer.statistics.counts - self._seen[name]
        if counts.sum() < self.min_rows * layer.top_k:
            return
        self._seen[name] = layer.statistics.counts.clone()
        load = counts / counts.sum()
        for expert in torch.nonzero(load < self.share / layer.n_experts).flatten().tolist():
            layer.revive_expert(expert, like=int(load.argmax()))
            self._forget(layer, expert)
            self.n_resets += 1
        self.logger.record(f"moe/{name}/resets", self.n_resets)

    def _forget(self, layer: Any, expert: int) -> None:
        for optimizer in _optimizers(self.model.policy):
            for weight in (layer.w1, layer.b1, layer.w2, layer.b2):
                for moment in optimizer.state.get(weight, {}).values():
                    if isinstance(moment, Tensor) and moment.shape == weight.shape:
                        moment[expert] = 0


def _optimizers(policy: BasePolicy) -> list[torch.optim.Optimizer]:
    """The optimizer of the policy, or those of its actor and critic."""
    owners = [policy, *(getattr(policy, part, None) for part in ("actor", "critic"))]
    found = [getattr(owner, "optimizer", None) for owner in owners]
    return [optimizer for optimizer in found if optimizer is not None]
