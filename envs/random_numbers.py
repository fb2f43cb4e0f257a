"""Random numbers for compiled environments: one stream for each copy, a uint64 each.

SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014): the state of a stream counts on by a
constant, and a hash of it is the number.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlshare.compiled import compiled

Streams = NDArray[np.uint64]


def new_streams(n: int) -> Streams:
    """Return n streams that begin anywhere."""
    return np.random.SeedSequence().generate_state(n, np.uint64).astype(np.uint64)


def seed_streams(streams: Streams, seeds: Sequence[int | None], key: int) -> None:
    """Begin the streams that have a seed anew, in place.

    Args:
        streams: [n].
        seeds: [n]; None leaves a stream as it is.
        key: tells streams of one seed apart that different things draw from.
    """
    for i, seed in enumerate(seeds):
        if seed is not None:
            sequence = np.random.SeedSequence(seed, spawn_key=(key,))
            streams[i] = sequence.generate_state(1, np.uint64)[0]


@compiled
def uniform(streams: Streams, i: int) -> float:
    """Draw from [0, 1), with 53 bits."""
    streams[i] += np.uint64(0x9E3779B97F4A7C15)
    z = streams[i]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@compiled
def normal(streams: Streams, i: int) -> float:
    """Draw from the standard normal distribution (Box and Muller, 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(streams, i)))
    return radius * math.cos(2.0 * math.pi * uniform(streams, i))
