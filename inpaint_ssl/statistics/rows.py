"""What all statistics share of the rows of per_scan.csv: the arms, keys, and how runs and scans become subjects."""

from collections.abc import Mapping

import numpy as np

from inpaint_ssl.config.arms import FROM_SCRATCH as FROM_SCRATCH
from inpaint_ssl.config.arms import PRETRAINED as PRETRAINED
from inpaint_ssl.errors import InputError

AVERAGE = "average"  # the class name of the class average
Run = tuple[int, int]  # draw of the label subset, seed
Case = tuple[Run, str, str]  # run, subject, scan
Key = tuple[str, float, str, str]  # metric, label fraction, class, arm


def key_and_case(row: Mapping[str, str]) -> tuple[Key, Case]:
    """What a row belongs to, and its run and scan. InputError for a row whose numbers are none."""
    try:
        key = (row["metric"], float(row["label_fraction"]), row["class"], row["arm"])
        return key, ((int(row["subset_draw"]), int(row["seed"])), row["subject"], row["scan"])
    except ValueError as error:
        raise InputError(f"per_scan.csv: {error} in the row {dict(row)}; evaluate the study again") from None


def by_subject(values: Mapping[Case, float]) -> dict[str, float]:
    """Mean over runs for each scan, then over the scans of each subject."""
    scans: dict[tuple[str, str], list[float]] = {}
    for (_, subject, scan), value in values.items():
        scans.setdefault((subject, scan), []).append(value)
    subjects: dict[str, list[float]] = {}
    for (subject, _), of_scan in sorted(scans.items()):
        subjects.setdefault(subject, []).append(float(np.mean(of_scan)))
    return {subject: float(np.mean(of_subject)) for subject, of_subject in subjects.items()}
