"""A callback of one's own: it prints what the trees look at, and stops when the task is solved."""

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import safe_mean

import rlshare  # makes "GBTPolicy" known
from rlshare.policies import TreeCallback

FEATURES = ["position", "speed", "angle", "angular speed"]


class WatchTrees(BaseCallback):
    """Prints the return and each feature's share of the gain after every rollout."""

    def __init__(self, enough: float) -> None:
        super().__init__()
        self.enough = enough

    def _on_step(self) -> bool:
        return self._mean_return() < self.enough  # False ends the training

    def _on_rollout_end(self) -> None:
        gains = self.model.policy.ensembles[0].feature_importances()
        shares = gains / max(gains.sum(), 1e-9)
        texts = [f"{name} {share:.0%}" for name, share in zip(FEATURES, shares, strict=True)]
        trees = self.model.policy.n_trees
        print(f"return {self._mean_return():.0f}, {trees} trees:", ", ".join(texts))

    def _mean_return(self) -> float:
        episodes = self.model.ep_info_buffer or [{"r": 0.0}]
        return float(safe_mean([episode["r"] for episode in episodes]))


model = PPO(
    "GBTPolicy",
    make_vec_env("CartPole-v1", n_envs=8, seed=1),
    n_steps=128,
    batch_size=256,
    gamma=0.98,
    gae_lambda=0.8,
    policy_kwargs=dict(policy_lr=0.1, value_lr=0.05),
    seed=1,
)
# TreeCallback logs the number of trees and the time to fit one, to TensorBoard for example.
model.learn(20_000, callback=[WatchTrees(enough=60), TreeCallback()])
