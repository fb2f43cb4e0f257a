"""Copies, files and what becomes of damaged ones."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from model_files import (
    COUNTS,
    OPTIONAL,
    REQUIRED,
    Section,
    join,
    split,
    version_2,
    with_checksum,
)
from models import batch, empty, extend, grown

from rlshare.trees import BoostedTrees, Linear, Table, TreeParams

INVALID = r"^not a valid rlshare model file: "
COPIES: dict[str, Any] = {
    "bytes": lambda model: BoostedTrees.from_bytes(model.to_bytes()),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "copy": BoostedTrees.copy,
}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"grow_policy": "greedy", "score": "l2", "candidates": "uniform", "n_bins": 7},
    {"subsample": 0.5, "random_state": 3},
    {"colsample": 0.5, "random_state": 3, "grow_policy": "greedy"},
    {"subsample": 0.7, "colsample": 0.7},
    {"feature_weights": [0.5, 1.0, 2.0], "min_samples_leaf": 2, "l2_regularization": 0.5},
]
every_copy = pytest.mark.parametrize("how", COPIES)
every_setting = pytest.mark.parametrize("settings", SETTINGS)


@every_copy
@every_setting
def test_a_copy_is_the_same_and_trains_on_alike(how: str, settings: dict[str, Any]) -> None:
    """Train k, copy, train m equals train k + m, bit for bit."""
    model = empty(rate=[Linear(0.5, 0.1, 8), Table([0.3, 0.2, 0.1])], **settings)
    extend(model, 5)
    other = COPIES[how](model)
    X, _ = batch(seed=77)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert (other.n_trees, other.n_steps_done, other.params) == (5, 5, model.params)
    extend(model, 4, seed=2)
    assert other.n_trees == 5
    extend(other, 4, seed=2)
    assert other.to_bytes() == model.to_bytes()
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


@every_copy
def test_a_copy_is_independent(how: str) -> None:
    model = grown(5)
    before = model.to_bytes()
    extend(COPIES[how](model), 3)
    assert model.to_bytes() == before


@every_copy
def test_an_empty_model_is_copied(how: str) -> None:
    model = BoostedTrees(3, 2, bias=[1.0, 2.0])
    other = COPIES[how](model)
    extend(model, 2)
    extend(other, 2)
    assert other.to_bytes() == model.to_bytes()


def test_save_and_load(tmp_path: Path) -> None:
    model = grown(5)
    model.save(tmp_path / "model.trees")
    model.save(str(tmp_path / "again.trees"))
    for name in ("model.trees", "again.trees"):
        loaded = BoostedTrees.load(tmp_path / name)
        assert loaded.to_bytes() == model.to_bytes()
    assert (tmp_path / "model.trees").read_bytes() == model.to_bytes()


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.trees"
    grown(2).save(path)
    before = path.read_bytes()
    code = f"""
import resource, signal
from rlshare.trees import BoostedTrees
model = BoostedTrees.load({str(path)!r})
model.step([[0, 0, 0], [1, 1, 1]], [[1, 1], [2, 2]])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    model.save({str(path)!r})
except OSError:
    print("refused")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "refused", run.stderr
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.trees"]


def test_same_model_same_bytes() -> None:
    assert grown(5).to_bytes() == grown(5).to_bytes()


def test_categories_survive(tmp_path: Path) -> None:
    X = np.array([["a", 2**40], ["b", 7], [None, -3], ["\u00e9" * 300, 7]], dtype=object)
    G = np.array([[1.0], [2.0], [4.0], [-9.0]], dtype=np.float32)
    model = BoostedTrees(2, 1, params=TreeParams(categorical=[0, 1]))
    model.step(X, G)
    model.save(tmp_path / "m")
    loaded = BoostedTrees.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    new = np.array([["c", 1], ["a", 2**40]], dtype=object)
    for each in (model, loaded):
        each.step(new, G[:2])
    assert loaded.to_bytes() == model.to_bytes()


@pytest.mark.parametrize("settings", [{}, {"grow_policy": "greedy"}])
def test_every_truncation_is_refused(settings: dict[str, Any]) -> None:
    data = grown(2, max_depth=2, **settings).to_bytes()
    for length in range(len(data)):
        with pytest.raises(ValueError, match=INVALID):
            BoostedTrees.from_bytes(data[:length])


