"""The folder that predictions are written to, so that a command that was stopped goes on with what is missing.

    predictions.json       what decides the predictions (models, settings), and at the end the record of every scan
    records/<scan>.json    the record of one scan, written when all its other files are
    masks/ probabilities/ uncertainty/ overlays/

<scan> is the scan id with everything but letters, digits and "_.-~" as in web addresses (%20 for a space).
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.predict.inputs import RECORD, Input

FORMAT = "inpaint_ssl predictions, version 1"
_RECORDS, _KINDS = "records", ("masks", "probabilities", "uncertainty", "overlays")
_FILES = ("mask", "dicom_seg", "overlay", "uncertainty")  # keys of a record that name one file
_LONGEST_NAME = 180  # bytes; file systems take 255, and endings and temporary names come on top
_SHOWN = 60  # characters of a value in a message
_PLACE_DIGITS = 4  # enough to tell two folders apart, too few to try out the names of patients


class OutputFolder:
    """Opens or begins the folder of --output.

    about: JSON-able, everything besides the scans that decides what is written. given: the --input. Raises InputError
    for a folder that is, holds or lies inside the input, one that holds something else, and one of other models or
    settings, saying which.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], given: Path) -> None:
        self.path = Path(path).expanduser()
        self._about = {"format": FORMAT, **json.loads(json.dumps(about))}
        _check_apart(self.path, Path(given).expanduser())
        if (self.path / RECORD).exists():
            self._check_same(read_json(self.path / RECORD, "record of predictions"))
        else:
            _check_empty(self.path)
            write_json_atomic(self.path / RECORD, {**self._about, "scans": {}})  # from here on the folder is ours
        self._records = dict(self._stored())

    def _check_same(self, stored: Any) -> None:
        where = f"--output: {self.path / RECORD}"
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise InputError(f"{where} is no record of predictions of this version; choose another folder")
        different = list(_differences({key: stored.get(key) for key in self._about}, self._about))
        if different:
            raise InputError(
                f"{where} is of other models or settings: {'; '.join(different)}; choose another folder, or give the "
                "same models and settings"
            )

    def _stored(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in sorted((self.path / _RECORDS).glob("*.json")):
            with contextlib.suppress(InputError):  # a damaged one: the scan is segmented again
                record = read_json(path, "record of a scan")
                if isinstance(record, dict) and isinstance(record.get("scan"), str):
                    yield record["scan"], record

    def check_names(self, scans: Iterable[Input]) -> None:
        """InputError when the folder holds what was predicted of another scan that has the id of one of these."""
        for one in scans:
            self._check_name(one)

    def _check_name(self, one: Input) -> None:
        record = self._records.get(one.scan_id, {})
        # The same files under another path are the same scan, moved.
        if _is_of_another(record, one) and record.get("sources") != one.stamps():
            raise InputError(
                f"scan {one.scan_id}: {self.path} holds a scan of this name from another folder; choose another "
                "--output, or rename the scan"
            )

    def done(self, one: Input) -> dict[str, Any] | None:
        """The record of a scan that is done, whose own files have the size and time that they had and whose masks and
        maps are all there; None when it is to be segmented (again).

        Raises InputError when one of its files has gone, and when the folder holds another scan of this id.
        """
        self._check_name(one)
        record = self._records.get(one.scan_id)
        if record is None or record.get("status") != "done" or record.get("sources") != one.stamps():
            return None
        files = _files_of(record)
        return record if files and all((self.path / name).is_file() for name in files) else None

    def file(self, kind: str, scan_id: str, ending: str, part: str = "") -> str:
        """The name inside the folder, with "/", of a file of a scan; the folder for it is made.

        kind: "masks", "probabilities", "uncertainty" or "overlays". part: what distinguishes several files of a scan,
        such as the name of a class.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind is {kind!r}, expected one of {', '.join(_KINDS)}")
        (self.path / kind).mkdir(parents=True, exist_ok=True)
        return f"{kind}/{_file_name(f'{scan_id}_{part}' if part else scan_id)}{ending}"

    def keep(self, one: Input, record: Mapping[str, Any]) -> None:
        """Write the record of a scan, last of all its files; those that only an earlier record names are removed.

        record: JSON-able, with "scan" (the scan id), "status" ("done" or "failed"), "sources" (of Input.stamps, taken
        before the scan was read) and the names of its files. What was done of another scan of this id stays.
        """
        before = self._records.get(one.scan_id, {})
        if _is_of_another(before, one) and before.get("sources") != record["sources"]:
            return
        kept = {**record, "place": _place(one)}
        write_json_atomic(self.path / _RECORDS / f"{_file_name(one.scan_id)}.json", kept)
        self._records[one.scan_id] = kept
        for name in set(_files_of(before)) - set(_files_of(kept)):
            if name.partition("/")[0] in _KINDS and ".." not in PurePosixPath(name).parts:
                (self.path / name).unlink(missing_ok=True)

    def records(self) -> dict[str, dict[str, Any]]:
        """Scan id -> record of every scan in the folder, sorted by scan id, those of earlier commands included."""
        return dict(sorted(self._records.items()))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write predictions.json with all records. summary: JSON-able, further keys, such as versions and times."""
        write_json_atomic(self.path / RECORD, {**summary, **self._about, "scans": self.records()})


def _check_apart(output: Path, given: Path) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"--output: {output} is a file, expected a folder or a path where one can be made")
    ours, theirs = output.resolve(), given.resolve()
    if given.is_dir() and (ours.is_relative_to(theirs) or theirs.is_relative_to(ours)):
        how = "is the input" if ours == theirs else "and the input lie one inside the other"
        raise InputError(
            f"--output: {output} {how} ({given}), so that masks would be read as scans; choose a folder beside it"
        )


def _check_empty(output: Path) -> None:
    names = sorted(name for name in os.listdir(output) if not name.startswith(".")) if output.exists() else []
    if names:
        raise InputError(
            f"--output: {output} holds {names[0]!r} but no {RECORD}, so it is no folder of predictions; choose a new "
            "or an empty folder"
        )


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in {**stored, **given}:
        one, other = stored.get(key), given.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{prefix}{key}.")
        elif one != other:
            yield f"{prefix}{key} was {_shown(one)}, now {_shown(other)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _files_of(record: Mapping[str, Any]) -> list[str]:
    several = record.get("probabilities")
    names = [record.get(key) for key in _FILES] + (list(several) if isinstance(several, list) else [])
    return [name for name in names if isinstance(name, str) and name]


def _file_name(text: str) -> str:
    """Distinct for distinct texts, and short enough."""
    name = quote(text, safe="")
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


def _is_of_another(record: Mapping[str, Any], one: Input) -> bool:
    return record.get("status") == "done" and record.get("place") != _place(one)


def _place(one: Input) -> str:
    """Tells scans of one id in different folders apart, whatever becomes of their files."""
    paths = one.entry.image_paths
    place = os.path.realpath(paths[0]) if paths else one.scan_id
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:_PLACE_DIGITS]
