"""Advantage-weighted regression as an algorithm of Stable-Baselines3."""

import io
import math
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.save_util import load_from_pkl
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, PyTorchObs, Schedule
from stable_baselines3.common.utils import explained_variance
from torch import Tensor, nn

from rlshare import checks
from rlshare.agents.awr.trajectories import (
    DictTrajectoryBuffer,
    FloatArray,
    Trajectories,
    TrajectoryBuffer,
    TrajectorySamples,
)
from rlshare.policies import GBTPolicy, MoECnnPolicy, MoEPolicy
from rlshare.policies.gbt.options import TreeActorCriticOptions

_CHUNK = 4096  # rows whose values are computed at once
# Of trees, where ``policy_kwargs`` say nothing else: so their value follows returns of hundreds
# within a few training phases.
_TREES = {"value_lr": 0.1}
# With continuous actions a sample's step on a mean is policy_lr * weight * distance / variance,
# weights go up to w_max, and the policy's own defaults would overshoot fifty times further with
# every tree.
_CONTINUOUS_TREES = {
    "policy_lr": 0.01,
    "value_lr": 0.05,
    "log_std_init": 0.0,
    "max_policy_grad_norm": 10.0,
}
# Of leaves that move, whose step on a mean is policy_lr * weight * distance.
_CONTINUOUS_REFIT_LR = 0.1


