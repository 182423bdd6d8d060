"""One scan, its true and its predicted label map: everything that is measured on them (paper, sections 2.5.3 and 2.7).

No jax here, and nothing of networks: a prediction from elsewhere is measured alike.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inpaint_ssl.data import ClassMap, ScanInfo, ScanVolumes
from inpaint_ssl.data.geometry import SLICE_AXES
from inpaint_ssl.errors import InputError
from inpaint_ssl.metrics import (
    QUANTITIES,
    MeanT2,
    QdessT2Map,
    T2Settings,
    area_mm2,
    cv,
    dice,
    flags,
    mean_hu,
    percent_error,
    slice_areas_mm2,
    surface_distances,
    touches_border,
    voe,
    volume_mm3,
)
from inpaint_ssl.postprocess import IntramuscularFatRule
from inpaint_ssl.qdess import QdessSequence

Row = dict[str, Any]
Mask = np.ndarray

OVERLAP: Mapping[str, Callable[[Mask, Mask], float]] = {"dice": dice, "voe": voe, "cv": cv}
AREA, T2 = "area_mm2", "mean_t2_ms"


@dataclass(frozen=True)
class Measures:
    """What is measured of the classes `classes` of scans of `modality`, from config.clinical.

    t2: None where scans have no two echoes. fat_rule: applied to every prediction before it is measured.
    """

    classes: ClassMap
    modality: str
    t2: T2Settings | None = None
    t2_invalid_share: float = 0.5
    surface_distances: bool = True
    fat_rule: IntramuscularFatRule | None = None

    @classmethod
    def from_config(cls, clinical: Mapping[str, Any], classes: ClassMap, modality: str, n_channels: int) -> "Measures":
        """From config.clinical; InputError for a class that it names and the study does not have."""
        t2 = T2Settings.from_config(clinical, classes.names)
        return cls(
            classes=classes,
            modality=modality,
            t2=t2 if (modality, n_channels) == ("mri", 2) else None,
            t2_invalid_share=clinical["t2_invalid_share"],
            surface_distances=clinical["surface_distances"],
            fat_rule=IntramuscularFatRule.from_config(clinical, classes.names, modality),
        )

    def t2_of(self, image: np.ndarray, acquisition: Mapping[str, float | str]) -> QdessT2Map | None:
        """T2 of a scan from its two echoes (X, Y, Z, 2); None where its sequence is not known."""
        try:
            sequence = QdessSequence.from_acquisition(acquisition)
        except InputError:
            return None
        return None if self.t2 is None else QdessT2Map(image[..., 0], image[..., 1], sequence, self.t2)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: which quantities are measured, and how."""
        names = [name for name, one in QUANTITIES.items() if self.modality in one.modalities]
        return {
            "metrics": [name for name in names if name != T2 or self.t2 is not None],
            "t2": None if self.t2 is None else self.t2.to_dict(),
            "t2_invalid_share": self.t2_invalid_share,
        }


@dataclass(frozen=True)
class Measurements:
    """One scan: rows by class and metric without the columns that name the scan, and of areas in each slice.

    prediction: label map (X, Y, Z) that was measured. t2: None where the scan's T2 cannot be known.
    """

    rows: list[Row]
    slice_rows: list[Row]
    prediction: np.ndarray
    t2: QdessT2Map | None


def measure_scan(prediction: np.ndarray, volumes: ScanVolumes, scan: ScanInfo, measures: Measures) -> Measurements:
    """Measure a predicted label map, uint8 (X, Y, Z) of class index + 1, against the scan's label on the scan's grid.

    Values of rows are float64; a voxel of several classes is truth for each of them. Rows of Dice, VOE, CV and surface
    distances give voxels as prediction and truth, rows of QUANTITIES give these, and as value the percent error.
    """
    image, label = volumes
    if measures.fat_rule is not None:
        prediction = measures.fat_rule(prediction, image[..., 0])
    t2 = measures.t2_of(image, scan.acquisition)
    membership, names = measures.classes.membership(), measures.classes.names
    pairs = {name: (prediction == k + 1, membership[label, k]) for k, name in enumerate(names)}
    rows: list[Row] = []
    slice_rows: list[Row] = []
    for name, pair in pairs.items():
        of_class = [*_overlap(*pair), *(_distances(*pair, scan) if measures.surface_distances else ())]
        of_class += _quantities(name, pair, image, scan, measures, t2)
        rows += [{"class": name, **row} for row in of_class]
        slice_rows += [{"class": name, **row} for row in _areas(*pair, scan)]
    return Measurements(rows, slice_rows, prediction, t2)


def _row(metric: str, unit: str, prediction: float, truth: float, value: float, flag: str) -> Row:
    numbers = {"prediction": prediction, "truth": truth, "value": value}
    return {"metric": metric, "unit": unit, **{name: repr(number) for name, number in numbers.items()}, "flag": flag}


