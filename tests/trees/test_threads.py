"""Threads, instruction sets and forks never change a result."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from models import LARGE, batch, predict_and_step

from rlshare.trees import BoostedTrees, TreeParams, force_isa, supported_isas

GROWTH = ["oblivious", "greedy"]
SHAPES: list[dict[str, Any]] = [
    {"n": 1, "d": 1, "n_outputs": 1},
    {"n": 37, "d": 3, "n_outputs": 2},
    {"n": 500, "d": 4, "n_outputs": 7},
    {"n": 300, "d": 2, "n_outputs": 9},
    {"n": 200, "d": 3, "n_outputs": 17},
]


@pytest.fixture(autouse=True)
def _restore_isa() -> Iterator[None]:
    yield
    force_isa(None)


def train(shape: dict[str, Any], n_trees: int, n_threads: int | None, **settings: Any) -> Any:
    """The model's bytes and its predictions, on batches with missing values."""
    model = BoostedTrees(
        shape["d"],
        shape["n_outputs"],
        params=TreeParams(**settings),
        learning_rate=0.3,
        n_threads=n_threads,
    )
    for seed in range(n_trees):
        X, G = batch(seed=seed, **shape)
        X[::5, 0] = np.nan
        X[:, -1] = np.round(X[:, -1])
        model.step(X, G)
    return model, X


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("grow_policy", GROWTH)
@pytest.mark.parametrize("score", ["cosine", "l2"])
def test_instruction_sets_are_bit_equal(shape: Any, grow_policy: str, score: str) -> None:
    results = []
    for isa in supported_isas():
        force_isa(isa)
        settings = {"grow_policy": grow_policy, "score": score, "categorical": [shape["d"] - 1]}
        model, X = train(shape, 6, 1, **settings)
        results.append((model.to_bytes(), model.predict(X).tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("grow_policy", GROWTH)
@pytest.mark.parametrize("categorical", [[], [0]])
@pytest.mark.parametrize(("d", "n_outputs"), [(1, 1), (5, 3), (31, 4), (33, 5), (70, 9)])
def test_predictions_are_bit_equal_whatever_the_rows_and_depths(
    grow_policy: str, categorical: list[int], d: int, n_outputs: int
) -> None:
    """Trees of every depth side by side, so that no group of tests ends where a tree does."""
    model = BoostedTrees(d, n_outputs, TreeParams(grow_policy=grow_policy, categorical=categorical))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for k in range(150):
        settings = {"max_depth": int(rng.integers(0, 9)), "grow_policy": grow_policy}
        model.params = TreeParams(categorical=categorical, **settings)  # type: ignore[arg-type]
        X, G = batch(60, d, n_outputs, seed=k)
        X[:, 0] = np.round(X[:, 0])
        model.step(X, G)
    X, _ = batch(70, d, n_outputs, seed=999)
    X[:, 0] = np.round(X[:, 0])
    X[::7, -1] = np.nan if d > 1 else 3.0
    weights = rng.random(150)
    force_isa("scalar")
    expected = np.concatenate([model.predict(row[None]) for row in X])
    weighted = model.predict(X, tree_weights=weights)
    for isa in supported_isas():
        force_isa(isa)
        for n in (1, 2, 4, 5, 16, 17, 64, 70):
            np.testing.assert_array_equal(model.predict(X[:n]), expected[:n])
            parts = model.predict(X[:n], 0, 37)
            model.predict(X[:n], 37, out=parts)
            np.testing.assert_array_equal(parts, expected[:n])
        np.testing.assert_array_equal(model.predict(X, tree_weights=weights), weighted)


@pytest.mark.parametrize("per_output", [False, True])
def test_instruction_sets_are_bit_equal_with_weights(per_output: bool) -> None:
    X, G = batch(400, 3, 5)
    weight = np.random.default_rng(0).exponential(size=G.shape if per_output else len(G))
    results = []
    for isa in supported_isas():
        force_isa(isa)
        model = BoostedTrees(3, 5, params=TreeParams(l2_regularization=0.5))
        model.step(X, G, sample_weight=weight)
        results.append(model.to_bytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("grow_policy", GROWTH)
@pytest.mark.parametrize("candidates", ["quantile", "uniform"])
def test_thread_counts_are_bit_equal(grow_policy: str, candidates: str) -> None:
    results = []
    for n_threads in (1, 2, 3, 7, None):
        settings = {"grow_policy": grow_policy, "candidates": candidates, "categorical": [7]}
        model, X = train(LARGE, 8, n_threads, **settings)
        results.append((model.to_bytes(), model.predict(X).tobytes()))
    assert len(set(results)) == 1


def test_unknown_instruction_set() -> None:
    assert supported_isas()[0] == "scalar"
    with pytest.raises(ValueError, match=r"isa must be one of scalar.*got sse9"):
        force_isa("sse9")


def test_forcing_an_instruction_set_changes_no_prediction_of_a_model() -> None:
    model, X = train(LARGE, 8, 2)
    expected = model.predict(X)
    for isa in supported_isas():
        force_isa(isa)
        np.testing.assert_array_equal(model.predict(X), expected)
        np.testing.assert_array_equal(model.predict(X[:3]), expected[:3])


def test_a_forked_child_predicts_and_trains() -> None:
    model, _ = train(LARGE, 8, 2)
    expected = predict_and_step(model.copy())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        result = b"1" if predict_and_step(model) == expected else b"0"
        os.write(writing, result)
        os._exit(0)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 1) == b"1"
    os.close(reading)
    assert predict_and_step(model) == expected  # and the parent goes on


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(method: str) -> None:
    model, _ = train(LARGE, 8, 2)
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.map(predict_and_step, [model] * 4, chunksize=1)
    assert set(results) == {predict_and_step(model)}


def test_python_threads_share_a_model() -> None:
    model, X = train(LARGE, 8, 2)
    expected = model.predict(X)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(model.predict, [X] * 8):
            np.testing.assert_array_equal(result, expected)


def test_predictions_go_on_while_another_thread_trains() -> None:
    """In a process of its own, which a race may crash."""
    code = """
import threading, numpy as np
from rlshare.trees import BoostedTrees
rng = np.random.default_rng(0)
X, G = rng.normal(size=(100, 3)), rng.normal(size=(100, 2))
model = BoostedTrees(3, 2, n_threads=1)
model.step(X, G)
first, done, wrong = model.predict(X), threading.Event(), []
def read():
    while not done.is_set():
        if not np.array_equal(model.predict(X, 0, 1), first): wrong.append(1)
        model.predict(X)
readers = [threading.Thread(target=read) for _ in range(2)]
for reader in readers: reader.start()
for _ in range(1000): model.step(X, G)
done.set()
for reader in readers: reader.join()
print(len(wrong))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout.strip()) == (0, "0"), run.stderr


@pytest.mark.parametrize("grow_policy", GROWTH)
def test_large_predictions_go_on_while_another_thread_trains(grow_policy: str) -> None:
    """Both with enough work to want the pool, which only one of them gets at a time."""
    model, X = train(LARGE, 8, 2, grow_policy=grow_policy)
    _, G = batch(**LARGE)
    expected = model.predict(X)
    with ThreadPoolExecutor(3) as pool:
        training = pool.submit(lambda: [model.step(X, G) for _ in range(8)])
        while not training.done():
            for result in pool.map(lambda _: (model.predict(X, 0, 8), model.predict(X)), range(2)):
                np.testing.assert_array_equal(result[0], expected)
        training.result()
    assert model.n_trees == 16


def test_errors_in_several_threads_reach_the_caller() -> None:
    X = np.repeat(np.arange(70_000, dtype=np.float32)[:, None], 4, axis=1)
    model = BoostedTrees(4, 1, params=TreeParams(categorical=[0, 1, 2, 3]), n_threads=4)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"at most 65535 categories in one batch"):
            model.step(X, np.ones((len(X), 1)))
    assert model.n_trees == 0
    model.step(X[:100], np.ones((100, 1)))


def test_python_threads_train_models_of_their_own() -> None:
    expected = train(LARGE, 3, 2)[0].to_bytes()
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(train, LARGE, 3, 2) for _ in range(4)]
        assert {run.result()[0].to_bytes() for run in runs} == {expected}


def test_torch_threads_are_left_alone() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    model, X = train(LARGE, 8, 3)
    model.predict(X)
    assert torch.get_num_threads() == before


def test_trees_need_neither_torch_nor_stable_baselines3() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'stable_baselines3', 'gymnasium']))\n"
        "from rlshare.trees import BoostedTrees\n"
        "model = BoostedTrees(1, 1)\n"
        "model.step([[0], [1]], [[1], [2]])\n"
        "BoostedTrees.from_bytes(model.to_bytes()).predict([[0]])\n"
        "print([m for m in ('torch', 'stable_baselines3', 'gymnasium') if sys.modules.get(m)])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr
