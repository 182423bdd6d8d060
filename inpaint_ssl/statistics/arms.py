"""Any two arms of a study side by side, on the test or the validation scans: means, pairs and paired tests.

The subject is the unit: values are averaged over classes for each scan and run, over runs for each scan, over the scans
of a subject, and only then summarised or tested. No jax here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.bootstrap import Bootstrap, mean_interval
from inpaint_ssl.statistics.rows import AVERAGE, Case, by_subject, key_and_case
from inpaint_ssl.statistics.wilcoxon import WilcoxonResult, wilcoxon_greater

Values = dict[Case, dict[str, float]]  # of the classes of each scan and run


@dataclass(frozen=True)
class ArmMean:
    """Class-averaged values of one arm: by subject, their mean and sample standard deviation (NaN for one subject)."""

    subjects: dict[str, float]
    mean: float
    sd: float
    n_scans: int
    n_runs: int  # seeds and draws of the label subset
    n_excluded: int  # undefined (NaN) values left out

    @property
    def n_subjects(self) -> int:
        """Number of subjects with a value."""
        return len(self.subjects)


@dataclass(frozen=True)
class Paired:
    """`first` against `second` on the same subjects, runs and classes; the interval is two-sided (BCa bootstrap)."""

    first_mean: float
    second_mean: float
    mean_difference: float  # first - second
    lower: float
    upper: float
    n_subjects: int
    n_excluded: int  # values dropped from both because they were undefined in one
    wilcoxon: WilcoxonResult  # one-sided, the alternative is first > second


@dataclass(frozen=True)
class Pairs:
    """Class averages of two arms on the same scans, runs and classes.

    n_excluded: values of classes that were undefined in one arm and are left out of both.
    """

    first: dict[Case, float]
    second: dict[Case, float]
    n_excluded: int

    def by_scan(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Mean over runs of both arms for each (subject, scan)."""
        runs: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for case, value in self.first.items():
            runs.setdefault(case[1:], []).append((value, self.second[case]))
        return {scan: _mean_pair(values) for scan, values in sorted(runs.items())}

    def by_subject(self) -> dict[str, tuple[float, float]]:
        """Mean over runs for each scan, then over the scans of each subject, of both arms."""
        first, second = by_subject(self.first), by_subject(self.second)
        return {subject: (first[subject], second[subject]) for subject in first}


def values_by_arm(
    rows: Iterable[Mapping[str, str]], split: str, metric: str = "dice"
) -> dict[tuple[float, str], Values]:
    """Values of the scans of `split` by (label fraction, arm), NaN where undefined.

    rows: those of per_scan.csv as strings; other splits and metrics are skipped. InputError for a row that is no number
    or appears twice, and for a class that has the name of the class average.
    """
    table: dict[tuple[float, str], Values] = {}
    for row in rows:
        if row["split"] != split or row["metric"] != metric:
            continue
        (_, fraction, name, arm), case = key_and_case(row)
        classes = table.setdefault((fraction, arm), {}).setdefault(case, {})
        if name in classes or name == AVERAGE:
            reason = "is reserved for the class average" if name == AVERAGE else "appears twice"
            raise InputError(
                f"per_scan.csv: class {name!r} of scan {case[2]!r} ({arm}, label fraction {fraction:g}, seed "
                f"{case[0][1]}) {reason}; expected one row per scan and class; evaluate the study again"
            )
        try:
            classes[name] = float(row["value"] or "nan")
        except ValueError as error:
            raise InputError(f"per_scan.csv: {error} in the row {dict(row)}; evaluate the study again") from None
    return table


def arm_mean(values: Values) -> ArmMean | None:
    """Class average of one arm on the classes that it has a value of; None when it has none."""
    defined = {case: [v for v in classes.values() if not math.isnan(v)] for case, classes in values.items()}
    means = {case: float(np.mean(found)) for case, found in defined.items() if found}
    if not means:
        return None
    subjects = by_subject(means)
    found = list(subjects.values())
    return ArmMean(
        subjects=subjects,
        mean=float(np.mean(found)),
        sd=float(np.std(found, ddof=1)) if len(found) > 1 else math.nan,
        n_scans=len({case[1:] for case in means}),
        n_runs=len({case[0] for case in means}),
        n_excluded=sum(map(len, values.values())) - sum(map(len, defined.values())),
    )


def compare_subjects(
    first: Mapping[str, float], second: Mapping[str, float], alpha: float, bootstrap: Bootstrap, n_excluded: int = 0
) -> Paired | None:
    """Values by subject of two arms on the subjects that both have; None without any. Interval of level 1 - alpha."""
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    both = np.array([[first[s], second[s]] for s in common])
    lower, upper = mean_interval(both[:, 0] - both[:, 1], alpha, bootstrap)
    return Paired(
        first_mean=float(both[:, 0].mean()),
        second_mean=float(both[:, 1].mean()),
        mean_difference=float((both[:, 0] - both[:, 1]).mean()),
        lower=lower,
        upper=upper,
        n_subjects=len(common),
        n_excluded=n_excluded,
        wilcoxon=wilcoxon_greater(both[:, 0], both[:, 1]),
    )


def _mean_pair(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    first, second = np.mean(list(values), axis=0)
    return float(first), float(second)


def pairs(first: Values, second: Values) -> Pairs:
    """Class averages on the scans and runs that both arms have.

    A class that is undefined in one arm is dropped from both for that scan and run before classes are averaged.
    """
    means: tuple[dict[Case, float], dict[Case, float]] = ({}, {})
    excluded = 0
    for case in sorted(first.keys() & second.keys()):
        shared = [name for name in first[case] if name in second[case]]
        both = [c for c in shared if not (math.isnan(first[case][c]) or math.isnan(second[case][c]))]
        excluded += len(shared) - len(both)
        if both:
            for side, values in zip(means, (first, second), strict=True):
                side[case] = float(np.mean([values[case][c] for c in both]))
    return Pairs(*means, excluded)


def mean_pairs(parts: Iterable[Mapping[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Mean of a subject's pairs over the parts (label subsets) that have it."""
    found: dict[str, list[tuple[float, float]]] = {}
    for part in parts:
        for subject, pair in part.items():
            found.setdefault(subject, []).append(pair)
    return {subject: _mean_pair(pairs_of) for subject, pairs_of in sorted(found.items())}


def compare(first: Values, second: Values, alpha: float, bootstrap: Bootstrap) -> Paired | None:
    """Class averages of two arms on the scans and runs of both (`pairs`); None when they have none in common."""
    found = pairs(first, second)
    return compare_subjects(by_subject(found.first), by_subject(found.second), alpha, bootstrap, found.n_excluded)


def restricted(arms: Sequence[Values]) -> tuple[list[Values], int]:
    """Every arm on the classes of scans and runs of which all arms have a value, and how many others there were."""
    places = [{(case, c) for case, of in arm.items() for c, v in of.items() if not math.isnan(v)} for arm in arms]
    kept = set[tuple[Case, str]].intersection(*places) if places else set[tuple[Case, str]]()
    seen = {(case, c) for arm in arms for case, of in arm.items() for c in of}
    result: list[Values] = []
    for arm in arms:
        result.append({})
        for case, c in sorted(kept):
            result[-1].setdefault(case, {})[c] = arm[case][c]
    return result, len(seen) - len(kept)