def _counted(pair: tuple[Mask, Mask], values: Mapping[str, float], unit: str) -> list[Row]:
    """Rows whose prediction and truth are voxels."""
    voxels, flag = [int(np.count_nonzero(mask)) for mask in pair], flags(*pair)
    return [_row(metric, unit, voxels[0], voxels[1], value, flag) for metric, value in values.items()]


def _overlap(prediction: Mask, truth: Mask) -> list[Row]:
    values = {name: compute(prediction, truth) for name, compute in OVERLAP.items()}
    return _counted((prediction, truth), values, "ratio")


def _distances(prediction: Mask, truth: Mask, scan: ScanInfo) -> list[Row]:
    return _counted((prediction, truth), vars(surface_distances(prediction, truth, scan.spacing_mm)), "mm")


def _areas(prediction: Mask, truth: Mask, scan: ScanInfo) -> Iterator[Row]:
    """The area in every slice that holds the class in truth or prediction."""
    axis = SLICE_AXES[scan.placement.slice_axis]
    areas = [slice_areas_mm2(mask, scan.spacing_mm, axis) for mask in (prediction, truth)]
    for index in np.flatnonzero(areas[0] + areas[1]):
        pair = [mask.take([index], axis) for mask in (prediction, truth)]
        found, true = (float(area[index]) for area in areas)
        yield {"slice": int(index), **_row(AREA, "%", found, true, percent_error(found, true), flags(*pair))}


def _quantities(
    name: str, pair: tuple[Mask, Mask], image: np.ndarray, scan: ScanInfo, measures: Measures, t2: QdessT2Map | None
) -> list[Row]:
    """Rows of QUANTITIES of prediction and truth."""
    axis = SLICE_AXES[scan.placement.slice_axis]
    found, invalid = _values(name, pair, image, scan.spacing_mm, axis, measures, t2)
    rows = []
    for metric, (predicted, true) in found.items():
        of_t2 = metric == T2
        unknown = of_t2 and t2 is None
        flag = flags(*pair, true_value=true, t2_invalid=of_t2 and invalid, t2_unknown=unknown)
        rows.append(_row(metric, "%", predicted, true, percent_error(predicted, true), flag))
    return rows


def _values(
    name: str,
    masks: Sequence[Mask],
    image: np.ndarray,
    spacing_mm: Sequence[float],
    axis: int,
    measures: Measures,
    t2: QdessT2Map | None,
) -> tuple[dict[str, list[float]], bool]:
    """The QUANTITIES of the modality, of each mask of one class, and whether a mask has too few voxels of valid T2.

    T2 is NaN for a scan whose T2 is not known, as all others have it.
    """
    found = {
        "volume_mm3": [volume_mm3(mask, spacing_mm) for mask in masks],
        AREA: [area_mm2(mask, spacing_mm, axis) for mask in masks],
    }
    if measures.modality == "ct":
        found["mean_hu"] = [mean_hu(mask, image[..., 0]) for mask in masks]
    invalid = False
    if t2 is not None:
        means = [t2.mean_ms(mask, t2.settings.t1_of(name)) for mask in masks]
        found[T2] = [one.mean_ms for one in means]
        invalid = any(_too_few(one, measures.t2_invalid_share) for one in means)
    elif measures.t2 is not None:
        found[T2] = [float("nan")] * len(masks)
    return found, invalid


def measure_mask(
    label_map: np.ndarray,
    image: np.ndarray,
    spacing_mm: Sequence[float],
    slice_axis: str,
    acquisition: Mapping[str, float | str],
    measures: Measures,
) -> list[Row]:
    """What is measured where there is no truth: "class", "metric", "unit", "value" (float64) and "flag", a row each.

    label_map: uint8 (X, Y, Z) of class index + 1; image: (X, Y, Z, C), HU for CT. The same functions as in
    `measure_scan`; of its flags "empty_prediction", "touches_border", "t2_invalid" and "t2_unknown" can hold.
    """
    t2 = measures.t2_of(image, acquisition)
    rows = []
    for k, name in enumerate(measures.classes.names):
        mask = label_map == k + 1
        found, invalid = _values(name, [mask], image, spacing_mm, SLICE_AXES[slice_axis], measures, t2)
        for metric, (value,) in found.items():
            of_t2 = metric == T2
            holding = {
                "empty_prediction": not mask.any(),
                "touches_border": touches_border(mask),
                "t2_invalid": of_t2 and invalid,
                "t2_unknown": of_t2 and t2 is None,
            }
            flag = ";".join(sorted(one for one, holds in holding.items() if holds))
            rows.append(
                {"class": name, "metric": metric, "unit": QUANTITIES[metric].unit, "value": value, "flag": flag}
            )
    return rows


def _too_few(mean: MeanT2, invalid_share: float) -> bool:
    """Whether more than a share of the voxels, or all of them, have no valid T2."""
    return mean.invalid > invalid_share * mean.voxels or 0 < mean.voxels == mean.invalid
