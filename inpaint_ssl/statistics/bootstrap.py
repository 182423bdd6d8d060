"""Bootstrap over subjects: BCa interval of a mean difference (Efron 1987, JASA 82, 171-185), and resampled means."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import special

from inpaint_ssl.errors import InputError

_DECIMALS, _CHUNK, _FEWEST = 12, 2**20, 1000
_ROWS = 1000  # resamples at once in `resampled_means`, which bounds the memory


@dataclass(frozen=True)
class Bootstrap:
    """How often to resample, and the seed; every interval of a study draws the same numbers."""

    resamples: int = 10_000
    seed: int = 0


def _means_of_one(values: np.ndarray, how: Bootstrap) -> np.ndarray:
    rng, rows = np.random.default_rng(how.seed), max(1, _CHUNK // values.size)
    sizes = [min(rows, how.resamples - start) for start in range(0, how.resamples, rows)]
    return np.concatenate([values[rng.integers(0, values.size, (size, values.size))].mean(axis=1) for size in sizes])


def mean_interval(differences: Iterable[float], alpha: float, how: Bootstrap) -> tuple[float, float]:
    """Lower and upper end of the two-sided interval of level 1 - alpha for the mean of `differences`, one a subject.

    Resamples subjects with their differences, so that pairs stay together. The interval is bias-corrected and
    accelerated (BCa): gains in Dice are skewed, as a few subjects gain far more than the rest, and a percentile
    interval then misses the mean on one side (BUILD_NOTES.md has what simulations say). Differences that are all equal
    to 12 decimals give an interval of no width, a single one gives NaN. Raises InputError for fewer than 1000 resamples
    or a difference that is not finite.
    """
    d = np.round(np.array(list(differences), dtype=np.float64), _DECIMALS)
    if how.resamples < _FEWEST or not 0.0 < alpha < 1.0 or not np.isfinite(d).all():
        raise InputError(
            f"got {how.resamples} resamples, alpha = {alpha} and {int((~np.isfinite(d)).sum())} differences that are "
            f"not finite; expected {_FEWEST} or more, a number between 0 and 1 and none; change config.statistics"
        )
    if d.size < 2:
        return math.nan, math.nan
    if np.ptp(d) == 0.0:
        return float(d[0]), float(d[0])
    mean, means = float(d.mean()), _means_of_one(d, how)
    centred, above = d - mean, np.sign(np.round(means - mean, _DECIMALS))  # the order of a sum decides no comparison
    bias = special.ndtri((1 - above.mean()) / 2)
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    z = bias + special.ndtri(np.array([alpha / 2, 1 - alpha / 2]))
    lower, upper = np.quantile(means, special.ndtr(bias + z / (1 - acceleration * z)))
    return float(lower), float(upper)


def resampled_means(values: np.ndarray, how: Bootstrap) -> np.ndarray:
    """Means (resamples, ...) of values (subjects, ...) over subjects drawn with replacement, alike for all columns."""
    rng, subjects, flat = np.random.default_rng(how.seed), len(values), values.reshape(len(values), -1)
    means = np.empty((how.resamples, flat.shape[1]))
    for first in range(0, how.resamples, _ROWS):
        size = min(_ROWS, how.resamples - first)
        counts = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=size)
        means[first : first + size] = counts @ flat / subjects
    return means.reshape(how.resamples, *values.shape[1:])


def percentile_interval(values: np.ndarray, alpha: float) -> tuple[float, float]:
    """Ends of level 1 - alpha that are among the values: infinite ones cannot be averaged."""
    lower, upper = np.quantile(values, [alpha / 2, 1 - alpha / 2], method="inverted_cdf")
    return float(lower), float(upper)
