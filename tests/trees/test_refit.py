"""A forest whose tests stay while its leaves move: against numpy, and what must hold of it."""

import copy
import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest
from models import Floats, batch, empty, extend, grown
from numpy.typing import NDArray

from rlshare.trees import BoostedTrees, LeafIds, TargetTrees, TreeParams, force_isa, supported_isas

T = 5


def refitting(n_trees: int = T, **settings: Any) -> BoostedTrees:
    """A model that has all its trees, and so refits them from the next step on."""
    return grown(n_trees, learner="refit", n_trees=n_trees, **settings)


def tables(model: BoostedTrees) -> list[Floats]:
    return [model.tree_arrays(t).leaves for t in range(model.n_trees)]


def found_leaves(model: BoostedTrees, X: NDArray[Any], t: int) -> NDArray[np.intp]:
    """Rows' leaves in tree t, walked in Python."""
    tree = model.tree_arrays(t)
    rows = []
    for x in X:
        node = 0
        while tree.leaf_row[node] < 0:
            right = x[tree.feature[node]] > tree.threshold[node]
            node = int(tree.right[node] if right else tree.left[node])
        rows.append(tree.leaf_row[node])
    return np.array(rows)


def moved(
    model: BoostedTrees, X: Floats, G: Floats, W: Floats, rates: NDArray[Any], l2: float
) -> list[Floats]:
    """What the leaves shall be after a step, in float64. W: [n, n_outputs]."""
    out = []
    for t, table in enumerate(tables(model)):
        leaf, new = found_leaves(model, X, t), table.astype(np.float64)
        for row in range(len(table)):
            here = leaf == row
            weight = W[here].astype(np.float64).sum(0)
            sums = (W[here].astype(np.float64) * G[here]).sum(0)
            change = rates / model.n_trees * sums / np.where(weight > 0, weight + l2, 1)
            new[row] -= np.where(weight > 0, change, 0)
        out.append(new)
    return out


@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
@pytest.mark.parametrize("weights", [None, (64,), (64, 2)])
def test_leaves_move_as_the_formula_says(grow_policy: str, weights: tuple[int, ...] | None) -> None:
    model = refitting(grow_policy=grow_policy, l2_regularization=2.0, rate=[0.5, 3.0])
    X, G = batch(seed=7)
    rng = np.random.default_rng(3)
    w = None if weights is None else (rng.uniform(0, 2, weights) * rng.integers(0, 2, weights))
    W = np.ones((64, 2)) if w is None else np.broadcast_to(w.reshape(64, -1), (64, 2))
    expected = moved(model, X, G, W.astype(np.float32), np.array([0.5, 3.0]), 2.0)
    before = model.nbytes
    model.step(X, G, sample_weight=w)
    assert (model.n_trees, model.n_steps_done, model.nbytes) == (T, T + 1, before)
    for table, right in zip(tables(model), expected, strict=True):
        np.testing.assert_allclose(table, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_outputs", [1, 3, 4, 8, 13])
def test_any_number_of_outputs(n_outputs: int) -> None:
    model = empty(n_outputs=n_outputs, learner="refit", n_trees=3)
    extend(model, 3)
    X, G = batch(n_outputs=n_outputs, seed=9)
    expected = moved(model, X, G, np.ones_like(G), np.full(n_outputs, 0.5), 0.0)
    model.step(X, G)
    for table, right in zip(tables(model), expected, strict=True):
        np.testing.assert_allclose(table, right, rtol=1e-5, atol=1e-6)


def test_rows_of_weight_0_are_not_there() -> None:
    model, twin = refitting(), refitting()
    X, G = batch(seed=1)
    kept = np.arange(64) % 3 > 0
    model.step(X, G, sample_weight=kept.astype(np.float32))
    twin.step(X[kept], G[kept])
    assert model.to_bytes() == twin.to_bytes()


def test_the_first_steps_grow_as_they_would_alone() -> None:
    model, twin = grown(T, learner="refit", n_trees=T + 2), grown(T)
    assert not model.refits
    for t in range(T):
        np.testing.assert_array_equal(tables(model)[t], tables(twin)[t])
    extend(model, 2)
    assert model.refits


@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
def test_rows_by_index_are_rows(grow_policy: str) -> None:
    X, G = batch(200, seed=4)
    rows = np.random.default_rng(0).permutation(200)[:50]
    models = [refitting(grow_policy=grow_policy) for _ in range(3)]
    ids = models[1].leaf_ids(X)
    models[0].step(X[rows], G[rows])
    models[1].step(ids, G[rows], rows=rows)
    models[2].step(X, G[rows], rows=rows)
    assert len({model.to_bytes() for model in models}) == 1
    np.testing.assert_array_equal(models[1].predict_leaves(ids, rows), models[0].predict(X[rows]))


@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
def test_sums_of_leaves_are_predictions(grow_policy: str) -> None:
    """With missing values, infinities and categories, of many rows."""
    params = TreeParams(learner="refit", n_trees=T, categorical=[1], grow_policy=grow_policy)  # type: ignore[arg-type]
    model = BoostedTrees(3, 2, params, learning_rate=1.0, bias=[0.25, -3.0])
    X, G = batch(1500)
    X[:, 1] = np.random.default_rng(0).integers(0, 4, len(X))
    X[::7, 0], X[::11, 2], X[::13, 2] = np.nan, -np.inf, np.inf
    for step in range(2 * T):
        model.step(X, G * (1 + step))
    ids = model.leaf_ids(X)
    assert len(ids) == len(X)
    assert model.predict_leaves(ids).tobytes() == model.predict(X).tobytes()


def test_threads_and_instruction_sets_change_no_bit() -> None:
    X, G = batch(20_000, seed=2)
    found = set()
    for isa, n_threads in product(supported_isas(), (1, 2, 5)):
        force_isa(isa)
        model = refitting(30)
        model.n_threads = n_threads
        ids = model.leaf_ids(X)
        model.step(ids, G)
        found.add((model.to_bytes(), model.predict_leaves(ids).tobytes()))
    force_isa(supported_isas()[-1])
    assert len(found) == 1


@pytest.mark.parametrize(
    "carried",
    [
        BoostedTrees.copy,
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: BoostedTrees.from_bytes(model.to_bytes()),
    ],
)
def test_copies_go_on_alike(carried: Any) -> None:
    model = refitting(subsample=0.5, random_state=3)
    twin = carried(model)
    for each in (model, twin):
        for seed in (1, 2):
            each.step(*batch(seed=seed))
    assert model.to_bytes() == twin.to_bytes()
    assert model.params.n_trees == twin.params.n_trees == T


def test_a_copy_does_not_move_along() -> None:
    model = refitting()
    twin, before = model.copy(), model.to_bytes()
    twin.step(*batch(seed=1))
    assert model.to_bytes() == before


def test_the_version_changes_with_the_leaves() -> None:
    model = grown(T - 1, learner="refit", n_trees=T)
    first = model.version
    extend(model, 1)
    assert model.version is first  # a tree more; what was summed holds
    extend(model, 1)
    assert model.version is not first


@pytest.mark.parametrize("n_before", [T - 2, T, T + 2])
def test_rewinding(n_before: int) -> None:
    model = empty(learner="refit", n_trees=T)
    extend(model, n_before)
    before, mark = model.to_bytes(), model.mark()
    extend(model, 4, seed=5)
    model.rewind(mark)
    assert model.to_bytes() == before
    X, _ = batch(seed=8)
    ids = model.leaf_ids(X)
    assert model.predict_leaves(ids).tobytes() == model.predict(X).tobytes()


def test_early_stopping_keeps_the_best_leaves() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)).astype(np.float32)
    y = np.sin(2 * X[:, :1]) + rng.normal(size=(400, 1)) * 0.5
    model = BoostedTrees(3, 1, TreeParams(learner="refit", n_trees=20, max_depth=6), 0.3)
    steps: list[float] = []
    twin = model.copy()
    for _ in range(60):
        twin.step(X[:200], twin.predict(X[:200]) - y[:200])
        steps.append(float(np.square(twin.predict(X[200:]) - y[200:]).mean()))
    model.fit(X[:200], y[:200], 60, (X[200:], y[200:]), early_stopping_rounds=60)
    error = float(np.square(model.predict(X[200:]) - y[200:]).mean())
    assert error == pytest.approx(min(steps), rel=1e-5)
    assert model.n_steps_done == int(np.argmin(steps)) + 1


