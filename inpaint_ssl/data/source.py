"""The border between data and training: slices by index, and the table of scans that they come from."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from inpaint_ssl.data.geometry import (
    SLICE_AXES,
    Placement,
    display,
    fill,
    resample_slices,
    to_volume,
)
from inpaint_ssl.data.intensity import ChannelStatistics
from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.data.record import ScanRecord, describe
from inpaint_ssl.data.scan import Scan
from inpaint_ssl.errors import InputError


class SliceRecord(NamedTuple):
    """image (H, W, channels of the scan) raw intensities in an image of one size, target uint8 (H, W) label values, id
    (uint32), index into scans, index in the scan; what normalisation needs: box int32 (4,), top, left, bottom and right
    of what is no margin, and statistics float32 (4, C) as Preprocessing.statistics gives them.
    """

    image: np.ndarray
    target: np.ndarray
    example_id: int
    scan: int
    slice_index: int
    box: np.ndarray
    statistics: np.ndarray


@dataclass(frozen=True)
class ScanInfo:
    """What evaluation needs of a scan; its slices are first ... first + n_slices - 1.

    spacing_mm: X, Y, Z of RAS; acquisition as in Scan; intensity and image_sha256 as in ScanRecord, () and "" where
    they are not known.
    """

    scan_id: str
    subject_id: str
    has_label: bool
    n_slices: int
    first: int
    spacing_mm: tuple[float, float, float]
    placement: Placement
    acquisition: Mapping[str, float | str] = field(default_factory=dict)
    intensity: tuple[ChannelStatistics, ...] = ()
    image_sha256: str = ""


class ScanVolumes(NamedTuple):
    """A scan on its own grid: image (X, Y, Z, channels) raw intensities (HU for CT), label uint8 (X, Y, Z) values."""

    image: np.ndarray
    label: np.ndarray


@runtime_checkable
class SliceSource(Protocol):
    """Slices by index and the table of their scans; preprocessing is None where images are normalised already."""

    @property
    def scans(self) -> tuple[ScanInfo, ...]: ...

    @property
    def preprocessing(self) -> Preprocessing | None: ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, channels) of a raw image."""
        ...

    @property
    def image_dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> SliceRecord: ...

    def volumes(self, scan: ScanInfo) -> ScanVolumes:
        """Image and label of a scan on its own grid; zeros for a label that it does not have."""
        ...

    def subset(self, subject_ids: Collection[str], labelled_only: bool = False) -> "SliceSource":
        """The scans of these subjects in the present order.

        labelled_only leaves out their unlabelled scans. Raises InputError for a subject without a scan.
        """
        ...

    def load(self) -> "ArraySliceSource":
        """All slices in memory."""
        ...


@dataclass(frozen=True)
class ArraySliceSource:
    """All slices in memory: images (N, H, W, channels), targets (N, H, W) uint8, example_ids (N,) uint32, scan_of (N,)
    int32 indices into scans, slice_of (N,) int32 indices along the slice axis of the scan; boxes (N, 4) and statistics
    (N, 4, C) as in SliceRecord. Without preprocessing, images are float32 and normalised.
    """

    images: np.ndarray
    targets: np.ndarray
    example_ids: np.ndarray
    scan_of: np.ndarray
    slice_of: np.ndarray
    scans: tuple[ScanInfo, ...]
    boxes: np.ndarray
    statistics: np.ndarray
    preprocessing: Preprocessing | None = None

    @classmethod
    def normalised(
        cls,
        images: np.ndarray,
        targets: np.ndarray,
        example_ids: np.ndarray,
        scan_of: np.ndarray,
        slice_of: np.ndarray,
        scans: tuple[ScanInfo, ...],
    ) -> "ArraySliceSource":
        """Of images (N, H, W, C) float32 that a network can take as they are."""
        boxes = np.tile(np.array([0, 0, *images.shape[1:3]], np.int32), (len(images), 1))
        nothing = np.zeros((len(images), 4, 0), np.float32)
        return cls(images, targets, example_ids, scan_of, slice_of, scans, boxes, nothing)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, channels) of a raw image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def image_dtype(self) -> np.dtype:
        """Of the raw images."""
        return self.images.dtype

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> SliceRecord:
        return SliceRecord(
            self.images[index],
            self.targets[index],
            int(self.example_ids[index]),
            int(self.scan_of[index]),
            int(self.slice_of[index]),
            self.boxes[index],
            self.statistics[index],
        )

    def volumes(self, scan: ScanInfo) -> ScanVolumes:
        """Image and label from the slices in memory: they lack what these cut off, and are resampled as these are."""
        part = slice(scan.first, scan.first + scan.n_slices)
        images, targets = self.images[part], self.targets[part]
        return ScanVolumes(to_volume(images, scan.placement), to_volume(targets, scan.placement))

    def subset(self, subject_ids: Collection[str], labelled_only: bool = False) -> "ArraySliceSource":
        """The scans of these subjects in the present order, as copies."""
        kept = chosen_scans(self.scans, subject_ids, labelled_only)
        index = indices_of(self, [self.scans[i] for i in kept])
        scans = renumbered(self.scans[i] for i in kept)
        scan_of = np.repeat(np.arange(len(scans), dtype=np.int32), [s.n_slices for s in scans])
        arrays = (self.images[index], self.targets[index], self.example_ids[index], scan_of, self.slice_of[index])
        return ArraySliceSource(*arrays, scans, self.boxes[index], self.statistics[index], self.preprocessing)

    def load(self) -> "ArraySliceSource":
        """Itself."""
        return self


