"""One network a task, whose weights are the task's mixture of all experts'."""

import torch
from torch import Tensor

from rlshare import _core
from rlshare.moe import inputs, kernel, reference
from rlshare.moe.layer import MoELayer, Network


class MergedExperts(MoELayer, gate="merge"):
    """What ``MoELayer(..., gate="merge")`` makes: it mixes weights by task and routes no rows.

    A task costs a dense network (Mixture-of-Supernets, arXiv 2306.04845).
    """

    def _build_kernel(self) -> None:
        super()._build_kernel()
        self._task_shapes = [torch.Size((self.n_tasks, *w.shape[1:])) for w in self._weights]
        # The tasks' networks are the experts, one a row, whose gate is exactly 1.
        self._of_tasks = _core.RoutingRules(
            n_experts=self.n_tasks,
            top_k=1,
            gate="softmax",
            balance="none",
            balance_coef=0.0,
            z_coef=0.0,
        )
        self._task_kernel = _core.ExpertLayer(
            width=self.d, hidden=self.hidden, activation=self.activation, rules=self._of_tasks
        )

    @torch.no_grad()
    def select(self, x: Tensor, task: Tensor | None = None) -> Tensor:
        """Return all experts int32 [n, E] for each row, the one with most weight first."""
        return self.routes(x, task).experts.int()

    def network_of_task(self, task: int) -> Network:
        """Return (w1 [d, hidden], b1 [hidden], w2 [hidden, d], b2 [d]) of a task's network."""
        shares = torch.softmax(self.router_weight[:, task], 0)
        return tuple(torch.tensordot(shares, w, 1) for w in self._weights)

    @property
    def n_products(self) -> int:
        """Multiplications for a row, the experts' and the router's, without those of the shared."""
        return 2 * self.d * self.hidden

    def _mixed(self, x: Tensor, task: Tensor | None, experts: Tensor | None) -> Tensor:
        shares = torch.softmax(self.router_weight.T, 1)  # [n_tasks, E]
        w1, b1, w2, b2 = (torch.einsum("te,e...->t...", shares, w) for w in self._weights)
        assert task is not None  # checked before
        logits = (1e4 * task.to(x)).contiguous()
        if kernel.takes(x, logits, (w1, b1, w2, b2), self._task_shapes):
            routing = kernel.Routing(self._task_kernel)
            y: Tensor = kernel.Mixture.apply(  # type: ignore[no-untyped-call]
                routing, x, logits, None, w1, b1, w2, b2
            )
            return y
        inputs.check_parameters(self._parameters, self._shapes, x)
        hidden = reference.hidden_inputs(x, w1, b1)
        routes = reference.route(self._of_tasks, logits)
        return reference.mixture(self.activation, hidden, routes, w2, b2)
