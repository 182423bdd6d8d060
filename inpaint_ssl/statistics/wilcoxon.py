"""Wilcoxon's signed-rank test, one-sided, with fixed rules for zeros, ties and the null distribution (section 2.8)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from inpaint_ssl.errors import InputError

_EXACT_N, _ENUMERATED_N, _DECIMALS = 50, 13, 12


@dataclass(frozen=True)
class WilcoxonResult:
    """`n` pairs were ranked, `n_zero` had no difference, `n_pairs_excluded` had a NaN; `statistic` is W+."""

    statistic: float  # W+, the rank sum of the pairs with first > second
    p_value: float
    n: int
    n_zero: int
    n_pairs_excluded: int
    method: str  # "exact" | "exact_ties" | "asymptotic" | "none" (nothing to rank)

    @property
    def rank_biserial(self) -> float:
        """Matched-pairs rank-biserial correlation: share of the rank sum that favours first minus the share that
        favours second (Kerby 2014, Compr. Psychol. 3, 11.IT.3.1), -1 to 1; NaN when nothing was ranked.
        """
        return 4 * self.statistic / (self.n * (self.n + 1)) - 1 if self.n else math.nan


def minimum_n(alpha: float) -> int:
    """Smallest number of non-zero pairs with which a one-sided signed-rank test can reach p < alpha (5 for 0.05)."""
    if not 0.0 < alpha < 1.0:
        raise InputError(f"got alpha = {alpha}, expected a number between 0 and 1; change statistics.alpha")
    n = 1
    while 0.5**n >= alpha:
        n += 1
    return n


def _exact_with_ties(ranks: np.ndarray, statistic: float) -> float:
    """P(rank sum >= statistic) over all 2^n sign patterns, counted by rank sum (doubled mid-ranks are integers)."""
    doubled = np.rint(2 * ranks).astype(int)
    counts = np.zeros(doubled.sum() + 1)
    counts[0] = 1.0
    for rank in doubled:
        counts[rank:] = counts[rank:] + counts[: counts.size - rank]
    return float(counts[round(2 * statistic) :].sum() / 2.0**ranks.size)


def _normal_approximation(ranks: np.ndarray, statistic: float) -> float:
    """Upper tail with the variance corrected for ties, as SciPy's method="asymptotic" (its name differs by version)."""
    n, ties = ranks.size, np.unique(ranks, return_counts=True)[1].astype(float)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties**3 - ties).sum()) / 48
    return float(stats.norm.sf((statistic - n * (n + 1) / 4) / math.sqrt(variance)))


def wilcoxon_greater(first: Iterable[float], second: Iterable[float]) -> WilcoxonResult:
    """One-sided Wilcoxon signed-rank test of paired values; the alternative is first > second (paper, section 2.8).

    The method is fixed, whatever the version of SciPy:
    - pairs with a NaN are left out and counted;
    - differences are rounded to 12 decimals, so that those equal on paper count as zero or as tied although floating
      point separates them;
    - zero differences are dropped before ranking (Wilcoxon's own rule, SciPy's zero_method="wilcox", the default of the
      paper's SciPy 1.5.2) and counted;
    - ties among the absolute differences get mid-ranks;
    - no ties and n <= 50: exact null distribution; ties and n <= 13: all 2^n sign patterns; otherwise the normal
      approximation with tie correction and without continuity correction.
    Nothing left to rank gives p = 1. Raises InputError when the two are not one-dimensional and of equal length.
    """
    a, b = np.asarray(list(first), dtype=np.float64), np.asarray(list(second), dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"got values of shape {a.shape} and {b.shape}, expected two equally long lists of pairs")
    defined = np.isfinite(a) & np.isfinite(b)
    difference = np.round(a[defined] - b[defined], _DECIMALS)
    d = difference[difference != 0.0]
    n, n_zero, excluded = d.size, difference.size - d.size, int(a.size - defined.sum())
    if n == 0:
        return WilcoxonResult(0.0, 1.0, 0, n_zero, excluded, "none")
    ranks = stats.rankdata(np.abs(d))
    statistic = float(ranks[d > 0].sum())
    tied = np.unique(np.abs(d)).size < n
    if tied and n <= _ENUMERATED_N:
        method, p_value = "exact_ties", _exact_with_ties(ranks, statistic)
    elif not tied and n <= _EXACT_N:
        method, p_value = "exact", float(stats.wilcoxon(d, alternative="greater", method="exact").pvalue)
    else:
        method, p_value = "asymptotic", _normal_approximation(ranks, statistic)
    return WilcoxonResult(statistic, p_value, n, n_zero, excluded, method)