def test_it_fits_a_function_with_few_trees() -> None:
    X = np.random.default_rng(1).uniform(-2, 2, (1000, 2)).astype(np.float32)
    y = np.sin(2 * X[:, 0]) * X[:, 1]
    errors = {}
    for learner in ("grow", "refit"):
        params = TreeParams(learner=learner, n_trees=30)  # type: ignore[arg-type]
        model = BoostedTrees(2, 1, params, learning_rate=0.3)
        model.fit(X, y, 30 if learner == "grow" else 600)
        assert model.n_trees == 30
        errors[learner] = np.square(model.predict(X)[:, 0] - y).mean()
    assert errors["refit"] < 0.5 * errors["grow"]


def stale_ids(model: BoostedTrees) -> LeafIds:
    return refitting().leaf_ids(batch()[0])


X0, G0 = batch()
WRONG: dict[str, tuple[Any, str]] = {
    "codes where leaves move": (lambda m: m.step(m.bin(X0), G0), r"got codes: pass .*leaf_ids"),
    "leaves of another model": (lambda m: m.step(stale_ids(m), G0), "those of other trees"),
    "rows beyond the end": (
        lambda m: m.step(m.leaf_ids(X0), G0[:1], rows=[64]),
        r"rows must be in \[0, 64\)",
    ),
    "a sum over leaves of another": (
        lambda m: m.predict_leaves(stale_ids(m)),
        "those of other trees",
    ),
    "no number in G": (lambda m: m.step(X0, G0 * np.nan), "must be finite"),
    "compaction": (lambda m: m.compact(X0, 4, 2), "learner must be 'grow'"),
    "a target": (TargetTrees, "learner must be 'grow'"),
    "a mark of a grower": (lambda m: m.rewind(grown(2).mark()), "learner='refit'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_calls_change_nothing(what: str) -> None:
    model = refitting()
    before = model.to_bytes()
    call, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        call(model)
    assert model.to_bytes() == before


def test_leaves_grow_no_tree() -> None:
    model = grown(2, learner="refit", n_trees=T)
    with pytest.raises(ValueError, match=r"got leaf_ids: pass model.bin\(X\)"):
        model.step(model.leaf_ids(X0), G0)
    assert model.n_trees == model.n_steps_done == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learner": "both"}, "learner must be one of grow, refit"),
        ({"n_trees": 0}, "n_trees must be an integer >= 1"),
        ({"learner": "refit", "monotonic": [(0, 0, 1)]}, "monotonic must be None"),
    ],
)
def test_wrong_params(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeParams(**settings)


def test_growing_may_go_over_into_refitting() -> None:
    model = grown(T)
    model.train_on_with(TreeParams(learner="refit", n_trees=T), 0.5)
    extend(model, 3)
    assert (model.n_trees, model.n_steps_done) == (T, T + 3)