class AWR(OffPolicyAlgorithm):
    """Advantage-weighted regression (Peng et al., arXiv 1910.00177), for trees and networks.

    The policy is regressed onto the actions of a replay buffer of trajectories, each weighted by
    min(exp(advantage / beta), w_max); the value function onto their TD(lambda) returns. Before each
    training phase the returns and advantages of the whole buffer are computed anew.

    Where actor and critic share nothing, the value is trained first, ``gradient_steps`` times, the
    advantages are computed again, and then the policy is trained. Where they share trees or a
    feature extractor every step is a joint one, on policy loss + ``vf_coef`` * squared error / 2:
    a step on the policy's loss alone would move the value function too.

    Args:
        policy: "GBTPolicy", "MoEPolicy", "MoECnnPolicy", "MlpPolicy", "CnnPolicy",
            "MultiInputPolicy", or a class.
        env: the environment, or its id. Actions are Box, Discrete, MultiDiscrete or MultiBinary.
        learning_rate: of torch parameters; a schedule scales the rates of trees.
        buffer_size: transitions kept, of all environments together.
        batch_size: rows of a gradient step, drawn with replacement.
        gamma: discount factor.
        gae_lambda: of returns and advantages; 1 for Monte-Carlo.
        train_freq: steps of every environment between two training phases, or (n, "episode").
        gradient_steps: of a training phase, for the value and for the policy.
        beta: temperature of the weights: the smaller, the greedier.
        w_max: largest weight.
        normalize_advantage: standardise the advantages of the buffer before they are weighted.
        ent_coef: coefficient of the entropy in the policy's loss.
        vf_coef: coefficient of the value's loss in joint steps.
        max_grad_norm: norm to which the gradient of torch parameters is clipped.
        stats_window_size: episodes in the logged means.
        tensorboard_log: folder of the logs.
        policy_kwargs: arguments of the policy. Trees that are added have other defaults here:
            value_lr .1; with Box actions policy_lr .01, value_lr .05, log_std_init 0,
            max_policy_grad_norm 10. With Box actions the policy_lr of leaves that move is .1.
        verbose: 0 silent, 1 info, 2 debug.
        seed: of all random generators.
        device: of torch.

    Raises:
        ValueError: for an argument that breaks its rule; the message states both.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
        "GBTPolicy": GBTPolicy,
        "MoEPolicy": MoEPolicy,
        "MoECnnPolicy": MoECnnPolicy,
    }
    policy: ActorCriticPolicy
    replay_buffer: TrajectoryBuffer

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 10_000,
        batch_size: int = 512,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        train_freq: int | tuple[int, str] = 500,
        gradient_steps: int = 25,
        beta: float = 1.0,
        w_max: float = 20.0,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None is for load
            learning_rate
            if callable(learning_rate)
            else checks.finite("learning_rate", learning_rate),
            buffer_size=checks.integer("buffer_size", buffer_size, 1),
            learning_starts=0,
            batch_size=checks.integer("batch_size", batch_size, 1),
            gamma=checks.fraction("gamma", gamma),
            train_freq=_frequency(train_freq),
            gradient_steps=checks.integer("gradient_steps", gradient_steps, 1),
            policy_kwargs=policy_kwargs,
            stats_window_size=checks.integer("stats_window_size", stats_window_size, 1),
            tensorboard_log=tensorboard_log,
            verbose=checks.integer("verbose", verbose, 0),
            device=device,
            support_multi_env=True,
            seed=None if seed is None else checks.integer("seed", seed, 0),
            sde_support=False,
            supported_action_spaces=(
                spaces.Box,
                spaces.Discrete,
                spaces.MultiDiscrete,
                spaces.MultiBinary,
            ),
        )
        self.gae_lambda = checks.fraction("gae_lambda", gae_lambda)
        self.beta = checks.positive("beta", beta)
        self.w_max = checks.positive("w_max", w_max)
        self.normalize_advantage = checks.switch("normalize_advantage", normalize_advantage)
        self.ent_coef = checks.finite("ent_coef", ent_coef)
        self.vf_coef = checks.non_negative("vf_coef", vf_coef)
        self.max_grad_norm = checks.positive("max_grad_norm", max_grad_norm)
        if _init_setup_model:
            self._check_policy()
            self._setup_model()

    def _check_policy(self) -> None:
        if self.policy_kwargs.get("use_sde"):
            raise ValueError(
                "use_sde must be False with AWR, got True: its noise would never be drawn anew"
            )
        if not issubclass(self.policy_class, ActorCriticPolicy):
            raise ValueError(
                "policy must be an ActorCriticPolicy, with a distribution of actions and a value, "
                f"got {self.policy_class.__name__}"
            )

    def _setup_model(self) -> None:
        if issubclass(self.policy_class, GBTPolicy):  # also where a model is loaded with others
            self.policy_kwargs = {**self._defaults_of_trees(), **self.policy_kwargs}
        is_dict = isinstance(self.observation_space, spaces.Dict)
        self.replay_buffer_class = DictTrajectoryBuffer if is_dict else TrajectoryBuffer
        super()._setup_model()
        if self.shared and not self.vf_coef > 0:
            raise ValueError(
                "vf_coef must be > 0 where actor and critic share trees or a feature extractor: "
                "a step on the policy's loss alone would move the value function with it, got "
                f"{self.vf_coef}"
            )
        if self.policy_kwargs.get("store_routes") and not self.shared:
            raise ValueError(
                "store_routes must be False in AWR where actor and critic share nothing, got True: "
                "routes are kept in joint steps only"
            )

    def _defaults_of_trees(self) -> dict[str, Any]:
        continuous = isinstance(self.action_space, spaces.Box)
        if refit := TreeActorCriticOptions.defaults(self.policy_kwargs):
            return {**refit, "policy_lr": _CONTINUOUS_REFIT_LR} if continuous else refit
        return _CONTINUOUS_TREES if continuous else _TREES

    @property
    def shared(self) -> bool:
        """Whether a step on the policy's loss alone would change the value function."""
        if isinstance(self.policy, GBTPolicy):
            return len(self.policy.ensembles) == 1
        extractor = self.policy.features_extractor
        return self.policy.share_features_extractor and any(True for _ in extractor.parameters())

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if reset_num_timesteps or self._last_obs is None:  # the environments begin anew
            self.replay_buffer.end_episodes()
        return super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the actions to take, within the space, and as the policy drew them."""
        assert self._last_obs is not None  # set by SB3 before the first step
        obs, _ = self.policy.obs_to_tensor(self._last_obs)
        with torch.no_grad():
            if isinstance(self.policy, GBTPolicy):
                self.policy.keep_to_budget(obs)
            drawn = self.policy.get_distribution(obs).get_actions().cpu().numpy()
        if not isinstance(self.action_space, spaces.Box):
            return drawn, drawn
        return np.clip(drawn, self.action_space.low, self.action_space.high), drawn

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Train value and policy on the buffer; SB3 calls this after every collection."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        data = self.replay_buffer.trajectories(self._vec_normalize_env)
        values = self._estimate(data)
        self.logger.record("train/explained_variance", explained_variance(values, data.returns))
        if self.shared:
            self._regress(data, gradient_steps, batch_size, self._joint_loss)
        else:
            self._regress(data, gradient_steps, batch_size, self._value_loss)
            self._estimate(data)
            self._regress(data, gradient_steps, batch_size, self._policy_loss)
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_fraction", np.mean(data.weights >= self.w_max))
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", torch.exp(self.policy.log_std).mean().item())

    @torch.no_grad()
    def _estimate(self, data: Trajectories) -> FloatArray:
        """Compute returns and weights by the present value function; return its values [n]."""

        def values_of(observations: PyTorchObs) -> FloatArray:
            found: FloatArray = self.policy.predict_values(observations).cpu().numpy()
            return found.flatten()

        chunks = np.split(np.arange(data.n_rows), range(_CHUNK, data.n_rows, _CHUNK))
        values = np.concatenate([values_of(data.observations_of(rows)) for rows in chunks])
        following = values_of(data.next_observations) if len(data.end_rows) else values[:0]
        data.compute_returns_and_advantages(values, following, self.gamma, self.gae_lambda)
        data.weights = self._weights(data.advantages)
        return values

    def _weights(self, advantages: FloatArray) -> FloatArray:
        """Return min(exp(advantage / beta), w_max) [n]."""
        if self.normalize_advantage:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        exponents, largest = advantages / self.beta, math.log(self.w_max)
        # not w_max to the last bit where clipped, and clip_fraction counts those that are
        bounded = np.exp(np.minimum(exponents, largest))
        weights: FloatArray = np.where(exponents < largest, bounded, self.w_max)
        return weights

    def _regress(
        self,
        data: Trajectories,
        gradient_steps: int,
        batch_size: int,
        loss_of: Callable[[TrajectorySamples], Tensor],
    ) -> None:
        for _ in range(gradient_steps):
            loss = loss_of(data.take(np.random.randint(data.n_rows, size=batch_size)))
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()

    def _joint_loss(self, batch: TrajectorySamples) -> Tensor:
        values, log_prob, entropy = self.policy.evaluate_actions(
            batch.observations, self._actions(batch)
        )
        policy_loss = self._weighted_regression(log_prob, entropy, batch.weights)
        return policy_loss + self.vf_coef * self._squared_error(values, batch.returns)

    def _policy_loss(self, batch: TrajectorySamples) -> Tensor:
        distribution = self.policy.get_distribution(batch.observations)
        log_prob = distribution.log_prob(self._actions(batch))
        return self._weighted_regression(log_prob, distribution.entropy(), batch.weights)

    def _value_loss(self, batch: TrajectorySamples) -> Tensor:
        values = self.policy.predict_values(batch.observations)
        return self._squared_error(values, batch.returns)

    def _weighted_regression(
        self, log_prob: Tensor, entropy: Tensor | None, weights: Tensor
    ) -> Tensor:
        """Return the loss of equation 6, less the entropy; log_prob, entropy, weights [m]."""
        policy_loss = -(weights * log_prob).mean()
        entropy_loss = log_prob.mean() if entropy is None else -entropy.mean()
        self.logger.record_mean("train/policy_loss", policy_loss.item())
        self.logger.record_mean("train/entropy_loss", entropy_loss.item())
        return policy_loss + self.ent_coef * entropy_loss

    def _squared_error(self, values: Tensor, returns: Tensor) -> Tensor:
        loss = nn.functional.mse_loss(values.flatten(), returns) / 2
        self.logger.record_mean("train/value_loss", loss.item())
        return loss

    def _actions(self, batch: TrajectorySamples) -> Tensor:
        is_discrete = isinstance(self.action_space, spaces.Discrete)
        return batch.actions.long().flatten() if is_discrete else batch.actions

    def load_replay_buffer(
        self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True
    ) -> None:
        """Load a buffer that ``save_replay_buffer`` wrote.

        Args:
            path: of the file, or the open file.
            truncate_last_traj: end the episodes that were under way; False only where the same
                episodes go on.

        Raises:
            ValueError: if it is another kind of buffer, or of other spaces or another number of
                environments; the present buffer then stays.
        """
        loaded: Any = load_from_pkl(path, self.verbose)
        names = ("observation_space", "action_space", "n_envs")
        buffers = (self.replay_buffer, loaded)
        wanted, got = ((type(b).__name__, *(getattr(b, n, None) for n in names)) for b in buffers)
        if wanted != got:
            raise ValueError(
                f"the replay buffer must have (kind, {', '.join(names)}) = {wanted}, got {got}"
            )
        loaded.device = self.device
        if truncate_last_traj:
            loaded.end_episodes()
        self.replay_buffer = loaded

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


def _frequency(train_freq: Any) -> int | tuple[int, str]:
    """Return steps between two training phases, or (n, "step" or "episode")."""
    if not isinstance(train_freq, tuple | list):
        return checks.integer("train_freq", train_freq, 1)
    if len(train_freq) != 2 or train_freq[1] not in ("step", "episode"):
        raise ValueError(
            f'train_freq must be steps, or (n, "step") or (n, "episode"), got {train_freq!r}'
        )
    return checks.integer("train_freq", train_freq[0], 1), train_freq[1]


AWR.__module__ = "rlshare.agents"
