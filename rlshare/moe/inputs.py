"""What a layer is given: rows, tasks and experts of its shapes, beside parameters of its own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rlshare.moe import reference
from rlshare.moe.options import Options


def check(options: Options, x: Tensor, task: Tensor | None, experts: Tensor | None) -> None:
    """Check the arguments of :meth:`rlshare.moe.MoELayer.forward`.

    Raises:
        ValueError: for what is no tensor, or of another shape, dtype or device.
    """
    if reference.is_exported():  # where a look at a shape is a warning
        return
    if not isinstance(x, Tensor) or x.dim() != 2 or x.shape[1] != options.d:
        raise ValueError(f"x must have shape [n, {options.d}], got {_shape(x)}")
    if options.router != "features" and task is None:
        raise ValueError(f"router={options.router!r} needs task [n, {options.n_tasks}], got None")
    n = x.shape[0]
    if task is not None and (not isinstance(task, Tensor) or task.shape != (n, options.n_tasks)):
        raise ValueError(
            f"task must have shape [{n}, n_tasks = {options.n_tasks}], got {_shape(task)}"
        )
    if experts is not None and (
        not isinstance(experts, Tensor)
        or experts.shape != (n, options.top_k)
        or experts.dtype != torch.int32
        or experts.device != x.device
        or not experts.is_contiguous()
    ):
        raise ValueError(
            f"experts must be contiguous int32 [{n}, top_k = {options.top_k}] on {x.device}, got "
            + _described(experts)
        )


def _shape(given: object) -> str:
    return str(list(given.shape)) if isinstance(given, Tensor) else f"no tensor but {given!r}"


def _described(given: object) -> str:
    on = f"{given.dtype} on {given.device}, " if isinstance(given, Tensor) else ""
    return on + _shape(given)


def check_parameters(
    parameters: Mapping[str, Tensor | None], shapes: Mapping[str, torch.Size], x: Tensor
) -> None:
    """Check that a layer's parameters are whole, and of the dtype and on the device of x.

    Raises:
        ValueError: where one is not.
    """
    for name, weight in parameters.items():
        if weight is None or weight.shape != shapes[name]:
            raise ValueError(
                f"{name} must have shape {list(shapes[name])}, got "
                f"{None if weight is None else list(weight.shape)}"
            )
        if weight.dtype != x.dtype or weight.device != x.device:
            raise ValueError(
                f"x must be of {name}'s dtype and device, {weight.dtype} on {weight.device}, "
                f"got {x.dtype} on {x.device}"
            )
