"""Does pretraining help? Paired one-sided tests on the rows of per_scan.csv (paper, section 2.8).

The subject is the unit: values are averaged over seeds for each scan, then over the scans of a subject, and only then
summarised or tested. The pre-specified test of a label fraction is the one on the class average; p-values of single
classes describe and are not adjusted for their number. No jax here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from inpaint_ssl.errors import InputError

FROM_SCRATCH, PRETRAINED = "from_scratch", "pretrained"
AVERAGE = "average"  # the class name of the class average
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


@dataclass(frozen=True)
class RunMean:
    """Mean over test subjects of one run (one seed and one draw of the label subset)."""

    subset_draw: int
    seed: int
    mean: float


@dataclass(frozen=True)
class ArmSummary:
    """One arm at one label fraction for one class: mean and sample standard deviation over test subjects."""

    mean: float
    sd: float  # NaN for a single subject
    n_subjects: int
    n_scans: int
    n_excluded: int  # undefined (NaN) values left out, over scans and runs (and classes, for the average)
    runs: tuple[RunMean, ...]


@dataclass(frozen=True)
class Comparison:
    """Pretrained against from scratch on the same subjects, runs and classes."""

    from_scratch_mean: float
    pretrained_mean: float
    mean_difference: float  # pretrained - from scratch
    n_subjects: int
    n_excluded: int  # values dropped from both arms because they were undefined in one
    differences: dict[str, float]  # by subject
    wilcoxon: WilcoxonResult


@dataclass(frozen=True)
class Entry:
    """One class (or the class average, `AVERAGE`) at one label fraction."""

    label_fraction: float
    class_name: str
    arms: dict[str, ArmSummary]
    comparison: Comparison | None  # None while one arm is missing


@dataclass(frozen=True)
class StudyStatistics:
    """Entries by rising label fraction, the class average first, then the classes as they first appear in the rows."""

    metric: str
    alpha: float
    label_fractions: tuple[float, ...]
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]

    def entry(self, label_fraction: float, class_name: str = AVERAGE) -> Entry | None:
        """The entry of a class at a label fraction, or None when it has no rows."""
        return next((e for e in self.entries if (e.label_fraction, e.class_name) == (label_fraction, class_name)), None)


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


_Case = tuple[tuple[int, int], str, str]  # (subset_draw, seed), subject, scan
_Values = dict[_Case, dict[str, float]]  # values of the classes


def _collect(rows: Iterable[Mapping[str, str]], metric: str) -> dict[tuple[float, str], _Values]:
    """Values of the test scans by (label fraction, arm)."""
    table: dict[tuple[float, str], _Values] = {}
    for row in rows:
        if row["split"] != "test" or row["metric"] != metric:
            continue
        try:
            key = (float(row["label_fraction"]), row["arm"])
            case = ((int(row["subset_draw"]), int(row["seed"])), row["subject"], row["scan"])
            value = float(row["value"] or "nan")
        except ValueError as error:
            raise InputError(f"per_scan.csv: {error} in the row {dict(row)}; evaluate the study again") from None
        classes = table.setdefault(key, {}).setdefault(case, {})
        if row["class"] in classes or row["class"] == AVERAGE:
            reason = "is reserved for the class average" if row["class"] == AVERAGE else "appears twice"
            raise InputError(
                f"per_scan.csv: class {row['class']!r} of scan {row['scan']!r} ({row['arm']}, label fraction "
                f"{key[0]:g}, seed {case[0][1]}) {reason}; expected one row per scan and class"
            )
        classes[row["class"]] = value
    return table


def _pick(classes: Mapping[str, float], name: str) -> list[float]:
    return list(classes.values()) if name == AVERAGE else [classes[name]] if name in classes else []


def _by_subject(values: Mapping[_Case, float]) -> dict[str, float]:
    """Mean over runs for each scan, then over the scans of each subject."""
    scans: dict[tuple[str, str], list[float]] = {}
    for (_, subject, scan), value in values.items():
        scans.setdefault((subject, scan), []).append(value)
    subjects: dict[str, list[float]] = {}
    for (subject, _), of_scan in sorted(scans.items()):
        subjects.setdefault(subject, []).append(float(np.mean(of_scan)))
    return {subject: float(np.mean(of_subject)) for subject, of_subject in subjects.items()}


def _arm(values: _Values, name: str) -> ArmSummary | None:
    picked = {case: _pick(classes, name) for case, classes in values.items()}
    if not any(picked.values()):
        return None
    defined = {case: [v for v in found if not math.isnan(v)] for case, found in picked.items()}
    means = {case: float(np.mean(found)) for case, found in defined.items() if found}
    subjects = list(_by_subject(means).values())
    runs = []
    for draw, seed in sorted({case[0] for case in means}):
        of_run = _by_subject({case: value for case, value in means.items() if case[0] == (draw, seed)})
        runs.append(RunMean(draw, seed, float(np.mean(list(of_run.values())))))
    return ArmSummary(
        mean=float(np.mean(subjects)) if subjects else math.nan,
        sd=float(np.std(subjects, ddof=1)) if len(subjects) > 1 else math.nan,
        n_subjects=len(subjects),
        n_scans=len({case[1:] for case in means}),
        n_excluded=sum(map(len, picked.values())) - sum(map(len, defined.values())),
        runs=tuple(runs),
    )


def _compare(first: _Values, second: _Values, name: str) -> Comparison | None:
    """`first` (pretrained) against `second` (from scratch).

    A class that is undefined in one arm is dropped from both for that scan and run before classes are averaged.
    """
    means: tuple[dict[_Case, float], dict[_Case, float]] = ({}, {})
    excluded = 0
    for case in sorted(first.keys() & second.keys()):
        wanted = [c for c in first[case] if name in (AVERAGE, c) and c in second[case]]
        both = [c for c in wanted if not (math.isnan(first[case][c]) or math.isnan(second[case][c]))]
        excluded += len(wanted) - len(both)
        if both:
            for side, values in zip(means, (first, second), strict=True):
                side[case] = float(np.mean([values[case][c] for c in both]))
    pretrained, scratch = _by_subject(means[0]), _by_subject(means[1])
    if not pretrained:
        return None
    return Comparison(
        from_scratch_mean=float(np.mean(list(scratch.values()))),
        pretrained_mean=float(np.mean(list(pretrained.values()))),
        mean_difference=float(np.mean([pretrained[s] - scratch[s] for s in pretrained])),
        n_subjects=len(pretrained),
        n_excluded=excluded,
        differences={s: pretrained[s] - scratch[s] for s in pretrained},
        wilcoxon=wilcoxon_greater(pretrained.values(), scratch.values()),
    )


def _warnings(fraction: float, comparison: Comparison | None, arms: Mapping[str, _Values], alpha: float) -> list[str]:
    where, warnings = f"label fraction {fraction:g}: ", []
    first, second = arms.get(PRETRAINED, {}), arms.get(FROM_SCRATCH, {})
    if first and second and (alone := first.keys() ^ second.keys()):
        warnings.append(f"{where}{len(alone)} evaluated scans have no partner in the other arm and are not compared")
    if comparison and comparison.wilcoxon.n < minimum_n(alpha):
        w = comparison.wilcoxon
        zeros = f" ({w.n_zero} more with no difference)" if w.n_zero else ""
        warnings.append(
            f"{where}{w.n} test subjects with a difference{zeros} cannot reach p < {alpha:g}; "
            f"at least {minimum_n(alpha)} are needed"
        )
    return warnings


def summarise(rows: Iterable[Mapping[str, str]], alpha: float, metric: str = "dice") -> StudyStatistics:
    """Means, paired differences and tests for every label fraction and class (paper, sections 2.5.3 and 2.8).

    `rows` are the rows of per_scan.csv as strings; other splits and metrics are skipped. Values are ratios. Arms,
    classes and label fractions may be missing: what cannot be compared has the comparison None. Raises InputError for a
    row that is no number or appears twice.
    """
    table = _collect(rows, metric)
    fractions = tuple(sorted({fraction for fraction, _ in table}))
    classes = tuple(dict.fromkeys(c for values in table.values() for case in values.values() for c in case))
    entries: list[Entry] = []
    warnings: list[str] = []
    for fraction in fractions:
        arms = {arm: values for (f, arm), values in table.items() if f == fraction}
        for name in (AVERAGE, *classes):
            summaries = {arm: s for arm, values in sorted(arms.items()) if (s := _arm(values, name))}
            comparison = None
            if FROM_SCRATCH in summaries and PRETRAINED in summaries:
                comparison = _compare(arms[PRETRAINED], arms[FROM_SCRATCH], name)
            if summaries:
                entries.append(Entry(fraction, name, summaries, comparison))
            if name == AVERAGE:
                warnings += _warnings(fraction, comparison, arms, alpha)
    return StudyStatistics(metric, alpha, fractions, classes, tuple(entries), tuple(warnings))
