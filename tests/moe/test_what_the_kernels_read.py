"""Whatever a layer is given: the right answer another way, or a sentence; never a wrong number."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from kinds import HIDDEN, KINDS, D, E, N, inputs, layer
from torch import Tensor, nn

from rlshare.moe import MoELayer, reference


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_are_computed_in_plain_torch(kind: str, dtype: torch.dtype) -> None:
    made = layer(kind)
    other = copy.deepcopy(made).to(dtype)
    rows = inputs(made)
    y = other(*(part.to(dtype) for part in rows))
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.15
    assert torch.allclose(y.float(), made(*rows), atol=tolerance)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in other.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["forward", "select", "routes"])
@pytest.mark.parametrize("to", [torch.bfloat16, torch.float64, "meta"])
def test_rows_of_another_dtype_or_device_are_refused(kind: str, call: str, to: Any) -> None:
    made = layer(kind)
    rows = inputs(made)
    with pytest.raises((ValueError, RuntimeError)):
        getattr(copy.deepcopy(made).to(to), call)(*rows)
    with pytest.raises((ValueError, RuntimeError)):
        getattr(made, call)(rows[0].to(to), *rows[1:])


@pytest.mark.parametrize("name", ["w1", "b1", "w2", "b2", "router_weight", "expert_bias"])
@pytest.mark.parametrize("change", ["strided", "expanded", "float64", "bfloat16", "meta", "shape"])
def test_one_parameter_of_another_kind(name: str, change: str) -> None:
    made = layer("sigmoid")
    rows = inputs(made)
    weight = getattr(made, name).detach()
    if change == "strided":  # the same numbers, spread over a wider memory
        new = torch.stack([weight, weight + 1], -1)[..., 0]
    elif change == "expanded":
        new = weight[:1].expand_as(weight)
        with torch.no_grad():
            getattr(made, name).copy_(new)
    elif change == "shape":
        new = torch.randn(*weight.shape[:-1], weight.shape[-1] + 1)
    else:
        new = weight.to("meta" if change == "meta" else getattr(torch, change))
    other = copy.deepcopy(made)
    other._parameters[name] = nn.Parameter(new, requires_grad=False)
    if change in ("strided", "expanded"):
        assert torch.allclose(other(*rows), made(*rows), atol=1e-5)
        assert torch.equal(other.select(*rows), made.select(*rows))
        return
    for call in (other, other.select):
        with pytest.raises(ValueError, match=name):
            call(*rows)


def test_rows_that_lie_otherwise_in_memory() -> None:
    made = layer()
    (x,) = inputs(made)
    expected = made(x)
    assert torch.equal(made(x.T.contiguous().T), expected)
    assert torch.equal(made(torch.stack([x, x], 2)[..., 1]), expected)
    negative = torch.view_as_complex(torch.stack([x, x], 2)).conj().imag
    assert negative.is_neg()
    assert torch.allclose(made(negative), made(-x), atol=1e-6)
    assert torch.allclose(made(torch._neg_view(x)), made(-x), atol=1e-6)
    assert made(x[:0]).shape == made.double()(x[:0].double()).shape == (0, D)


def test_a_gradient_whose_memory_holds_the_opposite() -> None:
    made, twin = layer(), layer()
    d_y = torch.randn(N, D)
    opposite = torch._neg_view(d_y)
    assert opposite.is_neg()
    assert opposite.is_contiguous()
    made(*inputs(made)).backward(opposite)
    twin(*inputs(twin)).backward(-d_y)
    assert torch.equal(made.w1.grad, twin.w1.grad)  # type: ignore[arg-type]


def test_a_layer_cast_before_its_backward_pass_is_refused() -> None:
    made = layer()
    y = made(*inputs(made))
    made.half()
    with pytest.raises(ValueError, match="must keep its device, dtype and shapes"):
        y.sum().backward()


@pytest.mark.parametrize("frozen", ["experts", "router", "all"])
def test_frozen_parts_get_no_gradient_and_others_the_same(frozen: str) -> None:
    made, part = layer(), layer()
    names = {"experts": ["w1", "b1", "w2", "b2"], "router": ["router_weight"]}
    for name in names.get(frozen, [n for n, _ in part.named_parameters()]):
        getattr(part, name).requires_grad_(False)
    (x,) = inputs(made)
    gradients = []
    for other in (made, part):
        rows = x.clone().requires_grad_()
        other(rows).sum().backward()
        gradients.append(rows.grad)
    assert torch.equal(*gradients)
    for name, weight in part.named_parameters():
        own = getattr(made, name).grad
        assert torch.equal(weight.grad, own) if weight.requires_grad else weight.grad is None


def test_inference_mode_and_autocast() -> None:
    made = layer()
    (x,) = inputs(made)
    expected = made(x).detach()
    with torch.inference_mode():
        assert torch.equal(made(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made(x), expected)
        assert torch.allclose(made(x.bfloat16()), expected, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grad", [True, False])
def test_transforms_of_torch(kind: str, grad: bool) -> None:
    made = layer(kind)
    rows = inputs(made)
    batches = [torch.stack([part, part.flip(0)]) for part in rows]
    with torch.set_grad_enabled(grad):
        mapped = torch.vmap(made)(*batches)
        assert torch.allclose(mapped[0], made(*rows), atol=1e-5)
        assert torch.allclose(mapped[1], made(*(part.flip(0) for part in rows)), atol=1e-5)
    parameters = dict(made.named_parameters())

    def total(given: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(made, given, rows).sum()

    found = torch.func.grad(total)(parameters)["w1"]
    made.zero_grad()
    total(parameters).backward()
    assert torch.allclose(found, made.w1.grad, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [[1, 1], [0, E], [-1, 0], [2**31 - 1, 0], [-(2**31), 0]])
def test_experts_that_do_not_exist_or_repeat(dtype: torch.dtype, given: list[int]) -> None:
    made = layer().to(dtype)
    x = inputs(made)[0].to(dtype)
    experts = torch.tensor([[0, 1]] * (N - 1) + [given], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"distinct and in \[0, 4\)"):
        made(x, experts=experts)
    with pytest.raises(ValueError, match=r"distinct and in \[0, 4\)"):
        reference.route(made.rules, torch.randn(N, E), experts=experts)


@pytest.mark.parametrize("top_k", [1, 2, E])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigmoids_that_underflow(top_k: int, dtype: torch.dtype) -> None:
    made = layer("sigmoid", top_k=top_k, balance="entropy").to(dtype)
    with torch.no_grad():
        made.router_weight.fill_(-300.0)
    y = made(torch.ones(N, D, dtype=dtype))
    y.sum().backward()
    assert y.isfinite().all()
    for parameter in made.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert made.statistics.sums.isfinite().all()
    if top_k > 1:
        assert torch.allclose(
            made.routes(torch.ones(1, D, dtype=dtype)).gates.sum(), torch.ones(()).to(dtype)
        )


@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": E, "n_shared": 1}])
def test_numpy_numbers(options: dict[str, Any]) -> None:
    plain = {"n_experts": E, "top_k": 2, "balance_coef": 0.5, "n_shared": 0, **options}
    made = MoELayer(np.int64(D), np.array(HIDDEN), **{k: np.array(v) for k, v in plain.items()})
    assert made.options == MoELayer(D, HIDDEN, **plain).options
    assert type(made.top_k) is int


def test_options_that_are_no_numbers() -> None:
    for name in ("n_experts", "top_k", "n_shared", "n_tasks"):
        for value in (2.5, True, "2", None, float("nan")):
            with pytest.raises(ValueError, match=f"{name} must be an integer"):
                layer(**{name: value})
