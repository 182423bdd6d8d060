"""Pairs of two arms by scan and by subject, for tests that pool several label subsets or average them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.statistics.arms import Values
from inpaint_ssl.statistics.rows import Case, by_subject


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


def _mean_pair(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    first, second = np.mean(list(values), axis=0)
    return float(first), float(second)


def pairs(first: Values, second: Values) -> Pairs:
    """Class averages on the scans and runs that both arms have.

    A class that is undefined in one arm is dropped from both for that scan and run, as in `arms.compare`.
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
