"""What a MoE policy is made with and keeps: rates by group, options in files, states of copies."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import StateDependentNoiseDistribution

from rlshare.policies import MoEPolicy

BOX, ACTION = spaces.Box(-1.0, 1.0, (3,)), spaces.Box(-1.0, 1.0, (2,))
MOE = {"n_experts": 4, "top_k": 2, "width": 16, "hidden": 16}
LAYERS = {"pi": [8], "vf": [8]}


def policy(**kwargs: Any) -> MoEPolicy:
    torch.manual_seed(0)
    return MoEPolicy(BOX, ACTION, lambda _: 0.1, moe=MOE, **kwargs)


@pytest.mark.parametrize("shared", [True, False])
def test_hidden_layers_of_the_critic_have_its_rate(shared: bool) -> None:
    steps = []
    for scale in (1.0, 0.25):
        made = policy(
            shared=shared, net_arch=LAYERS, value_lr_scale=scale,
            optimizer_class=torch.optim.SGD, optimizer_kwargs={},
        )  # fmt: skip
        before = {name: p.detach().clone() for name, p in made.named_parameters()}
        made.predict_values(torch.linspace(-1, 1, 30).view(10, 3)).sum().backward()
        made.optimizer.step()
        steps.append({name: p.detach() - before[name] for name, p in made.named_parameters()})
    assert steps[0]["mlp_extractor.value_net.0.weight"].any()
    for name, step in steps[0].items():
        assert torch.allclose(steps[1][name], 0.25 * step, atol=1e-7), name


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.25), (0.25, 1.0), (0.25, 4.0)])
def test_moments_stay_with_their_parameters(before: float, after: float) -> None:
    """Those of a critic lie in the middle of all, and are a group of their own or not."""
    made, other = (
        policy(shared=False, net_arch=LAYERS, value_lr_scale=scale) for scale in (before, after)
    )
    values, log_prob, _ = made.evaluate_actions(torch.rand(8, 3), torch.rand(8, 2))
    (values.square().mean() - log_prob.mean()).backward()
    made.optimizer.step()
    other.optimizer.load_state_dict(made.optimizer.state_dict())
    for ours, theirs in zip(made.parameters(), other.parameters(), strict=True):
        moments = made.optimizer.state[ours], other.optimizer.state[theirs]
        assert moments[0].keys() == moments[1].keys()
        assert all(torch.equal(m, moments[1][name]) for name, m in moments[0].items())


@pytest.mark.parametrize("shared", [True, False])
def test_stored_routes_are_those_of_actor_and_critic(shared: bool) -> None:
    made = policy(shared=shared, store_routes=True)
    rows: Any = torch.rand(8, 3)
    rows.row_ids, rows.rollout = np.arange(8), rows.numpy()
    actions = torch.rand(8, 2)
    values, log_prob, _ = made.evaluate_actions(rows, actions)
    plain = torch.from_numpy(rows.rollout)
    assert torch.equal(values, made.predict_values(plain))
    assert torch.equal(log_prob, made.get_distribution(plain).log_prob(actions))


def test_adam_has_the_epsilon_of_the_policy_it_stands_for() -> None:
    from stable_baselines3.common.policies import ActorCriticPolicy

    stock = ActorCriticPolicy(BOX, ACTION, lambda _: 0.1)
    assert policy().optimizer.defaults["eps"] == stock.optimizer.defaults["eps"] == 1e-5


def test_a_policy_alone_keeps_its_options(tmp_path: Path) -> None:
    options = {
        "store_routes": True, "value_lr_scale": 0.5, "shared": False, "net_arch": LAYERS,
        "ortho_init": False, "normalize_images": False,
    }  # fmt: skip
    made = policy(**options)
    made.save(str(tmp_path / "policy.pt"))
    loaded = MoEPolicy.load(str(tmp_path / "policy.pt"))
    kept = loaded._get_constructor_parameters()
    assert {name: kept[name] for name in options} == options
    with pytest.raises(ValueError, match="store_routes=True needs"):
        loaded.evaluate_actions(torch.zeros(2, 3), torch.zeros(2, 2))


@torch.no_grad()
def test_a_copy_explores_as_the_original_does() -> None:
    made = policy(use_sde=True)
    made.reset_noise(4)  # environments
    copied = copy.deepcopy(made)
    assert isinstance(copied.action_dist, StateDependentNoiseDistribution)
    obs = torch.linspace(-1, 1, 12).view(4, 3)
    found = [each.get_distribution(obs).sample() for each in (made, copied)]
    assert torch.equal(*found)
    assert (found[0] - made.get_distribution(obs).mode()).abs().min() > 0
