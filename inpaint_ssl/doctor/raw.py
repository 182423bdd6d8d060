"""A closer look at a scan that its reader refuses: which slices and values are wrong. Runs in worker processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from inpaint_ssl.data.geometry import display, ras_orientation, reorient
from inpaint_ssl.data.readers.nifti import read_nifti
from inpaint_ssl.data.scan import ScanEntry, ScanReader
from inpaint_ssl.doctor.findings import ranges
from inpaint_ssl.errors import InputError

NIFTI = (".nii", ".nii.gz")
_MOST_VALUES = 64  # distinct values of a label file beyond which it is no label map


@dataclass(frozen=True)
class Trouble:
    """Why a scan is refused. kind: as in InputError. message: the reader's own. detail: what was found besides.

    values: of the label file, value -> voxels. slices: displayed ones that are concerned.
    """

    kind: str
    message: str
    detail: str = ""
    values: Mapping[int, int] = field(default_factory=dict)
    slices: tuple[int, ...] = ()


def look_closer(reader: ScanReader, entry: ScanEntry, error: InputError, slice_axis: str) -> Trouble:
    """What can be said beyond the reader's error; of NIfTI files alone, whose content is looked at directly."""
    kind, message = error.kind or "unreadable", shown(str(error), reader, entry)
    try:
        if kind == "intensities":
            return _wrong_slices(kind, message, raw_image(entry, slice_axis))
        if kind == "labels":
            return _wrong_values(kind, message, raw_label(entry, slice_axis))
    except InputError:
        pass
    return Trouble(kind, message)


def shown(text: str, reader: ScanReader, entry: ScanEntry) -> str:
    """A message with every path of the scan as it may be written to files."""
    for path in sorted((*entry.image_paths, entry.label_path), key=len, reverse=True):
        text = text.replace(path, reader.shown_path(path)) if path else text
    return text


def raw_image(entry: ScanEntry, slice_axis: str) -> list[np.ndarray]:
    """Displayed slices (S, rows, columns, channels) of each image file as it is; [] of other formats than NIfTI."""
    return [_displayed(path, slice_axis) for path in entry.image_paths if path.endswith(NIFTI)]


def raw_label(entry: ScanEntry, slice_axis: str) -> np.ndarray | None:
    """Displayed slices (S, rows, columns) of the label file as it is; None of other formats than NIfTI."""
    path = entry.label_path
    return _displayed(path, slice_axis)[..., 0] if path.endswith(NIFTI) else None


def _displayed(path: str, slice_axis: str) -> np.ndarray:
    volume = read_nifti(path)
    return display(reorient(volume.data, volume.affine, ras_orientation(volume.affine))[0], slice_axis)


def _wrong_slices(kind: str, message: str, images: list[np.ndarray]) -> Trouble:
    bad: set[int] = set()
    for image in images:
        bad.update(np.flatnonzero(~np.isfinite(image).all(axis=(1, 2, 3))).tolist())
    found = tuple(sorted(bad))
    return Trouble(kind, message, f"in slices {ranges(found)}" if found else "", {}, found)


def _wrong_values(kind: str, message: str, label: np.ndarray | None) -> Trouble:
    if label is None or not np.isfinite(label).all():
        return Trouble(kind, message)
    values, counts = np.unique(label, return_counts=True)
    if len(values) > _MOST_VALUES or (values != np.rint(values)).any():
        return Trouble(kind, message, f"it has {len(values)} different values from {values[0]:g} to {values[-1]:g}")
    voxels = {int(value): int(n) for value, n in zip(values, counts, strict=True)}
    detail = "voxels by value: " + ", ".join(f"{value}: {n}" for value, n in voxels.items())
    return Trouble(kind, message, detail, voxels)
