"""A data set and further folders of scans, whose labels are passed over, as one data set."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.errors import InputError


def parse_root(text: str, formats: Sequence[str]) -> tuple[str, str]:
    """An entry of data.unlabelled_roots, "<folder>" or "<format>:<folder>", as (format, folder)."""
    name, colon, folder = text.partition(":")
    return (name, folder) if colon and name in formats else ("auto", text)


def folder_name(root: str) -> str:
    """The name of a folder as it is given, also for "." and ".."."""
    return Path(os.path.abspath(Path(root).expanduser())).name


def check_roots(main: str, roots: Sequence[str]) -> None:
    """InputError when a folder of data.unlabelled_roots is, holds or lies in another one or data.root (`main`; "" =
    none), or when two have the same name.
    """
    named: dict[str, str] = {}
    places = {main: Path(main).expanduser().resolve()} if main else {}
    for root in roots:
        place = Path(root).expanduser().resolve()
        for other, taken in places.items():
            if place.is_relative_to(taken) or taken.is_relative_to(place):
                raise InputError(
                    f"data.unlabelled_roots: {root} and {other} share scans, since one is or lies inside the other; "
                    "give separate folders"
                )
        name = folder_name(root)
        if name in named:
            raise InputError(
                f"data.unlabelled_roots: {root} and {named[name]} are both named {name!r}, which begins the ids of "
                "their scans; rename one"
            )
        named[name] = root
        places[root] = place


def _shown_name(root: str, reader: ScanReader) -> str:
    """A folder's name as it may be written: one of DICOM files can be a patient's name, which its reader hides."""
    return reader.name if reader.settings()["reader"] == "dicom" else folder_name(root)


class CombinedDataset(ScanReader):
    """The scans of `main`, and those of further folders as "<folder's name>__<scan id>", all unlabelled.

    Subjects keep their ids, so that a subject of `main` is the same one in every folder.
    """

    def __init__(self, main: ScanReader, further: Sequence[tuple[str, ScanReader]]):
        """further: (folder, its reader). Raises InputError when one has another number of channels than `main`."""
        self.name = main.name
        self.channel_names = main.channel_names
        self.labels = main.labels
        self._main = main
        self._further = {_shown_name(root, reader): (Path(root).expanduser(), reader) for root, reader in further}
        self._place: dict[str, tuple[str, ScanEntry]] = {}  # by scan id: name of the folder and the reader's own entry
        entries, notes = list(main.entries), list(main.notes)
        subjects = {entry.subject_id for entry in main.entries}
        for name, (root, reader) in self._further.items():
            if len(reader.channel_names) != len(main.channel_names):
                raise InputError(
                    f"data.unlabelled_roots: scans of {root} have {len(reader.channel_names)} channels "
                    f"({', '.join(reader.channel_names)}), those of data.root {len(main.channel_names)} "
                    f"({', '.join(main.channel_names)}); give scans of the same channels"
                )
            for entry in reader.entries:
                own = replace(entry, has_label=False, label_path="", split="")
                entries.append(replace(own, scan_id=f"{name}__{entry.scan_id}"))
                self._place[entries[-1].scan_id] = name, own
            notes += [f"{name}: {note}" for note in reader.notes]
            shared = len({entry.subject_id for entry in reader.entries} & subjects)
            if shared:
                notes.append(
                    f"{name}: {shared} of its subjects are in the data set too; scans of those that validate or test "
                    "are not pretrained on"
                )
        self.entries = tuple(sorted(entries, key=lambda entry: entry.scan_id))
        self.notes = tuple(notes)
        twice = sorted({entry.scan_id for entry in main.entries} & set(self._place))
        if twice:
            raise InputError(
                f"{twice[0]} is a scan of data.root and of data.unlabelled_roots; rename one of the folders"
            )

    def read(self, entry: ScanEntry) -> Scan:
        """As the reader of the scan does."""
        reader, own = self._reader(entry)
        scan = reader.read(own)
        return scan if reader is self._main else replace(scan, entry=entry, label=None)

    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        """As the reader of the scan says."""
        reader, own = self._reader(entry)
        return reader.stored_dtype(own)

    def settings(self) -> Mapping[str, Any]:
        """Those of all readers."""
        further = {name: reader.settings() for name, (_, reader) in self._further.items()}
        return {"reader": "combined", "version": 1, "main": self._main.settings(), "unlabelled": further}

    def sources(self, entry: ScanEntry) -> tuple[str, ...]:
        """As the reader of the scan says."""
        reader, own = self._reader(entry)
        return reader.sources(own)

    def shown_path(self, path: str) -> str:
        """Of further folders: their name and the path inside."""
        for name, (root, reader) in self._further.items():
            if Path(path).is_relative_to(root) or Path(path).is_relative_to(root.resolve()):
                return f"{name}/{reader.shown_path(path)}"
        return self._main.shown_path(path)

    def _reader(self, entry: ScanEntry) -> tuple[ScanReader, ScanEntry]:
        if entry.scan_id not in self._place:
            return self._main, entry
        name, own = self._place[entry.scan_id]
        return self._further[name][1], own
