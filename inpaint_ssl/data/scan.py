"""A scan as every reader hands it over, and the interface of a reader."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class ScanEntry:
    """What is known of a scan before it is read.

    `image_paths` has one path per channel (empty for generated scans); `label_path` is "" when there is no label file.
    """

    scan_id: str
    subject_id: str
    has_label: bool
    image_paths: tuple[str, ...] = ()
    label_path: str = ""


@dataclass(frozen=True)
class Scan:
    """One scan in RAS orientation.

    RAS as in nibabel: the index grows towards the patient's right along axis 0, anterior along 1, superior along 2.

    image: float32 (X, Y, Z, channels), raw intensities (HU for CT). label: uint8 (X, Y, Z) label values, or None.
    spacing_mm: voxel size along X, Y, Z. affine: 4x4 of the RAS grid; original_affine, original_orientation (nibabel
    axis codes, for example "LPS") and original_shape describe the file, so that a mask can be written back to its grid.
    acquisition: numbers such as tr_ms, te_ms, flip_angle_deg where known.
    """

    entry: ScanEntry
    image: np.ndarray
    label: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    original_affine: np.ndarray
    original_orientation: str
    original_shape: tuple[int, int, int]
    acquisition: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class ScanDataset(Protocol):
    """A set of scans that are listed at once and read one by one."""

    @property
    def name(self) -> str:
        """Of the data set, for the report."""
        ...

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One per channel of Scan.image."""
        ...

    @property
    def labels(self) -> Mapping[str, int | tuple[int, ...]]:
        """Name -> value in Scan.label, or values for a region; background excluded."""
        ...

    @property
    def entries(self) -> tuple[ScanEntry, ...]:
        """Every scan, labelled and unlabelled."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the files but does not prevent their use; shown to the user and kept in study.json."""
        ...

    def read(self, entry: ScanEntry) -> Scan:
        """Read one scan; raises InputError naming the file when it cannot be used."""
        ...
