"""Mixtures made into dense networks and dense networks into mixtures."""

from collections.abc import Mapping
from typing import Any

import torch

from rlshare.moe import MoELayer, reference
from rlshare.policies.moe import MoEPolicy
from rlshare.policies.moe_extractor import MoEExtractor, moe_options

_ROUTING = ("gate", "router", "balance", "balance_coef", "z_coef", "n_shared")


def matched_mlp(moe: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Return the dense networks that a mixture should be compared with, as ``moe`` options.

    A MoEPolicy with one expert is a network with one hidden layer in its place: everything else of
    the two policies is the same.

    Args:
        moe: options of the mixture, as of :class:`rlshare.policies.MoEPolicy`.

    Returns:
        "flops", the options of a network with as many multiplications for a row, router and shared
        experts included; "parameters", of one with as many parameters. Each is off by less than
        one hidden unit.
    """
    options = moe_options(moe)
    layer = MoELayer(
        options["width"], **{key: value for key, value in options.items() if key != "width"}
    )
    width, hidden = layer.d, layer.hidden
    active = 1 if layer.gate == "merge" else layer.top_k
    routed = 0 if layer.gate == "merge" else layer.router_weight.numel()
    flops = active * hidden + layer.n_shared * hidden + routed / (2 * width)
    n_parameters = sum(p.numel() for p in layer.parameters() if p.requires_grad)
    parameters = (n_parameters - width) / (2 * width + 1)
    kept = {key: value for key, value in options.items() if key not in _ROUTING}
    dense = {**kept, "n_experts": 1, "top_k": 1, "balance": "none", "n_shared": 0}
    return {
        "flops": {**dense, "hidden": round(flops)},
        "parameters": {**dense, "hidden": round(parameters)},
    }


def slice_task_policy(policy: MoEPolicy, task: int) -> MoEPolicy:
    """Return the dense policy that acts in one task exactly as the mixture does.

    The router must see the task alone: the experts of a task and their gates are then constant, and
    make one network.

    Args:
        policy: whose experts are sliced; it is not changed.
        task: index of the task.

    Raises:
        ValueError: for another router, and for a task that does not exist.
    """
    for extractor in _extractors(policy):
        if extractor.experts.router != "task":
            raise ValueError(
                "slice_task_policy needs router='task', whose gates depend on the task alone, got "
                f"router={extractor.experts.router!r}"
            )
        if not 0 <= task < extractor.n_tasks:
            raise ValueError(f"task must be in [0, {extractor.n_tasks}), got {task}")
    hidden = {_dense_of_task(e.experts, task)[0].shape[1] for e in _extractors(policy)}
    sliced = _like(policy, {"hidden": hidden.pop()})
    for own, other in zip(_extractors(sliced), _extractors(policy), strict=True):
        _fill(own.experts, _dense_of_task(other.experts, task))
    return sliced


def upcycle(
    policy: MoEPolicy, n_experts: int = 8, top_k: int = 2, noise: float = 0.01, **moe: Any
) -> MoEPolicy:
    """Return a mixture whose experts begin as near copies of a dense policy's hidden layer.

    Without noise it acts as the dense policy does, since its gates sum to 1 (sparse upcycling,
    Komatsuzaki et al., arXiv 2212.05055).

    Args:
        policy: a MoEPolicy with one expert; it is not changed.
        n_experts: of the mixture.
        top_k: experts a row uses, >= 2 (a single one's gate is below 1).
        noise: standard deviation of what is added to each weight, relative to its tensor's.
        **moe: further options of the layer.

    Raises:
        ValueError: if the policy has more than one expert, or ``top_k`` < 2.
    """
    if top_k < 2:
        raise ValueError(f"top_k must be >= 2, or the gates do not sum to 1, got {top_k}")
    for extractor in _extractors(policy):
        if extractor.experts.n_experts != 1:
            raise ValueError(
                f"upcycle needs a policy with one expert, got {extractor.experts.n_experts}"
            )
    options = {"balance": None, **moe, "n_experts": n_experts, "top_k": top_k}
    made = _like(policy, options, dense=False)
    with torch.no_grad():
        for own, other in zip(_extractors(made), _extractors(policy), strict=True):
            for name in ("w1", "b1", "w2", "b2"):
                dense = getattr(other.experts, name)
                spread = noise * dense.std(unbiased=False)
                copies = dense.expand(n_experts, *dense.shape[1:])
                getattr(own.experts, name).copy_(copies + spread * torch.randn_like(copies))
    return made


def _extractors(policy: MoEPolicy) -> list[MoEExtractor]:
    modules = [policy.pi_features_extractor, policy.vf_features_extractor]
    return modules[:1] if modules[0] is modules[1] else modules  # type: ignore[return-value]


def _like(policy: MoEPolicy, options: dict[str, Any], dense: bool = True) -> MoEPolicy:
    """Return a policy with another layer and all else copied."""
    data = policy._get_constructor_parameters()
    kept = {
        key: v for key, v in data["moe"].items() if key not in (*_ROUTING, "n_experts", "top_k")
    }
    if dense:
        options = {"n_experts": 1, "top_k": 1, "balance": "none", "n_shared": 0, **options}
    made = type(policy)(**{**data, "moe": {**kept, **options}})
    made.load_state_dict(
        {
            **made.state_dict(),
            **{k: v for k, v in policy.state_dict().items() if ".experts." not in k},
        }
    )
    return made.to(policy.device)


def _dense_of_task(layer: MoELayer, task: int) -> tuple[torch.Tensor, ...]:
    """Return (w1 [d, H], b1 [H], w2 [H, d], b2 [d]) of the network that a task's rows take."""
    with torch.no_grad():
        logits = layer.router_weight[:, task]
        weights = (layer.w1, layer.b1, layer.w2, layer.b2)
        if layer.gate == "merge":
            shares = torch.softmax(logits, 0)
            parts = [tuple(torch.tensordot(shares, w, 1) for w in weights)]
        else:
            routes = reference.route(layer.rules, logits[None], layer.selection_bias)
            parts = [
                (layer.w1[e], layer.b1[e], g * layer.w2[e], g * layer.b2[e])
                for e, g in zip(routes.experts[0], routes.gates[0], strict=True)
            ]
        if layer.n_shared:
            first, last = layer.shared[0], layer.shared[2]
            parts.append((first.weight.T, first.bias, last.weight.T, last.bias))
        w1, b1, w2, b2 = zip(*parts, strict=True)
        return torch.cat(w1, 1), torch.cat(b1), torch.cat(w2), torch.stack(b2).sum(0)


def _fill(layer: MoELayer, weights: tuple[torch.Tensor, ...]) -> None:
    """Set a dense layer's weights; its one gate is a softmax over one logit, 1."""
    with torch.no_grad():
        for parameter, weight in zip(
            (layer.w1, layer.b1, layer.w2, layer.b2), weights, strict=True
        ):
            parameter.copy_(weight[None])
