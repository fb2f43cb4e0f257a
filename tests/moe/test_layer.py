"""MoELayer against every expert evaluated in float64, and what must hold whatever the weights."""

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rlshare import _core
from rlshare.moe import MoELayer, reference
from rlshare.moe.balance import balance_loss
from rlshare.trees import force_isa, supported_isas

N, D, HIDDEN, E, TASKS = 37, 19, 23, 4, 3
SETTINGS = list(
    itertools.product(
        ("softmax_topk", "soft_dense", "sigmoid_bias"),
        (1, 2, E),
        ("entropy", "switch", "importance", "none"),
        ("features", "task", "both", "per_task"),
    )
)


def layer(**options: Any) -> MoELayer:
    torch.manual_seed(0)
    made = MoELayer(D, HIDDEN, **{"n_experts": E, "top_k": 2, "n_tasks": TASKS, **options})
    for parameter in (made.router_weight, made.b1, made.b2):
        nn.init.normal_(parameter)
    return made


def rows(n: int = N, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(n, D), one_hot(torch.randint(TASKS, (n,)), TASKS).float()


def gradients(made: MoELayer, x: Tensor, task: Tensor | None, d_y: Tensor) -> dict[str, Tensor]:
    """The output and the gradients of sum(d_y * y), by name, in float64."""
    x = x.clone().requires_grad_()
    y = made(x, task)
    (y * d_y).sum().backward()
    found = {n: p.grad for n, p in made.named_parameters() if p.grad is not None}
    return {n: t.detach().double() for n, t in {**found, "x": x.grad, "y": y}.items()}


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-2))


@pytest.mark.parametrize(("gate", "top_k", "balance", "router"), SETTINGS)
def test_equals_all_experts_evaluated_in_float64(
    gate: str, top_k: int, balance: str, router: str
) -> None:
    made = layer(
        gate=gate,
        top_k=top_k,
        balance=balance,
        router=router,
        balance_coef=0.7,
        z_coef=0.0 if gate == "sigmoid_bias" else 0.3,
        activation="tanh",  # relu has a kink that rounding may cross
    )
    x, task = rows()
    d_y = torch.randn(N, D)
    exact = copy.deepcopy(made).double()
    slow = gradients(exact, x.double(), task.double(), d_y.double())
    fast = gradients(made, x, task, d_y)
    assert fast.keys() == slow.keys()
    for name in slow:
        assert difference(fast[name], slow[name]) < 1e-5, name
    for ours, theirs in (
        (made.statistics.sums, exact.statistics.sums),
        (made.statistics.magnitudes, exact.statistics.magnitudes),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize(
    ("n", "d", "hidden"), [(1, 64, 64), (130, 33, 70), (64, 128, 16), (5, 1, 1)]
)
def test_relu_on_every_instruction_set(isa: str, n: int, d: int, hidden: int) -> None:
    torch.manual_seed(1)
    made = MoELayer(d, hidden, n_experts=5, top_k=2)
    exact = copy.deepcopy(made).double()
    x, d_y = torch.randn(n, d, dtype=torch.float64), torch.randn(n, d)
    inputs = torch.baddbmm(exact.b1[:, None], x.expand(5, n, d), exact.w1)
    clear = (inputs.abs() > 1e-5).all(2).all(0)  # of the kink
    x, d_y = x[clear], d_y[clear]
    slow = gradients(exact, x, None, d_y.double())
    force_isa(isa)
    try:
        fast = gradients(made, x.float(), None, d_y)
    finally:
        force_isa(None)
    for name in slow:
        assert difference(fast[name], slow[name]) < 2e-5, name


@pytest.mark.parametrize("gate", ["softmax_topk", "soft_dense", "sigmoid_bias", "merge"])
def test_gradcheck_of_the_plain_path(gate: str) -> None:
    torch.manual_seed(0)
    made = MoELayer(
        3,
        4,
        n_experts=3,
        top_k=2,
        gate=gate,
        balance="none",
        activation="tanh",
        router="task" if gate == "merge" else "features",
        n_tasks=2,
    ).double()
    nn.init.normal_(made.router_weight)
    learnt = {name: p for name, p in made.named_parameters() if p.requires_grad}
    task = one_hot(torch.tensor([0, 1, 1]), 2).double()

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        call = dict(zip(learnt, parameters, strict=True))
        return torch.func.functional_call(made, call, (x, task))

    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *learnt.values()))


