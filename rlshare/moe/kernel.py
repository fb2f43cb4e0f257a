"""The compiled mixture as a function that torch differentiates: float32, on the CPU.

Every row's result is the same whatever batch it is in and however many threads compute it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlshare import _core
from rlshare.moe import reference

_LARGE = 1 << 16  # floats; smaller ones the allocator of torch reuses


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


def takes(x: Tensor, seen: Tensor, weights: Sequence[Tensor], shapes: Sequence[torch.Size]) -> bool:
    """Return whether the kernels can read what they are given: the one place that is checked.

    Plain float32 tensors in the memory of this machine, row after row, which torch neither records
    nor transforms. Everything else is for plain torch.

    Args:
        x: rows [n, d].
        seen: what the router sees of them, [n, ...].
        weights: parameters.
        shapes: theirs.
    """
    if reference.is_recorded() or is_transformed():
        return False
    if not _readable(x) or (seen is not x and not _readable(seen)):
        return False
    for weight, shape in zip(weights, shapes, strict=True):
        if not _readable(weight) or weight.shape != shape:
            return False
    return not x.is_neg()  # a view whose memory holds the opposite numbers


def is_transformed() -> bool:
    """Whether tensors may stand for others: in torch.func's transforms, and where fakes are run."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _readable(tensor: Tensor) -> bool:
    kind = type(tensor)
    return (
        (kind is Tensor or kind is nn.Parameter)
        and tensor.dtype is torch.float32
        and tensor.is_cpu
        and tensor.is_contiguous()
    )


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
    seen: Tensor,
    router_weight: Tensor | None,
    weights: Sequence[Tensor],
    learning: bool,
) -> tuple[Tensor, _core.ExpertTape]:
    """Return y [n, d] and what a backward pass needs; no graph is recorded."""
    y = _empty_like(x)
    tape = routing.layer.forward(
        (*(w.data_ptr() for w in weights), _address(router_weight)),
        x.data_ptr(),
        x.shape[0],
        seen.data_ptr(),
        seen.shape[1],
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

    ``seen`` is what the router sees, which may be x itself; without ``router_weight`` it is the
    logits. The layer's losses enter here, with factor 1, because Stable-Baselines3's algorithms
    have no place to add them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        routing: Routing,
        x: Tensor,
        seen: Tensor,
        router_weight: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        """Return y and keep the tape."""
        y, ctx.tape = run(routing, x, seen, router_weight, weights, True)
        ctx.layer, ctx.sees_rows = routing.layer, seen is x
        ctx.save_for_backward(x, None if seen is x else seen, router_weight, *weights)
        ctx.shapes = [w.shape for w in weights]
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of forward.

        Raises:
            RuntimeError: for second derivatives, which the kernels lack.
            ValueError: if the layer was moved or cast since the forward pass.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a MoELayer in float32 on the CPU can be differentiated once: use float64 for "
                "create_graph=True"
            )
        x, seen, router_weight, *weights = ctx.saved_tensors
        seen = x if ctx.sees_rows else seen
        if not takes(x, seen, weights, ctx.shapes):
            raise ValueError("a MoELayer must keep its device, dtype and shapes until backward")
        d_y = d_y.resolve_neg().contiguous()
        d_x = _empty_like(x) if ctx.needs_input_grad[1] else None
        own_input = ctx.needs_input_grad[2] and not ctx.sees_rows
        d_input = _empty_like(seen) if own_input else None
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
            _address(d_x if ctx.sees_rows else d_input),
            torch.get_num_threads(),
        )
        return (None, d_x, d_input, d_router, *d_weights)