@pytest.mark.parametrize("settings", [{}, {"grow_policy": "greedy"}])
def test_every_changed_byte_is_refused(settings: dict[str, Any]) -> None:
    data = grown(2, max_depth=2, **settings).to_bytes()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x40
        with pytest.raises(ValueError, match=INVALID):
            BoostedTrees.from_bytes(bytes(changed))


@given(data=st.binary(max_size=300))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=INVALID):
        BoostedTrees.from_bytes(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04N.", b"PK\x03\x04" + bytes(100), b"RLSHARE\x1a", bytes(1000)]
)
def test_foreign_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(ValueError, match=INVALID):
        BoostedTrees.load(tmp_path / "m")


def test_appended_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match=INVALID):
        BoostedTrees.from_bytes(grown(2).to_bytes() + b"\0")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.trees"):
        BoostedTrees.load(tmp_path / "nothing.trees")


@pytest.mark.parametrize("grow_policy", ["oblivious", "greedy"])
def test_a_test_for_a_category_the_dictionary_lacks_is_refused(grow_policy: Any) -> None:
    params = TreeParams(categorical=[0], grow_policy=grow_policy)
    model = BoostedTrees(1, 1, params=params)
    model.step(np.array([["a"], ["b"]], dtype=object), np.array([[1.0], [2.0]]))
    body = model.to_bytes()[:-8].replace(b'["a", "b"]', b"[]        ")
    with pytest.raises(ValueError, match=INVALID):
        BoostedTrees.from_bytes(with_checksum(body))


VERSIONS: dict[int, Callable[[bytes], bytes]] = {2: version_2, 3: lambda file: file}
every_version = pytest.mark.parametrize("version", VERSIONS)


@every_version
@pytest.mark.parametrize("settings", [*SETTINGS, {"monotonic": [(0, 1, 1)]}])
def test_both_versions_are_the_same_model(version: int, settings: dict[str, Any]) -> None:
    model = grown(4, random_state=0, **{k: v for k, v in settings.items() if k != "random_state"})
    file = VERSIONS[version](model.to_bytes())
    assert file[8] == version
    assert BoostedTrees.from_bytes(file).to_bytes() == model.to_bytes()


@every_version
def test_a_leaf_deeper_than_its_tree_is_refused(version: int) -> None:
    """A prediction takes `depth` steps: it would stop at an inner node."""
    model = grown(1, grow_policy="greedy", max_depth=3)
    assert model.tree_arrays(0).depth == 3
    forest, *others = split(model.to_bytes())
    depth_at = COUNTS + 3 + 4 * 2 + 8 * 3 * 3  # flags, biases and importances come before it
    assert forest.data[depth_at] == 3
    data = forest.data[:depth_at] + b"\x01" + forest.data[depth_at + 1 :]
    file = join([forest._replace(data=data), *others])
    with pytest.raises(ValueError, match=INVALID + "a leaf is out of range"):
        BoostedTrees.from_bytes(VERSIONS[version](file))


def test_files_of_other_versions_are_refused() -> None:
    body = grown(1).to_bytes()[:-8]
    for version in (0, 1, 4, 2**32 - 1):
        other = body[:8] + version.to_bytes(4, "little") + body[12:]
        with pytest.raises(ValueError, match=rf"version is {version}, .* reads versions 2 and 3"):
            BoostedTrees.from_bytes(with_checksum(other))


