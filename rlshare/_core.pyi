from typing import Any

import numpy as np
from numpy.typing import NDArray

def supported_isas() -> list[str]: ...
def force_isa(name: str) -> None: ...
def active_isa() -> str: ...
def available_threads() -> int: ...
def checksum(data: bytes) -> int: ...
def largest_magnitude(values: NDArray[np.float32]) -> float: ...

class Codes:
    def __len__(self) -> int: ...
    def candidates(self, feature: int) -> list[float]: ...
    def take(self, rows: NDArray[np.int64]) -> Codes: ...

def bin(
    X: NDArray[np.float32],
    categorical: list[int],
    quantile: bool,
    n_bins: int,
    n_threads: int,
) -> Codes: ...

class GrowParams:
    def __init__(
        self,
        *,
        greedy: bool,
        cosine: bool,
        max_depth: int,
        min_samples_leaf: int,
        l2: float,
        monotonic: list[tuple[int, int, int]],
    ) -> None: ...

def grow(
    forest: Forest,
    codes: Codes,
    grads: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    params: GrowParams,
    feature_weights: NDArray[np.float32],
    rates: NDArray[np.float32],
    n_threads: int,
) -> None: ...

class LeafIds:
    n_trees: int
    def __len__(self) -> int: ...

def leaf_ids(forest: Forest, X: NDArray[np.float32], n_threads: int) -> LeafIds: ...
def refit(
    forest: Forest,
    ids: LeafIds,
    rows: NDArray[np.int64] | None,
    grads: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    rates: NDArray[np.float32],
    l2: float,
    n_threads: int,
) -> None: ...
def draw_trees(
    forest: Forest,
    X: NDArray[np.float32],
    n_trees: int,
    depth: int,
    shares: list[float],
    seed: int,
) -> None: ...
def sum_leaves(
    forest: Forest, ids: LeafIds, rows: NDArray[np.int64] | None, n_threads: int
) -> NDArray[np.float32]: ...

class LinearPart:
    def __init__(
        self,
        *,
        n_features: int,
        intercept: NDArray[np.float64],
        features: list[int],
        coefficients: NDArray[np.float64],
        offsets: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
    ) -> None: ...
    def add(self, X: NDArray[np.float32], out: NDArray[np.float32], n_threads: int) -> None: ...

class Forest:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    n_trees: int
    n_bytes: int
    n_features: int
    n_outputs: int
    greedy: bool
    bias: NDArray[np.float32]
    categorical: list[int]
    importances: NDArray[np.float64]
    leaves: NDArray[np.float32]
    def truncate(self, n_trees: int) -> None: ...
    def categories_fit(self, n_categories: list[int]) -> bool: ...
    def add_trees(
        self,
        X: NDArray[np.float32],
        begin: int,
        end: int,
        out: NDArray[np.float32],
        with_bias: bool,
        n_threads: int,
        weights: NDArray[np.float32] | None = None,
    ) -> None: ...
    def compacted(self, X: NDArray[np.float32], n_oldest: int, n_kept: int) -> Forest: ...
    def arrays(self, i: int) -> dict[str, Any]: ...
    def to_bytes(self, sections: dict[str, bytes]) -> bytes: ...
    @staticmethod
    def from_bytes(data: bytes) -> tuple[Forest, dict[str, bytes]]: ...

def block(n: int) -> NDArray[np.float32]: ...

class ExpertTape:
    loss: float
    experts: NDArray[np.int32]
    gates: NDArray[np.float32]

class RoutingRules:
    n_experts: int
    top_k: int
    gate: str
    balance: str
    balance_coef: float
    z_coef: float
    def __init__(
        self,
        *,
        n_experts: int,
        top_k: int,
        gate: str,
        balance: str,
        balance_coef: float,
        z_coef: float,
    ) -> None: ...

class ExpertLayer:
    def __init__(
        self, *, width: int, hidden: int, activation: str, rules: RoutingRules
    ) -> None: ...
    def forward(self, *args: Any) -> ExpertTape: ...
    def backward(self, *args: Any) -> None: ...
