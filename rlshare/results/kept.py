"""How much of a teacher's return a student has kept."""

import numpy as np

from rlshare.results.intervals import Sample, bootstrap_interval


def return_kept(
    student: Sample, teacher: Sample, random: Sample
) -> tuple[float, tuple[float, float]] | None:
    """Return (J_student - J_random) / (J_teacher - J_random) and its 95 % bootstrap interval.

    Args:
        student: returns of its episodes [n].
        teacher: likewise.
        random: of uniformly random actions.

    Returns:
        None where the teacher is no better than random actions: there is nothing to keep.
    """
    gain = float(teacher.mean() - random.mean())
    if gain <= 0:
        return None

    def kept(a: Sample, b: Sample, c: Sample) -> float:
        drawn = float(b.mean() - c.mean())
        return float(a.mean() - c.mean()) / max(drawn, np.finfo(np.float64).tiny)

    return kept(student, teacher, random), bootstrap_interval(kept, student, teacher, random)
