"""Overlap metrics against counts by hand, set arithmetic and their own algebra."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inpaint_ssl.metrics import cv, dice, voe


def _mask(size: int, voxels: set[int]) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[sorted(voxels)] = True
    return mask


def test_values_by_hand() -> None:
    truth = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)  # 5 voxels
    prediction = np.array([[0, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)  # 3 voxels, 2 of them right
    assert dice(prediction, truth) == pytest.approx(4 / 8)
    assert voe(prediction, truth) == pytest.approx(1 - 2 / 6)
    assert cv(prediction, truth) == pytest.approx(np.std([3, 5]) / np.mean([3, 5]))
    assert cv(prediction, truth) == pytest.approx(0.25)


def test_one_empty_is_worst_and_both_empty_is_undefined() -> None:
    nothing, something = np.zeros((2, 3, 4), dtype=bool), np.ones((2, 3, 4), dtype=bool)
    for prediction, truth in ((nothing, something), (something, nothing)):
        assert (dice(prediction, truth), voe(prediction, truth), cv(prediction, truth)) == (0.0, 1.0, 1.0)
    for metric in (dice, voe, cv):
        assert math.isnan(metric(nothing, nothing))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)))
def test_agrees_with_set_arithmetic(first: set[int], second: set[int]) -> None:
    prediction, truth = _mask(30, first).reshape(2, 3, 5), _mask(30, second).reshape(2, 3, 5)
    if not first | second:
        assert math.isnan(dice(prediction, truth))
        return
    d, sizes = dice(prediction, truth), [len(first), len(second)]
    assert d == pytest.approx(2 * len(first & second) / sum(sizes))
    assert voe(prediction, truth) == pytest.approx(1 - len(first & second) / len(first | second))
    assert voe(prediction, truth) == pytest.approx(1 - d / (2 - d))
    assert cv(prediction, truth) == pytest.approx(np.std(sizes) / np.mean(sizes))


def test_counts_do_not_overflow_small_integers() -> None:
    truth = np.ones((300, 300), dtype=bool)
    prediction = truth.copy()
    prediction[0, 0] = False
    assert dice(prediction, truth) == pytest.approx(2 * 89_999 / 179_999, rel=1e-15)


def test_label_maps_and_unequal_shapes_are_refused() -> None:
    mask = np.ones((2, 2), dtype=bool)
    with pytest.raises(ValueError, match="expected bool"):
        dice(mask.astype(np.uint8), mask)
    with pytest.raises(ValueError, match="equal shapes"):
        voe(mask, np.ones((1, 2), dtype=bool))
