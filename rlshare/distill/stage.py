"""Where teacher and student act: vectorised environments, each shown as it learns from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from rlshare.distill.teacher import Observations
from rlshare.policies.gbt.features import TabularFeatures

Act = Callable[["View"], NDArray[Any]]


class View(NamedTuple):
    """One moment of n environments.

    Attributes:
        rows: features for the student [n, d].
        shown: observations for the teacher, not normalised.
    """

    rows: NDArray[Any]
    shown: Observations


class Step(NamedTuple):
    """What followed from an action in n environments; of ``infos`` as in Stable-Baselines3."""

    view: View
    actions: NDArray[Any]
    rewards: NDArray[Any]
    dones: NDArray[np.bool_]
    infos: list[dict[str, Any]]


class Stage:
    """Copies of an environment.

    Args:
        env: with the student's observations.
        twin: the same with the teacher's, where these are others: it is seeded alike and makes the
            same steps. None where both see the same.
    """

    def __init__(self, env: VecEnv, twin: VecEnv | None = None) -> None:
        self.env, self.twin = env, twin
        self.features = TabularFeatures(env.observation_space)
        self._view: View | None = None

    def reset(self, seed: int) -> None:
        """Begin new episodes."""
        seen = []
        for env in self._envs():
            env.seed(seed)
            seen.append(env.reset())
        self._view = self._viewed(seen)

    def steps(self, act: Act) -> Iterator[Step]:
        """Yield steps without end; ``act`` says the actions. ``reset`` comes first.

        Raises:
            ValueError: where the twin comes to other rewards or ends.
        """
        while True:
            view = self._view
            assert view is not None
            actions = act(view)
            found = [env.step(actions) for env in self._envs()]
            _, rewards, dones, infos = found[0]
            for _, other, ends, _ in found[1:]:
                if not (np.array_equal(rewards, other) and np.array_equal(dones, ends)):
                    raise ValueError(
                        "teacher and student see this environment differently, and copies of it "
                        "that are seeded alike must go alike, but their rewards differ"
                    )
            self._view = self._viewed([step[0] for step in found])
            yield Step(view, actions, rewards, dones, infos)

    def rows_of(self, observation: Any) -> NDArray[Any]:
        """Return the features [1, d] of one observation."""
        batch: Any = np.asarray(observation)[None]
        if isinstance(observation, dict):
            batch = {key: np.asarray(part)[None] for key, part in observation.items()}
        return np.asarray(self.features(batch))

    @property
    def rows(self) -> NDArray[Any]:
        """Features [n, d] of the present observations."""
        assert self._view is not None
        return self._view.rows

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs():
            env.close()

    def _envs(self) -> list[VecEnv]:
        return [self.env] if self.twin is None else [self.env, self.twin]

    def _viewed(self, seen: list[Any]) -> View:
        # environments may write over what they have shown
        return View(self.features(seen[0]).copy(), _copied(seen[-1]))


class Played(NamedTuple):
    """Whole episodes: their returns [n] and lengths [n], and the views of all steps if kept."""

    returns: list[float]
    lengths: list[int]
    views: list[View]


def play(stage: Stage, act: Act, n_episodes: int, seed: int, keep_views: bool = False) -> Played:
    """Play episodes from a seed on, shared out evenly among the environments.

    Returns are those of SB3's Monitor where there is one: the true scores of games.
    """
    n_envs = stage.env.num_envs
    missing = np.array([(n_episodes + i) // n_envs for i in range(n_envs)])
    monitored = all(stage.env.env_is_wrapped(Monitor))
    totals, counts = np.zeros(n_envs), np.zeros(n_envs, int)
    returns: list[float] = []
    lengths: list[int] = []
    views: list[View] = []
    stage.reset(seed)
    for step in stage.steps(act):
        if keep_views:
            views.append(step.view)
        totals += step.rewards
        counts += 1
        for i in np.flatnonzero(step.dones):
            episode = {"r": totals[i], "l": counts[i]}
            if monitored and "episode" not in step.infos[i]:
                continue  # the loss of one of a game's lives
            episode = step.infos[i].get("episode", episode)
            if missing[i] > 0:
                returns.append(float(episode["r"]))
                lengths.append(int(episode["l"]))
            missing[i] -= 1
            totals[i] = counts[i] = 0
        if (missing <= 0).all():
            break
    return Played(returns, lengths, views)


def _copied(observations: Observations) -> Observations:
    if isinstance(observations, dict):
        return {key: part.copy() for key, part in observations.items()}
    return observations.copy()


def joined(views: list[View]) -> View:
    """Return many views as one."""
    shown = [view.shown for view in views]
    rows = np.concatenate([view.rows for view in views])
    if isinstance(shown[0], dict):
        return View(rows, {key: np.concatenate([part[key] for part in shown]) for key in shown[0]})
    return View(rows, np.concatenate(shown))
