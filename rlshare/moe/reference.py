"""The mixture in plain torch, every expert evaluated: for any dtype and device.

What the compiled kernels are held against, and what runs in float64, on a GPU, and where torch
records its operations to run them without Python.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlshare import _core

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
_LEAST_SIGMOID = 1e-20  # those of selected experts may all underflow, and their sum divides


def is_exported() -> bool:
    """Whether torch records operations to act without Python: ``jit.trace`` and ``export``."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def is_recorded() -> bool:
    """Whether torch records operations, ``torch.compile`` included: values cannot be looked at."""
    return is_exported() or torch.compiler.is_compiling()


@dataclass(frozen=True)
class Routes:
    """Selected ``experts`` int64 [n, k], their ``gates`` [n, k], and all ``probabilities`` [n, E].

    Probabilities sum to 1 over the experts, also those of sigmoids.
    """

    experts: Tensor
    gates: Tensor
    probabilities: Tensor


def route(
    rules: _core.RoutingRules,
    logits: Tensor,
    bias: Tensor | None = None,
    experts: Tensor | None = None,
) -> Routes:
    """Return the routes of ``logits`` [n, E], at least in float32; the lowest index wins ties.

    Args:
        rules: of the layer.
        logits: of the router, [n, E].
        bias: [E], added to the sigmoids for the selection only.
        experts: [n, k], selected before.

    Raises:
        ValueError: for experts out of range or repeated in a row.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if rules.gate == "softmax":
        scores = torch.softmax(logits, 1)
    else:
        scores = torch.sigmoid(logits).clamp_min(_LEAST_SIGMOID)
    if experts is None:
        ranked = logits if bias is None else scores + bias
        experts = _best(ranked, rules.top_k)
    else:
        experts = experts.long()
        _check_given(experts, logits.shape[1])
    if rules.top_k == 1:
        gates = scores.gather(1, experts)
    elif rules.gate == "softmax":
        gates = torch.softmax(logits.gather(1, experts), 1)
    else:
        selected = scores.gather(1, experts)
        gates = selected / selected.sum(1, keepdim=True)
    return Routes(experts, gates, scores / scores.sum(1, keepdim=True))


def _best(ranked: Tensor, k: int) -> Tensor:
    """Return the columns of the k largest of each row, the lowest first among equals."""
    if not is_exported():
        return torch.sort(ranked, dim=1, descending=True, stable=True).indices[:, :k]
    # Exporters know no stable sort: places in the order are all different.
    one, other = ranked[:, :, None], ranked[:, None, :]
    index = torch.arange(ranked.shape[1], device=ranked.device)
    before = (other > one) | ((other == one) & (index[None, :] < index[:, None]))
    return torch.topk(-before.sum(2).to(ranked.dtype), k, dim=1).indices


def _check_given(experts: Tensor, n_experts: int) -> None:
    if is_recorded() or experts.is_meta:
        return
    ordered = experts.sort(1).values
    wrong = (ordered < 0) | (ordered >= n_experts)
    wrong[:, 1:] |= ordered[:, 1:] == ordered[:, :-1]
    if wrong.any():
        raise ValueError(
            f"given experts must be distinct and in [0, {n_experts}), got {int(ordered[wrong][0])}"
        )


def hidden_inputs(x: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
    """Return what goes into the hidden units of all experts, [E, n, hidden]."""
    return torch.baddbmm(b1[:, None], x.expand(w1.shape[0], *x.shape), w1)


def mixture(activation: str, inputs: Tensor, routes: Routes, w2: Tensor, b2: Tensor) -> Tensor:
    """Return y [n, d]: the selected experts' outputs times their gates, from all experts'."""
    outputs = torch.baddbmm(b2[:, None], _ACTIVATIONS[activation](inputs), w2)
    gates = torch.zeros_like(routes.probabilities).scatter(1, routes.experts, routes.gates)
    return torch.einsum("ne,end->nd", gates.to(outputs.dtype), outputs)
