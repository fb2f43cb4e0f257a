"""Dict observations: trees see categories and numbers, networks the one-hot and numbers.

``rlshare/Selling-v0`` offers goods of a kind at a price; its best policy is known.
"""

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import rlshare  # makes "GBTPolicy" known
from rlshare.envs import Selling, WorldVecEnv
from rlshare.policies import DictTreeRolloutBuffer

world = Selling(n_kinds=12, n_offers=10)
print(world.observation_space)
model = PPO(
    "GBTPolicy",
    WorldVecEnv(world, 16),
    n_steps=128,
    batch_size=512,
    n_epochs=4,
    rollout_buffer_class=DictTreeRolloutBuffer,  # each tree is walked once a row
    policy_kwargs=dict(tree=dict(max_depth=6, bins="rollout"), policy_lr=0.2, value_lr=0.1),
    seed=1,
)
model.learn(20_000)
mean, _ = evaluate_policy(model, VecMonitor(WorldVecEnv(world, 16)), n_eval_episodes=500)
print(f"return {mean:.3f}, the best policy's {world.optimal_return:.3f}")
# The features are those of the entries in the order of their sorted keys.
names = ["kind", "price", "share of offers left"]
for name, gain in zip(names, model.policy.ensembles[0].feature_importances(), strict=True):
    print(f"{name}: {gain:.0f}")
