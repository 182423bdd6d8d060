"""Rows of per_scan.csv of any arms, and the transfer grid's and the extents' entries of study.json."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, str]
RATES = (1e-2, 1e-3, 1e-4, 1e-5)
PARTS = {"E": ["encoder"], "B": ["encoder", "decoder"]}


def rows_of(
    arm: str,
    values: np.ndarray,
    fraction: float = 0.05,
    split: str = "test",
    subjects: Sequence[str] = (),
    draw: int = 0,
) -> list[Row]:
    """values (seeds, scans, classes); scans are scan-0, scan-1, ... of `subjects` (default: one scan each)."""
    return [
        {"study": "s", "dataset": "d", "arm": arm, "label_fraction": repr(fraction), "subset_draw": str(draw)}
        | {"seed": str(seed), "split": split, "subject": subjects[scan] if subjects else f"{split}-subject-{scan}"}
        | {"scan": f"{split}-scan-{scan}", "class": f"class-{c}", "metric": "dice", "unit": "", "prediction": ""}
        | {"truth": "", "value": "" if np.isnan(value) else repr(float(value)), "flag": ""}
        for (seed, scan, c), value in np.ndenumerate(values)
    ]


def grid_entries(rates: Sequence[float] = RATES, steps: bool = False) -> list[dict[str, Any]]:
    """The "arms" of a transfer grid: four designs of one run and four of two, of all rates."""
    entries = []
    for begin, parts in itertools.product(("F", "FF"), PARTS):
        for runs in (1, 2):
            for chosen in itertools.product(rates, repeat=runs):
                design = f"{begin}{parts}{'FS'[runs - 1]}"
                name = "_".join([design, *(f"lr-{rate:g}" for rate in chosen)])
                entry = {"arm": name, "label": name, "design": design, "parts": PARTS[parts], "freeze": begin == "FF"}
                taken = {"steps": [100 + 10 * k for k in range(runs)]} if steps else {}
                entries.append(entry | {"learning_rates": list(chosen)} | taken)
    return entries


def extent_entries(extents: Iterable[float], training: int = 80, scratch: bool = True) -> list[dict[str, Any]]:
    """The "arms" of a study of extents, from scratch first."""
    first = [{"arm": "from_scratch", "label": "from scratch"}] if scratch else []
    return first + [
        {"arm": f"extent-{100 * x:g}pct", "label": f"{100 * x:g} %", "extent": x}
        | {
            f"pretraining_{what}": round(x * training * k)
            for what, k in (("subjects", 1), ("scans", 1), ("slices", 40))
        }
        for x in extents
    ]
