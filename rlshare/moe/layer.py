"""A layer of experts of which each row uses a few."""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from rlshare import _core
from rlshare.moe import kernel, reference
from rlshare.moe.statistics import Statistics

GATES = ("softmax_topk", "soft_dense", "sigmoid_bias", "merge")
ROUTERS = ("features", "task", "both", "per_task")
BALANCES = ("entropy", "switch", "importance", "bias", "none")
ACTIVATIONS = ("relu", "tanh")
_BATCH_COUPLED = {
    "expert_choice": "experts that choose their rows",
    "soft_moe": "slots mixed from all rows",
    "capacity": "experts of limited capacity",
    "noisy_topk": "noise in the gate",
}
_BIAS_RATE = 1e-3
_LOAD_ROWS = 50_000  # over which the load that the bias answers to is averaged
_ROUTER_GAIN = 0.1  # starts near uniform gates, and still prefers different experts for rows


class MoELayer(nn.Module):
    """A mixture of experts: y = sum over the selected experts e of gate_e(x) * f_e(x).

    An expert is a network with one hidden layer. float32 rows on the CPU are computed by the
    compiled kernels at the cost of the selected experts; others by plain torch at the cost of all.
    A row's y never depends on the other rows of its batch.

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
            (Mixture-of-Supernets, arXiv 2306.04845), so that a task costs a dense network.
        router: what the router sees: "features", the "task", "both", or "per_task", the features
            through a router of the row's task.
        balance: loss on the routing of a batch: "entropy", "switch", "importance", see
            :func:`rlshare.moe.reference.balance_loss`; "bias", the bias of ``sigmoid_bias`` alone;
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
        if gate in _BATCH_COUPLED:
            raise ValueError(
                f"gate {gate!r} is refused: {_BATCH_COUPLED[gate]} make the action of one "
                "observation depend on the others of its batch or on chance"
            )
        if balance is None:
            balance = {"sigmoid_bias": "bias", "merge": "none"}.get(gate, "entropy")
        _one_of("gate", gate, GATES)
        _one_of("router", router, ROUTERS)
        _one_of("balance", balance, BALANCES)
        _one_of("activation", activation, ACTIVATIONS)
        for name, value, least in (
            ("d", d, 1),
            ("hidden", hidden, 1),
            ("n_experts", n_experts, 1),
            ("n_shared", n_shared, 0),
            ("n_tasks", n_tasks, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be >= {least}, got {value}")
        if not 1 <= top_k <= n_experts:
            raise ValueError(f"top_k must be in [1, n_experts = {n_experts}], got {top_k}")
        for name, coef in (("balance_coef", balance_coef), ("z_coef", z_coef)):
            if not (coef >= 0 and math.isfinite(coef)):
                raise ValueError(f"{name} must be finite and >= 0, got {coef}")
        if router != "features" and n_tasks < 1:
            raise ValueError(f"router={router!r} needs n_tasks >= 1, got {n_tasks}")
        if balance == "bias" and gate != "sigmoid_bias":
            raise ValueError(f"balance='bias' needs gate='sigmoid_bias', got gate={gate!r}")
        if z_coef and gate in ("sigmoid_bias", "merge"):
            raise ValueError(f"z_coef must be 0 with gate={gate!r}, got {z_coef}")
        if gate == "merge" and (router != "task" or balance != "none" or n_tasks < 1):
            raise ValueError(
                "gate='merge' needs router='task' and balance='none': it routes no rows, got "
                f"router={router!r}, balance={balance!r}"
            )
        self.d, self.hidden, self.n_experts = d, hidden, n_experts
        self.top_k = n_experts if gate in ("soft_dense", "merge") else top_k
        self.gate, self.router, self.n_tasks = gate, router, n_tasks
        self.rules = reference.Rules(
            self.top_k,
            "sigmoid" if gate == "sigmoid_bias" else "softmax",
            "none" if balance == "bias" else balance,
            balance_coef,
            z_coef,
            activation,
        )
        self.w1 = nn.Parameter(torch.empty(n_experts, d, hidden))
        self.b1 = nn.Parameter(torch.zeros(n_experts, hidden))
        self.w2 = nn.Parameter(torch.empty(n_experts, hidden, d))
        self.b2 = nn.Parameter(torch.zeros(n_experts, d))
        seen = {"features": d, "task": n_tasks, "both": d + n_tasks, "per_task": d}[router]
        shape = (n_tasks, n_experts, seen) if router == "per_task" else (n_experts, seen)
        self.router_weight = nn.Parameter(torch.empty(shape))
        if gate == "sigmoid_bias":  # parameters, so that target networks follow them
            self.expert_bias = nn.Parameter(torch.zeros(n_experts), requires_grad=False)
            self.load = nn.Parameter(torch.full((n_experts,), 1 / n_experts), requires_grad=False)
        if n_shared:
            act: nn.Module = nn.ReLU() if activation == "relu" else nn.Tanh()
            self.shared = nn.Sequential(
                nn.Linear(d, n_shared * hidden), act, nn.Linear(n_shared * hidden, d)
            )
        self.n_shared = n_shared
        self.statistics = Statistics.empty(n_experts, hidden)
        self._counted = self.statistics.counts.clone()  # what the bias has answered to
        self._build_kernel()
        self.reset_parameters()

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
            x: rows [n, d].
            task: [n, n_tasks], one-hot; needed by all routers but "features".
            experts: int32 [n, top_k], experts to use instead of those the router would select.

        Raises:
            ValueError: for another shape, and for experts out of range or repeated in a row.
        """
        self._check(x, task, experts)
        if self.gate == "merge":
            y = self._merged(x, task)
        elif x.dtype == torch.float32 and x.device.type == "cpu":
            y = self._compiled(x.contiguous(), task, experts)
        else:
            y = self._plain(x, task, experts)
        return y + self.shared(x) if self.n_shared else y

    @torch.no_grad()
    def select(self, x: Tensor, task: Tensor | None = None) -> Tensor:
        """Return the experts int32 [n, top_k] that the router selects for each row, best first."""
        self._check(x, task, None)
        x = x.contiguous()
        if self.gate != "merge" and x.dtype == torch.float32 and x.device.type == "cpu":
            seen = self._router_input(x, task)
            _, tape = kernel.run(
                kernel.Routing(self._kernel, bias=self.selection_bias),
                x,
                x if seen is None else seen,
                self._linear_router,
                self._weights,
                False,
            )
            return torch.from_numpy(tape.experts)
        return self.routes(x, task).experts.int()

    def routes(self, x: Tensor, task: Tensor | None = None) -> reference.Routes:
        """Return the routes of rows, in plain torch: experts, gates and all probabilities."""
        self._check(x, task, None)
        return reference.route(self.rules, self._logits(x, task), self.selection_bias)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and acting; with ``sigmoid_bias`` the bias moves after training.

        On-policy that is once per rollout, off-policy after every call of the algorithm's train.
        """
        if self.gate == "sigmoid_bias" and self.training and not mode:
            self._move_bias()
        return super().train(mode)

    @torch.no_grad()
    def _move_bias(self) -> None:
        new = self.statistics.counts - self._counted
        rows = float(new.sum()) / self.top_k
        if rows > 0:
            share = (new / new.sum()).to(self.load)
            self.load.lerp_(share, min(1.0, rows / _LOAD_ROWS))
            self.expert_bias.add_(torch.sign(1 / self.n_experts - self.load), alpha=_BIAS_RATE)
            self._counted = self.statistics.counts.clone()

    @property
    def selection_bias(self) -> Tensor | None:
        """What is added to the sigmoids when experts are selected, [E]; None without sigmoids."""
        return self.expert_bias if self.gate == "sigmoid_bias" else None

    @property
    def _linear_router(self) -> Tensor | None:
        return None if self.router == "per_task" else self._parameters["router_weight"]

    @property
    def _weights(self) -> kernel.Weights:
        own = self._parameters  # attributes of modules take longer than an expert's products
        return own["w1"], own["b1"], own["w2"], own["b2"]  # type: ignore[return-value]

    def _router_input(self, x: Tensor, task: Tensor | None) -> Tensor | None:
        """What the router sees, None for x itself; with routers per task their logits."""
        if self.router == "features":
            return None
        assert task is not None  # checked before
        task = task.to(x.dtype)
        if self.router == "task":
            return task.contiguous()
        if self.router == "both":
            return torch.cat([x, task], 1)
        logits = x @ self.router_weight.flatten(0, 1).T
        return torch.einsum("nte,nt->ne", logits.view(len(x), self.n_tasks, -1), task)

    def _logits(self, x: Tensor, task: Tensor | None) -> Tensor:
        seen = self._router_input(x, task)
        if self._linear_router is None:
            assert seen is not None
            return seen
        return (x if seen is None else seen) @ self.router_weight.T

    def _compiled(self, x: Tensor, task: Tensor | None, experts: Tensor | None) -> Tensor:
        seen = self._router_input(x, task)
        weights = self._weights
        if not torch.is_grad_enabled():
            routing = kernel.Routing(self._kernel, self.selection_bias, experts)
            router_input = x if seen is None else seen
            return kernel.run(routing, x, router_input, self._linear_router, weights, False)[0]
        statistics = self.statistics if self.training else None
        routing = kernel.Routing(
            self._kernel,
            self.selection_bias,
            experts,
            statistics.sums if statistics else None,
            statistics.magnitudes if statistics else None,
        )
        y: Tensor = kernel.Mixture.apply(  # type: ignore[no-untyped-call]
            routing, x, seen, self._linear_router, *weights
        )
        return y

    def _plain(self, x: Tensor, task: Tensor | None, experts: Tensor | None) -> Tensor:
        logits = self._logits(x, task)
        routes = reference.route(self.rules, logits, self.selection_bias, experts)
        inputs = reference.hidden_inputs(x, self.w1, self.b1)
        y = reference.mixture(self.rules, inputs, routes, self.w2, self.b2)
        if torch.is_grad_enabled() and len(x):
            loss = reference.balance_loss(self.rules, logits, routes)
            y = reference.WithLoss.apply(y, loss)  # type: ignore[no-untyped-call]
            if self.training:
                self.statistics.add(routes, inputs, loss)
        return y

    def _merged(self, x: Tensor, task: Tensor | None) -> Tensor:
        """One expert a task, whose weights are the task's mixture of all experts'."""
        assert task is not None
        shares = torch.softmax(self.router_weight.T, 1)  # [n_tasks, E]
        w1, b1, w2, b2 = (
            torch.einsum("te,e...->t...", shares, w) for w in (self.w1, self.b1, self.w2, self.b2)
        )
        merged = self._of_tasks
        logits = 1e4 * task.to(x.dtype)  # a gate of exactly 1, on the row's own task
        if x.dtype == torch.float32 and x.device.type == "cpu":
            x = x.contiguous()
            y: Tensor = kernel.Mixture.apply(  # type: ignore[no-untyped-call]
                kernel.Routing(merged), x, logits.contiguous(), None, w1, b1, w2, b2
            )
            return y
        rules = reference.Rules(1, "softmax", "none", 0.0, 0.0, self.rules.activation)
        inputs = reference.hidden_inputs(x, w1, b1)
        return reference.mixture(rules, inputs, reference.route(rules, logits), w2, b2)

    def _check(self, x: Tensor, task: Tensor | None, experts: Tensor | None) -> None:
        if x.dim() != 2 or x.shape[1] != self.d:
            raise ValueError(f"x must have shape [n, {self.d}], got {list(x.shape)}")
        if self.router != "features" and task is None:
            raise ValueError(f"router={self.router!r} needs task [n, {self.n_tasks}], got None")
        if task is not None and task.shape != (len(x), self.n_tasks):
            raise ValueError(
                f"task must have shape [{len(x)}, n_tasks = {self.n_tasks}], got {list(task.shape)}"
            )
        if experts is not None and (
            experts.shape != (len(x), self.top_k)
            or experts.dtype != torch.int32
            or not experts.is_contiguous()
        ):
            raise ValueError(
                f"experts must be contiguous int32 [{len(x)}, top_k = {self.top_k}], got "
                f"{experts.dtype} {list(experts.shape)}"
            )

    def _build_kernel(self) -> None:
        rules = self.rules
        self._kernel = _core.ExpertLayer(
            self.d,
            self.hidden,
            self.n_experts,
            self.top_k,
            rules.gate,
            rules.activation,
            rules.balance,
            rules.balance_coef,
            rules.z_coef,
        )
        if self.gate == "merge":
            self._of_tasks = _core.ExpertLayer(
                self.d, self.hidden, self.n_tasks, 1, "softmax", rules.activation, "none", 0.0, 0.0
            )

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_kernel", "_of_tasks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._build_kernel()

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(layer)``."""
        return (
            f"{self.d}, hidden={self.hidden}, n_experts={self.n_experts}, top_k={self.top_k}, "
            f"gate={self.gate}, router={self.router}, balance={self.rules.balance}"
        )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
