"""A folder tree of DICOM files, sorted into series by their headers alone."""

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from inpaint_ssl.data.readers.dicom.headers import Damage, damage_told, read_header, shown_text, text
from inpaint_ssl.data.readers.dicom.pixels import check_syntax
from inpaint_ssl.data.readers.dicom.series import (
    About,
    Frame,
    about,
    frames_of,
    identity_of,
    patient_of,
    reason_to_skip,
)
from inpaint_ssl.data.readers.layouts import ENDINGS, files_beneath, is_file

_FILES_LOOKED_AT = 200  # to tell whether a folder holds DICOM files at all
_ORIENTATION_DIGITS = 3
_BY_UID = "uid"
_ONE_IN_A_SERIES = ("StudyInstanceUID", "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID")


@dataclass
class Series:
    """All frames of one series, and what its files share. key: tells it from others; folder: of its first file."""

    key: tuple[str, ...]
    about: About
    folder: str
    frames: list[Frame] = field(default_factory=list)

    @property
    def has_uid(self) -> bool:
        """Whether its files say themselves that they are one series."""
        return self.key[0] == _BY_UID

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, each once, in the order in which they were found."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))


@dataclass
class Found:
    """What a folder tree holds: series; files that are damaged, and why; how many were skipped, by (reason, folder,
    number of the series); what is no DICOM file; and what may not be shown of the patients of a folder.
    """

    series: dict[tuple[str, ...], Series] = field(default_factory=dict)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)
    nifti: list[str] = field(default_factory=list)
    terms: dict[str, set[str]] = field(default_factory=dict)


def looks_like_dicom(root: Path) -> bool:
    """Whether one of the first files below `root` has DICOM's mark."""
    for path in itertools.islice(_files(root), _FILES_LOOKED_AT):
        try:
            with open(path, "rb") as stream:
                if stream.read(132)[128:] == b"DICM":
                    return True
        except OSError:
            continue
    return False


def find_series(root: Path, modality: str) -> Found:
    """Read every header below `root`; images that are not of `modality` ("CT" or "MR") are counted as skipped."""
    found = Found()
    for path in _files(root):
        if path.endswith(ENDINGS):
            found.nifti.append(path)
            continue
        try:
            with damage_told():
                _sort_in(found, path, root, modality)
        except Damage as damage:
            found.damaged.append((path, str(damage)))
    return found


def _files(root: Path) -> Iterator[str]:
    return (str(path) for path in files_beneath(root) if is_file(path))


def _sort_in(found: Found, path: str, root: Path, modality: str) -> None:
    folder = str(Path(path).parent)
    with open(path, "rb") as stream:
        header = read_header(stream)
        size = os.fstat(stream.fileno()).st_size
    if header is None:
        found.others.append(path)
        return
    found.terms.setdefault(folder, set()).update(identity_of(header))
    reason = reason_to_skip(header, modality)
    if reason is not None:
        if reason:
            found.skipped[reason, folder, shown_text(header, "SeriesNumber")] += 1
        return
    kept, frames = frames_of(header, path, size)
    check_syntax(kept.syntax)
    key = _series_key(header, frames[0], os.path.relpath(folder, root), os.path.basename(path))
    series = found.series.get(key)
    if series is None:
        series = found.series[key] = Series(key, about(header, modality, kept), folder)
    series.frames += frames


def _series_key(header: Dataset, frame: Frame, folder: str, name: str) -> tuple[str, ...]:
    """What all files of a series have in common and those of others have not.

    Anonymised files may have lost their UIDs: then the folder and everything that is one in a series. Such files that
    have lost their positions too cannot be slices of a volume, so each is a scan of its own.
    """
    patient = patient_of(header)
    if uid := text(header, "SeriesInstanceUID"):
        return (_BY_UID, uid, *patient)
    plane = "" if frame.orientation is None else repr([round(x, _ORIENTATION_DIGITS) + 0.0 for x in frame.orientation])
    return (
        "group",
        folder if frame.position is not None else f"{folder}/{name}",
        *patient,
        *(text(header, keyword) for keyword in _ONE_IN_A_SERIES),
        plane,
        f"{frame.rows} x {frame.columns}",
        repr(frame.pixel_spacing),
    )
