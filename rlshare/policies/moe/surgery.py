"""Mixtures made out of other policies. What is made has an optimizer that has not stepped yet."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlshare.moe import MoELayer
from rlshare.policies.moe.actor_critic import MoEPolicy
from rlshare.policies.moe.extractor import MoEExtractor, extractor_inputs

_WEIGHTS = ("w1", "b1", "w2", "b2")
_ROUTING = ("n_experts", "top_k", "gate", "router", "balance", "balance_coef", "z_coef")
_NEVER = -100.0  # logit of an expert that another task owns


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
    for extractor in extractors(policy):
        if extractor.experts.n_experts != 1:
            raise ValueError(
                f"upcycle needs a policy with one expert, got {extractor.experts.n_experts}"
            )
    made = rebuilt(policy, {**body(policy.moe), **moe, "n_experts": n_experts, "top_k": top_k})
    with torch.no_grad():
        for own, other in zip(extractors(made), extractors(policy), strict=True):
            for name in _WEIGHTS:
                dense = getattr(other.experts, name)
                spread = noise * dense.std(unbiased=False)
                copies = dense.expand(n_experts, *dense.shape[1:])
                getattr(own.experts, name).copy_(copies + spread * torch.randn_like(copies))
    return made


def prune(policy: MoEPolicy, observations: Any, n_experts: int) -> MoEPolicy:
    """Return the mixture with the experts that matter most, the others left out.

    Rows that used an expert left out go to the best of those kept.

    Args:
        policy: whose experts are ranked by the sum of their gates; it is not changed.
        observations: what to rank them on, as of ``predict`` (of a VecNormalize, normalised).
        n_experts: to keep, below the policy's.

    Raises:
        ValueError: for another number, and with ``gate="merge"``, which mixes all experts.
    """
    layers = [extractor.experts for extractor in extractors(policy)]
    if layers[0].gate == "merge":
        raise ValueError("prune needs experts that rows are sent to, got gate='merge'")
    if not 1 <= n_experts < layers[0].n_experts:
        raise ValueError(f"n_experts must be in [1, {layers[0].n_experts}), got {n_experts}")
    inputs = extractor_inputs(policy, policy.obs_to_tensor(observations)[0])
    top_k = min(layers[0].top_k, n_experts)
    made = rebuilt(policy, {**policy.moe, "n_experts": n_experts, "top_k": top_k})
    for own, other in zip(extractors(made), extractors(policy), strict=True):
        routes = other.routes(inputs)
        sums = torch.zeros_like(routes.probabilities).scatter(1, routes.experts, routes.gates)
        kept = sums.sum(0).topk(n_experts).indices.sort().values
        _copy_experts(own.experts, [(other.experts, kept)])
        own.experts.router_weight.data.copy_(other.experts.router_weight[..., kept, :])
        if own.experts.selection_bias is not None:
            own.experts.expert_bias.data.copy_(other.experts.expert_bias[kept])
    return made


def merge_policies(policies: Sequence[MoEPolicy]) -> MoEPolicy:
    """Return one policy for several tasks out of one for each, branches of a common ancestor.

    The experts of all become one pool, of which a task keeps its own; whatever lies outside the
    experts becomes the mean of all (Branch-Train-MiX, Sukhbaatar et al., arXiv 2403.07816). Where
    that is equal in all, each task is acted in exactly as before; otherwise train on.

    Args:
        policies: that of task 0, of task 1 ...; all see the task and, if their observations are
            normalised, the same normaliser. They are not changed.

    Raises:
        ValueError: unless they are as many as tasks, have routers of ``features``, and differ in
            nothing but the number of experts.
    """
    layers = [extractors(policy)[0].experts for policy in policies]
    _check_branches(policies, layers)
    n_experts = sum(layer.n_experts for layer in layers)
    options = {**policies[0].moe, "n_experts": n_experts, "router": "both", "balance": None}
    made = rebuilt(policies[0], options)
    states = [policy.state_dict() for policy in policies]
    same = {k for k, v in made.state_dict().items() if v.shape == states[0][k].shape}
    means = {k: torch.stack([state[k] for state in states]).mean(0) for k in same}
    made.load_state_dict({**made.state_dict(), **means})
    for own, *others in zip(extractors(made), *map(extractors, policies), strict=True):
        pool = [(other.experts, torch.arange(other.experts.n_experts)) for other in others]
        _copy_experts(own.experts, pool)
        owner = torch.cat([torch.full_like(of, t) for t, (_, of) in enumerate(pool)])
        foreign = owner[:, None] != torch.arange(len(policies))
        features = torch.cat([layer.router_weight for layer, _ in pool])
        own.experts.router_weight.data.copy_(torch.cat([features, _NEVER * foreign], 1))
    return made


def _check_branches(policies: Sequence[MoEPolicy], layers: Sequence[MoELayer]) -> None:
    n_tasks = layers[0].n_tasks if layers else 0
    if len(policies) < 2 or len(policies) != n_tasks:
        raise ValueError(
            f"merge_policies needs one policy for each of n_tasks >= 2 tasks, got {len(policies)} "
            f"policies that know {n_tasks}"
        )

    def kind(policy: MoEPolicy, layer: MoELayer) -> tuple[Any, ...]:
        shared, heads = policy.share_features_extractor, policy.net_arch
        spaces = policy.observation_space, policy.action_space
        moe = {k: v for k, v in policy.moe.items() if k not in ("n_experts", "balance")}
        return type(policy), spaces, shared, heads, moe, layer.top_k

    for t, (policy, layer) in enumerate(zip(policies, layers, strict=True)):
        if (layer.gate, layer.router) != ("softmax_topk", "features"):
            raise ValueError(
                f"merge_policies needs gate='softmax_topk' and router='features', got "
                f"gate={layer.gate!r} and router={layer.router!r} of policy {t}"
            )
        if kind(policy, layer) != kind(policies[0], layers[0]):
            raise ValueError(
                f"merge_policies needs policies that differ in n_experts alone, got policy {t} "
                f"with {policy.moe} and policy 0 with {policies[0].moe}"
            )


def extractors(policy: MoEPolicy) -> list[MoEExtractor]:
    """Return the extractor that actor and critic share, or those of both."""
    modules = [policy.pi_features_extractor, policy.vf_features_extractor]
    return modules[:1] if modules[0] is modules[1] else modules  # type: ignore[return-value]


def body(moe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a mixture that do not concern its routing."""
    return {key: value for key, value in moe.items() if key not in _ROUTING}


def rebuilt(policy: MoEPolicy, moe: Mapping[str, Any]) -> MoEPolicy:
    """Return a policy with other routing, and every parameter copied that keeps its shape."""
    made = type(policy)(**{**policy._get_constructor_parameters(), "moe": dict(moe)})
    new = made.state_dict()
    kept = {k: v for k, v in policy.state_dict().items() if k in new and v.shape == new[k].shape}
    made.load_state_dict({**new, **kept})
    return made.to(policy.device)


@torch.no_grad()
def _copy_experts(layer: MoELayer, pool: Sequence[tuple[MoELayer, Tensor]]) -> None:
    """Set the experts of a layer to those named of other layers, one after another."""
    for name in _WEIGHTS:
        getattr(layer, name).copy_(torch.cat([getattr(other, name)[of] for other, of in pool]))
