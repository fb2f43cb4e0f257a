"""Options of an expert layer: names, what they must be, and the routing rules they give."""

from dataclasses import dataclass

from rlshare import _core, checks

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


@dataclass(frozen=True)
class Options:
    """What :class:`rlshare.moe.MoELayer` was asked for, checked; it says what they mean.

    Raises:
        ValueError: for an option that breaks its rule, and for a gate that would make an action
            depend on the other rows of a batch.
    """

    d: int
    hidden: int
    n_experts: int
    top_k: int
    gate: str
    router: str
    balance: str
    balance_coef: float
    z_coef: float
    n_shared: int
    activation: str
    n_tasks: int

    def __post_init__(self) -> None:
        if self.gate in _BATCH_COUPLED:
            raise ValueError(
                f"gate {self.gate!r} is refused: {_BATCH_COUPLED[self.gate]} make the action of "
                "one observation depend on the others of its batch or on chance"
            )
        for name, words in (
            ("gate", GATES),
            ("router", ROUTERS),
            ("balance", BALANCES),
            ("activation", ACTIVATIONS),
        ):
            checks.one_of(name, getattr(self, name), words)
        for name in ("d", "hidden", "n_experts"):
            self._set(name, checks.integer(name, getattr(self, name), 1))
        for name in ("n_shared", "n_tasks"):
            self._set(name, checks.integer(name, getattr(self, name), 0))
        for name in ("balance_coef", "z_coef"):
            self._set(name, checks.non_negative(name, getattr(self, name)))
        top_k = checks.integer("top_k", self.top_k, 1, self.n_experts)
        self._set("top_k", self.n_experts if self.gate in ("soft_dense", "merge") else top_k)
        self._check_together()

    def _check_together(self) -> None:
        if self.router != "features" and self.n_tasks < 1:
            raise ValueError(f"router={self.router!r} needs n_tasks >= 1, got {self.n_tasks}")
        if self.balance == "bias" and self.gate != "sigmoid_bias":
            raise ValueError(f"balance='bias' needs gate='sigmoid_bias', got gate={self.gate!r}")
        if self.z_coef and self.gate in ("sigmoid_bias", "merge"):
            raise ValueError(f"z_coef must be 0 with gate={self.gate!r}, got {self.z_coef}")
        if self.gate == "merge" and (self.router != "task" or self.balance != "none"):
            raise ValueError(
                "gate='merge' needs router='task' and balance='none': it routes no rows, got "
                f"router={self.router!r}, balance={self.balance!r}"
            )

    def _set(self, name: str, value: float) -> None:
        object.__setattr__(self, name, value)

    @property
    def rules(self) -> _core.RoutingRules:
        """What the kernels and the reference route rows by."""
        return _core.RoutingRules(
            n_experts=self.n_experts,
            top_k=self.top_k,
            gate="sigmoid" if self.gate == "sigmoid_bias" else "softmax",
            balance="none" if self.balance == "bias" else self.balance,
            balance_coef=self.balance_coef,
            z_coef=self.z_coef,
        )


def default_balance(gate: str) -> str:
    """Return how the load of a gate's experts is balanced where nothing is said."""
    return {"sigmoid_bias": "bias", "merge": "none"}.get(gate, "entropy")
