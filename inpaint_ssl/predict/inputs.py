"""The scans to segment: a NIfTI file, or what a folder holds of NIfTI images, DICOM series and SKM-TEA files.

Listed and read by the readers of training, with the modality and channels of the model; label files are passed over.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nibabel import Nifti1Header

from inpaint_ssl.data import ReaderSettings, Scan, ScanEntry, ScanReader
from inpaint_ssl.data.readers import NiftiDataset, open_images
from inpaint_ssl.data.readers.folder import nifti_channels
from inpaint_ssl.data.readers.layouts import ENDINGS, files_beneath
from inpaint_ssl.data.readers.nifti import nifti_header
from inpaint_ssl.errors import InputError, Problems, one_line
from inpaint_ssl.predict.images import list_images, one_image
from inpaint_ssl.trained.record import ModelRecord

RECORD = "predictions.json"  # marks a folder of predictions, whose masks and maps are no scans
_FILES_LOOKED_AT = 200  # to tell whether a folder holds DICOM files at all
# What readers say of settings of a study, in terms of this command.
_IN_OWN_WORDS = (
    ("name another file by data.id_salt_file, or set data.hash_ids=False", "give --nohash_ids"),
    ("data.hash_ids=False", "--nohash_ids"),
    ("give another folder or modality", "give another folder or model"),
    ("correct the headers, or raise data.geometry_tolerance_mm", "correct the headers"),
    ("data.modality=", "the model's modality "),
    ("data.root=", "--input="),
    ("data.root: ", "--input: "),
)
# Notes on subjects, which matter to a study alone.
_OF_NO_CONCERN = ("check that no patient is two subjects", "so the data set has one subject")


@dataclass(frozen=True)
class Input:
    """One scan to segment. scan_id: no other scan of the list has it; entry: the reader's own; channels: of the scans
    that the model was trained on.
    """

    scan_id: str
    entry: ScanEntry
    reader: ScanReader
    channels: tuple[str, ...]

    def read(self) -> Scan:
        """The scan in RAS, without a label; InputError naming the file when it cannot be used, or has other channels
        than the model takes.
        """
        try:
            found = len(self.reader.channel_names)
            if isinstance(self.reader, NiftiDataset):
                found = sum(map(nifti_channels, self.entry.image_paths))
            if found != len(self.channels):
                raise InputError(
                    f"{self.entry.image_paths[0]} has {found} channel{'s' * (found != 1)}, the model was trained on "
                    f"{len(self.channels)} ({', '.join(self.channels)}); give a scan with these, or another model",
                    "geometry",
                )
            scan = self.reader.read(self.entry)
        except InputError as error:
            raise _reworded(error) from None
        return replace(scan, entry=replace(self.entry, scan_id=self.scan_id), label=None)

    def shown(self) -> list[str]:
        """Its files as they may be written: relative to the input, free of patients' names where ids are hashed."""
        return [one_line(self.reader.shown_path(path)) for path in self.reader.sources(self.entry)]

    def stamps(self) -> dict[str, list[int]]:
        """Shown path -> bytes and time of change (ns) of each of its files; InputError when one has gone."""
        return stamps(self.reader, self.entry)

    def nifti_header(self) -> Nifti1Header | None:
        """Of its (first) file; None for other formats."""
        return nifti_header(self.entry.image_paths[0]) if isinstance(self.reader, NiftiDataset) else None

    def source_images(self) -> list[tuple[str, int]] | None:
        """Of a DICOM series (file, frame in it) of every slice, in the order of axis 2 of Scan.original_shape; None for
        other formats.
        """
        from inpaint_ssl.data.readers.dicom.reader import DicomDataset

        return self.reader.source_images(self.entry) if isinstance(self.reader, DicomDataset) else None


@dataclass(frozen=True)
class Inputs:
    """scans: in the order in which they are segmented. notes: what was passed over or is odd, for the user."""

    scans: tuple[Input, ...]
    notes: tuple[str, ...]


def stamps(reader: ScanReader, entry: ScanEntry) -> dict[str, list[int]]:
    """Shown path -> bytes and time of change (ns) of each file of a scan; InputError when one has gone."""
    found = {}
    for path in reader.sources(entry):
        shown = one_line(reader.shown_path(path))
        try:
            state = os.stat(path)
        except OSError as error:
            raise InputError(f"{shown} cannot be read ({error.strerror}); restore it", "unreadable") from None
        found[shown] = [state.st_size, state.st_mtime_ns]
    return found


