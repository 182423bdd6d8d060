"""Classes: how often each occurs, and in which part of the data it is missing."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.data.classes import ClassMap
from inpaint_ssl.doctor.findings import Finding, Item, count
from inpaint_ssl.doctor.inspect import ScanSummary
from inpaint_ssl.doctor.scans import PARTS, ScanSet

_RARE = 0.1  # share of the labelled scans


@dataclass(frozen=True)
class ClassCount:
    """Of one class: labelled voxels, their share of all voxels of labelled scans, scans and slices that have it, and
    its volume in ml in the median scan that has it.
    """

    name: str
    voxels: int
    share: float
    scans: int
    slices: int
    volume_ml: float


def class_counts(scans: Iterable[ScanSummary], classes: ClassMap) -> list[ClassCount]:
    """One entry a class."""
    scans = list(scans)
    total = max(sum(int(np.prod(scan.record.shape)) for scan in scans), 1)
    counts = []
    for name, members in zip(classes.names, classes.members, strict=True):
        voxels = [sum(scan.record.label_voxels.get(value, 0) for value in members) for scan in scans]
        slices = [
            np.any([scan.label_slices[v] for v in members if v in scan.label_slices], axis=0).sum()
            for scan, n in zip(scans, voxels, strict=True)
            if n
        ]
        volumes = [
            n * float(np.prod(scan.record.spacing_mm)) / 1000 for scan, n in zip(scans, voxels, strict=True) if n
        ]
        present = len(volumes)
        volume = float(np.median(volumes)) if volumes else 0.0
        counts.append(ClassCount(name, sum(voxels), sum(voxels) / total, present, int(sum(slices)), volume))
    return counts


def class_findings(found: ScanSet) -> list[Finding]:
    """Classes that no scan has, that few have, or that a part of the data lacks."""
    if found.classes is None or not found.labelled:
        return []
    counts = class_counts(found.labelled, found.classes)
    findings = []
    absent = [one.name for one in counts if not one.voxels]
    if absent:
        findings.append(
            Finding(
                "warning",
                "absent_class",
                f"no scan has a voxel of {_listed(absent)}",
                "leave the class out of data.classes, or look whether its label value is another one",
            )
        )
    for one in counts:
        if one.voxels and one.scans < _RARE * len(found.labelled):
            having = [scan for scan in found.labelled if _has(scan, one.name, found.classes)]
            first = [_first_slice(scan, one.name, found.classes) for scan in having]
            items = (found.item(s.entry, f"from slice {i}", (i,), True) for s, i in zip(having, first, strict=True))
            findings.append(
                Finding(
                    "warning",
                    "rare_class",
                    f"{one.name} occurs in {one.scans} of {len(found.labelled)} labelled scans",
                    "label more scans that have it, or judge its Dice with care: scans without it say nothing of it",
                    tuple(items),
                )
            )
    findings += _missing_in_parts(found, [one.name for one in counts if one.voxels])
    return findings


def _missing_in_parts(found: ScanSet, names: list[str]) -> list[Finding]:
    """Classes without a subject in some part; a part of which no label could be read says nothing."""
    splits, classes = found.splits, found.classes
    if splits is None or classes is None:
        return []
    parts = {
        "training": set(splits.train),
        "validation": set(splits.validation),
        "test": set(splits.test),
        **{f"{100 * fraction:g} % of the labels": set(subjects) for fraction, subjects in splits.label_subsets.items()},
    }
    known = {scan.record.subject_id for scan in found.labelled}
    items = []
    for name in names:
        subjects = {scan.record.subject_id for scan in found.labelled if _has(scan, name, classes)}
        missing = [part for part, members in parts.items() if members & known and not members & subjects]
        if missing:
            items.append(Item(name, f"no subject of {_listed(missing)} has it"))
    if not items:
        return []
    return [
        Finding(
            "warning",
            "class_missing_in_split",
            f"{count(len(items), 'class', 'classes')} missing in a part of the data",
            "use another split.split_seed or split.subset_draw, larger parts, or a split.file; what is not in training "
            "is not learnt, and what is not in the test set is not judged",
            tuple(items),
        )
    ]


def _members(name: str, classes: ClassMap) -> tuple[int, ...]:
    return classes.members[classes.names.index(name)]


def _has(scan: ScanSummary, name: str, classes: ClassMap) -> bool:
    return any(scan.record.label_voxels.get(value, 0) for value in _members(name, classes))


def _first_slice(scan: ScanSummary, name: str, classes: ClassMap) -> int:
    values = [value for value in _members(name, classes) if value in scan.label_slices]
    return int(np.flatnonzero(np.any([scan.label_slices[value] for value in values], axis=0))[0])


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def summary_findings(found: ScanSet) -> list[Finding]:
    """How many scans there are of each kind."""
    parts = {part: sum(found.part.get(scan.entry.scan_id) == part for scan in found.scans) for part in PARTS}
    if not found.scans:
        return [Finding("error", "no_scans", "no scan could be read", "see what is said of each file")]
    listed = ", ".join(f"{n} {part}" for part, n in parts.items() if n)
    message = f"{count(len(found.scans), 'scan')} read, {len(found.labelled)} of them labelled"
    return [Finding("info", "scans", f"{message}: {listed}" if listed else message)]
