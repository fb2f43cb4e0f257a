"""Dense networks out of mixtures, and back."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlshare.policies import (
    MoEPolicy,
    matched_mlp,
    merge_policies,
    prune,
    slice_task_policy,
    upcycle,
)
from rlshare.policies.moe.extractor import expert_layers

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


@pytest.mark.parametrize("n_shared", [0, 1])
def test_upcycling_keeps_what_the_policy_does(n_shared: int) -> None:
    dense = policy({"n_experts": 1, "top_k": 1, "n_shared": n_shared})
    obs = observations(0)
    exact = upcycle(dense, n_experts=6, top_k=2, noise=0.0)
    assert torch.allclose(outputs(exact, obs), outputs(dense, obs), atol=1e-5)
    near = upcycle(dense, n_experts=6, top_k=2)
    assert torch.allclose(outputs(near, obs), outputs(dense, obs), atol=0.2)
    w1 = near.features_extractor.experts.w1
    assert not torch.equal(w1[0], w1[1])


def test_the_noise_of_upcycling_is_relative_to_each_tensor() -> None:
    dense = policy({"n_experts": 1, "top_k": 1, "hidden": 64})
    own = dense.features_extractor.experts
    with torch.no_grad():
        own.w1.mul_(100)
        own.b1.fill_(3.0)
    made = upcycle(dense, n_experts=6, noise=0.01).features_extractor.experts
    assert (made.b1 == 3.0).all()
    for name in ("w1", "w2"):
        weight = getattr(own, name)
        noise = (getattr(made, name) - weight).std() / weight.std()
        assert noise.item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("top_k", [1, 2])
def test_pruning_unused_experts_changes_nothing(shared: bool, top_k: int) -> None:
    moe = {"n_experts": 5, "top_k": top_k, "gate": "sigmoid_bias", "n_shared": 1}
    mixture = policy(moe, shared=shared)
    obs = observations(0)
    for _, extractor in expert_layers(mixture):
        extractor.experts.expert_bias.data.copy_(torch.tensor([0.5, -9.0, 0.0, -0.5, -9.0]))
    pruned = prune(mixture, obs.numpy(), n_experts=3)
    assert [e.experts.w1.shape[0] for _, e in expert_layers(pruned)] == [3] * (2 - shared)
    assert torch.allclose(outputs(pruned, obs), outputs(mixture, obs), atol=1e-5)
    assert outputs(prune(mixture, obs.numpy(), n_experts=1), obs).isfinite().all()


def test_pruning_keeps_the_experts_with_most_weight() -> None:
    mixture = policy({"n_experts": 4, "top_k": 1})
    obs = observations(0)
    extractor = mixture.features_extractor
    counts = np.bincount(extractor.select(obs).numpy().ravel(), minlength=4)
    gates = np.zeros(4)
    routes = extractor.routes(obs)
    np.add.at(gates, routes.experts.numpy().ravel(), routes.gates.numpy().ravel())
    assert (counts > 0).sum() > 1
    best = int(gates.argmax())
    kept = prune(mixture, obs.numpy(), n_experts=1).features_extractor.experts
    assert torch.equal(kept.w1[0], extractor.experts.w1[best])
    assert torch.equal(kept.router_weight[0], extractor.experts.router_weight[best])


@pytest.mark.parametrize("shared", [True, False])
def test_merged_slices_act_as_the_mixture(shared: bool) -> None:
    moe = {"n_experts": 4, "top_k": 2, "router": "task", "n_tasks": TASKS, "n_shared": 0}
    mixture = policy(moe, shared=shared)
    merged = merge_policies([slice_task_policy(mixture, task) for task in range(TASKS)])
    for task in range(TASKS):
        obs = observations(task)
        assert torch.allclose(outputs(merged, obs), outputs(mixture, obs), atol=1e-5)


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_merged_policy_acts_as_its_branches_and_learns(top_k: int) -> None:
    moe = {"top_k": top_k, "n_tasks": TASKS, "n_experts": 3}
    ancestor = policy(moe)
    branches = []
    for _ in range(TASKS):
        branch = copy.deepcopy(ancestor)
        with torch.no_grad():
            branch.features_extractor.experts.w2.normal_()
            branch.features_extractor.experts.router_weight.normal_()
        branches.append(branch)
    merged = merge_policies(branches)
    assert merged.features_extractor.experts.n_experts == 3 * TASKS
    for task, branch in enumerate(branches):
        obs = observations(task)
        assert torch.allclose(outputs(merged, obs), outputs(branch, obs), atol=1e-5)
    merged.get_distribution(observations(1)).mode().sum().backward()
    gradient = merged.features_extractor.experts.w1.grad
    assert gradient[3:6].any()
    assert not gradient[:3].any()


def test_what_branches_share_is_averaged() -> None:
    first, second = (policy({"n_experts": 1, "top_k": 1, "n_tasks": 2}) for _ in range(2))
    with torch.no_grad():
        second.action_net.bias += 1
    merged = merge_policies([first, second])
    assert torch.allclose(merged.action_net.bias, first.action_net.bias + 0.5)


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
    obs = observations(0).numpy()
    with pytest.raises(ValueError, match=r"n_experts must be in \[1, 4\), got 4"):
        prune(mixture, obs, 4)
    merged = {"gate": "merge", "router": "task", "n_tasks": TASKS}
    with pytest.raises(ValueError, match="got gate='merge'"):
        prune(policy(merged), obs, 1)
    with pytest.raises(ValueError, match="one policy for each of n_tasks >= 2 tasks, got 2 pol"):
        merge_policies([mixture, mixture])
    two = {"n_tasks": 2, "n_experts": 4, "top_k": 2}
    with pytest.raises(ValueError, match="got gate='softmax_topk' and router='both' of policy 1"):
        merge_policies([policy(two), policy({**two, "router": "both"})])
    with pytest.raises(ValueError, match="differ in n_experts alone, got policy 1"):
        merge_policies([policy(two), policy({**two, "width": 14})])
    with pytest.raises(ValueError, match="differ in n_experts alone"):
        merge_policies([policy(two), policy(two, net_arch=[4])])
    for part in ("observation_space", "action_space"):
        other = policy(two)
        setattr(other, part, spaces.Box(-9.0, 9.0, getattr(other, part).shape))
        with pytest.raises(ValueError, match="differ in n_experts alone"):
            merge_policies([policy(two), other])
