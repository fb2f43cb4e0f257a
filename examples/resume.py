"""Stop and go on from Python: a saved model has its trees, its optimizer and its counters.

``rlshare train --resume`` does more: it also restores random numbers, logs and replay buffers.
"""

import tempfile
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import rlshare  # makes "GBTPolicy" known

# Rewards are normalised, observations are not: trees need no scale.
env = VecNormalize(make_vec_env("CartPole-v1", n_envs=4, seed=1), norm_obs=False)
model = PPO(
    "GBTPolicy",
    env,
    n_steps=128,
    batch_size=256,
    policy_kwargs=dict(policy_lr=0.1, value_lr=0.05),
    seed=1,
)
model.learn(2_048)

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "cartpole"
    model.save(file)
    env.save(str(file) + "_normalizer.pkl")
    print(f"stopped after {model.num_timesteps} steps with {model.policy.n_trees} trees")

    env = make_vec_env("CartPole-v1", n_envs=4, seed=2)
    env = VecNormalize.load(str(file) + "_normalizer.pkl", env)
    model = PPO.load(file, env=env)

# The steps count on, and with them the schedules.
model.learn(2_048, reset_num_timesteps=False)
print(f"went on to {model.num_timesteps} steps with {model.policy.n_trees} trees")
