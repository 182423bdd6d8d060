"""Runs that miss a class in most scans, counted by hand."""

import math

import numpy as np
from arm_rows import rows_of

from inpaint_ssl.statistics.lost_classes import LostRun, lost_classes


def test_runs_are_named_with_the_classes_whose_median_is_below_a_tenth() -> None:
    scratch = np.full((3, 4, 2), 0.6)
    scratch[1, :, 0] = (0.0, 0.05, 0.14, 0.9)  # median 0.095, mean 0.27
    scratch[2, :, 1] = (0.0, 0.05, 0.16, 0.16)  # median 0.105, mean 0.09
    paper = np.full((1, 4, 2), 0.05)
    paper[0, :, 1] = math.nan
    rows = rows_of("from_scratch", scratch) + rows_of("paper", paper, fraction=0.1, draw=4)
    found = lost_classes(rows, "test")
    assert found.runs == (
        LostRun("from_scratch", 0.05, (0, 1), ("class-0",)),
        LostRun("paper", 0.1, (4, 0), ("class-0",)),
    )
    assert found.n_runs == {"from_scratch": 3, "paper": 1}


def test_other_splits_and_metrics_do_not_count() -> None:
    rows = rows_of("paper", np.zeros((1, 2, 1)), split="validation")
    rows += [row | {"metric": "hd95_mm"} for row in rows_of("paper", np.zeros((1, 2, 1)))]
    assert lost_classes(rows, "test").runs == () and lost_classes(rows, "validation").runs
