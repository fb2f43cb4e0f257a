"""How much of a teacher's return a student has kept."""

import numpy as np

from rlshare.results.intervals import Sample, bootstrap_interval

_LARGEST = 1e6  # share, of a draw in which the teacher is no better than random actions


def return_kept(
    student: Sample, teacher: Sample, random: Sample
) -> tuple[float, tuple[float, float] | None] | None:
    """Return (J_student - J_random) / (J_teacher - J_random) and its 95 % bootstrap interval.

    Args:
        student: returns of its episodes [n].
        teacher: likewise.
        random: of uniformly random actions.

    Returns:
        None where the teacher is no better than random actions: there is nothing to keep. The
        interval is None where they are too few episodes to say that it is better.
    """
    if teacher.mean() <= random.mean():
        return None

    def gained(b: Sample, c: Sample) -> float:
        return float(b.mean() - c.mean())

    def kept(a: Sample, b: Sample, c: Sample) -> float:
        share = gained(a, c) / max(gained(b, c), float(np.finfo(np.float64).tiny))
        return float(np.clip(share, -_LARGEST, _LARGEST))

    is_better = bootstrap_interval(gained, teacher, random)[0] > 0
    interval = bootstrap_interval(kept, student, teacher, random) if is_better else None
    return kept(student, teacher, random), interval
