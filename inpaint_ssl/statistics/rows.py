"""What all statistics share of the rows of per_scan.csv: the arms, and how runs and scans become subjects."""

from collections.abc import Mapping

import numpy as np

FROM_SCRATCH, PRETRAINED = "from_scratch", "pretrained"
Case = tuple[tuple[int, int], str, str]  # (subset_draw, seed), subject, scan


def by_subject(values: Mapping[Case, float]) -> dict[str, float]:
    """Mean over runs for each scan, then over the scans of each subject."""
    scans: dict[tuple[str, str], list[float]] = {}
    for (_, subject, scan), value in values.items():
        scans.setdefault((subject, scan), []).append(value)
    subjects: dict[str, list[float]] = {}
    for (subject, _), of_scan in sorted(scans.items()):
        subjects.setdefault(subject, []).append(float(np.mean(of_scan)))
    return {subject: float(np.mean(of_subject)) for subject, of_subject in subjects.items()}
