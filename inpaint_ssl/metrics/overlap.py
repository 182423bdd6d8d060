"""Overlap of two binary segmentations of the same scan (Dice: paper, section 2.5.3).

The rule for 0/0 is here and nowhere else: a class that is absent in truth and prediction has no overlap to measure, its
value is NaN, and whoever averages excludes and counts it.
"""

import numpy as np

from inpaint_ssl.metrics.checks import checked_pair


def _sizes(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Voxels of the prediction, of the truth, and of both at once, as float64."""
    prediction, truth = checked_pair(prediction, truth)
    both = np.count_nonzero(prediction & truth)
    return float(np.count_nonzero(prediction)), float(np.count_nonzero(truth)), float(both)


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice score 2|P and T| / (|P| + |T|), from 0 to 1 (best), as a float.

    Arguments: boolean arrays of equal shape, any number of axes. NaN when both are empty. InputError (a ValueError) for
    another type or unequal shapes.
    """
    p, t, both = _sizes(prediction, truth)
    return 2.0 * both / (p + t) if p + t else float("nan")


def voe(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Volumetric overlap error 1 - |P and T| / |P or T|, from 0 (best) to 1, as a float.

    Arguments, errors and the empty case as in `dice`.
    """
    p, t, both = _sizes(prediction, truth)
    return 1.0 - both / (p + t - both) if p + t else float("nan")


def cv(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Coefficient of variation of the two volumes: population standard deviation over mean, from 0 (best) to 1.

    For two volumes this is |P - T| / (P + T) in voxel counts. It compares sizes only: two disjoint regions of equal
    size have a CV of 0. Arguments, errors and the empty case as in `dice`.
    """
    p, t, _ = _sizes(prediction, truth)
    return abs(p - t) / (p + t) if p + t else float("nan")
