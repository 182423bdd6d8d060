"""What the listers of NIfTI data sets share: the result, the search for files, scan ids and subjects.

Listing looks at names only, so that a missing file is reported before any scan is read.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from inpaint_ssl.data.labels import LabelRules
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError, Problems

ENDINGS = (".nii.gz", ".nii")
_LAST_NUMBER = r"(\d+)\D*$"


@dataclass(frozen=True)
class Layout:
    """The content of a data set folder `root`.

    labels: name -> value, or values of a region. rules: what label files may hold. notes: harmless differences between
    dataset.json and the files.
    """

    root: Path
    name: str
    channel_names: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]
    rules: LabelRules
    entries: tuple[ScanEntry, ...]
    notes: tuple[str, ...]


def relative_to(path: str, root: Path) -> str:
    """A path as it may be written to files: relative to the data set's root, else the name alone."""
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return Path(path).name


def dataset_folder(root: str, key: str = "data.root") -> Path:
    """The folder as a path; InputError naming the setting `key` when there is no such folder."""
    if not root:
        raise InputError(f"{key} is empty, expected the folder of a data set; give --config.{key}=<folder>")
    folder = Path(root).expanduser()
    if not os.path.exists(folder):
        raise InputError(f"{key}: no such folder: {folder}; give the folder of a data set")
    if not folder.is_dir():
        raise InputError(f"{key}: {folder} is a file, expected the folder of a data set")
    return folder


def without_ending(name: str) -> str:
    """A file name without .nii.gz or .nii."""
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def is_file(path: Path) -> bool:
    """Whether there is such a regular file; also False for names that no file can have."""
    return os.path.isfile(path)


def nifti_files(folder: Path, endings: tuple[str, ...] = ENDINGS) -> list[Path]:
    """NIfTI files of a folder by name, without hidden files (such as the ._ files of archives made on macOS)."""
    if not folder.is_dir():
        return []
    names = sorted(name for name in os.listdir(folder) if name.endswith(endings) and not name.startswith("."))
    return [folder / name for name in names if is_file(folder / name)]


def files_beneath(folder: Path) -> Iterator[Path]:
    """Everything but folders beneath a folder, by name, without hidden files and folders.

    Links are followed; a folder that is reached twice, as in a loop of links, is entered once. Raises InputError when a
    folder cannot be listed.
    """

    def refused(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be listed ({error.strerror}); make it readable or remove it")

    entered: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refused):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in sorted(names) if not name.startswith("."))


def scan_entry(scan_id: str, images: Iterable[Path], label: Path | None = None) -> ScanEntry:
    """A scan that is a subject of its own."""
    paths = tuple(str(image) for image in images)
    return ScanEntry(scan_id, scan_id, label is not None, paths, "" if label is None else str(label))


def arranged(entries: Iterable[ScanEntry], settings: ReaderSettings, problems: Problems) -> tuple[ScanEntry, ...]:
    """Entries by scan id, with the subjects that settings.subject_pattern finds in the ids.

    The group of the pattern, or else its match, is the subject; with "" every scan is its own. With
    settings.scans_per_subject = n above 1 what was found (with "" the last number in the id) is a number, and each n
    that follow each other from 1 on are one subject. Two scans of one id, and an id without a match, are problems.
    """
    subject_pattern = settings.subject_pattern
    found: dict[str, ScanEntry] = {}
    for entry in entries:
        other = found.get(entry.scan_id)
        if other is not None:
            problems.add(
                InputError(
                    f"{entry.image_paths[0]} and {other.image_paths[0]} are both named {entry.scan_id}; rename or "
                    "remove one of them",
                    "listing",
                )
            )
            continue
        subject = _subject(entry.scan_id, subject_pattern or (_LAST_NUMBER if settings.scans_per_subject > 1 else ""))
        if settings.scans_per_subject > 1:
            subject = _numbered(entry, subject, settings.scans_per_subject, problems)
            if not subject:
                continue
        if not subject:
            problems.add(
                InputError(
                    f"{entry.image_paths[0]}: data.subject_pattern {subject_pattern!r} finds no subject in the scan id "
                    f"{entry.scan_id!r}; correct the pattern, rename the file or remove it",
                    "listing",
                )
            )
            continue
        found[entry.scan_id] = replace(entry, subject_id=subject)
    return tuple(sorted(found.values(), key=lambda entry: entry.scan_id))


def _numbered(entry: ScanEntry, number: str, scans: int, problems: Problems) -> str:
    """The subject of the scan of this number, named by its first and last one; "" when it is a problem."""
    if number.isascii() and number.isdigit():
        last = -(-int(number) // scans) * scans
        return f"{max(last - scans + 1, 0)}-{last}"
    problems.add(
        InputError(
            f"{entry.image_paths[0]}: data.scans_per_subject is {scans}, but the scan id {entry.scan_id!r} gives "
            f"{number!r} and no number; correct data.subject_pattern, or use data.scans_per_subject=1",
            "listing",
        )
    )
    return ""


def _subject(scan_id: str, pattern: str) -> str:
    if not pattern:
        return scan_id
    match = re.search(pattern, scan_id)
    if match is None:
        return ""
    return match.group(1 if match.re.groups else 0) or ""
