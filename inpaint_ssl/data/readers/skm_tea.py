"""Reader for SKM-TEA: two qDESS echoes and six tissues of each knee in HDF5, tables in JSON and CSV.

<root>/image_files/<scan>.h5      echo1, echo2 (X, Y, Z); seg (X, Y, Z, 6), one-hot, may be missing; stats
<root>/annotations/v1.0.0/{train,val,test}.json      geometry, orientation and official split of the scans
<root>/all_metadata.csv           TR, TE, flip angle, spoiler gradient and medial direction; may be missing

A file states no geometry of its own: its axes are those of "orientation" in the JSON file, which differs between scans.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import orientations

from inpaint_ssl.data.geometry import ras_orientation, reorient
from inpaint_ssl.data.labels import LabelRules, checked_label, parse_label_map
from inpaint_ssl.data.readers.grid import Grid
from inpaint_ssl.data.readers.hdf5 import find, find_array, find_number, open_hdf5, slabs
from inpaint_ssl.data.readers.layouts import is_file, relative_to
from inpaint_ssl.data.readers.nifti import checked_image, scan_of
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.readers.skm_tea_tables import ANNOTATIONS, METADATA, ListedScan, read_annotations, read_metadata
from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.errors import InputError, Problems
from inpaint_ssl.memory import check_free

IMAGES = "image_files"
ECHOES = ("echo1", "echo2")
# Channels of "seg" in the order of the file; the label values are 1 to 6.
TISSUES = ("patellar_cartilage", "femoral_cartilage", "tibial_cartilage_medial", "tibial_cartilage_lateral",
           "meniscus_medial", "meniscus_lateral")  # fmt: skip
LABELS: Mapping[str, int | tuple[int, ...]] = {
    "patellar_cartilage": 1,
    "femoral_cartilage": 2,
    "tibial_cartilage": (3, 4),
    "meniscus": (5, 6),
}
# A stored mean that is off by more than this share is that of other pixels; sums in float32 are off by far less.
STATS_TOLERANCE = 0.05
_COPIES = 2  # of both echoes that are in memory at once while a scan is read


class SkmTeaDataset(ScanReader):
    """The scans of a release folder. Labels are the paper's four classes; values 1 to 6 follow the channels of seg, so
    that data.classes can name them ("tibial_medial=3").
    """

    name = "skm_tea"
    channel_names = ECHOES
    labels = LABELS

    def __init__(
        self,
        root: Path,
        rules: LabelRules,
        entries: tuple[ScanEntry, ...],
        scans: Mapping[str, tuple[ListedScan, Mapping[str, float | str]]],
        notes: tuple[str, ...],
    ):
        self.entries = entries
        self.notes = notes
        self._root = root
        self._rules = rules
        self._scans = dict(scans)  # by scan id: record and acquisition

    def settings(self) -> Mapping[str, Any]:
        """Label rules."""
        return {"reader": "skm_tea", "version": 1, "labels": self._rules.to_dict()}

    def sources(self, entry: ScanEntry) -> tuple[str, ...]:
        """The HDF5 file and both tables."""
        metadata = self._root / METADATA
        record, _ = self._scans[entry.scan_id]
        return (*entry.image_paths, record.source, *([str(metadata)] if metadata.is_file() else []))

    def shown_path(self, path: str) -> str:
        """Relative to the release folder."""
        return relative_to(path, self._root)

    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        """From the header of the file."""
        path = entry.image_paths[0]
        with open_hdf5(path) as file:
            return _image_dtype(_echoes(file, path, self._scans[entry.scan_id][0]))

    def read(self, entry: ScanEntry) -> Scan:
        """Read a scan into RAS.

        Raises InputError naming the file: kind "unreadable" when it is damaged or lacks an echo, "geometry" when its
        shape is not that of the JSON file, "intensities" for NaN, a constant echo, or a mean that is over 5 % off the
        stored one (stats), so that the pixels are not those which the statistics are of, "labels" for a bad seg.
        """
        record, acquisition = self._scans[entry.scan_id]
        path = entry.image_paths[0]
        grid = Grid(record.shape, record.affine(), path)
        with open_hdf5(path) as file:
            echoes = _echoes(file, path, record)
            dtype = _image_dtype(echoes)
            check_free(_COPIES * len(ECHOES) * math.prod(grid.shape) * dtype.itemsize, path)
            image, stored = _empty_ras(grid, (len(ECHOES),), dtype)
            for channel, echo in enumerate(echoes):
                # What float32 cannot hold becomes infinite and is refused below.
                with np.errstate(over="ignore"):
                    for place, part in slabs(echo):
                        stored[place, ..., channel] = part
            means = [find_number(file, f"stats/{name}/mean") for name in ECHOES]
            tissues = _tissues(file, path, record, grid) if entry.has_label else None
        for channel, (name, mean) in enumerate(zip(ECHOES, means, strict=True)):
            one = image[..., channel : channel + 1]
            checked_image(one, f"{path}: {name}")
            _check_mean(float(one.mean(dtype=np.float64)), mean, f"{path}: {name}")
        label = None if tissues is None else checked_label(tissues[..., None], path, self._rules)
        return scan_of(entry, image, label, grid, acquisition)


def looks_like_skm_tea(folder: Path) -> bool:
    """Whether a folder, or v1-release in it, has the folders of SKM-TEA."""
    release = _release(folder)
    return (release / IMAGES).is_dir() and (release / "annotations").is_dir()


def open_skm_tea(root: Path, settings: ReaderSettings, problems: Problems) -> SkmTeaDataset:
    """List the scans of a release folder, or of the folder above it that holds v1-release, from tables and headers.

    Scans whose file was not downloaded, and files that no table lists, are left out with a note. Raises InputError when
    the folder is none, or no scan is left; what is wrong with single scans goes to `problems`.
    """
    release = _release(root)
    if not (release / IMAGES).is_dir():
        raise InputError(
            f"data.root: no folder {release / IMAGES}; give the release folder of SKM-TEA, which holds it",
            "listing",
        )
    records, notes = read_annotations(release, problems)
    paths = {record.scan_id: release / IMAGES / record.file_name for record in records}
    there = [record for record in records if is_file(paths[record.scan_id])]
    if not there:
        raise InputError(
            f"{release / IMAGES} has none of the {len(records)} scans that {ANNOTATIONS} lists; complete the download",
            "listing",
        )
    # The notes are kept with the study, so they name places relative to the folder.
    metadata, more = read_metadata(release / METADATA, [record.scan_id for record in there])
    notes += more + _count_notes(release, records, there)
    entries: list[ScanEntry] = []
    scans: dict[str, tuple[ListedScan, Mapping[str, float | str]]] = {}
    for record in there:
        path = str(paths[record.scan_id])
        try:
            with open_hdf5(path) as file:
                _echoes(file, path, record)
                has_label = _segmentation(file, path, record) is not None
            acquisition = metadata.acquisition(record.scan_id)
        except InputError as error:
            problems.add(error)
            continue
        entries.append(ScanEntry(record.scan_id, record.subject_id, has_label, (path,), split=record.split))
        scans[record.scan_id] = (record, acquisition)
    if not entries:
        raise InputError(f"{release / IMAGES}: no scan can be used; the first problem: {problems.found[0]}", "listing")
    unlabelled = [entry.scan_id for entry in entries if not entry.has_label]
    if unlabelled:
        notes.append(f"{len(unlabelled)} scans have no 'seg' and count as unlabelled (the first is {unlabelled[0]})")
    rules = LabelRules(frozenset(range(7)), -1, parse_label_map(settings.label_map), "the six channels of 'seg'")
    return SkmTeaDataset(release, rules, tuple(entries), scans, tuple(notes))


def _release(root: Path) -> Path:
    return root / "v1-release" if (root / "v1-release" / IMAGES).is_dir() else root


def _count_notes(release: Path, records: list[ListedScan], there: list[ListedScan]) -> list[str]:
    notes = []
    if len(there) < len(records):
        notes.append(f"{len(records) - len(there)} of {len(records)} listed scans are not in {IMAGES}")
    listed = {record.file_name for record in records}
    files = sorted(file.name for file in (release / IMAGES).glob("*.h5") if not file.name.startswith("."))
    others = [name for name in files if name not in listed]
    if others:
        notes.append(
            f"{len(others)} files of {IMAGES} are in no annotation file, so their orientation is unknown and"
            f" they are not used (the first is {others[0]})"
        )
    return notes


def _echoes(file: Any, path: str, record: ListedScan) -> list[Any]:
    """Both echoes, unread; InputError naming the file when one is missing or its shape is not that of the record."""
    found = []
    for name in ECHOES:
        echo = find_array(file, name)
        if echo is None:
            instead = ", ".join(map(repr, sorted(file)[:10])) or "nothing"
            only = " (the echoes cannot be had back from their root sum of squares)" if find(file, "rss") else ""
            raise InputError(
                f"{path} has no '{name}', expected echo1 and echo2; it holds {instead}{only}; restore the file",
                "unreadable",
            )
        if echo.ndim != 3:
            raise ValueError(f"'{name}' has {echo.ndim} axes, expected 3")
        if echo.shape != record.shape:
            raise InputError(
                f"{path}: '{name}' has shape {echo.shape}, but {record.source} says {record.shape}; restore one",
                "geometry",
            )
        found.append(echo)
    return found


def _segmentation(file: Any, path: str, record: ListedScan) -> Any | None:
    seg = find_array(file, "seg", kinds="iufb")
    if seg is not None and seg.shape != (*record.shape, len(TISSUES)):
        expected = (*record.shape, len(TISSUES))
        raise InputError(f"{path}: 'seg' has shape {seg.shape}, expected {expected}; restore the file", "labels")
    return seg


def _tissues(file: Any, path: str, record: ListedScan, grid: Grid) -> np.ndarray:
    """seg as label values 0 to 6, uint8 (X, Y, Z) in RAS."""
    seg = _segmentation(file, path, record)
    if seg is None:  # the file has lost it since it was listed
        raise InputError(f"{path}: 'seg' is gone; restore the file or start again", "labels")
    label, stored = _empty_ras(grid, (), np.dtype(np.uint8))
    for place, part in slabs(seg):
        stored[place] = _values_of_one_hot(part, path)
    return label


def _image_dtype(echoes: list[Any]) -> np.dtype:
    dtypes = [echo.dtype.newbyteorder("=") for echo in echoes]
    whole = all(dtype.kind in "iu" and dtype.itemsize <= 4 and dtype != np.uint32 for dtype in dtypes)
    return np.result_type(*dtypes) if whole else np.dtype(np.float32)


def _empty_ras(grid: Grid, more: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """An uninitialised array (X, Y, Z, *more) in RAS, and a view of it in the order of `grid`."""
    to_ras = ras_orientation(grid.affine)
    shape = reorient(np.broadcast_to(np.uint8(0), grid.shape), grid.affine, to_ras)[0].shape
    ras = np.empty((*shape, *more), dtype)
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), to_ras)
    return ras, orientations.apply_orientation(ras, back)


def _values_of_one_hot(part: np.ndarray, path: str) -> np.ndarray:
    """(n, Y, Z, 6) of 0 and 1 to label values 0 to 6, uint8 (n, Y, Z)."""
    values, times = np.zeros(part.shape[:3], np.uint8), np.zeros(part.shape[:3], np.uint8)
    for channel in range(part.shape[3]):
        here = part[..., channel] == 1
        if np.any(here != (part[..., channel] != 0)):
            strange = part[..., channel][here != (part[..., channel] != 0)][0]
            raise InputError(
                f"{path}: 'seg' holds {strange:g} in channel {channel} ({TISSUES[channel]}), expected 0 and 1 alone; "
                "correct the file",
                "labels",
            )
        values += here * np.uint8(channel + 1)
        times += here
    shared = np.argwhere(times > 1)
    if len(shared):
        channels = np.flatnonzero(part[tuple(shared[0])])
        both = " and ".join(f"{TISSUES[c]} ({c})" for c in channels)
        raise InputError(
            f"{path}: 'seg' puts {len(shared)} voxels or more into several structures, such as {both}; give each voxel "
            "to one channel at most",
            "labels",
        )
    return values


def _check_mean(found: float, stored: float | None, what: str) -> None:
    if stored is None or not np.isfinite(stored):
        return
    if abs(found - stored) > STATS_TOLERANCE * max(abs(found), abs(stored)):
        raise InputError(
            f"{what} has the mean {found:g}, but the file's own 'stats' say {stored:g}, so these are other pixels;"
            " restore the file, or remove 'stats' from it",
            "intensities",
        )
