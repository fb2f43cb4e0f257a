"""The compiled mixture as a function that torch differentiates: float32, on the CPU.

Every row's result is the same whatever batch it is in and however many threads compute it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlshare import _core

_LARGE = 1 << 16  # floats; smaller ones the allocator of torch reuses
Weights = tuple[Tensor, Tensor, Tensor, Tensor]


class Routing(NamedTuple):
    """What a call of a layer gives beside its rows and parameters.

    Attributes:
        layer: of the compiled core.
        bias: [E], added to the sigmoids when experts are selected, or None.
        experts: int32 [n, k], experts selected before, or None.
        sums: float64 [3 + 3E], statistics to add to, or None.
        magnitudes: float64 [E, hidden], likewise.
    """

    layer: _core.ExpertLayer
    bias: Tensor | None = None
    experts: Tensor | None = None
    sums: Tensor | None = None
    magnitudes: Tensor | None = None


def _empty_like(tensor: Tensor) -> Tensor:
    """Uninitialised; large ones from blocks that stay mapped from step to step."""
    if tensor.numel() < _LARGE:
        return torch.empty_like(tensor)
    return torch.from_numpy(_core.block(tensor.numel())).view(tensor.shape)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def run(
    routing: Routing,
    x: Tensor,
    router_input: Tensor,
    router_weight: Tensor | None,
    weights: Weights,
    learning: bool,
) -> tuple[Tensor, _core.ExpertTape]:
    """Return y [n, d] and what a backward pass needs; no graph is recorded."""
    y = _empty_like(x)
    tape = routing.layer.forward(
        (*(w.data_ptr() for w in weights), _address(router_weight)),
        x.data_ptr(),
        x.shape[0],
        router_input.data_ptr(),
        router_input.shape[1],
        _address(routing.bias),
        _address(routing.experts),
        y.data_ptr(),
        learning,
        _address(routing.sums),
        _address(routing.magnitudes),
        torch.get_num_threads(),
    )
    return y, tape


class Mixture(torch.autograd.Function):
    """y [n, d] of a layer, whose gradient is that of the loss above it plus the balance loss.

    ``router_input`` is None where the router sees x itself; without ``router_weight`` it holds the
    logits. The layer's losses enter here, with factor 1, because Stable-Baselines3's algorithms
    have no place to add them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        routing: Routing,
        x: Tensor,
        router_input: Tensor | None,
        router_weight: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        """Return y and keep the tape."""
        seen = x if router_input is None else router_input
        y, ctx.tape = run(routing, x, seen, router_weight, weights, True)  # type: ignore[arg-type]
        ctx.layer = routing.layer
        ctx.save_for_backward(x, router_input, router_weight, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of forward.

        Raises:
            RuntimeError: for second derivatives, which the kernels lack.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a MoELayer in float32 on the CPU can be differentiated once: use float64 for "
                "create_graph=True"
            )
        x, router_input, router_weight, *weights = ctx.saved_tensors
        seen = x if router_input is None else router_input
        d_y = d_y.contiguous()
        d_x = _empty_like(x) if ctx.needs_input_grad[1] else None
        d_input = _empty_like(seen) if ctx.needs_input_grad[2] else None
        d_router = None if router_weight is None else _empty_like(router_weight)
        d_weights = [_empty_like(w) for w in weights]
        ctx.layer.backward(
            ctx.tape,
            (*(w.data_ptr() for w in weights), _address(router_weight)),
            x.data_ptr(),
            seen.data_ptr(),
            seen.shape[1],
            d_y.data_ptr(),
            (*(w.data_ptr() for w in d_weights), _address(d_router)),
            _address(d_x),
            _address(d_x if router_input is None else d_input),
            torch.get_num_threads(),
        )
        return (None, d_x, d_input, d_router, *d_weights)
