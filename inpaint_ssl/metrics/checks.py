"""What every measurement asks of its masks and of the spacing of the grid."""

import math
from collections.abc import Sequence

import numpy as np

from inpaint_ssl.errors import InputError


def checked_pair(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays; InputError unless they are boolean and of one shape."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise InputError(
            f"got arrays of type {prediction.dtype} and {truth.dtype}, expected bool; compare a label map with the "
            "label first (labels == 3)"
        )
    if prediction.shape != truth.shape:
        raise InputError(
            f"got a prediction of shape {prediction.shape} and a truth of shape {truth.shape}, expected equal shapes; "
            "bring both to the scan's grid"
        )
    return prediction, truth


def checked_volume(mask: np.ndarray) -> np.ndarray:
    """The mask as an array; InputError unless it is boolean and (X, Y, Z)."""
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise InputError(
            f"got a mask of type {mask.dtype}, expected bool; compare a label map with the label first (labels == 3)"
        )
    if mask.ndim != 3:
        raise InputError(f"got a mask of shape {mask.shape}, expected (X, Y, Z); a single slice is (X, Y, 1)")
    return mask


def checked_spacing(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Voxel size along X, Y and Z; InputError unless these are three finite numbers above 0."""
    sizes = tuple(float(size) for size in spacing_mm)
    if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise InputError(
            f"got a spacing of {sizes} mm, expected three finite numbers above 0, the voxel size along X, Y and Z; "
            "correct the scan's header"
        )
    return sizes[0], sizes[1], sizes[2]
