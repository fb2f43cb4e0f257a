"""A forest that is drawn and whose leaves move: against numpy, and what must hold of it."""

import copy
import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest
from models import Floats, batch, empty, extend, grown, structure
from numpy.typing import NDArray

from rlshare import _core
from rlshare.trees import BoostedTrees, TargetTrees, TreeParams, force_isa, supported_isas
from rlshare.trees.params import GrowPolicy
from rlshare.trees.refitting import REDRAWN_AFTER

T = 5


def refitting(n_trees: int = T, **settings: Any) -> BoostedTrees:
    """A model whose leaves have moved a few times."""
    return grown(3, learner="refit", n_trees=n_trees, random_state=1, **settings)


def goes_over(grow_policy: str = "oblivious", **settings: Any) -> BoostedTrees:
    """A model of trees that were grown, and are refitted from here on."""
    model = grown(T, grow_policy=grow_policy, **settings)
    model.train_on_with(TreeParams(learner="refit", n_trees=T), model.schedules)
    return model


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


def features(model: BoostedTrees) -> NDArray[np.int64]:
    """How often each feature is tested [n_features]."""
    tested = [model.tree_structure(t)["features"] for t in range(model.n_trees)]
    return np.bincount(np.concatenate(tested).astype(int), minlength=model.n_features)


