"""What is wrong with single files: unreadable, on another grid, with undeclared labels, or without content."""

from collections.abc import Sequence

import numpy as np

from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.doctor.findings import MIDDLE, Finding, Item, count, ranges
from inpaint_ssl.doctor.raw import Trouble
from inpaint_ssl.doctor.scans import ScanSet, relative
from inpaint_ssl.doctor.workers import Failed
from inpaint_ssl.errors import InputError

_MESSAGES = {
    "unreadable": ("{} cannot be read", "copy them again from where they came from, or remove the scans"),
    "geometry": (
        "{} whose files do not lie on one grid",
        "correct the headers, resample one file onto the grid of the other, or, if the difference does no harm, raise "
        "data.geometry_tolerance_mm",
    ),
    "labels": ("{} with label values that cannot be used", ""),
    "intensities": ("{} with NaN or infinite voxels, or with one value everywhere", "mend or remove the scans"),
    "crashed": (
        "{} whose reading ended the process that read it",
        "the file is damaged in a way that its decoder does not survive: copy it again or remove the scan",
    ),
    "hung": ("{} whose reading did not end", "copy the file again, or remove the scan"),
    "raised": ("{} whose reading failed unforeseen", "copy the file again or remove the scan; please report it"),
}  # fmt: skip
_LISTING = "complete or rename the files, or remove them from the data set"


def unlisted_findings(problems: Sequence[InputError], root: str) -> list[Finding]:
    """Why the data set cannot be listed at all."""
    items = tuple(Item(relative(str(problem), root)) for problem in problems)
    remedy = "see what is said of each; nothing else could be looked at"
    return [Finding("error", "listing", "the data set cannot be listed", remedy, items)]


def listing_findings(problems: Sequence[InputError], notes: Sequence[str], root: str) -> list[Finding]:
    """What the reader found while it listed the scans."""
    findings = []
    if problems:
        items = tuple(Item(relative(str(problem), root)) for problem in problems)
        message = f"{count(len(items), 'scan or file', 'scans or files')} cannot be used as listed"
        findings.append(Finding("error", "listing", message, _LISTING, items))
    if notes:
        items = tuple(Item(relative(note, root)) for note in notes)
        findings.append(Finding("info", "notes", f"{count(len(items), 'note')} of the reader", "", items))
    return findings


def trouble_findings(found: ScanSet) -> list[Finding]:
    """Scans that the reader refuses, by the kind of reason."""
    findings = []
    for kind in dict.fromkeys(trouble.kind for _, trouble in found.troubles):
        concerned = [(entry, trouble) for entry, trouble in found.troubles if trouble.kind == kind]
        message, remedy = _MESSAGES.get(kind, ("{} refused by the reader", "see what is said of each"))
        if kind == "labels":
            remedy = _remap(concerned, found)
        items = [_item(found, entry, trouble) for entry, trouble in concerned]
        findings.append(Finding("error", kind, message.format(count(len(items), "scan")), remedy, tuple(items)))
    return findings


def _item(found: ScanSet, entry: ScanEntry, trouble: Trouble) -> Item:
    detail = relative(trouble.message, found.root)
    of_label = trouble.kind == "labels"
    path = found.path(entry, of_label)
    detail = detail.removeprefix(path).lstrip(": ")
    if trouble.kind in _MESSAGES:
        detail = detail.rpartition("; ")[0] or detail  # what to do is said once for all
    if trouble.detail:
        detail += f" ({trouble.detail})"
    return Item(path, detail, tuple((entry.scan_id, index) for index in trouble.slices[:2] or (MIDDLE,)))


def trouble_of(failed: Failed) -> Trouble:
    """Of a scan whose process gave no result."""
    return Trouble("unreadable" if failed.kind == "refused" else failed.kind, failed.detail)


def _remap(concerned: Sequence[tuple[ScanEntry, Trouble]], found: ScanSet) -> str:
    """A data.label_map for all refused label files, where one suggests itself."""
    declared = {0}
    for region in found.reader.labels.values():
        declared |= {region} if isinstance(region, int) else set(region)
    proposed: dict[int, set[int]] = {}
    for _, trouble in concerned:
        strange, unused = sorted(set(trouble.values) - declared), sorted(declared - set(trouble.values) - {0})
        if len(declared) == 2:
            unused = sorted(declared - {0}) * len(strange)
        for number, value in enumerate(strange):
            proposed.setdefault(value, set()).add(unused[number] if len(unused) == len(strange) else -1)
    general = "declare the values where the labels are declared, correct the files, or replace values with "
    if not proposed:
        return f"{general}--config.data.label_map"
    if any(len(values) > 1 or -1 in values for values in proposed.values()):
        listed = ", ".join(map(str, sorted(proposed)))
        return f"{general}--config.data.label_map=\"('<value>=<declared value>',)\"; the values are {listed}"
    texts = "".join(f"'{value}={min(new)}'," for value, new in sorted(proposed.items()))
    return f'{general}--config.data.label_map="({texts})", if that is what they mean'


def content_findings(found: ScanSet) -> list[Finding]:
    """Labels without a voxel, and slices of one value."""
    findings = []
    empty = [scan for scan in found.labelled if not scan.record.label_voxels]
    if empty:
        findings.append(
            Finding(
                "warning",
                "empty_label",
                f"{count(len(empty), 'label file')} without a labelled voxel",
                "label the scans, or, if nothing is to be found in them, leave them as they are; a scan that was not "
                "labelled yet belongs to the unlabelled ones (for example in imagesUl)",
                tuple(found.item(scan.entry, of_label=True) for scan in empty),
            )
        )
    gaps, margins = [], []
    for scan in found.scans:
        flat = np.flatnonzero(scan.constant)
        used = np.flatnonzero(~scan.constant)
        if not len(flat) or not len(used):
            continue
        inner = flat[(flat > used[0]) & (flat < used[-1])]
        if len(inner):
            text = f"slices {ranges(inner.tolist())} of {scan.n_slices}"
            gaps.append(found.item(scan.entry, text, (int(inner[0]) - 1, int(inner[0]))))
        else:
            margins.append(found.item(scan.entry, f"slices {ranges(flat.tolist())} of {scan.n_slices}"))
    if gaps:
        findings.append(
            Finding(
                "warning",
                "constant_slices",
                f"{count(len(gaps), 'scan')} with slices of one value between others",
                "look whether slices were lost or blanked when the scans were converted; there is nothing to learn "
                "from such slices",
                tuple(gaps),
            )
        )
    if margins:
        findings.append(
            Finding(
                "info",
                "constant_margin",
                f"{count(len(margins), 'scan')} beginning or ending with slices of one value",
                "harmless; without them training would be a little faster",
                tuple(margins),
            )
        )
    return findings
