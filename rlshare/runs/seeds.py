"""Seeds of a run, and those that follow from one."""

import secrets

import numpy as np

LARGEST_SEED = 2**31 - 1


def drawn_seed() -> int:
    """Return a seed that nobody chose."""
    return secrets.randbelow(LARGEST_SEED + 1)


def derived_seed(seed: int, *keys: int) -> int:
    """Return a seed that depends on the run's seed and on when it is used."""
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1)[0] % 2**31)
