"""Duplicates as findings: an error where they cross from training into what judges it."""

from collections.abc import Iterable, Sequence

from inpaint_ssl.doctor.duplicates import Twins, duplicate_groups, equal_slices, same_origin
from inpaint_ssl.doctor.findings import MIDDLE, Finding, Item, count
from inpaint_ssl.doctor.scans import HELD_OUT, ScanSet


def _leaks(parts: Iterable[str]) -> bool:
    """Whether what is in these parts would be seen in training and judge it, or judge twice."""
    used = {part for part in parts if part}
    return len(used) > 1 and bool(used & set(HELD_OUT))


def scan_findings(found: ScanSet) -> list[Finding]:
    """Scans that are there more than once, whatever they are called."""
    by_kind: dict[str, list[Item]] = {"leak": [], "left_out": [], "twice": []}
    for group in duplicate_groups(found.scans):
        parts = [found.part.get(scan.entry.scan_id, "") for scan in group]
        named = [f"{found.path(s.entry)} ({part or 'unused'})" for s, part in zip(group, parts, strict=True)]
        labels = {scan.record.label_sha256 for scan in group if scan.record.has_label}
        detail = "same voxels as " + ", ".join(named[1:]) + ("; their labels differ" if len(labels) > 1 else "")
        shown = tuple((scan.entry.scan_id, MIDDLE) for scan in group[:2])
        labelled = [part for scan, part in zip(group, parts, strict=True) if scan.record.has_label or part == "train"]
        kind = "leak" if _leaks(labelled) else "left_out" if _leaks(parts) else "twice"
        by_kind[kind].append(Item(named[0], detail, shown))
    findings = []
    for kind, severity, message, remedy in (
        ("leak", "error", "in more than one of training, validation and test",
         "remove the copies, or give all copies one subject (data.subject_pattern, split.file)"),
        ("left_out", "warning", "of validation or test scans among the unlabelled ones",
         "remove them; training leaves these unlabelled scans out of pretraining"),
        ("twice", "warning", "that no split separates",
         "remove the copies: they count twice, and other splits would separate them"),
    ):  # fmt: skip
        if by_kind[kind]:
            items = tuple(by_kind[kind])
            findings.append(
                Finding(severity, "duplicate_scan", f"{count(len(items), 'scan')} with copies {message}", remedy, items)
            )
    return findings


def slice_findings(found: ScanSet, twins: Sequence[Twins], not_looked_at: int) -> list[Finding]:
    """Slices that are in several parts: equal ones, and those that are alike. twins: checked at full resolution."""
    equal = equal_slices(found)
    known = {(pair.first, pair.second) for pair in equal}
    alike = [t for t in twins if (t.first, t.second) not in known and (t.second, t.first) not in known]
    findings = []
    for pairs, severity, what in ((equal, "error", "equal slices"), (alike, "warning", "nearly equal slices")):
        leaks = [pair for pair in pairs if _leaks(found.part[scan] for scan in (pair.first, pair.second))]
        others = [pair for pair in pairs if pair not in leaks]
        for concerned, level, where, remedy in (
            (leaks, severity, "in different ones of training, validation, test and unlabelled",
             "look at the pictures; if they are of one subject, remove one of the scans or make them one subject "
             "(data.subject_pattern, split.file)"),
            (others, "info", "among training and unlabelled scans", "harmless: they count twice in pretraining"),
        ):  # fmt: skip
            if concerned:
                kind = what.replace(" ", "_")
                message = f"{count(len(concerned), 'pair')} of scans with {what} {where}"
                findings.append(Finding(level, kind, message, remedy, tuple(_item(found, pair) for pair in concerned)))
    if not_looked_at:
        message = f"{count(not_looked_at, 'further pair')} of scans that look alike in the small were not compared"
        findings.append(Finding("info", "not_compared", message))
    return findings


def _item(found: ScanSet, pair: Twins) -> Item:
    first, second = (found.summaries[scan_id] for scan_id in (pair.first, pair.second))
    (i, j), parts = pair.slices[0], [found.part[scan_id] for scan_id in (pair.first, pair.second)]
    like = "equal" if pair.likeness == 1.0 else f"correlation of the details {pair.likeness:.2f}"
    more = f", {count(len(pair.slices), 'pair')} of slices" if len(pair.slices) > 1 else ""
    detail = f"slice {i} is slice {j} of {found.path(second.entry)} ({parts[1]}): {like}{more}"
    return Item(f"{found.path(first.entry)} ({parts[0]})", detail, ((pair.first, i), (pair.second, j)))


def origin_findings(found: ScanSet) -> list[Finding]:
    """Scans of different subjects in different parts that seem to be cut from one image."""
    items = []
    for first, second, share in same_origin(found.scans):
        a, b = found.summaries[first], found.summaries[second]
        parts = found.part.get(first, ""), found.part.get(second, "")
        if a.record.subject_id != b.record.subject_id and _leaks(parts):
            detail = f"shares {share:.0%} of its distinct values with {found.path(b.entry)} ({parts[1]})"
            items.append(Item(f"{found.path(a.entry)} ({parts[0]})", detail, ((first, MIDDLE), (second, MIDDLE))))
    if not items:
        return []
    return [
        Finding(
            "warning",
            "same_origin",
            f"{count(len(items), 'pair')} of scans in different parts that seem to be cut from one image: they share "
            "values that no other scan has",
            "if they are of one subject (left and right side, two crops), keep them in one part by "
            "data.subject_pattern or split.file; else results are too good",
            tuple(items),
        )
    ]
