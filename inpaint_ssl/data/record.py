"""What is kept of a scan beside its slices: geometry, intensities, labels, acquisition and where it came from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from inpaint_ssl.data.geometry import plane_axes
from inpaint_ssl.data.intensity import ChannelStatistics, Intensities, intensities_of
from inpaint_ssl.data.scan import Scan

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class SourceFile:
    """A file that a scan was read from: path relative to the data set's root, bytes, modification time, SHA-256."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class ScanRecord:
    """shape, spacing_mm and affine (4 x 4, rows of rows): of the RAS grid; original_*: of the file's.

    intensity: per channel; root_sum_of_squares: of the channels combined. label_voxels: label value -> voxels, without
    background. label_box: first and last labelled index along X, Y and Z, () when nothing is labelled. image_sha256 and
    label_sha256 are of the RAS arrays' shape and values ("" without a label).
    """

    scan_id: str
    subject_id: str
    has_label: bool
    split: str
    shape: Shape
    spacing_mm: tuple[float, float, float]
    affine: tuple[tuple[float, ...], ...]
    original_affine: tuple[tuple[float, ...], ...]
    original_orientation: str
    original_shape: Shape
    intensity: tuple[ChannelStatistics, ...]
    root_sum_of_squares: ChannelStatistics
    label_voxels: Mapping[int, int]
    label_box: tuple[tuple[int, int], ...]
    image_sha256: str
    label_sha256: str
    acquisition: Mapping[str, float | str] = field(default_factory=dict)
    sources: tuple[SourceFile, ...] = ()

    @property
    def n_channels(self) -> int:
        """Channels of the scan."""
        return len(self.intensity)

    @property
    def intensities(self) -> Intensities:
        """What normalisation needs."""
        return Intensities(self.intensity, self.root_sum_of_squares)

    def labelled_box(self, slice_axis: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """First and last labelled row and column of the displayed slices, or None when nothing is labelled."""
        if not self.label_box:
            return None
        # Displayed rows and columns run against RAS (data.geometry.display).
        row, column = (
            (self.shape[axis] - 1 - self.label_box[axis][1], self.shape[axis] - 1 - self.label_box[axis][0])
            for axis in plane_axes(slice_axis)
        )
        return row, column

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        values = asdict(self)
        return {**values, "label_voxels": {str(value): n for value, n in self.label_voxels.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ScanRecord":
        """The inverse of to_dict; KeyError or TypeError for other content."""
        given = {one.name: _tuples(values[one.name]) for one in fields(cls)}
        given["intensity"] = tuple(ChannelStatistics(**one) for one in values["intensity"])
        given["root_sum_of_squares"] = ChannelStatistics(**values["root_sum_of_squares"])
        given["label_voxels"] = {int(value): n for value, n in values["label_voxels"].items()}
        given["sources"] = tuple(SourceFile(**one) for one in values["sources"])
        return cls(**given)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in matrix)


def _sha256(array: np.ndarray) -> str:
    """Of shape and values: whole numbers have the same hash in whatever type they are stored."""
    whole = array.dtype.kind != "f" or all((np.rint(slab) == slab).all() and abs(slab).max() < 2**63 for slab in array)
    digest = hashlib.sha256(str(array.shape).encode())
    for slab in array:  # one by one, to bound memory
        digest.update(np.ascontiguousarray(slab, "<i8" if whole else "<f8").data)
    return digest.hexdigest()


def describe(scan: Scan, sources: Sequence[SourceFile] = ()) -> ScanRecord:
    """The record of a scan that was read."""
    entry, label, intensities = scan.entry, scan.label, intensities_of(scan.image)
    counts: dict[int, int] = {}
    box: tuple[tuple[int, int], ...] = ()
    if label is not None:
        counted = np.sum([np.bincount(slab.ravel(), minlength=256) for slab in label], axis=0)  # bounds memory
        counts = {int(value): int(counted[value]) for value in np.flatnonzero(counted) if value}
    if counts and label is not None:
        used = [np.flatnonzero((label > 0).any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        box = tuple((int(indices[0]), int(indices[-1])) for indices in used)
    x, y, z = scan.image.shape[:3]
    return ScanRecord(
        scan_id=entry.scan_id,
        subject_id=entry.subject_id,
        has_label=label is not None,
        split=entry.split,
        shape=(x, y, z),
        spacing_mm=scan.spacing_mm,
        affine=_rows(scan.affine),
        original_affine=_rows(scan.original_affine),
        original_orientation=scan.original_orientation,
        original_shape=scan.original_shape,
        intensity=intensities.channels,
        root_sum_of_squares=intensities.combined,
        label_voxels=counts,
        label_box=box,
        image_sha256=_sha256(scan.image),
        label_sha256="" if label is None else _sha256(label),
        acquisition=dict(scan.acquisition),
        sources=tuple(sources),
    )
