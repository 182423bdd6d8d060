"""All that is known of a data set after every scan was looked at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inpaint_ssl.data.classes import ClassMap
from inpaint_ssl.data.scan import ScanEntry, ScanReader
from inpaint_ssl.data.splits import Splits
from inpaint_ssl.doctor.findings import MIDDLE, Item
from inpaint_ssl.doctor.inspect import ScanSummary
from inpaint_ssl.doctor.raw import Trouble

PARTS = ("train", "validation", "test", "unlabelled")
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class ScanSet:
    """summaries: of the scans that could be looked at, by scan id. troubles: (entry, why) of those that the reader
    refuses. part: scan id -> one of PARTS, "" for a scan that the study does not use. splits, classes: None where the
    settings do not fit.
    """

    reader: ScanReader
    root: str
    summaries: Mapping[str, ScanSummary]
    troubles: Sequence[tuple[ScanEntry, Trouble]] = ()
    part: Mapping[str, str] = field(default_factory=dict)
    splits: Splits | None = None
    classes: ClassMap | None = None

    @property
    def scans(self) -> list[ScanSummary]:
        """Summaries by scan id."""
        return list(self.summaries.values())

    @property
    def labelled(self) -> list[ScanSummary]:
        """Scans whose label could be read."""
        return [scan for scan in self.scans if scan.record.has_label]

    def path(self, entry: ScanEntry, of_label: bool = False) -> str:
        """The file of a scan as it may be written: its first image, or its label."""
        path = entry.label_path if of_label else (entry.image_paths or ("",))[0]
        return self.reader.shown_path(path) if path else f"scan {entry.scan_id}"

    def item(
        self, entry: ScanEntry, detail: str = "", slices: Iterable[int] = (MIDDLE,), of_label: bool = False
    ) -> Item:
        """What a finding says of one scan."""
        return Item(self.path(entry, of_label), detail, tuple((entry.scan_id, index) for index in slices))


def parts_of(entries: Iterable[ScanEntry], splits: Splits | None) -> dict[str, str]:
    """Scan id -> part of its subject, "" where no part has it."""
    part: dict[str, str] = {}
    if splits is not None:
        part = {subject: name for name in reversed(PARTS) for subject in getattr(splits, name)}
    return {entry.scan_id: part.get(entry.subject_id, "") for entry in entries}


def relative(text: str, root: str) -> str:
    """A message without the path of the data set's root."""
    if not root:
        return text
    for folder in {str(Path(root).expanduser()), str(Path(root).expanduser().resolve()), root.rstrip("/")}:
        text = text.replace(f"{folder}/", "")
    return text


def distances(values: np.ndarray, floor: float) -> np.ndarray:
    """Robust z of each of (n,) values: distance from the median over 1.4826 times the median absolute deviation.

    floor: smallest deviation that is divided by.
    """
    centre = np.median(values)
    deviation = 1.4826 * np.median(np.abs(values - centre))
    return np.asarray(np.abs(values - centre) / max(float(deviation), floor))
