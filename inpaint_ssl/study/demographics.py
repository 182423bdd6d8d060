"""Who was scanned: Table 1 of the paper, as rows for study.json."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from inpaint_ssl.data import ScanInfo, Splits

SEXES = ("M", "F", "O")  # in the order of the paper
UNKNOWN, TOTAL = "unknown", "total"


def demographics(splits: Splits, scans: Sequence[ScanInfo]) -> list[dict[str, Any]]:
    """Table 1 of the paper (section 2.1): a row for each split and sex, and one for the whole split.

    scans: all that the study could use. Training, validation and test are their subjects' labelled scans; unlabelled is
    what pretraining may use beside the training set, so that an unlabelled scan of a test subject counts nowhere.

    Keys of a row: split ("train", "validation", "test", "unlabelled"), sex ("M", "F", "O", "unknown", at last "total"),
    scans, slices, subjects, unknown_age and unknown_sex (subjects), and age_mean_years, age_sd_years (sample standard
    deviation), age_min_years and age_max_years over subjects, None where no age is known. A subject with several scans
    counts once, with the mean of their ages; one whose scans disagree on the sex has none. Splits without scans are
    left out, and so are the sexes of a split of which none is known.
    """
    rows: list[dict[str, Any]] = []
    for split, listed in _by_split(splits, scans).items():
        subjects: dict[str, list[ScanInfo]] = {}
        for scan in listed:
            subjects.setdefault(scan.subject_id, []).append(scan)
        sexes = {subject: _sex(own) for subject, own in subjects.items()}
        groups = [*SEXES, UNKNOWN] if set(sexes.values()) - {UNKNOWN} else []
        for group in groups:
            members = {subject: own for subject, own in subjects.items() if sexes[subject] == group}
            if members:
                rows.append(_row(split, group, members))
        if subjects:
            rows.append(_row(split, TOTAL, subjects))
    return rows


def _by_split(splits: Splits, scans: Iterable[ScanInfo]) -> dict[str, list[ScanInfo]]:
    labelled: dict[str, Collection[str]] = {
        "train": set(splits.train),
        "validation": set(splits.validation),
        "test": set(splits.test),
    }
    others = set(splits.unlabelled)
    found: dict[str, list[ScanInfo]] = {part: [] for part in (*labelled, "unlabelled")}
    for scan in scans:
        part = next((name for name, ids in labelled.items() if scan.has_label and scan.subject_id in ids), "")
        if part or scan.subject_id in others:
            found[part or "unlabelled"].append(scan)
    return found


def _sex(scans: Iterable[ScanInfo]) -> str:
    found = {str(scan.acquisition["sex"]) for scan in scans if "sex" in scan.acquisition}
    return found.pop() if len(found) == 1 and found <= set(SEXES) else UNKNOWN


def _age(scans: Iterable[ScanInfo]) -> float | None:
    ages = [float(scan.acquisition["age_years"]) for scan in scans if "age_years" in scan.acquisition]
    return float(np.mean(ages)) if ages else None


def _row(split: str, sex: str, subjects: Mapping[str, Sequence[ScanInfo]]) -> dict[str, Any]:
    scans = [scan for own in subjects.values() for scan in own]
    ages = [age for own in subjects.values() if (age := _age(own)) is not None]
    return {
        "split": split,
        "sex": sex,
        "scans": len(scans),
        "slices": sum(scan.n_slices for scan in scans),
        "subjects": len(subjects),
        "unknown_age": len(subjects) - len(ages),
        "unknown_sex": sum(_sex(own) == UNKNOWN for own in subjects.values()),
        "age_mean_years": float(np.mean(ages)) if ages else None,
        "age_sd_years": float(np.std(ages, ddof=1)) if len(ages) > 1 else None,
        "age_min_years": min(ages, default=None),
        "age_max_years": max(ages, default=None),
    }