@pytest.mark.parametrize("gate", ["softmax_topk", "sigmoid_bias"])
@pytest.mark.parametrize("balance", ["entropy", "switch", "importance"])
def test_loss_enters_the_gradient_with_factor_one(gate: str, balance: str) -> None:
    z_coef = 0.3 if gate == "softmax_topk" else 0.0
    made = layer(gate=gate, balance=balance, balance_coef=2.0, z_coef=z_coef)
    x, _ = rows()
    logits = x @ made.router_weight.T
    loss = balance_loss(made.rules, logits, reference.route(made.rules, logits))
    (expected,) = torch.autograd.grad(loss, made.router_weight)
    (0 * made(x)).sum().backward()
    assert made.router_weight.grad is not None
    assert difference(made.router_weight.grad, expected) < 1e-5


def test_balance_losses_by_hand() -> None:
    rules = layer().rules
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.125, 0.5, 0.25, 0.125]]))
    routes = reference.route(rules, logits)
    mean = [0.3125, 0.375, 0.1875, 0.125]
    assert routes.experts.tolist() == [[0, 1], [1, 2]]

    def loss(balance: str) -> float:
        made = _core.RoutingRules(
            n_experts=E, top_k=2, gate="softmax", balance=balance, balance_coef=1.0, z_coef=0.0
        )
        return float(balance_loss(made, logits, routes))

    assert loss("entropy") == pytest.approx(sum(m * np.log(m) for m in mean))
    assert loss("switch") == pytest.approx(4 * (0.25 * mean[0] + 0.5 * mean[1] + 0.25 * mean[2]))
    sums = np.array([2 / 3, 1 / 3 + 2 / 3, 1 / 3, 0.0])
    assert loss("importance") == pytest.approx(sums.var() / sums.mean() ** 2)


@pytest.mark.parametrize(
    ("balance", "least"), [("entropy", 0.98), ("switch", 0.9), ("importance", 0.9)]
)
def test_minimising_the_balance_alone_spreads_the_rows(balance: str, least: float) -> None:
    made = layer(balance=balance, balance_coef=1.0)
    x, _ = rows(256)
    x[:, 0] = 3.0  # a common direction: one expert can win all rows
    with torch.no_grad():
        made.router_weight.zero_()
        made.router_weight[0, 0] = 1.0

    def marginal_entropy() -> float:
        mean = torch.softmax(x @ made.router_weight.T, 1).mean(0).detach()
        return float(-(mean * mean.log()).sum())

    before = marginal_entropy()
    optimizer = torch.optim.Adam([made.router_weight], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        (0 * made(x)).sum().backward()
        optimizer.step()
    assert before < 0.7 * np.log(E)
    assert marginal_entropy() > least * np.log(E)


@pytest.mark.parametrize("isa", supported_isas())
@pytest.mark.parametrize("gate", ["softmax_topk", "sigmoid_bias"])
def test_a_row_does_not_depend_on_its_batch_or_the_threads(
    gate: str, isa: str, request: pytest.FixtureRequest
) -> None:
    force_isa(isa)
    request.addfinalizer(lambda: force_isa(None))
    torch.manual_seed(0)
    made = MoELayer(96, 80, n_experts=6, top_k=3, gate=gate)
    x, d_y = torch.randn(300, 96), torch.randn(300, 96)
    with torch.no_grad():
        together = made(x)
        for size in (1, 2, 7, 13, 25, 50):
            assert torch.equal(made(x[100 : 100 + size]), together[100 : 100 + size])
    threads = torch.get_num_threads()
    found = []
    for n_threads in (1, 2, 5):
        torch.set_num_threads(n_threads)
        made.zero_grad()
        found.append(gradients(made, x, None, d_y))
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(other[name], found[0][name]) for name in other)


def test_edge_cases_of_the_batch() -> None:
    made = layer()
    x, _ = rows()
    assert made(x[:0]).shape == (0, D)
    made(x[:0]).sum().backward()
    assert made.w1.grad is not None
    assert not made.w1.grad.any()
    made.zero_grad()
    wide = torch.randn(N, 2 * D)
    assert torch.equal(made(wide[:, ::2]), made(wide[:, ::2].contiguous()))
    y = made(x.requires_grad_())
    y.T.contiguous().sum().backward()  # a gradient with strides of 0
    assert x.grad is not None


def test_ties_go_to_the_lowest_index() -> None:
    made = layer(top_k=3)
    nn.init.zeros_(made.router_weight)
    assert made.select(rows()[0]).tolist() == [[0, 1, 2]] * N
    assert made.double().select(rows()[0].double()).tolist() == [[0, 1, 2]] * N


