"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

from rlshare.runs.callbacks.clock import Clock

_LINES = 10
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_BARS = 0.1


class ProgressReport(BaseCallback):
    """Shows steps, mean return of the last 100 episodes, steps per second and trees."""

    def __init__(self, total: int, bar: bool, clock: Clock) -> None:
        super().__init__()
        self.total, self.bar, self.clock = total, bar, clock
        self._progress: Progress | None = None
        self._task: Any = None
        self._next_line = 0
        self._last_time = 0.0

    def _on_training_start(self) -> None:
        self._last_time = time.perf_counter()
        self._next_line = self.num_timesteps + self.total // _LINES
        if self.bar:
            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._progress.start()
            self._task = self._progress.add_task("", total=self.total, completed=self.num_timesteps)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self._progress is not None:
            # Off-policy a rollout may be one step.
            if time.perf_counter() - self._last_time > _SECONDS_BETWEEN_BARS:
                self._last_time = time.perf_counter()
                self._update(self._progress)
        elif self._line_is_due():
            self._next_line = self.num_timesteps + self.total // _LINES
            self._last_time = time.perf_counter()
            print(f"step {self.num_timesteps:,} of {self.total:,} | {self._status()}", flush=True)

    def _on_training_end(self) -> None:
        if self._progress is not None:
            self._update(self._progress)
        self.close()

    def _update(self, progress: Progress) -> None:
        completed = min(self.num_timesteps, self.total)
        progress.update(self._task, completed=completed, description=self._status())

    def close(self) -> None:
        """Give the terminal back; also needed when training ends with an error."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _line_is_due(self) -> bool:
        late = time.perf_counter() - self._last_time > _SECONDS_BETWEEN_LINES
        return self.num_timesteps >= self._next_line or late

    def _status(self) -> str:
        episodes = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        score = f"return {sum(episodes) / len(episodes):.1f}" if episodes else "no episode yet"
        speed = self.clock.steps_per_second
        trees = getattr(self.model.policy, "n_trees", None)
        return " | ".join(
            [score, f"{speed:,.0f} steps/s", *([] if trees is None else [f"{trees:,} trees"])]
        )
