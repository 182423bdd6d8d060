"""Classes that a run never found: of the Dice loss alone a class may stay at zero, whatever the network began with.

It can happen to one seed and not to the next, and then decides a comparison of few runs. No jax here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.statistics.arms import values_by_arm

LOST = 0.1  # mean Dice over scans below which a class counts as not found


@dataclass(frozen=True)
class LostRun:
    """A run with classes that it did not find. run: (draw of the label subset, seed)."""

    arm: str
    label_fraction: float
    run: tuple[int, int]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class LostClasses:
    """The runs that lost a class, by rising label fraction, arm and run; n_runs: by arm, of all that were measured."""

    runs: tuple[LostRun, ...]
    n_runs: Mapping[str, int]


def lost_classes(rows: Iterable[Mapping[str, str]], split: str) -> LostClasses:
    """Runs in which the mean Dice of a class over the scans of `split` is below LOST.

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
            means = {name: np.nanmean(some) for name, some in by_class.items() if not np.all(np.isnan(some))}
            if lost := tuple(name for name, mean in means.items() if mean < LOST):
                found.append(LostRun(arm, fraction, run, lost))
    return LostClasses(tuple(found), counts)
