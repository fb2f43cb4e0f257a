"""Dense networks out of mixtures, and back."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlshare.policies import MoEPolicy, matched_mlp, slice_task_policy, upcycle

TASKS = 3


def policy(moe: dict[str, Any], **kwargs: Any) -> MoEPolicy:
    torch.manual_seed(0)
    made = MoEPolicy(
        spaces.Box(-1.0, 1.0, (5 + TASKS,)),
        spaces.Box(-1.0, 1.0, (2,)),
        lambda _: 1e-3,
        moe={"width": 12, "hidden": 10, **moe},
        **kwargs,
    )
    for name, parameter in made.named_parameters():
        if "experts" in name and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def observations(task: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    obs = np.zeros((20, 5 + TASKS), np.float32)
    obs[:, :5] = rng.normal(size=(20, 5))
    obs[:, 5 + task] = 1
    return torch.as_tensor(obs)


def outputs(made: MoEPolicy, obs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        mean = made.get_distribution(obs).mode()
        return torch.cat([mean, made.predict_values(obs)], 1)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "moe",
    [
        {"top_k": 2},
        {"top_k": 1},
        {"gate": "soft_dense"},
        {"gate": "sigmoid_bias", "top_k": 3},
        {"gate": "merge"},
        {"top_k": 2, "n_shared": 0},
    ],
)
def test_a_slice_acts_as_the_mixture_in_its_task(moe: dict[str, Any], shared: bool) -> None:
    mixture = policy(
        {"n_experts": 4, "top_k": 2, "router": "task", "n_tasks": TASKS, **moe}, shared=shared
    )
    for task in range(TASKS):
        obs = observations(task)
        dense = slice_task_policy(mixture, task)
        assert torch.allclose(outputs(dense, obs), outputs(mixture, obs), atol=1e-5)
        other = observations((task + 1) % TASKS)
        assert not torch.allclose(outputs(dense, other), outputs(mixture, other), atol=1e-3)


def test_upcycling_keeps_what_the_policy_does() -> None:
    dense = policy({"n_experts": 1, "top_k": 1})
    obs = observations(0)
    exact = upcycle(dense, n_experts=6, top_k=2, noise=0.0)
    assert torch.allclose(outputs(exact, obs), outputs(dense, obs), atol=1e-5)
    near = upcycle(dense, n_experts=6, top_k=2)
    assert torch.allclose(outputs(near, obs), outputs(dense, obs), atol=0.2)
    w1 = near.features_extractor.experts.w1
    assert not torch.equal(w1[0], w1[1])


@pytest.mark.parametrize("moe", [{}, {"n_experts": 16, "top_k": 4, "width": 32, "n_shared": 2}])
def test_matched_networks_have_as_many_parameters_and_products(moe: dict[str, Any]) -> None:
    options = {"width": 64, "hidden": 64, "n_experts": 8, "top_k": 4, **moe}
    width = options["width"]
    mixture = policy(options).features_extractor.experts
    found = matched_mlp(options)
    dense = policy(found["parameters"]).features_extractor.experts
    count = [sum(p.numel() for p in layer.parameters()) for layer in (mixture, dense)]
    assert abs(count[0] - count[1]) <= 2 * width + 1
    active = (options["top_k"] + options.get("n_shared", 0)) * options["hidden"]
    products = 2 * width * active + mixture.router_weight.numel()
    assert abs(2 * width * found["flops"]["hidden"] - products) <= 2 * width
    assert found["flops"]["n_experts"] == found["parameters"]["n_experts"] == 1


def test_bad_requests() -> None:
    mixture = policy({"n_experts": 4, "top_k": 2})
    with pytest.raises(ValueError, match="needs router='task'"):
        slice_task_policy(mixture, 0)
    with pytest.raises(ValueError, match=r"task must be in \[0, 3\), got 3"):
        slice_task_policy(policy({"router": "task", "n_tasks": TASKS}), 3)
    with pytest.raises(ValueError, match="needs a policy with one expert, got 4"):
        upcycle(mixture)
    with pytest.raises(ValueError, match="top_k must be >= 2"):
        upcycle(policy({"n_experts": 1, "top_k": 1}), top_k=1)
