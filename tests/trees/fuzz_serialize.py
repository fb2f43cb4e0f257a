"""Mutated model files: each must raise ValueError or give a model that works.

Run by the tests on a few hundred mutations, and alone on many:
    python tests/trees/fuzz_serialize.py --n 10000
Half of the mutated files get a valid checksum, so that the parser behind it is reached. `make fuzz`
runs this with a core that AddressSanitizer and UndefinedBehaviorSanitizer watch; `make libfuzzer`
mutates the files of `--seeds` on its own.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from model_files import COUNTS, OPTIONAL, Section, join, split, version_2, with_checksum

from rlshare.trees import BoostedTrees, Linear, Table, TreeParams

Rng = np.random.Generator
N_FEATURES = 3
HEADER = 16 + 2 * 40 + COUNTS  # bytes before the first array
INTERESTING = [0, 1, 2, 3, 16, 17, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    3,
    0.5,
    2**24,
    2**70,
    1e300,
    float("inf"),
    float("nan"),
    "",
    "x",
    "greedy",
    "callable",
    [],
    [0],
    [1, "a"],
    {},
    {"linear": [1, 2]},
    {"0": []},
]
OBSERVATIONS = np.random.default_rng(0).integers(-2, 3, (20, N_FEATURES)).astype(np.float32)


def originals() -> list[bytes]:
    """Files of every kind: both growths, categories, schedules, an empty forest, linear parts."""
    rng = np.random.default_rng(1)
    files = []
    kinds: list[tuple[dict[str, Any], Any]] = [
        ({}, None),
        ({"grow_policy": "greedy"}, None),
        ({"grow_policy": "greedy", "max_depth": 2, "categorical": [1]}, {"rate": 0.1}),
        ({"categorical": [0, 2], "max_depth": 3}, None),
        ({"subsample": 0.5, "colsample": 0.5, "random_state": 7, "max_depth": 1}, None),
        ({"max_depth": 0}, None),
        ({"max_depth": 0}, {"ridge": 2}),
    ]
    for settings, linear in kinds:
        rates: Any = [Linear(0.5, 0.1, 10), Table([0.3, 0.2])]
        names = ["a", "b", "c"] if "max_depth" in settings else None
        model = BoostedTrees(
            N_FEATURES,
            2,
            params=TreeParams(**settings),
            learning_rate=rates,
            bias=[1.0, -2.0],
            linear=linear,
            feature_names=names,
        )
        files.append(model.to_bytes())
        for _ in range(4):
            model.step(OBSERVATIONS, rng.normal(size=(20, 2)).astype(np.float32))
        files.append(model.to_bytes())
        if linear is None:
            files.append(version_2(model.to_bytes()))
        files.append(join([Section("unknown", OPTIONAL, b"xyz"), *split(model.to_bytes())]))
    return files


def position(data: bytearray, rng: Rng) -> int:
    """A multiple of four, in the header or, mostly, behind it."""
    limit = HEADER if rng.random() < 0.1 else len(data)
    return 4 * int(rng.integers(0, min(limit, len(data)) // 4))


def overwrite(data: bytearray, rng: Rng) -> None:
    """A number becomes one that overflows something."""
    width = int(rng.choice([1, 4, 8]))
    value = INTERESTING[rng.integers(0, len(INTERESTING))] % 2 ** (8 * width)
    at = min(position(data, rng), len(data) - width)
    data[at : at + width] = value.to_bytes(width, "little")


def nudge(data: bytearray, rng: Rng) -> None:
    """A counter or an index is off by a little."""
    at = position(data, rng)
    (value,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at, (value + int(rng.integers(-2, 3))) % 2**32)


def flip(data: bytearray, rng: Rng) -> None:
    data[position(data, rng) + rng.integers(0, 4)] ^= 1 << int(rng.integers(0, 8))


def swap(data: bytearray, rng: Rng) -> None:
    a, b = position(data, rng), position(data, rng)
    if abs(a - b) >= 4:
        data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]


def edit_digit(data: bytearray, rng: Rng) -> None:
    """Another number in the metadata, which stays JSON."""
    begin = max(data.find(b'{"'), 0)
    digits = [at for at in range(begin, len(data)) if chr(data[at]).isdigit()]
    if digits:
        data[rng.choice(digits)] = ord("0") + int(rng.integers(0, 10))


def edit_metadata(data: bytearray, rng: Rng) -> None:
    """Another value somewhere in the metadata; the table of sections follows."""
    try:
        sections = {section.name: section for section in split(bytes(data))}
        plain = json.loads(sections["metadata"].data)
    except (ValueError, KeyError, struct.error):  # version 2, or an earlier mutation was there
        return
    if not isinstance(plain, dict):
        return
    at: Any = plain
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = keys[rng.integers(0, len(keys))]
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.2:
            break
        at = at[key]
    if isinstance(at, dict) and rng.random() < 0.1:
        del at[key]
    else:
        at[key] = VALUES[rng.integers(0, len(VALUES))]
    text = json.dumps(plain).encode()
    sections["metadata"] = sections["metadata"]._replace(data=text)
    data[:] = join(list(sections.values()))[:-8]


def truncate(data: bytearray, rng: Rng) -> None:
    del data[int(rng.integers(HEADER, len(data))) :]


def remove(data: bytearray, rng: Rng) -> None:
    at = position(data, rng)
    del data[at : at + int(rng.integers(1, 33))]


def insert(data: bytearray, rng: Rng) -> None:
    at = position(data, rng)
    data[at:at] = rng.bytes(int(rng.integers(1, 33)))


def repeat(data: bytearray, rng: Rng) -> None:
    at = position(data, rng)
    data[at:at] = data[at : at + int(rng.integers(1, 65))]


IN_PLACE = (overwrite, nudge, flip, swap, edit_digit, edit_metadata)
RESIZING = (truncate, remove, insert, repeat)


def mutated(files: list[bytes], rng: Rng, *, checksum: bool) -> bytes:
    """A file with one to three mutations; with `checksum`, they are declared in order."""
    original = files[rng.integers(0, len(files))]
    data = bytearray(original[:-8] if checksum else original)
    before, wanted = bytes(data), int(rng.choice([1, 1, 1, 2, 3]))
    while wanted > 0 or data == before:  # some mutations find nothing to change
        kinds = RESIZING if rng.random() < 0.1 else IN_PLACE
        if len(data) > HEADER:
            kinds[rng.integers(0, len(kinds))](data, rng)
        wanted -= 1
    return with_checksum(bytes(data)) if checksum else bytes(data)


def use(model: BoostedTrees) -> None:
    """Whatever a loaded model offers works on rows that fit it."""
    n, known = len(OBSERVATIONS), min(model.n_features, N_FEATURES)
    X = np.zeros((n, model.n_features), dtype=np.float32)
    X[:, :known] = OBSERVATIONS[:, :known]
    predicted = model.predict(X)
    if predicted.shape != (n, model.n_outputs):
        raise AssertionError(f"prediction of shape {predicted.shape}")
    for tree in range(model.n_trees):
        model.tree_structure(tree)
        model.tree_arrays(tree)
    if not np.array_equal(BoostedTrees.from_bytes(model.to_bytes()).predict(X), predicted):
        raise AssertionError("a loaded model does not survive a second round trip")
    try:
        model.step(X, np.ones((n, model.n_outputs), dtype=np.float32))
    except ValueError:  # settings from the file may refuse to train, in a sentence
        return
    model.predict(X)


def outcome(data: bytes) -> str:
    """What became of a file: 'refused' or 'loaded'; anything else is raised."""
    try:
        model = BoostedTrees.from_bytes(data)
    except ValueError as error:
        if not str(error).startswith("not a valid rlshare model file: "):
            raise AssertionError(f"message of another kind: {error}") from error
        return "refused"
    use(model)
    return "loaded"


def fuzz(n: int, seed: int = 0) -> Counter[str]:
    """Outcomes of `n` mutated files, half of them with a valid checksum."""
    files, rng = originals(), np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    for k in range(n):
        checksum = k % 2 == 0
        data = mutated(files, rng, checksum=checksum)
        try:
            outcomes[f"{outcome(data)}, checksum {'right' if checksum else 'as it was'}"] += 1
        except Exception as error:
            raise AssertionError(f"mutation {k} of seed {seed}: {data.hex()}") from error
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=Path, help="write the unmutated files here, and stop")
    arguments = parser.parse_args()
    if arguments.seeds:
        arguments.seeds.mkdir(parents=True, exist_ok=True)
        for k, data in enumerate(originals()):
            (arguments.seeds / f"original-{k}").write_bytes(data)
        sys.exit()
    for name, count in sorted(fuzz(arguments.n, arguments.seed).items()):
        sys.stdout.write(f"{count:8d}  {name}\n")
