"""When dead experts are looked at, what the optimizers forget of them, and how often is drawn."""

from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlshare.moe import MoELayer
from rlshare.policies import MoECallback, ResetDeadExperts
from rlshare.policies.moe.extractor import expert_layers

MOE = {"n_experts": 4, "top_k": 2, "width": 16, "hidden": 16}


def agent(algorithm: type[PPO] | type[SAC]) -> Any:
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 1}
    if algorithm is SAC:
        settings = {"learning_starts": 8, "batch_size": 16}
    return algorithm(
        "MoEPolicy", "Pendulum-v1", policy_kwargs={"moe": MOE}, seed=0, device="cpu", **settings
    )


def count(layer: MoELayer, *rows: float) -> None:
    """Let a layer have learnt from as many further rows of each expert."""
    layer.statistics.counts.add_(torch.tensor(rows))


def test_dead_experts_are_looked_for_every_so_many_rows() -> None:
    model = agent(PPO)
    model.set_logger(configure(None, []))
    layer = model.policy.features_extractor.experts
    count(layer, 1000.0, 1000.0, 0.0, 1000.0)  # before the callback
    callback = ResetDeadExperts(min_rows=100)
    callback.init_callback(model)
    count(layer, 60.0, 60.0, 60.0, 0.0)  # of 90 rows, each sent to two experts
    callback.on_rollout_start()
    assert callback.n_resets == 0
    count(layer, 10.0, 5.0, 5.0, 0.0)
    callback.on_rollout_start()
    assert callback.n_resets == 1  # the last, and not the one that was unused before
    count(layer, 60.0, 60.0, 60.0, 0.0)  # 90 rows since the last look
    callback.on_rollout_start()
    assert callback.n_resets == 1


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_a_dead_expert_is_a_near_copy_of_the_busiest_without_moments(algorithm: Any) -> None:
    model = agent(algorithm).learn(64)
    callback = ResetDeadExperts(min_rows=100)
    callback.init_callback(model)
    layers = dict(expert_layers(model.policy))
    assert len(layers) == (1 if algorithm is PPO else 2)
    for extractor in layers.values():
        extractor.experts.router_weight.data.normal_()
        count(extractor.experts, 30.0, 100.0, 0.0, 70.0)
    callback.on_rollout_start()
    assert callback.n_resets == len(layers)
    for extractor in layers.values():
        layer = extractor.experts
        for weight in (layer.w1, layer.w2, layer.router_weight):
            assert 0 < (weight[2] - weight[1]).std() < 0.02 * weight[1].std()
    policy = model.policy
    owners = [policy] if algorithm is PPO else [policy.actor, policy.critic]
    for owner, extractor in zip(owners, layers.values(), strict=True):
        layer, state = extractor.experts, owner.optimizer.state
        for weight in (layer.w1, layer.b1, layer.w2, layer.b2):
            for moment in (state[weight]["exp_avg"], state[weight]["exp_avg_sq"]):
                assert not moment[2].any()
                assert moment[1].any()


def test_pictures_are_as_many_as_asked_for(tmp_path: Path) -> None:
    model = agent(PPO)
    model.set_logger(configure(str(tmp_path), ["tensorboard"]))
    model.learn(320, callback=MoECallback(figure_freq=100))
    pictures = EventAccumulator(str(tmp_path)).Reload().Images("moe/shared/routing")
    assert [picture.step for picture in pictures] == [160, 288]  # written with the row that follows
