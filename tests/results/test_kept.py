"""The share of a teacher's return that a student keeps."""

import numpy as np
import pytest

from rlshare.results.kept import return_kept


def test_the_share_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    random, teacher = rng.normal(-100, 10, 200), rng.normal(100, 10, 200)
    student = rng.normal(50, 10, 200)
    found = return_kept(student, teacher, random)
    assert found is not None
    share, (low, high) = found
    expected = (student.mean() - random.mean()) / (teacher.mean() - random.mean())
    assert share == pytest.approx(expected)
    # by the delta method the share deviates by less than sqrt(3) * 10 / sqrt(200) / 200
    assert low < share < high < low + 4 * np.sqrt(3) * 10 / np.sqrt(200) / 200


def test_the_teacher_keeps_all_and_random_actions_nothing() -> None:
    teacher, random = np.array([3.0, 3.0]), np.array([1.0, 1.0])
    assert return_kept(teacher, teacher, random) == (1.0, (1.0, 1.0))
    assert return_kept(random, teacher, random) == (0.0, (0.0, 0.0))


def test_nothing_to_keep() -> None:
    same = np.array([1.0, 2.0])
    assert return_kept(same, same, same) is None
    assert return_kept(same, same, same + 1) is None


def test_too_few_episodes_give_no_interval() -> None:
    rng = np.random.default_rng(0)
    student, teacher, random = (rng.normal(mean, 100, 3) for mean in (-1000, -1000, -1000))
    teacher += random.mean() - teacher.mean() + 1
    found = return_kept(student, teacher, random)
    assert found is not None
    assert np.isfinite(found[0])
    assert found[1] is None
