"""Every seed's value, by hand."""

import numpy as np
import pytest

from inpaint_ssl.report.seed_table import seed_table

LABELS = {"from_scratch": "from scratch", "arm-b": "arm B"}
DICE = {  # arm -> seed -> scan -> class
    "from_scratch": {0: {"a": (0.5, 0.7), "b": (0.1, 0.3)}, 1: {"a": (0.6, 0.8), "b": (0.2, 0.4)}},
    "arm-b": {0: {"a": (0.9, 0.9), "b": (0.5, float("nan"))}},
}


def rows(dice, split: str = "test") -> list[dict[str, str]]:
    base = {"metric": "dice", "label_fraction": "0.05", "subset_draw": "0", "split": split}
    return [
        base | {"arm": arm, "seed": str(seed), "subject": scan, "scan": scan, "class": f"c{k}", "value": repr(value)}
        for arm, seeds in dice.items()
        for seed, scans in seeds.items()
        for scan, values in scans.items()
        for k, value in enumerate(values)
    ]


def test_each_run_and_what_they_vary_by() -> None:
    table = seed_table([*rows(DICE), *rows({"from_scratch": {2: {"v": (1.0, 1.0)}}}, "validation")], LABELS)
    assert table is not None
    assert [column.key for column in table.columns] == ["arm", "label_fraction", "mean", "sd", "seed_0", "seed_1"]
    scratch, other = ([entry.written for entry in row] for row in table.rows)
    assert scratch[0] == "from_scratch" and scratch[1] == 0.05
    assert scratch[2:] == pytest.approx([0.45, np.std([0.4, 0.5], ddof=1), 0.4, 0.5])
    assert other[2] == pytest.approx(0.7) and other[3] == "" and other[4] == pytest.approx(0.7) and other[5] == ""


def test_nothing_to_say_of_one_seed_or_of_none() -> None:
    assert seed_table(rows({"arm-b": DICE["arm-b"]}), LABELS) is None
    assert seed_table([], LABELS) is None