def open_inputs(path: str, record: ModelRecord, hash_ids: bool, problems: Problems) -> Inputs:
    """List what there is to segment at `path`; nothing of an image but headers is read here.

    A NIfTI file (<case>_0000.nii.gz brings the other channels of a model that takes several); a folder with NIfTI
    images (predict.images), DICOM series of the model's modality, or both, at any depth; the root of an SKM-TEA
    release. Folders of earlier predictions are passed over. hash_ids: scan ids of DICOM series are salted hashes, and
    names of patients are hidden in paths. What is wrong with single scans goes to `problems`. Raises InputError when
    there is no such path, or nothing at it that the model can segment.
    """
    inner = Problems(collect=True)
    try:
        inputs = _open(Path(path).expanduser(), record, hash_ids, inner)
    except InputError as error:
        raise _reworded(error) from None
    found = list(map(_reworded, inner.found))
    if not inputs.scans:
        more = f" ({len(found) - 1} more like it)" if len(found) > 1 else ""
        raise InputError(f"--input: no scan of {path} can be used: {found[0]}{more}")
    for problem in found:
        problems.add(problem)
    return inputs


def _open(place: Path, record: ModelRecord, hash_ids: bool, problems: Problems) -> Inputs:
    from inpaint_ssl.data.readers.skm_tea import looks_like_skm_tea

    channels = record.scan_channels
    if not os.path.exists(place):
        raise InputError(f"--input: no such file or folder: {place}; give a NIfTI file or a folder of scans")
    settings = ReaderSettings(
        root=str(place), modality=record.preprocessing.modality, hash_ids=hash_ids, scan_channels=channels
    )
    if not place.is_dir():
        return _listed([_of_file(place, settings)], channels)
    if looks_like_skm_tea(place):
        return _listed([open_images("skm_tea", settings, problems)], channels)
    files, passed_over = _without_predictions(list(files_beneath(place)), place)
    readers: list[ScanReader] = []
    notes: list[str] = []
    layout = list_images(place, files, channels, problems)
    if layout.entries:
        readers.append(NiftiDataset(layout, settings))
    else:
        notes += layout.notes
    has_dicom = any(map(_is_dicom, itertools.islice(_no_nifti(files), _FILES_LOOKED_AT)))
    if has_dicom:
        try:
            readers.append(open_images("dicom", settings, problems))
        except InputError as error:
            if error.kind != "listing" or not readers:
                raise
            notes.append(str(error))
    if not readers and not problems.found:
        why = "; ".join(["other files alone" if files else "an empty folder", *passed_over, *notes])
        raise InputError(
            f"--input: nothing to segment in {place} ({why}); looked for NIfTI images (.nii.gz, .nii), DICOM series "
            "and an SKM-TEA release; give the folder that holds them"
        )
    return _listed(readers, channels, (*passed_over, *notes))


def _of_file(path: Path, settings: ReaderSettings) -> ScanReader:
    if path.name.endswith(ENDINGS) and path.is_file():
        return NiftiDataset(one_image(path, settings.scan_channels), settings)
    if path.is_file() and _is_dicom(path):
        raise InputError(f"--input: {path} is one file of a DICOM series; give the folder that holds the series")
    raise InputError(f"--input: {path} is no NIfTI file (.nii.gz, .nii), expected one or a folder of scans")


def _listed(readers: Sequence[ScanReader], channels: tuple[str, ...], notes: Sequence[str] = ()) -> Inputs:
    scans: dict[str, Input] = {}
    for reader in readers:
        for entry in reader.entries:
            scan_id = own_id = one_line(entry.scan_id)  # file names need not be UTF-8, records and pages are
            for number in itertools.count(2):
                if scan_id not in scans:
                    break
                scan_id = f"{own_id}-{number}"  # a DICOM series that has the name of a NIfTI file
            own = replace(entry, has_label=False, label_path="", split="")
            scans[scan_id] = Input(scan_id, own, reader, channels)
    told = [note for reader in readers for note in reader.notes if not note.endswith(_OF_NO_CONCERN)]
    return Inputs(tuple(scans.values()), tuple(one_line(_in_own_words(note)) for note in (*notes, *told)))


def _without_predictions(files: list[Path], root: Path) -> tuple[list[Path], list[str]]:
    """Files outside of folders that hold predictions, and a note on these."""
    folders = [path.parent for path in files if path.name == RECORD]
    if not folders:
        return files, []
    kept = [path for path in files if not any(path.is_relative_to(folder) for folder in folders)]
    names = ", ".join(folder.relative_to(root).as_posix() for folder in folders)
    return kept, [f"passed over what was predicted before: {names}"]


def _no_nifti(files: Sequence[Path]) -> Iterator[Path]:
    return (path for path in files if not path.name.endswith(ENDINGS))


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _reworded(error: InputError) -> InputError:
    return InputError(_in_own_words(str(error)), error.kind)


def _in_own_words(text: str) -> str:
    for theirs, own in _IN_OWN_WORDS:
        text = text.replace(theirs, own)
    return text
