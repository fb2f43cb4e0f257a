"""A layer of experts of which each row uses a few."""

import math
from functools import wraps
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from rlshare import _core
from rlshare.moe import balance as balancing
from rlshare.moe import inputs, kernel, reference
from rlshare.moe.options import Options, default_balance
from rlshare.moe.statistics import Statistics

_ROUTER_GAIN = 0.1  # starts near uniform gates, and still prefers different experts for rows
_PENDING = "pending_extra_state"  # beside the parameters in a state_dict; older files have none
Network = tuple[Tensor, Tensor, Tensor, Tensor]


class MoELayer(nn.Module):
    """A mixture of experts: y = sum over the selected experts e of gate_e(x) * f_e(x).

    An expert is a network with one hidden layer. float32 rows on the CPU are computed by the
    compiled kernels at the cost of the selected experts; others by plain torch at the cost of all,
    and so are those that torch traces, exports, compiles or maps over. A row's y never depends on
    the other rows of its batch.

    The gradient of the balance and z losses enters in the backward pass of y, with factor 1, so
    that any algorithm trains with them; ``balance="none", z_coef=0`` leaves it out.

    Parameters, in the state_dict: ``w1`` [E, d, hidden], ``b1`` [E, hidden], ``w2`` [E, hidden, d],
    ``b2`` [E, d], ``router_weight``, and with shared experts ``shared``.

    Args:
        d: features of a row, of the input and the output.
        hidden: units of an expert.
        n_experts: E.
        top_k: experts a row uses.
        gate: "softmax_topk", a softmax over the selected logits (with ``top_k=1`` over all);
            "soft_dense", a softmax over all experts, all used; "sigmoid_bias", sigmoids divided by
            their sum, selected with a bias that balances the load without a loss (Wang et al.,
            arXiv 2408.15664); "merge", one expert whose weights are the task's mixture of all
            (:class:`rlshare.moe.MergedExperts`), so that a task costs a dense network.
        router: what the router sees: "features", the "task", "both", or "per_task", the features
            through a router of the row's task.
        balance: loss on the routing of a batch: "entropy", "switch", "importance", see
            :func:`rlshare.moe.balance.balance_loss`; "bias", the bias of ``sigmoid_bias`` alone;
            "none". None is "bias" with ``sigmoid_bias``, "none" with ``merge``, else "entropy".
        balance_coef: its coefficient.
        z_coef: coefficient of the mean squared log-sum-exp of the logits; not with sigmoids.
        n_shared: experts every row uses beside the selected, without a gate.
        activation: "relu" or "tanh".
        n_tasks: length of ``task``, needed by all routers but "features".

    Raises:
        ValueError: for an option that breaks its rule, and for a gate that would make an action
            depend on the other rows of a batch.
    """

    def __init__(
        self,
        d: int,
        hidden: int,
        n_experts: int = 8,
        top_k: int = 4,
        gate: str = "softmax_topk",
        router: str = "features",
        balance: str | None = None,
        balance_coef: float = 0.002,
        z_coef: float = 0.0,
        n_shared: int = 0,
        activation: str = "relu",
        n_tasks: int = 0,
    ) -> None:
        super().__init__()
        options = Options(
            d=d,
            hidden=hidden,
            n_experts=n_experts,
            top_k=top_k,
            gate=gate,
            router=router,
            balance=default_balance(gate) if balance is None else balance,
            balance_coef=balance_coef,
            z_coef=z_coef,
            n_shared=n_shared,
            activation=activation,
            n_tasks=n_tasks,
        )
        self.options, self.rules = options, options.rules
        self.d, self.hidden, self.n_experts = options.d, options.hidden, options.n_experts
        self.gate, self.router, self.top_k = gate, router, options.top_k
        self.n_shared, self.n_tasks, self.activation = options.n_shared, options.n_tasks, activation
        self._build_parameters()
        self.statistics = Statistics.empty(self.n_experts, self.hidden)
        self._counted = self.statistics.counts.clone()  # what the bias has answered to
        self._build_kernel()
        self.reset_parameters()

    _of_gate: ClassVar[dict[str, type["MoELayer"]]] = {}

    def __init_subclass__(cls, gate: str | None = None, **kwargs: Any) -> None:
        """Let ``MoELayer(..., gate=gate)`` make layers of a subclass."""
        super().__init_subclass__(**kwargs)
        if gate is not None:
            cls._of_gate[gate] = cls

    @wraps(__init__, assigned=())  # type: ignore[misc]  # the signature of the class
    def __new__(cls, *args: Any, **kwargs: Any) -> "MoELayer":
        """Return a layer, with ``gate="merge"`` the one that mixes weights instead of outputs."""
        gate = kwargs.get("gate", args[4] if len(args) > 4 else None)
        return super().__new__(cls._of_gate.get(gate, cls) if isinstance(gate, str) else cls)

    def _build_parameters(self) -> None:
        d, hidden, n_experts, n_tasks = self.d, self.hidden, self.n_experts, self.n_tasks
        self.w1 = nn.Parameter(torch.empty(n_experts, d, hidden))
        self.b1 = nn.Parameter(torch.zeros(n_experts, hidden))
        self.w2 = nn.Parameter(torch.empty(n_experts, hidden, d))
        self.b2 = nn.Parameter(torch.zeros(n_experts, d))
        seen = {"features": d, "task": n_tasks, "both": d + n_tasks, "per_task": d}[self.router]
        shape = (n_tasks, n_experts, seen) if self.router == "per_task" else (n_experts, seen)
        self.router_weight = nn.Parameter(torch.empty(shape))
        if self.gate == "sigmoid_bias":  # parameters, so that target networks follow them
            self.expert_bias = nn.Parameter(torch.zeros(n_experts), requires_grad=False)
            self.load = nn.Parameter(torch.full((n_experts,), 1 / n_experts), requires_grad=False)
        self._shapes = {
            name: weight.shape for name, weight in self._parameters.items() if weight is not None
        }
        if self.n_shared:
            act: nn.Module = nn.ReLU() if self.activation == "relu" else nn.Tanh()
            width = self.n_shared * hidden
            self.shared = nn.Sequential(nn.Linear(d, width), act, nn.Linear(width, d))

    def reset_parameters(self) -> None:
        """Draw every expert's weights orthogonal, as Stable-Baselines3 does, and a small router."""
        for e in range(self.n_experts):
            self.reset_expert(e)
        for weight in self.router_weight if self.router == "per_task" else [self.router_weight]:
            nn.init.orthogonal_(weight, _ROUTER_GAIN)

    def reset_expert(self, expert: int) -> None:
        """Draw the weights of one expert anew."""
        with torch.no_grad():
            nn.init.orthogonal_(self.w1[expert], math.sqrt(2))
            nn.init.orthogonal_(self.w2[expert], 1.0)
            self.b1[expert] = 0
            self.b2[expert] = 0

    @torch.no_grad()
    def revive_expert(self, expert: int, like: int, noise: float = 0.01) -> None:
        """Make one expert nearly a copy of another, which then share the other's rows.

        Args:
            expert: whose weights and router weights are replaced.
            like: whose weights they become.
            noise: standard deviation of what is added, relative to that of each weight's tensor.
        """
        for weight in (self.w1, self.b1, self.w2, self.b2):
            copied = weight[like]
            spread = copied.std(unbiased=False) * noise
            weight[expert] = copied + spread * torch.randn_like(copied)
        rows = self.router_weight[..., like, :]
        spread = rows.std(unbiased=False) * noise
        self.router_weight[..., expert, :] = rows + spread * torch.randn_like(rows)

    def forward(
        self, x: Tensor, task: Tensor | None = None, experts: Tensor | None = None
    ) -> Tensor:
        """Return y [n, d].

        Args:
            x: rows [n, d], of the dtype and on the device of the parameters.
            task: [n, n_tasks], one-hot; needed by all routers but "features".
            experts: int32 [n, top_k], experts to use instead of those the router would select.

        Raises:
            ValueError: for another shape, dtype or device, and for experts out of range or repeated
                in a row.
        """
        inputs.check(self.options, x, task, experts)
        y = self._mixed(x.contiguous(), task, experts)
        return y + self.shared(x) if self.n_shared else y

    @torch.no_grad()
    def select(self, x: Tensor, task: Tensor | None = None) -> Tensor:
        """Return the experts int32 [n, top_k] that the router selects for each row, best first."""
        inputs.check(self.options, x, task, None)
        x = x.contiguous()
        seen, router = self._router(x, task)
        if not self._compiles(x, seen):
            return self.routes(x, task).experts.int()
        routing = kernel.Routing(self._kernel, self.selection_bias)
        _, tape = kernel.run(routing, x, seen, router, self._weights, False)
        return torch.from_numpy(tape.experts)

    def routes(self, x: Tensor, task: Tensor | None = None) -> reference.Routes:
        """Return the routes of rows, in plain torch: experts, gates and all probabilities."""
        inputs.check(self.options, x, task, None)
        inputs.check_parameters(self._parameters, self._shapes, x)
        seen, router = self._router(x, task)
        logits = seen if router is None else seen @ router.T
        return reference.route(self.rules, logits, self.selection_bias)

    def network_of_task(self, task: int) -> Network:
        """Return (w1 [d, H], b1 [H], w2 [H, d], b2 [d]) of the network that a task's rows take.

        Its hidden units are those of the experts that a router of the "task" alone selects, their
        gates a part of the weights.
        """
        logits = self.router_weight[:, task]
        routes = reference.route(self.rules, logits[None], self.selection_bias)
        w1, b1, w2, b2 = (weight[routes.experts[0]] for weight in self._weights)
        gates = routes.gates[0]
        return (
            torch.cat(list(w1), 1),
            b1.flatten(),
            (gates[:, None, None] * w2).flatten(0, 1),
            (gates[:, None] * b2).sum(0),
        )

    @property
    def n_products(self) -> int:
        """Multiplications for a row, the experts' and the router's, without those of the shared."""
        return 2 * self.top_k * self.d * self.hidden + self.router_weight.numel()

    def train(self, mode: bool = True) -> Self:
        """Switch between training and acting; with ``sigmoid_bias`` the bias moves after training.

        On-policy that is once per rollout, off-policy after every call of the algorithm's train.
        """
        if self.gate == "sigmoid_bias" and self.training and not mode:
            new = self.statistics.counts - self._counted
            balancing.move_bias(self.expert_bias, self.load, new, self.top_k)
            self._counted = self.statistics.counts.clone()
        return super().train(mode)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.gate == "sigmoid_bias":  # what the bias still has to answer to
            destination[prefix + _PENDING] = self.statistics.counts - self._counted

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        pending = state.pop(prefix + _PENDING, None)
        if pending is not None:
            self._counted = self.statistics.counts - pending.to(self._counted)
        super()._load_from_state_dict(state, prefix, *args)

    @property
    def selection_bias(self) -> Tensor | None:
        """What is added to the sigmoids when experts are selected, [E]; None without sigmoids."""
        return self._parameters.get("expert_bias")

    @property
    def _weights(self) -> Network:
        own = self._parameters  # attributes of modules take longer than an expert's products
        return own["w1"], own["b1"], own["w2"], own["b2"]  # type: ignore[return-value]

    def _router(self, x: Tensor, task: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return what the router sees and its weight; with routers per task logits and None."""
        weight = self._parameters["router_weight"]
        if task is None or self.router == "features":
            return x, weight
        task = task.to(x)
        if self.router == "task":
            return task.contiguous(), weight
        if self.router == "both":
            return torch.cat([x, task], 1), weight
        logits = x @ self.router_weight.flatten(0, 1).T
        by_task = logits.view(x.shape[0], self.n_tasks, self.n_experts)
        return torch.einsum("nte,nt->ne", by_task, task), None

    def _compiles(self, x: Tensor, seen: Tensor) -> bool:
        return kernel.takes(x, seen, self._parameters.values(), self._shapes.values())  # type: ignore[arg-type]

    def _mixed(self, x: Tensor, task: Tensor | None, experts: Tensor | None) -> Tensor:
        seen, router = self._router(x, task)
        if not self._compiles(x, seen):
            return self._plain(x, task, experts)
        if not torch.is_grad_enabled():
            routing = kernel.Routing(self._kernel, self.selection_bias, experts)
            return kernel.run(routing, x, seen, router, self._weights, False)[0]
        statistics = self.statistics if self.training else None
        routing = kernel.Routing(
            self._kernel,
            self.selection_bias,
            experts,
            statistics.sums if statistics else None,
            statistics.magnitudes if statistics else None,
        )
        y: Tensor = kernel.Mixture.apply(  # type: ignore[no-untyped-call]
            routing, x, seen, router, *self._weights
        )
        return y

    def _plain(self, x: Tensor, task: Tensor | None, experts: Tensor | None) -> Tensor:
        if x.dtype != self.w1.dtype and torch.is_autocast_enabled(x.device.type):
            return self._mixed(x.to(self.w1.dtype), task, experts)
        inputs.check_parameters(self._parameters, self._shapes, x)
        seen, router = self._router(x, task)
        logits = seen if router is None else seen @ router.T
        routes = reference.route(self.rules, logits, self.selection_bias, experts)
        hidden = reference.hidden_inputs(x, self.w1, self.b1)
        y = reference.mixture(self.activation, hidden, routes, self.w2, self.b2)
        if torch.is_grad_enabled() and not reference.is_exported() and x.shape[0]:
            loss = balancing.balance_loss(self.rules, logits, routes)
            y = balancing.WithLoss.apply(y, loss)  # type: ignore[no-untyped-call]
            counts = torch.compiler.is_compiling() or not kernel.is_transformed()
            if self.training and counts and not x.is_meta:
                self.statistics.add(routes, hidden, loss)
        return y

    def _build_kernel(self) -> None:
        self._kernel = _core.ExpertLayer(
            width=self.d, hidden=self.hidden, activation=self.activation, rules=self.rules
        )

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(layer)``."""
        return (
            f"{self.d}, hidden={self.hidden}, n_experts={self.n_experts}, top_k={self.top_k}, "
            f"gate={self.gate}, router={self.router}, balance={self.rules.balance}"
        )
