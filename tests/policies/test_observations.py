"""Observations reach the trees as numbers and integer categories."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlshare.policies.gbt.features import TabularFeatures


def test_box_is_flattened_to_float32() -> None:
    features = TabularFeatures(spaces.Box(-1.0, 1.0, (2, 3), np.float64))
    x = features(torch.arange(12, dtype=torch.float64).reshape(2, 2, 3))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.arange(12).reshape(2, 6))
    assert features.categorical == []


def test_images_are_flattened_unscaled() -> None:
    features = TabularFeatures(spaces.Box(0, 255, (1, 2, 2), np.uint8))
    x = features(torch.tensor([[[[0, 255], [7, 9]]]], dtype=torch.uint8))
    np.testing.assert_array_equal(x, [[0, 255, 7, 9]])


def test_discrete_is_one_category_acting_and_learning() -> None:
    features = TabularFeatures(spaces.Discrete(2**40))
    values = torch.tensor([3, 2**40 - 1])
    acting, learning = features(values), features(values[:, None])
    assert acting.dtype == np.int64
    np.testing.assert_array_equal(acting, [[3], [2**40 - 1]])
    np.testing.assert_array_equal(acting, learning)
    assert features.categorical == [0]


def test_multidiscrete_is_one_category_per_component() -> None:
    features = TabularFeatures(spaces.MultiDiscrete([3, 4]))
    np.testing.assert_array_equal(features(torch.tensor([[2, 3]])), [[2, 3]])
    assert features.categorical == [0, 1]


def test_multibinary_is_numeric() -> None:
    features = TabularFeatures(spaces.MultiBinary(3))
    x = features(torch.tensor([[1, 0, 1]], dtype=torch.int8))
    assert x.dtype == np.float32
    assert features.categorical == []


@pytest.mark.parametrize("kinds_shape", [(2,), (2, 1)])
def test_dict_is_flattened_in_sorted_key_order(kinds_shape: tuple[int, ...]) -> None:
    space = spaces.Dict(
        {"z": spaces.Discrete(5), "a": spaces.Box(0, 1, (2,)), "m": spaces.MultiBinary(1)}
    )
    features = TabularFeatures(space)
    x = features(
        {
            "z": torch.tensor([4, 2**24 + 1]).reshape(kinds_shape),
            "m": torch.tensor([[1], [0]], dtype=torch.int8),
            "a": torch.tensor([[0.5, 0.25], [0.0, 1.0]]),
        }
    )
    assert features.features_dim == 4
    assert features.categorical == [3]
    np.testing.assert_array_equal(x, [[0.5, 0.25, 1, 4], [0, 1, 0, 2**24 + 1]])


def test_arrays_and_tensors_give_the_same() -> None:
    features = TabularFeatures(spaces.Box(-1.0, 1.0, (3,)))
    array = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(features(array), features(torch.from_numpy(array)))
