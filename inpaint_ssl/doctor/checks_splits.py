"""Subjects that are in two parts of the data: by their ids, by the names of their scans, by a split file."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.data.splits import Splits, SplitSettings, make_splits
from inpaint_ssl.doctor.findings import MIDDLE, Finding, Item, count
from inpaint_ssl.doctor.scans import HELD_OUT, PARTS, ScanSet
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json

# Endings of scan ids that tell visits or sides of one subject apart.
_VISIT = re.compile(
    r"^(?P<subject>.*[0-9].*?)[-_.](?:(?:ses|session|visit|vis|tp|timepoint|time|baseline|followup|fu|bl|scan|rep|run|"
    r"pre|post|left|right|month|mo|week|year)[-_]?\d*|[lr]|v\d+)$",
    re.IGNORECASE,
)


def draw(entries: Sequence[ScanEntry], settings: SplitSettings) -> tuple[Splits | None, list[Finding]]:
    """The splits of the study, and what is wrong with them; None when they cannot be made."""
    findings = _file_findings(settings.file, entries) if settings.file else []
    findings += _official_findings(entries)
    try:
        return make_splits(entries, settings), findings
    except InputError as error:
        if not any(finding.severity == "error" for finding in findings):
            text = _without_folder(str(error), settings.file)
            findings.append(Finding("error", "splits", text, "correct the split, or add labelled scans"))
        return None, findings


def _file_findings(file: str, entries: Sequence[ScanEntry]) -> list[Finding]:
    """Subjects that a split file puts into two parts, and ids that the data set lacks."""
    try:
        values = read_json(Path(file), "lists of subjects")
    except InputError as error:
        return [Finding("error", "splits", _without_folder(str(error), file), "correct split.file")]
    if not isinstance(values, Mapping):
        return []
    subject_of = {entry.scan_id: entry.subject_id for entry in entries} | {e.subject_id: e.subject_id for e in entries}
    listed = {part: values[part] for part in PARTS if isinstance(values.get(part), list)}
    parts: dict[str, dict[str, str]] = defaultdict(dict)  # subject -> part -> the id that is listed
    unknown = []
    for part, ids in listed.items():
        for name in (one for one in ids if isinstance(one, str)):
            if name not in subject_of:
                unknown.append(Item(f"{name} in {part!r}"))
            else:
                parts[subject_of[name]].setdefault(part, name)
    findings = _leaks(parts, entries, Path(file).name)
    if unknown:
        message = f"{count(len(unknown), 'id')} of split.file {Path(file).name} are not in the data set"
        remedy = "correct the ids, or data.root; a scan that cannot be listed counts as missing"
        findings.append(Finding("error", "splits", message, remedy, tuple(unknown)))
    return findings


def _leaks(parts: Mapping[str, Mapping[str, str]], entries: Sequence[ScanEntry], name: str) -> list[Finding]:
    """parts: subject -> part -> the id that the split file lists there."""
    of = {entry.subject_id: entry.scan_id for entry in reversed(entries)}
    findings = []
    for severity, where, remedy in (
        ("error", "more than one of training, validation and test", "keep each subject in one part"),
        ("warning", "validation or test and unlabelled too", "remove them from 'unlabelled'; training leaves them out"),
    ):
        items = []
        for subject, listed in parts.items():
            judged = [part for part in listed if part != "unlabelled"]
            of_unlabelled = len(judged) == 1 and len(listed) == 2 and judged[0] in HELD_OUT
            if len(judged) > 1 if severity == "error" else of_unlabelled:
                text = " and ".join(f"{one} in {part!r}" for part, one in listed.items())
                items.append(Item(f"subject {subject}", text, ((of[subject], MIDDLE),)))
        if items:
            message = f"split.file {name} has {count(len(items), 'subject')} in {where}"
            findings.append(Finding(severity, "subject_leak", message, remedy, tuple(items)))
    return findings


def _without_folder(text: str, file: str) -> str:
    """A message that names the split file alone, not the folders of this machine."""
    return text.replace(str(Path(file)), Path(file).name) if file else text


def _official_findings(entries: Sequence[ScanEntry]) -> list[Finding]:
    """Subjects whom the data set's own split puts into two parts."""
    parts: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in entries:
        if entry.split:
            parts[entry.subject_id].setdefault(entry.split, entry.scan_id)
    items = [
        Item(f"subject {subject}", " and ".join(f"{scan} in {part!r}" for part, scan in where.items()),
             tuple((scan, MIDDLE) for scan in where.values()))
        for subject, where in parts.items() if len(where) > 1
    ]  # fmt: skip
    if not items:
        return []
    message = f"{count(len(items), 'subject')} in more than one part of the data set's own split"
    remedy = "give a split.file that keeps each subject in one part, or use split.method='fractions'"
    return [Finding("error", "subject_leak", message, remedy, tuple(items))]


def name_findings(found: ScanSet, entries: Sequence[ScanEntry]) -> list[Finding]:
    """Scans in different parts whose names look like visits or sides of one subject."""
    groups: dict[str, list[ScanEntry]] = defaultdict(list)
    for entry in entries:
        match = _VISIT.match(entry.scan_id)
        if match and found.part.get(entry.scan_id):
            groups[match["subject"]].append(entry)
    items = []
    for name, members in groups.items():
        subjects = {entry.subject_id for entry in members}
        parts = {found.part[entry.scan_id] for entry in members}
        if len(subjects) > 1 and len(parts) > 1 and parts != {"train", "unlabelled"}:
            where = ", ".join(f"{entry.scan_id} in {found.part[entry.scan_id]}" for entry in members)
            items.append(Item(f"{name}: {where}", "", tuple((entry.scan_id, MIDDLE) for entry in members[:2])))
    if not items:
        return []
    return [
        Finding(
            "warning",
            "subject_names",
            f"{count(len(items), 'group')} of scans in different parts whose names look like those of one subject",
            "say which part of a name is the subject by data.subject_pattern (NIfTI), or give a split.file",
            tuple(items),
        )
    ]
