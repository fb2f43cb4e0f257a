"""Dense networks that a mixture is compared with, or that act as it does in one task."""

from collections.abc import Mapping
from typing import Any

import torch

from rlshare.moe import MoELayer
from rlshare.policies.moe.actor_critic import MoEPolicy
from rlshare.policies.moe.extractor import moe_options
from rlshare.policies.moe.surgery import body, extractors, rebuilt

_ONE_EXPERT = {"n_experts": 1, "top_k": 1, "balance": "none", "n_shared": 0}


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
    flops = layer.n_products / (2 * width) + layer.n_shared * hidden
    n_parameters = sum(p.numel() for p in layer.parameters() if p.requires_grad)
    parameters = (n_parameters - width) / (2 * width + 1)
    dense = {**body(options), **_ONE_EXPERT}
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
    for extractor in extractors(policy):
        if extractor.experts.router != "task":
            raise ValueError(
                "slice_task_policy needs router='task', whose gates depend on the task alone, got "
                f"router={extractor.experts.router!r}"
            )
        if not 0 <= task < extractor.n_tasks:
            raise ValueError(f"task must be in [0, {extractor.n_tasks}), got {task}")
    hidden = {_dense_of_task(e.experts, task)[0].shape[1] for e in extractors(policy)}
    sliced = rebuilt(policy, {**body(policy.moe), **_ONE_EXPERT, "hidden": hidden.pop()})
    for own, other in zip(extractors(sliced), extractors(policy), strict=True):
        _fill(own.experts, _dense_of_task(other.experts, task))
    return sliced


@torch.no_grad()
def _dense_of_task(layer: MoELayer, task: int) -> tuple[torch.Tensor, ...]:
    """Return (w1 [d, H], b1 [H], w2 [H, d], b2 [d]) of what a task's rows take, the shared too."""
    parts: list[tuple[torch.Tensor, ...]] = [layer.network_of_task(task)]
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
