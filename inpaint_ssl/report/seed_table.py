"""Every seed's value: how much runs that differ in their seed alone differ in Dice."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from inpaint_ssl.report.parts import MISSING, Column, Entry, TableView
from inpaint_ssl.report.text import percent, ratio
from inpaint_ssl.statistics.arms import Values, arm_mean, values_by_arm


def seed_table(rows: Iterable[Mapping[str, str]], labels: Mapping[str, str], split: str = "test") -> TableView | None:
    """Mean class-averaged Dice of each run over the subjects of `split`, and over an arm's runs mean and sample SD.

    rows: those of per_scan.csv as strings; labels: arm -> its name for a person, in order. None where every arm has one
    run. InputError as statistics.arms.values_by_arm.
    """
    found = values_by_arm(rows, split)
    runs = {key: _means(values) for key, values in found.items() if key[1] in labels}
    seeds = sorted({run for means in runs.values() for run in means})
    if len(seeds) < 2:
        return None
    order = list(labels)
    several_draws = len({draw for draw, _ in seeds}) > 1
    names = [f"draw {draw}, seed {seed}" if several_draws else f"seed {seed}" for draw, seed in seeds]
    keys = [f"draw_{draw}_seed_{seed}" if several_draws else f"seed_{seed}" for draw, seed in seeds]
    columns = (
        Column("arm", "arm", False), Column("label_fraction", "labels"), Column("mean", "mean"), Column("sd", "sd"),
        *(Column(key, name) for key, name in zip(keys, names, strict=True)),
    )  # fmt: skip
    table = [
        (Entry(labels[arm], arm), Entry(percent(fraction), fraction), *_row(runs[(fraction, arm)], seeds))
        for fraction, arm in sorted(runs, key=lambda key: (key[0], order.index(key[1])))
    ]
    note = (
        f"Class-averaged Dice of each run, mean over {split} subjects; mean and sample standard deviation over the "
        "runs."
    )
    return TableView("dice_by_seed", "Every seed's value", columns, tuple(table), note)


def _means(values: Values) -> dict[tuple[int, int], float]:
    """(draw of the label subset, seed) -> mean over subjects."""
    of_run: dict[tuple[int, int], Values] = {}
    for case, classes in values.items():
        of_run.setdefault(case[0], {})[case] = classes
    return {run: mean.mean for run, own in of_run.items() if (mean := arm_mean(own)) is not None}


def _row(means: Mapping[tuple[int, int], float], seeds: list[tuple[int, int]]) -> tuple[Entry, ...]:
    values = list(means.values())
    if not values:
        return (MISSING, MISSING, *(MISSING for _ in seeds))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    each = (Entry(ratio(means[run]), means[run]) if run in means else MISSING for run in seeds)
    mean = float(np.mean(values))
    return (Entry(ratio(mean), mean), MISSING if math.isnan(sd) else Entry(ratio(sd), sd), *each)
