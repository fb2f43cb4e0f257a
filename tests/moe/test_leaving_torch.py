"""Layers that are traced, exported or compiled: the same function without Python."""

import io
from typing import Any

import pytest
import torch
from kinds import KINDS, D, inputs, layer

OPTIONS = [(kind, {}) for kind in KINDS] + [
    ("softmax", {"top_k": 1}),
    ("softmax", {"top_k": 4, "n_shared": 1}),
    ("softmax", {"activation": "tanh"}),
]
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of its exporters


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
@pytest.mark.parametrize("grad", [True, False])
def test_traced(kind: str, options: dict[str, Any], grad: bool) -> None:
    made, file = layer(kind, **options), io.BytesIO()
    with torch.set_grad_enabled(grad):
        torch.jit.save(torch.jit.trace(made, inputs(made, 2)), file)
        file.seek(0)
        traced = torch.jit.load(file)
        for n in (1, 7):
            assert torch.allclose(traced(*inputs(made, n)), made(*inputs(made, n)), atol=1e-5)
        ties = torch.zeros(3, D), *inputs(made, 3)[1:]
        assert torch.allclose(traced(*ties), made(*ties), atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_exported_for_any_batch(kind: str, options: dict[str, Any]) -> None:
    made = layer(kind, **options)
    n = torch.export.Dim("n")
    shapes = tuple({0: n} for _ in inputs(made))
    exported = torch.export.export(made, inputs(made, 2), dynamic_shapes=shapes).module()
    for rows in (1, 7):
        assert torch.allclose(exported(*inputs(made, rows)), made(*inputs(made, rows)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_onnx(kind: str, tmp_path: Any) -> None:
    needs = "needs the extra onnx: pip install 'rlshare[onnx]'"
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=needs)
    runtime = pytest.importorskip("onnxruntime", reason=needs)
    made = layer(kind).eval()
    n = torch.export.Dim("n")
    shapes = tuple({0: n} for _ in inputs(made))
    path = str(tmp_path / "layer.onnx")
    torch.onnx.export(made, inputs(made, 2), path, dynamic_shapes=shapes, dynamo=True)
    session = runtime.InferenceSession(path)
    names = [given.name for given in session.get_inputs()]
    rows = inputs(made, 7)
    (y,) = session.run(None, {k: v.numpy() for k, v in zip(names, rows, strict=True)})
    assert torch.allclose(torch.from_numpy(y), made(*rows), atol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "merge"])
def test_compiled_layers_learn_alike(kind: str) -> None:
    made, twin = layer(kind), layer(kind)
    compiled = torch.compile(twin, backend="aot_eager")
    rows = inputs(made)
    made(*rows).square().sum().backward()
    compiled(*rows).square().sum().backward()
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, getattr(twin, name).grad, atol=1e-5), name
    assert torch.allclose(made.statistics.sums, twin.statistics.sums, rtol=1e-4)
