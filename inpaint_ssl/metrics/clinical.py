"""What clinicians read off a segmentation: volume, cross-sectional area, mean HU (paper, section 2.7), and its flags.

All in float64. A quantity that is not defined is NaN, never 0; whoever summarises excludes and counts it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.metrics.checks import checked_pair, checked_spacing, checked_volume


@dataclass(frozen=True)
class Quantity:
    """title: in a sentence or heading. unit: of prediction and truth, as in names; symbol: as printed. modalities: that
    have it. meaning: one line for a reader of the report."""

    title: str
    unit: str
    symbol: str
    modalities: tuple[str, ...]
    meaning: str


# By the name of the metric in per_scan.csv, whose value is the signed percent error of prediction against truth.
QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "volume_mm3": Quantity("volume", "mm3", "mm³", ("mri", "ct"), "voxels of the tissue times the voxel's volume"),
        "area_mm2": Quantity(
            *("cross-sectional area", "mm2", "mm²", ("mri", "ct")),
            "area of the tissue in a slice, averaged over the slices that hold it",
        ),
        "mean_hu": Quantity("mean HU", "hu", "HU", ("ct",), "mean of the scan's Hounsfield units over the tissue"),
        "mean_t2_ms": Quantity("mean T2", "ms", "ms", ("mri",), "mean of the scan's T2 over the tissue"),
    }
)

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "absent": "the tissue is neither in truth nor in prediction",
        "empty_prediction": "the tissue is in truth, but nothing of it was predicted",
        "empty_truth": "the tissue was predicted, but is not in truth",
        "touches_border": "truth or prediction reaches the border of the scan, so that tissue may lie outside",
        "zero_truth": "the true value is 0, so that there is no percent error",
        "t2_invalid": "too many voxels of truth or prediction have no valid T2",
        "t2_unknown": "the scan's files do not say its sequence, so that it has no T2",
    }
)


def volume_mm3(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Volume of a tissue: its voxels times the volume of a voxel; 0 for an empty mask.

    mask: boolean (X, Y, Z). spacing_mm: voxel size along X, Y and Z. InputError for a mask that is not, or a spacing
    that is not three finite numbers above 0.
    """
    return float(np.count_nonzero(checked_volume(mask))) * math.prod(checked_spacing(spacing_mm))


def slice_areas_mm2(mask: np.ndarray, spacing_mm: Sequence[float], slice_axis: int) -> np.ndarray:
    """Area of a tissue in each slice along axis 0, 1 or 2: float64 (S,), 0 where a slice has none of it.

    Other arguments and errors as in `volume_mm3`.
    """
    mask, spacing = checked_volume(mask), checked_spacing(spacing_mm)
    if slice_axis not in (0, 1, 2):
        raise InputError(f"got slices along axis {slice_axis}, expected 0, 1 or 2: X, Y or Z")
    in_plane = tuple(axis for axis in range(3) if axis != slice_axis)
    return np.count_nonzero(mask, axis=in_plane) * math.prod(spacing[axis] for axis in in_plane)


def area_mm2(mask: np.ndarray, spacing_mm: Sequence[float], slice_axis: int) -> float:
    """Cross-sectional area of a tissue: the mean over the slices that hold it; 0 for an empty mask.

    Of a single slice its area (paper, section 2.7: CT slices at L3). Slices without the tissue do not count, or the
    area would shrink as the field of view grows. So truth and prediction are averaged over slices of their own: a few
    stray voxels in many slices lower a predicted area. Arguments and errors as in `slice_areas_mm2`.
    """
    areas = slice_areas_mm2(mask, spacing_mm, slice_axis)
    return float(areas[areas > 0].mean()) if areas.any() else 0.0


def mean_hu(mask: np.ndarray, hu: np.ndarray) -> float:
    """Mean Hounsfield units of a tissue, as float64.

    mask: boolean, hu: numbers, of one shape. NaN for an empty mask, and where a voxel of it is not finite: leaving that
    out would give the mean of another tissue without a word. InputError for another type or unequal shapes.
    """
    mask, hu = np.asarray(mask), np.asarray(hu)
    if mask.dtype != np.bool_:
        raise InputError(f"got a mask of type {mask.dtype}, expected bool; compare a label map with the label first")
    if mask.shape != hu.shape:
        raise InputError(
            f"got a mask of shape {mask.shape} and HU of shape {hu.shape}, expected equal shapes; bring both to the "
            "scan's grid"
        )
    values = hu[mask]
    if not values.size or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        return float("nan")
    return float(values.mean(dtype=np.float64))  # a sum in int16 or float32 would overflow or round


def percent_error(prediction: float, truth: float) -> float:
    """Signed percent error 100 (prediction - truth) / |truth| (HU may be negative).

    NaN where truth is 0, also if the prediction is 0 too, or where either is not finite.
    """
    if truth == 0 or not (math.isfinite(prediction) and math.isfinite(truth)):
        return float("nan")
    return 100.0 * (float(prediction) - float(truth)) / abs(float(truth))


def touches_border(mask: np.ndarray) -> bool:
    """Whether the boolean mask has a voxel in the first or last layer of an axis that has more than one voxel."""
    mask = np.asarray(mask)
    axes = [axis for axis, length in enumerate(mask.shape) if length > 1]
    return any(bool(np.moveaxis(mask, axis, 0)[end].any()) for axis in axes for end in (0, -1))


def flags(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    true_value: float = float("nan"),
    t2_invalid: bool = False,
    t2_unknown: bool = False,
) -> str:
    """Those of FLAGS that hold for a metric of a scan, as per_scan.csv has them: sorted, joined by ";", "" without any.

    prediction, truth: boolean arrays of equal shape. true_value: what a quantity is in the truth, NaN for a metric that
    has no percent error; 0 is flagged where the tissue is there. t2_invalid, t2_unknown: whether these hold.
    InputError for another type or unequal shapes.
    """
    prediction, truth = checked_pair(prediction, truth)
    predicted, true = bool(prediction.any()), bool(truth.any())
    holding = {
        "absent": not predicted and not true,
        "empty_prediction": true and not predicted,
        "empty_truth": predicted and not true,
        "touches_border": touches_border(prediction) or touches_border(truth),
        "zero_truth": true and true_value == 0,
        "t2_invalid": t2_invalid,
        "t2_unknown": t2_unknown,
    }
    return ";".join(sorted(flag for flag in FLAGS if holding[flag]))
