"""The border between data and training: slices by index, and the table of scans that they come from."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from inpaint_ssl.data.geometry import Placement
from inpaint_ssl.data.preprocess import Preprocessing, ScanSlices, preprocess
from inpaint_ssl.data.scan import ScanDataset, ScanEntry
from inpaint_ssl.errors import InputError


class SliceRecord(NamedTuple):
    """image float32 (H, W, C), target uint8 (H, W) label values, id (uint32), index into scans, index in the scan."""

    image: np.ndarray
    target: np.ndarray
    example_id: int
    scan: int
    slice_index: int


@dataclass(frozen=True)
class ScanInfo:
    """What evaluation needs of a scan; its slices are first ... first + n_slices - 1. spacing_mm: X, Y, Z of RAS."""

    scan_id: str
    subject_id: str
    has_label: bool
    n_slices: int
    first: int
    spacing_mm: tuple[float, float, float]
    placement: Placement


@runtime_checkable
class SliceSource(Protocol):
    """Slices by index and the table of their scans."""

    @property
    def scans(self) -> tuple[ScanInfo, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> SliceRecord: ...


@dataclass(frozen=True)
class ArraySliceSource:
    """All slices in memory: images (N, H, W, C) float32, targets (N, H, W) uint8, example_ids (N,) uint32,
    scan_of (N,) int32 indices into scans, slice_of (N,) int32 indices along the slice axis of the scan.
    """

    images: np.ndarray
    targets: np.ndarray
    example_ids: np.ndarray
    scan_of: np.ndarray
    slice_of: np.ndarray
    scans: tuple[ScanInfo, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> SliceRecord:
        return SliceRecord(
            self.images[index],
            self.targets[index],
            int(self.example_ids[index]),
            int(self.scan_of[index]),
            int(self.slice_of[index]),
        )

    def subset(self, subject_ids: Collection[str], labelled_only: bool = False) -> "ArraySliceSource":
        """The scans of these subjects in the present order; views where the scans lie side by side, copies elsewhere.

        labelled_only leaves out the unlabelled scans of these subjects. Raises InputError for a subject without a scan.
        """
        wanted = set(subject_ids)
        kept = [i for i, s in enumerate(self.scans) if s.subject_id in wanted and (s.has_label or not labelled_only)]
        missing = wanted - {self.scans[i].subject_id for i in kept}
        if missing:
            raise InputError(
                f"no scan of subject {min(missing)} ({len(missing)} such) among the {len(self.scans)} read"
            )
        pieces = [slice(self.scans[i].first, self.scans[i].first + self.scans[i].n_slices) for i in kept]
        if pieces and all(a.stop == b.start for a, b in pairwise(pieces)):
            index: slice | np.ndarray = slice(pieces[0].start, pieces[-1].stop)
        else:
            index = np.concatenate([np.arange(p.start, p.stop) for p in pieces]) if pieces else np.arange(0)
        scans, first = [], 0
        for i in kept:
            scans.append(replace(self.scans[i], first=first))
            first += self.scans[i].n_slices
        scan_of = np.repeat(np.arange(len(scans), dtype=np.int32), [s.n_slices for s in scans])
        arrays = (self.images[index], self.targets[index], self.example_ids[index], scan_of, self.slice_of[index])
        return ArraySliceSource(*arrays, tuple(scans))


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


def build_source(
    dataset: ScanDataset,
    entries: Iterable[ScanEntry],
    preprocessing: Preprocessing,
    on_scan: Callable[[str], None] | None = None,
) -> ArraySliceSource:
    """Read and preprocess scans into arrays; each file is read once, on_scan(scan_id) is called after each scan.

    Raises InputError from reading and preprocessing, naming the file or the scan.
    """
    pending: list[ScanSlices] = []
    scans: list[ScanInfo] = []
    first = 0
    for entry in entries:
        scan = dataset.read(entry)
        slices = preprocess(scan, preprocessing)
        n = len(slices.images)
        has_label = scan.label is not None
        scans.append(ScanInfo(entry.scan_id, entry.subject_id, has_label, n, first, scan.spacing_mm, slices.placement))
        pending.append(slices)
        first += n
        if on_scan is not None:
            on_scan(entry.scan_id)
    if not scans:
        raise InputError(f"no scans of data set {dataset.name} to read; check data.root and the splits")
    images = np.empty((first, *pending[0].images.shape[1:]), np.float32)
    targets = np.empty(images.shape[:3], np.uint8)
    # The large arrays get their memory page by page while each scan gives its own back, so the peak is about one copy.
    for info in reversed(scans):
        slices = pending.pop()
        images[info.first : info.first + info.n_slices] = slices.images
        targets[info.first : info.first + info.n_slices] = slices.targets
    ids = np.array([example_id(info.scan_id, i) for info in scans for i in range(info.n_slices)], np.uint32)
    scan_of = np.repeat(np.arange(len(scans), dtype=np.int32), [info.n_slices for info in scans])
    slice_of = np.concatenate([np.arange(info.n_slices, dtype=np.int32) for info in scans])
    return ArraySliceSource(images, targets, ids, scan_of, slice_of, tuple(scans))
