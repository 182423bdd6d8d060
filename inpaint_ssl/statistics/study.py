"""Does pretraining help? Paired one-sided tests on the rows of per_scan.csv (paper, section 2.8).

The subject is the unit: values are averaged over seeds for each scan, then over the scans of a subject, and only then
summarised or tested. The pre-specified test of a label fraction is the one on the class average; p-values of single
classes describe and are not adjusted for their number. No jax here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.rows import FROM_SCRATCH, PRETRAINED, Case, by_subject
from inpaint_ssl.statistics.wilcoxon import WilcoxonResult, minimum_n, wilcoxon_greater

AVERAGE = "average"  # the class name of the class average


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
class Description:
    """One metric of one class, arm and label fraction; see `describe`."""

    metric: str
    label_fraction: float
    class_name: str
    arm: str
    summary: ArmSummary


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


_Values = dict[Case, dict[str, float]]  # values of the classes


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


def _arm(values: _Values, name: str) -> ArmSummary | None:
    picked = {case: _pick(classes, name) for case, classes in values.items()}
    if not any(picked.values()):
        return None
    defined = {case: [v for v in found if not math.isnan(v)] for case, found in picked.items()}
    means = {case: float(np.mean(found)) for case, found in defined.items() if found}
    subjects = list(by_subject(means).values())
    runs = []
    for draw, seed in sorted({case[0] for case in means}):
        of_run = by_subject({case: value for case, value in means.items() if case[0] == (draw, seed)})
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
    means: tuple[dict[Case, float], dict[Case, float]] = ({}, {})
    excluded = 0
    for case in sorted(first.keys() & second.keys()):
        wanted = [c for c in first[case] if name in (AVERAGE, c) and c in second[case]]
        both = [c for c in wanted if not (math.isnan(first[case][c]) or math.isnan(second[case][c]))]
        excluded += len(wanted) - len(both)
        if both:
            for side, values in zip(means, (first, second), strict=True):
                side[case] = float(np.mean([values[case][c] for c in both]))
    pretrained, scratch = by_subject(means[0]), by_subject(means[1])
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


def describe(rows: Iterable[Mapping[str, str]], metric: str) -> tuple[Description, ...]:
    """Each arm's mean of a metric for every label fraction and class, without a comparison: for a metric of which less
    is better the tests of `summarise` would ask the wrong question.

    Each arm over the scans that it has a value of. Label fractions rise, classes and arms are in order of appearance.
    `rows` and errors as in `summarise`.
    """
    table = _collect(rows, metric)
    classes = dict.fromkeys(c for values in table.values() for case in values.values() for c in case)
    arms = dict.fromkeys(arm for _, arm in table)
    return tuple(
        Description(metric, fraction, name, arm, summary)
        for fraction in sorted({fraction for fraction, _ in table})
        for name in classes
        for arm in arms
        if (summary := _arm(table.get((fraction, arm), {}), name)) is not None
    )


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