class TestSections:
    def test_a_file_has_those_that_are_documented(self) -> None:
        assert [(s.name, s.flags) for s in split(grown(1).to_bytes())] == [
            ("forest", REQUIRED),
            ("metadata", REQUIRED),
        ]

    def test_an_unknown_optional_one_is_skipped(self) -> None:
        file = grown(3).to_bytes()
        for at in range(3):
            sections = split(file)
            sections.insert(at, Section("from_the_future", OPTIONAL, b"anything"))
            assert BoostedTrees.from_bytes(join(sections)).to_bytes() == file

    def test_an_unknown_required_one_is_named(self) -> None:
        sections = [*split(grown(3).to_bytes()), Section("from_the_future", REQUIRED, b"")]
        with pytest.raises(ValueError, match=INVALID + "it needs the section from_the_future"):
            BoostedTrees.from_bytes(join(sections))

    @pytest.mark.parametrize("name", ["forest", "metadata"])
    def test_a_missing_one_is_named(self, name: str) -> None:
        sections = [section for section in split(grown(3).to_bytes()) if section.name != name]
        with pytest.raises(ValueError, match=INVALID + f"it lacks the section {name}"):
            BoostedTrees.from_bytes(join(sections))

    @pytest.mark.parametrize("field", ["offset", "size", "flags"])
    def test_the_table_must_be_right(self, field: str) -> None:
        body = bytearray(grown(3).to_bytes()[:-8])
        body[16 + 16 + {"flags": 0, "offset": 8, "size": 16}[field]] ^= 2
        with pytest.raises(ValueError, match=INVALID + r"the section \w+ (has|does not lie)"):
            BoostedTrees.from_bytes(with_checksum(bytes(body)))

    def test_a_second_one_of_a_name_is_refused(self) -> None:
        sections = split(grown(3).to_bytes())
        with pytest.raises(ValueError, match="two sections metadata"):
            BoostedTrees.from_bytes(join([*sections, sections[-1]]))

    @pytest.mark.parametrize("name", ["", "two words", "\x01"])
    def test_names_are_words(self, name: str) -> None:
        sections = [*split(grown(3).to_bytes()), Section(name, OPTIONAL, b"")]
        with pytest.raises(ValueError, match="is no name"):
            BoostedTrees.from_bytes(join(sections))


NAMES = ["wind", "heat", "\u6e7f\u5ea6"]


class TestFeatureNames:
    @every_copy
    def test_they_are_kept(self, how: str) -> None:
        model = BoostedTrees(3, 2, feature_names=NAMES)
        assert COPIES[how](model).feature_names == tuple(NAMES)
        assert COPIES[how](grown(1)).feature_names is None

    @pytest.mark.parametrize(
        "names", [["a", "b"], ["a", "b", "a"], ["a", "b", ""], "abc", [1, 2, 3]]
    )
    def test_others_are_refused(self, names: Any) -> None:
        with pytest.raises(ValueError, match="feature_names must be"):
            BoostedTrees(3, 2, feature_names=names)
        section = Section("feature_names", OPTIONAL, json.dumps(names).encode())
        with pytest.raises(ValueError, match=INVALID + "feature_names must be"):
            BoostedTrees.from_bytes(join([*split(grown(1).to_bytes()), section]))

    def test_messages_use_them(self) -> None:
        model = BoostedTrees(2, 1, TreeParams(categorical=[1]), feature_names=["size", "kind"])
        with pytest.raises(ValueError, match=r"feature 1 \(kind\) holds 0\.5"):
            model.predict([[1.0, 0.5]])
        with pytest.raises(ValueError, match=r"feature 0 \(size\) holds 'big'"):
            model.predict([["big", "a"]])


@pytest.mark.parametrize("seed", range(2))
def test_mutated_files_are_refused_or_work(seed: int) -> None:
    from fuzz_serialize import fuzz

    outcomes = fuzz(400, seed=100 + seed)
    assert sum(outcomes.values()) == 400
    assert outcomes["loaded, checksum as it was"] == 0  # no change escapes the checksum
    assert outcomes["loaded, checksum right"] > 0  # some mutations change a value and no rule
    assert outcomes["refused, checksum right"] > 20  # the parser behind the checksum is reached


@profile(max_examples=30)
@given(
    n_outputs=st.integers(1, 6),
    n_trees=st.integers(0, 6),
    max_depth=st.integers(0, 6),
    greedy=st.booleans(),
)
def test_round_trip_of_any_shape(
    n_outputs: int, n_trees: int, max_depth: int, greedy: bool
) -> None:
    policy = "greedy" if greedy else "oblivious"
    model = empty(d=2, n_outputs=n_outputs, max_depth=max_depth, grow_policy=policy)
    extend(model, n_trees, n=30)
    loaded = BoostedTrees.from_bytes(model.to_bytes())
    assert loaded.to_bytes() == model.to_bytes()
    X, _ = batch(30, 2)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