@pytest.mark.parametrize("make", [refitting, goes_over])
@pytest.mark.parametrize("weights", [None, (64,), (64, 2)])
def test_leaves_move_as_the_formula_says(make: Any, weights: tuple[int, ...] | None) -> None:
    model = make(rate=[0.5, 3.0])
    X, G = batch(seed=7)
    rng = np.random.default_rng(3)
    w = None if weights is None else (rng.uniform(0, 2, weights) * rng.integers(0, 2, weights))
    W = np.ones((64, 2)) if w is None else np.broadcast_to(w.reshape(64, -1), (64, 2))
    expected = moved(model, X, G, W.astype(np.float32), np.array([0.5, 3.0]), 2.0)
    before = model.nbytes, model.n_steps_done + 1
    model.step(X, G, sample_weight=w)
    assert (model.n_trees, (model.nbytes, model.n_steps_done)) == (T, before)
    for table, right in zip(tables(model), expected, strict=True):
        np.testing.assert_allclose(table, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_outputs", [1, 3, 4, 8, 13])
@pytest.mark.parametrize("n_trees", [3, 8, 17])
def test_any_number_of_outputs_and_trees(n_outputs: int, n_trees: int) -> None:
    settings = {"n_trees": n_trees, "l2_regularization": 0}
    model = empty(n_outputs=n_outputs, learner="refit", **settings)
    extend(model, 1)
    X, G = batch(n_outputs=n_outputs, seed=9)
    expected = moved(model, X, G, np.ones_like(G), np.full(n_outputs, 0.5), 0.0)
    model.step(X, G)
    for table, right in zip(tables(model), expected, strict=True):
        np.testing.assert_allclose(table, right, rtol=1e-5, atol=1e-6)
    ids = model.leaf_ids(X)
    assert model.predict_leaves(ids).tobytes() == model.predict(X).tobytes()


def test_rows_of_weight_0_move_nothing() -> None:
    model, twin = refitting(), refitting()
    X, G = batch(seed=1)
    kept = np.arange(64) % 3 > 0
    model.step(X, G, sample_weight=kept.astype(np.float32))
    twin.step(X[kept], G[kept])
    for one, other in zip(tables(model), tables(twin), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_by_index_are_rows() -> None:
    X, G = batch(200, seed=4)
    rows = np.random.default_rng(0).permutation(200)[:50]
    models = [refitting() for _ in range(3)]
    ids = models[1].leaf_ids(X)
    models[0].step(X[rows], G[rows])
    models[1].step(ids, G[rows], rows=rows)
    models[2].step(X, G[rows], rows=rows)
    assert len({model.to_bytes() for model in models}) == 1
    np.testing.assert_array_equal(models[1].predict_leaves(ids, rows), models[0].predict(X[rows]))


@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
def test_sums_of_leaves_are_predictions(grow_policy: GrowPolicy) -> None:
    """With missing values, infinities and categories, of many rows."""
    params = TreeParams(categorical=[1], grow_policy=grow_policy)
    model = BoostedTrees(3, 2, params, learning_rate=1.0, bias=[0.25, -3.0])
    X, G = batch(1500)
    X[:, 1] = np.random.default_rng(0).integers(0, 4, len(X))
    X[::7, 0], X[::11, 2], X[::13, 2] = np.nan, -np.inf, np.inf
    for step in range(2 * T):
        model.step(X, G * (1 + step))
    ids = model.leaf_ids(X)
    assert len(ids) == len(X)
    assert model.predict_leaves(ids).tobytes() == model.predict(X).tobytes()


def test_tests_part_the_rows_they_are_drawn_from() -> None:
    """Numbers, discrete ones, categories and missing values; what never varies is not tested."""
    rng = np.random.default_rng(0)
    X = np.empty((300, 6), object)
    X[:, 0] = rng.normal(size=300)
    X[:, 1] = rng.integers(0, 3, 300)
    X[:, 2] = rng.choice(["left", "right", None], 300)
    X[:, 3] = 7.0
    X[:, 4] = np.where(rng.random(300) < 0.5, np.nan, 1.0)
    X[:, 5] = rng.choice([-np.inf, np.inf, 3e38, -3e38], 300)
    params = TreeParams(learner="refit", n_trees=100, categorical=[2], random_state=0)
    model = BoostedTrees(6, 1, params)
    model.step(X, np.zeros((300, 1)))
    assert (features(model)[[0, 1, 2, 4, 5]] > 20).all()
    assert features(model)[3] == 0
    leaves = np.array([found_leaves(model, as_numbers(X), t) for t in range(100)])
    for t in range(100):
        assert len(np.unique(leaves[t])) > 1


def as_numbers(X: NDArray[Any]) -> NDArray[np.float64]:
    """Categories numbered as they appear, -Inf as the lowest float32, missing below all."""
    seen = list(dict.fromkeys(value for value in X[:, 2] if value is not None))
    numbers = X.copy()
    numbers[:, 2] = [np.nan if value is None else seen.index(value) for value in X[:, 2]]
    plain = numbers.astype(np.float64)
    numeric = np.array([0, 1, 3, 4, 5])
    plain[:, numeric] = np.maximum(plain[:, numeric], np.finfo(np.float32).min)
    return plain


def test_rows_that_are_all_alike_make_trees_without_tests() -> None:
    model = BoostedTrees(2, 1, TreeParams(learner="refit", n_trees=4, l2_regularization=0), 1.0)
    model.step(np.ones((5, 2)), np.full((5, 1), 2.0))
    assert [model.tree_arrays(t).depth for t in range(4)] == [0] * 4
    np.testing.assert_allclose(model.predict(np.zeros((1, 2))), [[-2.0]])


def noisy(n: int, d: int = 20, seed: int = 0) -> tuple[Floats, Floats]:
    """Rows of which two features matter."""
    X = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return X, (np.sin(2 * X[:, :1]) * X[:, 1:2]).astype(np.float32)


def test_uniform_thresholds_lie_in_the_range_of_each_number() -> None:
    """Next to no row's values; categories and missing values are tested as ever."""
    rng = np.random.default_rng(0)
    X = np.empty((400, 4), object)
    X[:, 0] = np.where(rng.random(400) < 0.99, 0.0, 10.0)
    X[:, 1] = rng.choice(["left", "right", None], 400)
    X[:, 2] = np.where(rng.random(400) < 0.5, np.nan, 1.0)
    X[:, 3] = np.where(rng.random(400) < 0.1, -np.inf, rng.random(400))
    params = TreeParams(learner="refit", candidates="uniform", categorical=[1], random_state=0)
    model = BoostedTrees(4, 1, params)
    model.step(X, np.zeros((400, 1)))
    tests = [test for t in range(model.n_trees) for test in structure(model, t)]
    found = [[threshold for f, threshold in tests if f == feature] for feature in range(4)]
    assert np.histogram(np.array(found[0], float), 5, (0, 10))[0].min() > 20
    assert len(set(found[0])) > 100
    assert {*found[1]} <= {"left", "right", None}
    assert len({*map(float, found[2])}) == 1  # between missing values and 1
    numbers = np.array(found[3], float)
    assert ((numbers >= np.finfo(np.float32).min) & (numbers < 1)).all()
    assert (numbers > 0).mean() > 0.5


def test_drawn_anew_features_that_matter_are_tested() -> None:
    X, y = noisy(2000)
    params = TreeParams(learner="refit", max_depth=6, random_state=0)
    model = BoostedTrees(20, 1, params, learning_rate=1.0)
    model.fit(X, y, 5)
    assert features(model)[:2].sum() < 0.2 * features(model).sum()
    model.fit(X, y, 200)
    assert features(model)[:2].sum() > 0.7 * features(model).sum()
    assert model.n_trees == 200
    fresh, truth = noisy(1000, seed=1)
    assert np.square(model.predict(fresh) - truth).mean() < 0.1 * truth.var()


def test_drawing_anew_keeps_the_function() -> None:
    X, y = noisy(512, d=4)
    params = TreeParams(learner="refit", max_depth=6, random_state=0)
    model = BoostedTrees(4, 1, params, learning_rate=1.0)
    ids = model.leaf_ids(X)
    for _ in range(REDRAWN_AFTER[0] // 512):
        model.step(ids, model.predict(X) - y)
    before, tests = model.predict(X), features(model)
    model.step(ids, np.zeros((512, 1)))  # moves nothing
    assert (features(model) != tests).any()
    assert np.square(model.predict(X) - before).mean() < 0.01 * before.var()
    assert model.predict_leaves(ids).tobytes() == model.predict(X).tobytes()


def test_the_rows_are_kept_until_the_last_draw() -> None:
    model = refitting()
    size = len(model.to_bytes())
    X, G = batch(512)
    for _ in range(REDRAWN_AFTER[-1] // 512 - 1):
        model.step(X, G)
    assert len(model.to_bytes()) > size
    extend(model, 2, n=512)
    assert len(model.to_bytes()) < size


@pytest.mark.parametrize("n", [1, 5, 31])
def test_drawn_from_few_rows_tests_are_soon_drawn_from_more(n: int) -> None:
    model = empty(learner="refit", n_trees=50, random_state=0)
    n_steps = -(-512 // n)
    for step in range(n_steps):
        model.step(*batch(n, seed=step))
    thresholds = [t for i in range(50) for t in model.tree_structure(i)["thresholds"]]
    assert len(set(thresholds)) > 150  # of 200, where the rows of one step have 31 x 3 values
    assert model.n_trees == 50


def test_weights_of_features_are_kept_to() -> None:
    model = empty(learner="refit", n_trees=50, feature_weights=[1, 0, 3], random_state=0)
    extend(model, 30, n=512)
    assert features(model)[1] == 0
    none = empty(learner="refit", n_trees=2, feature_weights=[0, 0, 0])
    extend(none, 1)
    assert none.tree_arrays(0).depth == 0


def test_threads_and_instruction_sets_change_no_bit() -> None:
    X, G = batch(20_000, seed=2)
    found = set()
    for isa, n_threads in product(supported_isas(), (1, 2, 5)):
        force_isa(isa)
        model = refitting(30)
        model.n_threads = n_threads
        ids = model.leaf_ids(X)
        for _ in range(20):  # beyond the first time that trees are drawn anew
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
    """Also across the next time that trees are drawn anew."""
    model = refitting(subsample=0.5)
    extend(model, 10, n=512)
    twin = carried(model)
    for each in (model, twin):
        extend(each, 12, n=512, seed=5)
    assert model.to_bytes() == twin.to_bytes()
    assert model.params.n_trees == twin.params.n_trees == T


@pytest.mark.parametrize("cut", [1, 5, 4 * 3])
def test_a_damaged_sample_is_refused(cut: int) -> None:
    forest, sections = _core.Forest.from_bytes(refitting().to_bytes())
    data = forest.to_bytes(sections | {"drawn_from": sections["drawn_from"][:-cut]})
    with pytest.raises(ValueError, match="sample of rows is damaged"):
        BoostedTrees.from_bytes(data)


def test_a_seed_makes_it_all() -> None:
    one, other, third = (empty(learner="refit", n_trees=T, random_state=seed) for seed in (1, 1, 2))
    for model in (one, other, third):
        extend(model, 30, n=512)
    assert one.to_bytes() == other.to_bytes()
    assert (features(one) != features(third)).any()
    assert empty(learner="refit").params.random_state is not None


def test_a_copy_does_not_move_along() -> None:
    model = refitting()
    twin, before = model.copy(), model.to_bytes()
    twin.step(*batch(seed=1))
    assert model.to_bytes() == before


def test_the_version_changes_with_the_leaves() -> None:
    model = refitting()
    first = model.version
    extend(model, 1)
    assert model.version is not first


@pytest.mark.parametrize("n_before", [0, 1, 18, 25])
def test_rewinding(n_before: int) -> None:
    """Before the first draw, and over the second."""
    model = empty(learner="refit", n_trees=T, random_state=1)
    extend(model, n_before, n=512)
    before, mark = model.to_bytes(), model.mark()
    extend(model, 4, n=512, seed=5)
    model.rewind(mark)
    assert model.to_bytes() == before
    X, _ = batch(seed=8)
    ids = model.leaf_ids(X)
    assert model.predict_leaves(ids).tobytes() == model.predict(X).tobytes()


def test_early_stopping_keeps_the_best_leaves() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)).astype(np.float32)
    y = np.sin(2 * X[:, :1]) + rng.normal(size=(400, 1)) * 0.5
    params = TreeParams(learner="refit", n_trees=20, max_depth=6, random_state=0)
    model = BoostedTrees(3, 1, params, 3.0)
    steps: list[float] = []
    twin = model.copy()
    for _ in range(60):
        twin.step(X[:200], twin.predict(X[:200]) - y[:200])
        steps.append(float(np.square(twin.predict(X[200:]) - y[200:]).mean()))
    model.fit(X[:200], y[:200], 60, (X[200:], y[200:]), early_stopping_rounds=60)
    error = float(np.square(model.predict(X[200:]) - y[200:]).mean())
    assert error == pytest.approx(min(steps), rel=1e-5)
    assert model.n_steps_done == int(np.argmin(steps)) + 1


X0, G0 = batch()
WRONG: dict[str, tuple[Any, str]] = {
    "codes": (lambda m: m.step(m.bin(X0), G0), r"got codes: pass model.leaf_ids\(X\)"),
    "rows of other width": (
        lambda m: m.step(empty(d=4).leaf_ids(np.ones((64, 4))), G0),
        "leaf_ids must have 3 features",
    ),
    "rows beyond the end": (
        lambda m: m.step(m.leaf_ids(X0), G0[:1], rows=[64]),
        r"rows must be in \[0, 64\)",
    ),
    "no rows": (lambda m: m.step(X0[:0], G0[:0]), "at least one row"),
    "a sum over leaves of another": (
        lambda m: m.predict_leaves(empty(categorical=[0]).leaf_ids(np.ones((2, 3)))),
        "leaf_ids were made by another model",
    ),
    "no number in G": (lambda m: m.step(X0, G0 * np.nan), "must be finite"),
    "sums beyond float32": (lambda m: m.step(X0, G0 * 0 + 1e38), "leaves must stay finite"),
    "weights beyond float32": (
        lambda m: m.step(X0, G0, sample_weight=np.full(64, 3e38)),
        "leaves must stay finite",
    ),
    "compaction": (lambda m: m.compact(X0, 4, 2), "learner must be 'grow'"),
    "a target of weights": (lambda m: TargetTrees(m, [1.0]), "has leaves of its own"),
    "weights of a target": (lambda m: TargetTrees(m).weights, "has leaves of its own"),
    "too few leaves": (lambda m: m.predict(X0, leaves=m.leaves[1:]), "one number for each"),
    "a mark of a grower": (lambda m: m.rewind(grown(2).mark()), "learner='refit'"),
}


def test_sums_too_large_to_be_drawn_anew_are_refused() -> None:
    params = TreeParams(learner="refit", n_trees=50, random_state=0)
    model = BoostedTrees(3, 1, params, learning_rate=40.0)
    X = batch(512)[0]
    for _ in range(19):
        model.step(X, np.full((512, 1), 5e35))
    before = model.to_bytes()
    with pytest.raises(ValueError, match="leaves must stay finite"):
        model.step(X, np.full((512, 1), 5e35))
    assert model.to_bytes() == before


@pytest.mark.parametrize("what", WRONG)
def test_wrong_calls_change_nothing(what: str) -> None:
    model = refitting()
    before = model.to_bytes()
    call, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        call(model)
    assert model.to_bytes() == before


def test_leaves_grow_no_tree() -> None:
    model = grown(2)
    with pytest.raises(ValueError, match=r"got leaf_ids: pass model.bin\(X\)"):
        model.step(model.leaf_ids(X0), G0)
    assert model.n_trees == model.n_steps_done == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learner": "both"}, "learner must be one of grow, refit"),
        ({"n_trees": 0}, "n_trees must be an integer >= 1"),
        ({"learner": "refit", "monotonic": [(0, 0, 1)]}, "monotonic must be None"),
        ({"learner": "refit", "grow_policy": "greedy"}, "grow_policy must be 'oblivious'"),
        ({"learner": "refit", "bins": "rollout"}, "bins must be 'batch'"),
        ({"learner": "refit", "colsample": 0.5}, "colsample must be 1"),
    ],
)
def test_wrong_params(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeParams(**settings)


def test_leaves_are_regularised_by_default() -> None:
    assert TreeParams(learner="refit").l2_regularization == 2.0
    assert TreeParams().l2_regularization == 0.0
    assert TreeParams(learner="refit", l2_regularization=0).l2_regularization == 0.0


def test_growing_may_go_over_into_refitting() -> None:
    model = goes_over()
    before = features(model)
    extend(model, 30, n=512)
    assert (model.n_trees, model.n_steps_done) == (T, T + 30)
    np.testing.assert_array_equal(features(model), before)


def test_trees_that_were_grown_in_between_are_not_drawn_anew() -> None:
    model = grown(3, learner="refit", n_trees=T, random_state=1)
    model.train_on_with(TreeParams(random_state=1), model.schedules)
    extend(model, 4)
    model.train_on_with(TreeParams(learner="refit", n_trees=T, random_state=1), model.schedules)
    before = features(model)
    extend(model, 25, n=512)
    assert (model.n_trees, model.n_steps_done) == (T + 4, 32)
    np.testing.assert_array_equal(features(model), before)