def test_all_rows_to_one_expert_leaves_the_others_without_gradient() -> None:
    made = layer(top_k=1, balance="none")
    x, _ = rows()
    experts = torch.full((N, 1), 2, dtype=torch.int32)
    made(x, experts=experts).sum().backward()
    for parameter in (made.w1, made.b1, made.w2, made.b2):
        assert parameter.grad is not None
        used = parameter.grad.flatten(1).abs().sum(1) > 0
        assert used.tolist() == [False, False, True, False]


def test_one_expert_is_a_network() -> None:
    made = layer(n_experts=1, top_k=1)
    x, _ = rows()
    dense = torch.relu(x @ made.w1[0] + made.b1[0]) @ made.w2[0] + made.b2[0]
    assert torch.allclose(made(x), dense, atol=1e-5)


def test_all_experts_selected_is_the_dense_mixture() -> None:
    x, _ = rows()
    topk, dense = layer(top_k=E), layer(gate="soft_dense", top_k=1)
    dense.load_state_dict(topk.state_dict())
    assert torch.equal(topk(x), dense(x))


def test_shared_experts_are_added() -> None:
    made, x = layer(n_shared=2), rows()[0]
    shared = made.shared(x)
    made.n_shared = 0
    assert torch.allclose(made(x) + shared, layer(n_shared=2)(x), atol=1e-5)


def test_merging_by_task_is_one_network_a_task() -> None:
    made = layer(gate="merge", router="task")
    assert made.n_products == 2 * D * HIDDEN  # for a row
    x, task = rows()
    y = made(x, task)
    for t in range(TASKS):
        shares = torch.softmax(made.router_weight[:, t], 0)
        w1, b1, w2, b2 = (
            torch.tensordot(shares, w, 1) for w in (made.w1, made.b1, made.w2, made.b2)
        )
        own = task[:, t] == 1
        assert torch.allclose(y[own], torch.relu(x[own] @ w1 + b1) @ w2 + b2, atol=1e-5)
    y.sum().backward()
    assert made.router_weight.grad is not None
    assert made.router_weight.grad.abs().sum() > 0


def test_given_experts_are_used() -> None:
    made = layer()
    x, _ = rows()
    selected = made.select(x)
    assert torch.equal(made(x, experts=selected), made(x))
    swapped = torch.tensor([[3, 0]], dtype=torch.int32).repeat(N, 1)
    logits = (x @ made.router_weight.T)[:, [3, 0]]
    outputs = [torch.relu(x @ made.w1[e] + made.b1[e]) @ made.w2[e] + made.b2[e] for e in (3, 0)]
    expected = sum(g[:, None] * o for g, o in zip(torch.softmax(logits, 1).T, outputs, strict=True))
    assert torch.allclose(made(x, experts=swapped), expected, atol=1e-5)


def test_bias_moves_against_the_load_when_training_ends() -> None:
    made = layer(gate="sigmoid_bias")
    x, _ = rows()
    experts = torch.tensor([[0, 1]], dtype=torch.int32).repeat(N, 1)
    made.train()
    made(x, experts=experts)
    assert not made.expert_bias.any()
    made.eval()
    assert made.expert_bias.sign().tolist() == [-1, -1, 1, 1]
    before = made.expert_bias.clone()
    made.train()
    made.eval()  # nothing learnt in between
    assert torch.equal(made.expert_bias, before)


def test_bias_decides_the_selection_and_not_the_gates() -> None:
    made = layer(gate="sigmoid_bias", top_k=1)
    x, _ = rows()
    with torch.no_grad():
        made.expert_bias[3] = 2.0
        assert made.select(x).unique().tolist() == [3]
        output = torch.relu(x @ made.w1[3] + made.b1[3]) @ made.w2[3] + made.b2[3]
        gate = torch.sigmoid(x @ made.router_weight[3])
        assert torch.allclose(made(x), gate[:, None] * output, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_count_what_was_learnt(dtype: torch.dtype) -> None:
    made = layer(balance_coef=1.0).to(dtype)
    x = rows()[0].to(dtype)
    with torch.no_grad():
        made(x)
    assert not made.statistics.sums.any()
    made(x)
    made(x[:10])
    probabilities = torch.softmax(x @ made.router_weight.T, 1).double().detach()
    entropy = -(probabilities * probabilities.log()).sum(1)
    counts = torch.bincount(torch.cat([made.select(x), made.select(x[:10])]).flatten(), minlength=E)
    sums = made.statistics.sums
    assert sums[0] == N + 10
    assert float(sums[1]) == pytest.approx(float(entropy.sum() + entropy[:10].sum()), rel=1e-5)
    assert made.statistics.counts.tolist() == counts.tolist()
    by_expert = sums[3:].view(3, E)
    assert float(by_expert[1].sum()) == pytest.approx(N + 10, rel=1e-6)
    losses = []
    for batch in (x, x[:10]):
        p = torch.softmax(batch @ made.router_weight.T, 1).mean(0)
        losses.append(len(batch) * (p * p.log()).sum().item())
    assert float(sums[2]) == pytest.approx(sum(losses), rel=1e-5)
    assert torch.allclose(by_expert[2], probabilities.sum(0) + probabilities[:10].sum(0), atol=1e-4)
    inputs = (x @ made.w1[0] + made.b1[0])[(made.select(x) == 0).any(1)]
    inputs10 = (x[:10] @ made.w1[0] + made.b1[0])[(made.select(x[:10]) == 0).any(1)]
    expected = inputs.abs().sum(0) + inputs10.abs().sum(0)
    assert torch.allclose(made.statistics.magnitudes[0], expected.double(), rtol=1e-4)


def test_copies_and_files_give_the_same_layer() -> None:
    made = layer(gate="sigmoid_bias", n_shared=1)
    x, _ = rows()
    made(x)
    made.eval()
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(other(x), made(x))
    other = layer(gate="sigmoid_bias", n_shared=1)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.expert_bias, made.expert_bias)
    assert torch.equal(other(x), made(x))
    assert {"w1", "b1", "w2", "b2", "router_weight"} < set(made.state_dict())


