"""What is changed in a predicted label map before it is measured: muscle of fat's HU becomes intramuscular fat.

An option with two published thresholds: HU < -30 (the paper's group) and -190 <= HU <= -30 (their later Comp2Comp).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inpaint_ssl.errors import InputError

OFF = "off"
# config.clinical.intramuscular_fat -> lowest HU of fat, highest, and whether the highest is fat too
THRESHOLDS = {"below_-30_hu": (-math.inf, -30.0, False), "-190_to_-30_hu": (-190.0, -30.0, True)}


@dataclass(frozen=True)
class IntramuscularFatRule:
    """muscle, fat: their values in a label map. Muscle from lowest_hu to highest_hu is fat, at highest_hu if
    `with_highest`."""

    muscle: int
    fat: int
    lowest_hu: float
    highest_hu: float
    with_highest: bool

    @classmethod
    def from_config(
        cls, clinical: Mapping[str, Any], class_names: Sequence[str], modality: str
    ) -> "IntramuscularFatRule | None":
        """The rule that config.clinical asks for, None when it is off.

        class_names: of the study, in the order of the label map. modality: config.data.modality. True labels are left
        as they were annotated. InputError when the rule is on and the modality is not "ct" or a class is missing.
        """
        choice = clinical["intramuscular_fat"]
        if choice == OFF:
            return None
        if choice not in THRESHOLDS:
            known = ", ".join(map(repr, (OFF, *THRESHOLDS)))
            raise InputError(f"clinical.intramuscular_fat is {choice!r}, expected one of {known}")
        if modality != "ct":
            raise InputError(
                f"clinical.intramuscular_fat is {choice!r} with data.modality {modality!r}, expected 'ct', whose "
                f"values are HU; turn the rule {OFF!r} for other scans"
            )
        names = list(class_names)
        for key in ("muscle_class", "intramuscular_fat_class"):
            if clinical[key] not in names:
                raise InputError(
                    f"clinical.{key} is {clinical[key]!r}, expected a class of the study ({', '.join(names)}); name "
                    f"it, or turn clinical.intramuscular_fat {OFF!r}"
                )
        muscle, fat = names.index(clinical["muscle_class"]), names.index(clinical["intramuscular_fat_class"])
        if muscle == fat:
            raise InputError(
                f"clinical.muscle_class and clinical.intramuscular_fat_class are both {names[fat]!r}, expected two "
                "classes of the study"
            )
        return cls(muscle + 1, fat + 1, *THRESHOLDS[choice])

    def __call__(self, label_map: np.ndarray, hu: np.ndarray) -> np.ndarray:
        """A new label map in which muscle of fat's HU is intramuscular fat; every other voxel stays as it is.

        label_map: uint8, class index + 1. hu: Hounsfield units of the scan, of the same shape; NaN is not fat.
        InputError for another type or unequal shapes.
        """
        label_map, hu = np.asarray(label_map), np.asarray(hu)
        if label_map.dtype != np.uint8:
            raise InputError(f"got a label map of type {label_map.dtype}, expected uint8: 0, or the class index + 1")
        if label_map.shape != hu.shape:
            raise InputError(
                f"got a label map of shape {label_map.shape} and HU of shape {hu.shape}, expected equal shapes; bring "
                "both to the scan's grid"
            )
        changed, muscle = label_map.copy(), label_map == self.muscle
        values = hu[muscle]
        below = values <= self.highest_hu if self.with_highest else values < self.highest_hu
        changed[muscle] = np.where(below & (values >= self.lowest_hu), self.fat, self.muscle)
        return changed
