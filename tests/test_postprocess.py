"""Muscle of fat's HU becomes intramuscular fat: both thresholds at their ends, and settings that do not fit."""

import math
from typing import Any

import numpy as np
import pytest

from inpaint_ssl.postprocess import IntramuscularFatRule

CLASSES = ("subcutaneous_fat", "muscle", "visceral_fat", "intramuscular_fat")
MUSCLE, FAT = 2, 4
HU = (-1000, -191, -190, -189, -100, -31, -30, -29, 0, 50)


def clinical(choice: str, **others: str) -> dict[str, Any]:
    names = {"muscle_class": "muscle", "intramuscular_fat_class": "intramuscular_fat"}
    return {"intramuscular_fat": choice, **names, **others}


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("choice", "fat"),
    [("below_-30_hu", (-1000, -191, -190, -189, -100, -31)), ("-190_to_-30_hu", (-190, -189, -100, -31, -30))],
)
def test_thresholds(choice: str, fat: tuple[int, ...], dtype: type) -> None:
    rule = IntramuscularFatRule.from_config(clinical(choice), CLASSES, "ct")
    assert rule is not None
    labels = np.full((len(HU), 5, 1), MUSCLE, np.uint8)
    labels[:, :] = np.arange(5).reshape(5, 1)  # every class and the background at every HU
    before, hu = labels.copy(), np.broadcast_to(np.array(HU, dtype)[:, None, None], labels.shape)
    changed = rule(labels, hu)
    for row, value in enumerate(HU):
        expected = [0, 1, FAT if value in fat else MUSCLE, 3, FAT]
        assert changed[row, :, 0].tolist() == expected, value
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(labels, before)


def test_between_whole_numbers_and_beyond_numbers() -> None:
    hu = np.array([-30.01, -29.99, -190.01, -189.99, math.nan, math.inf])
    labels = np.full(6, MUSCLE, np.uint8)
    below, between = (
        IntramuscularFatRule.from_config(clinical(choice), CLASSES, "ct")
        for choice in ("below_-30_hu", "-190_to_-30_hu")
    )
    assert below is not None and between is not None
    assert below(labels, hu).tolist() == [FAT, MUSCLE, FAT, FAT, MUSCLE, MUSCLE]
    assert between(labels, hu).tolist() == [FAT, MUSCLE, MUSCLE, FAT, MUSCLE, MUSCLE]


def test_other_names_of_the_classes() -> None:
    settings = clinical("below_-30_hu", muscle_class="psoas", intramuscular_fat_class="imat")
    rule = IntramuscularFatRule.from_config(settings, ("imat", "psoas"), "ct")
    assert rule is not None and (rule.muscle, rule.fat) == (2, 1)
    assert rule(np.array([2, 2, 1], np.uint8), np.array([-50, 50, 50])).tolist() == [1, 2, 1]


def test_off_asks_for_nothing() -> None:
    assert IntramuscularFatRule.from_config(clinical("off"), ("cartilage",), "mri") is None


@pytest.mark.parametrize(
    ("settings", "classes", "modality", "complaint"),
    [
        (
            clinical("below_-40_hu"),
            CLASSES,
            "ct",
            "'below_-40_hu', expected one of 'off', 'below_-30_hu', '-190_to_-30",
        ),
        (clinical("below_-30_hu"), CLASSES, "mri", "data.modality 'mri', expected 'ct'"),
        (
            clinical("below_-30_hu"),
            CLASSES[:3],
            "ct",
            "clinical.intramuscular_fat_class is 'intramuscular_fat', expected",
        ),
        (clinical("-190_to_-30_hu", muscle_class="psoas"), CLASSES, "ct", "clinical.muscle_class is 'psoas', expected"),
        (clinical("below_-30_hu", muscle_class="intramuscular_fat"), CLASSES, "ct", "expected two classes"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], classes, modality: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        IntramuscularFatRule.from_config(settings, classes, modality)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_arrays_that_do_not_fit() -> None:
    rule = IntramuscularFatRule.from_config(clinical("below_-30_hu"), CLASSES, "ct")
    assert rule is not None
    labels = np.zeros((2, 3, 1), np.uint8)
    with pytest.raises(ValueError, match="bool, expected uint8"):
        rule(labels.astype(bool), labels)
    with pytest.raises(ValueError, match=r"\(2, 3, 1\) and HU of shape \(2, 3\)"):
        rule(labels, np.zeros((2, 3)))
