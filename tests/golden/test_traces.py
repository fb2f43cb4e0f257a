"""Training makes the same policy, to the last bit, as it did when the traces were recorded."""

import pytest

pytest.importorskip("sb3_contrib")

from traces import TRACES, arithmetic, recorded, trace


@pytest.mark.parametrize("name", TRACES)
def test_trace(name: str) -> None:
    known = recorded().get(arithmetic())
    if known is None:
        pytest.skip(f"needs hashes of arithmetic {arithmetic()}: python tests/golden/traces.py")
    assert trace(name) == known[name]
