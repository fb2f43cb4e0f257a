"""A small layer of each kind, and rows for it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rlshare.moe import MoELayer

D, HIDDEN, E, N = 6, 5, 4, 9
KINDS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "sigmoid": {"gate": "sigmoid_bias"},
    "both": {"router": "both", "n_tasks": 3},
    "per_task": {"router": "per_task", "n_tasks": 3, "n_shared": 1},
    "merge": {"gate": "merge", "router": "task", "n_tasks": 3},
}


def layer(kind: str = "softmax", **options: Any) -> MoELayer:
    torch.manual_seed(0)
    made = MoELayer(D, HIDDEN, **{"n_experts": E, "top_k": 2, **KINDS[kind], **options})
    for weight in (made.router_weight, made.b1, made.b2):
        nn.init.normal_(weight)
    return made


def inputs(made: MoELayer, n: int = N) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    task = (one_hot(torch.arange(n) % 3, 3).float(),) if made.n_tasks else ()
    return torch.randn(n, D), *task
