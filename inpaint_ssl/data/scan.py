"""A scan as every reader hands it over, and the interface of a reader."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ScanEntry:
    """What is known of a scan before it is read.

    `image_paths` has one path per channel, or all files of a DICOM series (empty for generated scans); `label_path` is
    "" when there is no label file. split: "train", "validation" or "test" where the data set has an official split.
    """

    scan_id: str
    subject_id: str
    has_label: bool
    image_paths: tuple[str, ...] = ()
    label_path: str = ""
    split: str = ""


@dataclass(frozen=True)
class Scan:
    """One scan in RAS orientation.

    RAS as in nibabel: the index grows towards the patient's right along axis 0, anterior along 1, superior along 2.

    image: (X, Y, Z, channels), raw intensities (HU for CT) in the type of `ScanReader.stored_dtype`: integers where the
    file holds integers, else float32. label: uint8 (X, Y, Z) label values, or None.
    spacing_mm: voxel size along X, Y, Z. affine: 4x4 of the RAS grid; original_affine, original_orientation (nibabel
    axis codes, for example "LPS") and original_shape describe the file, so that a mask can be written back to its grid.
    acquisition: where known tr_ms, te_ms, flip_angle_deg, spoiler_area, spoiler_duration_us, field_strength_t,
    age_years as numbers; sex ("F", "M", "O") and medial_direction (of a knee: "L" or "R" of the patient) as text.
    """

    entry: ScanEntry
    image: np.ndarray
    label: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    original_affine: np.ndarray
    original_orientation: str
    original_shape: tuple[int, int, int]
    acquisition: Mapping[str, float | str] = field(default_factory=dict)


class ScanReader(ABC):
    """A set of scans that are listed at once and read one by one; iterating over it reads all. Can be pickled.

    name: of the data set, for the report. channel_names: one per channel of Scan.image. labels: name -> value in
    Scan.label, or values for a region, background excluded. entries: every scan, labelled and unlabelled, by scan id.
    notes: what is odd about the files but does not prevent their use; shown to the user and kept in study.json.
    """

    name: str
    channel_names: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]
    entries: tuple[ScanEntry, ...]
    notes: tuple[str, ...] = ()

    @abstractmethod
    def read(self, entry: ScanEntry) -> Scan:
        """Read one scan; raises InputError naming the file, and of a `kind`, when it cannot be used."""

    @abstractmethod
    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        """The type of `read(entry).image`, from headers alone; InputError (kind "unreadable") as for `read`."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """JSON-able: everything besides the files themselves that decides what `read` returns."""

    def sources(self, entry: ScanEntry) -> tuple[str, ...]:
        """The files whose content decides what `read` returns."""
        return (*entry.image_paths, *([entry.label_path] if entry.label_path else []))

    def shown_path(self, path: str) -> str:
        """The path as it may be written to files: relative to the data set's root, free of patient names and ids."""
        return Path(path).name

    def __iter__(self) -> Iterator[Scan]:
        return (self.read(entry) for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)
