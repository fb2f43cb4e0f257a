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
from rlshare.policies.moe.extractor import MoEExtractor, expert_layers, extractor_inputs

_TEXT_FORMATS = ("stdout", "log", "json", "csv")  # which cannot hold a histogram
_ROWS_PER_REPORT = 2048
_DRIFT_ROWS = 512
_FIGURE_ROWS = 2048


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
            inputs = self._rows_of_rollout(self.model)
            self._before = inputs, self._select(inputs)

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
            inputs, before = self._before
            for name, now in self._select(inputs).items():
                kept = (now[:, :, None] == before[name][:, None, :]).any(2).float().mean()
                self.logger.record(f"moe/{name}/router_drift", 1 - float(kept))
            self._before = None
        if self._steps is not None and self.num_timesteps >= self._drawn_at + self.figure_freq:
            self._drawn_at = self.num_timesteps
            self._draw(self._steps)

    def _draw(self, steps: "RecentSteps") -> None:
        from rlshare.policies.moe.figures import draw_routing, task_names, use_by_task

        policy = self.model.policy
        rows, episode = (extractor_inputs(policy, s) for s in (steps.recent(), steps.episode()))
        for name, extractor in self._layers.items():
            n_tasks, n_experts = max(1, extractor.n_tasks), extractor.experts.n_experts
            tasks = extractor.task(rows)
            selected = extractor.select(rows).cpu().numpy()
            of = (
                np.zeros(len(selected), np.int64)
                if tasks is None
                else tasks.argmax(1).cpu().numpy()
            )
            figure = draw_routing(
                use_by_task(selected, of, n_tasks, n_experts),
                extractor.select(episode).cpu().numpy(),
                steps.rewards(),
                task_names(self.training_env, extractor.n_tasks),
            )
            key = f"moe/{name}/routing"
            self.logger.record(key, Figure(figure, close=False), exclude=_TEXT_FORMATS)

    def _select(self, inputs: Any) -> dict[str, Tensor]:
        return {name: layer.select(inputs) for name, layer in self._layers.items()}

    def _rows_of_rollout(self, model: OnPolicyAlgorithm) -> Any:
        """The last observations of a rollout, preprocessed."""
        stored = model.rollout_buffer.observations

        def last(array: Any) -> Any:
            return array.reshape(-1, *array.shape[2:])[-_DRIFT_ROWS:]

        rows = {k: last(v) for k, v in stored.items()} if isinstance(stored, dict) else last(stored)
        return extractor_inputs(model.policy, rows)


class RecentSteps:
    """The last observations of all environments, and the last whole episode of the first one.

    Until that has ended, the episode is the one under way.
    """

    def __init__(self, n_envs: int) -> None:
        self._recent: deque[Any] = deque(maxlen=max(1, _FIGURE_ROWS // n_envs))
        self._running: list[tuple[Any, float]] = []
        self._whole: list[tuple[Any, float]] = []

    def add(self, obs: Any, rewards: Any, dones: Any) -> None:
        """Add a step: the observations acted on, and what followed."""
        self._recent.append(obs)
        first = {k: v[:1] for k, v in obs.items()} if isinstance(obs, dict) else obs[:1]
        self._running.append((first, float(rewards[0])))
        if dones[0] or len(self._running) == _FIGURE_ROWS:
            self._whole, self._running = self._running, []

    def recent(self) -> Any:
        """Return the rows of all environments."""
        return _concatenated(list(self._recent))

    def episode(self) -> Any:
        """Return the rows of the episode."""
        return _concatenated([obs for obs, _ in self._whole or self._running])

    def rewards(self) -> NDArray[np.float64]:
        """Return the rewards of the episode."""
        return np.array([reward for _, reward in self._whole or self._running])


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