def test_second_derivatives_are_refused() -> None:
    x = rows()[0].requires_grad_()
    y = layer()(x)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "expert_choice"}, "refused: experts that choose their rows"),
        ({"gate": "soft_moe"}, "refused"),
        ({"gate": "hard"}, "gate must be one of softmax_topk"),
        ({"router": "state"}, "router must be one of"),
        ({"balance": "even"}, "balance must be one of"),
        ({"activation": "gelu"}, "activation must be one of relu, tanh, got 'gelu'"),
        ({"top_k": 5}, r"top_k must be an integer in \[1, 4\], got 5"),
        ({"top_k": 0}, "top_k must be an integer in"),
        ({"n_experts": 0}, "n_experts must be an integer >= 1, got 0"),
        ({"router": "task", "n_tasks": 0}, "router='task' needs n_tasks >= 1, got 0"),
        ({"balance": "bias"}, "balance='bias' needs gate='sigmoid_bias'"),
        ({"balance_coef": -1.0}, "balance_coef must be finite and >= 0, got -1.0"),
        ({"gate": "sigmoid_bias", "z_coef": 0.1}, "z_coef must be 0"),
        ({"gate": "merge"}, "gate='merge' needs router='task'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer(**options)


def test_bad_input() -> None:
    made, (x, task) = layer(router="both"), rows()
    with pytest.raises(ValueError, match=r"x must have shape \[n, 19\], got \[37, 18\]"):
        made(x[:, 1:], task)
    with pytest.raises(ValueError, match=r"needs task \[n, 3\], got None"):
        made(x)
    with pytest.raises(
        ValueError, match=r"task must have shape \[37, n_tasks = 3\], got \[37, 2\]"
    ):
        made(x, task[:, :2])
    for experts in ([[0, 4]], [[1, 1]], [[-1, 0]]):
        given = torch.tensor(experts, dtype=torch.int32).repeat(N, 1)
        with pytest.raises(ValueError, match=r"given experts must be distinct and in \[0, 4\)"):
            made(x, task, experts=given)
    with pytest.raises(ValueError, match="experts must be contiguous int32"):
        made(x, task, experts=torch.zeros(N, 2))


@pytest.mark.parametrize("given", [np.ones((2, 3), np.float32), [[1.0, 2.0, 3.0]], None])
def test_what_is_no_tensor_is_refused(given: Any) -> None:
    layer = MoELayer(3, 4, 4, 2, router="both", n_tasks=3)
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"x must have shape \[n, 3\], got no tensor"):
        layer(given, x)
    if given is not None:
        with pytest.raises(ValueError, match=r"task must have shape .* got no tensor"):
            layer(x, given)
        with pytest.raises(ValueError, match=r"experts must be .* got no tensor"):
            layer(x, x, given)


class Subclass(torch.Tensor):
    """As those of libraries that follow units or batches along."""


def test_rows_of_a_subclass_leave_the_layer_as_it_was() -> None:
    layer, twin = MoELayer(3, 4, 4, 2), MoELayer(3, 4, 4, 2)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(5, 3)
    layer(x.as_subclass(Subclass)).sum().backward()
    twin(x).sum().backward()
    copied = copy.deepcopy(layer)
    assert type(copied.statistics.sums) is torch.Tensor
    torch.testing.assert_close(layer.statistics.sums, twin.statistics.sums)
    torch.testing.assert_close(layer.w1.grad, twin.w1.grad)
