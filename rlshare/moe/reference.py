"""The mixture in plain torch, every expert evaluated: for any dtype and device.

What the compiled kernels are held against, and what runs in float64 or on a GPU.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


@dataclass(frozen=True)
class Rules:
    """How rows are routed: ``gate`` softmax or sigmoid, and the balance and z losses."""

    top_k: int
    gate: str
    balance: str
    balance_coef: float
    z_coef: float
    activation: str


@dataclass(frozen=True)
class Routes:
    """Selected ``experts`` int64 [n, k], their ``gates`` [n, k], and all ``probabilities`` [n, E].

    Probabilities sum to 1 over the experts, also those of sigmoids.
    """

    experts: Tensor
    gates: Tensor
    probabilities: Tensor


def route(
    rules: Rules, logits: Tensor, bias: Tensor | None = None, experts: Tensor | None = None
) -> Routes:
    """Return the routes of ``logits`` [n, E]; the lowest index wins ties.

    Args:
        rules: of the layer.
        logits: of the router, [n, E].
        bias: [E], added to the sigmoids for the selection only.
        experts: [n, k], selected before.
    """
    scores = torch.softmax(logits, 1) if rules.gate == "softmax" else torch.sigmoid(logits)
    if experts is None:
        ranked = logits if bias is None else scores + bias
        experts = torch.sort(ranked, dim=1, descending=True, stable=True).indices[:, : rules.top_k]
    experts = experts.long()
    if rules.top_k == 1:
        gates = scores.gather(1, experts)
    elif rules.gate == "softmax":
        gates = torch.softmax(logits.gather(1, experts), 1)
    else:
        selected = scores.gather(1, experts)
        gates = selected / selected.sum(1, keepdim=True)
    return Routes(experts, gates, scores / scores.sum(1, keepdim=True))


def balance_loss(rules: Rules, logits: Tensor, routes: Routes) -> Tensor:
    """Return the balance and z losses of a batch of n > 0 rows, with their coefficients.

    entropy: sum_e m_e log m_e with m the mean probability, minimal at uniform use. switch:
    E sum_e F_e m_e with the share F of the selections (Fedus et al., arXiv 2101.03961).
    importance: the squared coefficient of variation of the summed gates (Shazeer et al.,
    arXiv 1701.06538). z: the mean of squared log-sum-exps (Zoph et al., arXiv 2202.08906).
    """
    n_experts = logits.shape[1]
    mean = routes.probabilities.mean(0)
    one_hot = torch.nn.functional.one_hot(routes.experts, n_experts).to(logits.dtype)
    if rules.balance == "entropy":
        loss = (mean * mean.clamp_min(1e-30).log()).sum()
    elif rules.balance == "switch":
        loss = n_experts * (one_hot.mean((0, 1)) * mean).sum()
    elif rules.balance == "importance":
        sums = (one_hot * routes.gates[:, :, None]).sum((0, 1))
        loss = sums.var(unbiased=False) / sums.mean() ** 2
    else:
        loss = logits.new_zeros(())
    return rules.balance_coef * loss + rules.z_coef * torch.logsumexp(logits, 1).square().mean()


def hidden_inputs(x: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
    """Return what goes into the hidden units of all experts, [E, n, hidden]."""
    return torch.baddbmm(b1[:, None], x.expand(w1.shape[0], *x.shape), w1)


def mixture(rules: Rules, inputs: Tensor, routes: Routes, w2: Tensor, b2: Tensor) -> Tensor:
    """Return y [n, d]: the selected experts' outputs times their gates, from all experts'."""
    outputs = torch.baddbmm(b2[:, None], _ACTIVATIONS[rules.activation](inputs), w2)
    gates = torch.zeros_like(routes.probabilities).scatter(1, routes.experts, routes.gates)
    return torch.einsum("ne,end->nd", gates, outputs)


class WithLoss(torch.autograd.Function):
    """x, whose backward pass adds the gradient of a scalar loss with factor 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, loss: Tensor) -> Tensor:
        """Return x."""
        ctx.like = loss
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, d_x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient unchanged, and 1."""
        return d_x, torch.ones_like(ctx.like)