def chosen_scans(scans: tuple[ScanInfo, ...], subject_ids: Collection[str], labelled_only: bool) -> list[int]:
    """Indices of the scans of these subjects; InputError for a subject that has none."""
    wanted = set(subject_ids)
    kept = [i for i, s in enumerate(scans) if s.subject_id in wanted and (s.has_label or not labelled_only)]
    missing = wanted - {scans[i].subject_id for i in kept}
    if missing:
        raise InputError(f"no scan of subject {min(missing)} ({len(missing)} such) among the {len(scans)} read")
    return kept


def renumbered(scans: Iterable[ScanInfo]) -> tuple[ScanInfo, ...]:
    """The scans one after another: `first` counts the slices before each."""
    result, first = [], 0
    for scan in scans:
        result.append(replace(scan, first=first))
        first += scan.n_slices
    return tuple(result)


def indices_of(source: SliceSource, scans: Iterable[ScanInfo]) -> np.ndarray:
    """(n,) int64: where the slices of `scans` lie in `source`, in their order. InputError for a scan it lacks."""
    first = {scan.scan_id: scan.first for scan in source.scans}
    wanted = tuple(scans)
    missing = [scan.scan_id for scan in wanted if scan.scan_id not in first]
    if missing:
        raise InputError(f"no scan {missing[0]} ({len(missing)} such) among the {len(first)} to train on")
    ranges = [np.arange(first[scan.scan_id], first[scan.scan_id] + scan.n_slices) for scan in wanted]
    return np.concatenate(ranges) if ranges else np.arange(0)


def example_id(scan_id: str, slice_index: int) -> int:
    """A stable 32-bit name of a slice: first 4 bytes (big-endian) of BLAKE2b of "scan_id/slice". Never a position."""
    return int.from_bytes(hashlib.blake2b(f"{scan_id}/{slice_index}".encode()).digest()[:4], "big")


def example_ids(scans: Iterable[ScanInfo]) -> np.ndarray:
    """(N,) uint32 of all slices of the scans in their order."""
    return np.array([example_id(scan.scan_id, i) for scan in scans for i in range(scan.n_slices)], np.uint32)


def scan_info(record: ScanRecord, preprocessing: Preprocessing, first: int) -> ScanInfo:
    """The table's row of a scan; InputError when its slices cannot be placed."""
    n_slices = record.shape[SLICE_AXES[preprocessing.slice_axis]]
    placement = preprocessing.placement(record)
    return ScanInfo(
        scan_id=record.scan_id,
        subject_id=record.subject_id,
        has_label=record.has_label,
        n_slices=n_slices,
        first=first,
        spacing_mm=record.spacing_mm,
        placement=placement,
        acquisition=record.acquisition,
        intensity=record.intensity,
        image_sha256=record.image_sha256,
    )


def put(slices: np.ndarray, placement: Placement, images: np.ndarray) -> np.ndarray:
    """Write displayed slices (S, rows, columns, ...), resampled if the placement says so, into images (S, H, W, ...).

    Slices without channels are label maps, which take the nearest pixel. Returns `images`.
    """
    if placement.resampled:
        slices = resample_slices(slices, placement.slice_size, nearest=slices.ndim == 3)
    fill(images, slices, placement)
    return images


def source_of(scan: Scan, preprocessing: Preprocessing) -> ArraySliceSource:
    """The slices of one scan in memory; InputError naming the scan when it cannot be placed or normalised."""
    record = describe(scan)
    info, axis = scan_info(record, preprocessing, 0), preprocessing.slice_axis
    n, size = info.n_slices, (info.n_slices, *preprocessing.image_size)
    label = np.zeros(record.shape, np.uint8) if scan.label is None else scan.label
    dtype = np.dtype(np.float32) if info.placement.resampled else scan.image.dtype
    return ArraySliceSource(
        images=put(display(scan.image, axis), info.placement, np.zeros((*size, scan.image.shape[3]), dtype)),
        targets=put(display(label, axis), info.placement, np.zeros(size, np.uint8)),
        example_ids=example_ids([info]),
        scan_of=np.zeros(n, np.int32),
        slice_of=np.arange(n, dtype=np.int32),
        scans=(info,),
        boxes=np.tile(np.array(info.placement.box, np.int32), (n, 1)),
        statistics=np.tile(preprocessing.statistics(record.intensities, record.scan_id), (n, 1, 1)),
        preprocessing=preprocessing,
    )
