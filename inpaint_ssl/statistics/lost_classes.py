"""Classes that a run misses in most scans: with the Dice loss alone a class may stay near zero.

It can happen to one seed and not to the next, and then decides a comparison of few runs. No jax here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.statistics.arms import values_by_arm
from inpaint_ssl.statistics.rows import Run

LOST = 0.1  # median Dice over scans below which a class counts as missed


@dataclass(frozen=True)
class LostRun:
    """A run with classes that it misses in most scans."""

    arm: str
    label_fraction: float
    run: Run
    classes: tuple[str, ...]


@dataclass(frozen=True)
class LostClasses:
    """The runs that lost a class, by rising label fraction, arm and run; n_runs: by arm, of all that were measured."""

    runs: tuple[LostRun, ...]
    n_runs: Mapping[str, int]


def lost_classes(rows: Iterable[Mapping[str, str]], split: str) -> LostClasses:
    """Runs in which the median Dice of a class over the scans of `split` is below LOST.

    rows: of per_scan.csv as strings; undefined values are left out. InputError for rows that are damaged.
    """
    found, counts = list[LostRun](), dict[str, int]()
    for (fraction, arm), values in sorted(values_by_arm(rows, split).items()):
        runs = sorted({case[0] for case in values})
        counts[arm] = counts.get(arm, 0) + len(runs)
        for run in runs:
            by_class: dict[str, list[float]] = {}
            for case, of in values.items():
                for name, value in of.items() if case[0] == run else ():
                    by_class.setdefault(name, []).append(value)
            medians = {name: np.nanmedian(some) for name, some in by_class.items() if not np.all(np.isnan(some))}
            if lost := tuple(name for name, median in medians.items() if median < LOST):
                found.append(LostRun(arm, fraction, run, lost))
    return LostClasses(tuple(found), counts)
