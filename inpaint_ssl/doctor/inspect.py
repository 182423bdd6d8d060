"""What one look at a scan keeps of it: a few kilobytes for each slice, whatever its size. Runs in worker processes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from inpaint_ssl.data.geometry import Placement, display, place, resample_slices, resampled_size
from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.data.record import ScanRecord, describe
from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.doctor.likeness import coefficients, foreground_window
from inpaint_ssl.doctor.raw import Trouble, look_closer
from inpaint_ssl.errors import InputError

QUANTILES = (0.0, 0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995, 1.0)
BINS = 256
SKETCH = 64  # hashes kept of a scan's distinct values
_SAMPLE = 400_000  # voxels that quantiles are taken from


@dataclass(frozen=True)
class Examination:
    """What the workers need: the reader, and how scans become network input."""

    reader: ScanReader
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Levels:
    """Intensities of a channel: quantiles (9,) at QUANTILES, and a histogram (BINS,) of shares from low to high."""

    quantiles: np.ndarray
    shares: np.ndarray
    low: float
    high: float


@dataclass(frozen=True)
class Hounsfield:
    """Shares of the first channel's voxels that tell whether they are HU, and in which way they are not.

    air: -1100..-900; soft: -150..150 (soft tissue and fat); the same 1024 higher and lower. lowest, highest: the
    smallest and the largest value; lowest_share: of exactly the smallest.
    """

    air: float
    soft: float
    air_higher: float
    soft_higher: float
    air_lower: float
    soft_lower: float
    lowest: float
    highest: float
    lowest_share: float


@dataclass(frozen=True)
class ScanSummary:
    """dtype: of the image. slice_size: (rows, columns) of displayed slices. constant (S,) bool: slices of one value in
    some channel. label_slices: label value -> (S,) bool. kept, labelled: labelled pixels inside the images that
    training sees, and all. window, coefficients, content (S,), slice_hashes (S,) uint64: see likeness; content is the
    share of a slice's pixels above the scan's mean. sketch: smallest hashes of the distinct values, () where they are
    whole numbers.
    """

    entry: ScanEntry
    record: ScanRecord
    dtype: np.dtype
    slice_size: tuple[int, int]
    constant: np.ndarray
    levels: tuple[Levels, ...]
    hounsfield: Hounsfield
    label_slices: Mapping[int, np.ndarray]
    kept: int
    labelled: int
    window: tuple[float, float]
    coefficients: np.ndarray
    content: np.ndarray
    slice_hashes: np.ndarray
    sketch: np.ndarray

    @property
    def n_slices(self) -> int:
        """Displayed slices."""
        return len(self.constant)


@dataclass(frozen=True)
class Inspected:
    """Of a scan that its reader refuses, `trouble`; a summary too where the image alone can be read."""

    summary: ScanSummary | None
    trouble: Trouble | None = None


def inspect_scan(examination: Examination, entry: ScanEntry) -> Inspected:
    """Read a scan and summarise it; never raises InputError."""
    reader = examination.reader
    try:
        return Inspected(_summary(reader.read(entry), examination.preprocessing))
    except InputError as error:
        trouble = look_closer(reader, entry, error, examination.preprocessing.slice_axis)
    if not entry.has_label or trouble.kind not in ("labels", "geometry"):
        return Inspected(None, trouble)
    try:
        image_alone = reader.read(replace(entry, has_label=False, label_path=""))
    except InputError:
        return Inspected(None, trouble)
    return Inspected(_summary(replace(image_alone, entry=entry), examination.preprocessing), trouble)


def _summary(scan: Scan, preprocessing: Preprocessing) -> ScanSummary:
    axis = preprocessing.slice_axis
    slices = display(scan.image, axis)
    first = slices[..., 0]
    constant = (slices.min(axis=(1, 2)) == slices.max(axis=(1, 2))).any(axis=-1)
    hashes = np.array([0 if flat else _hash(one) for one, flat in zip(first, constant, strict=True)], np.uint64)
    window = foreground_window(first)
    content = (first > float(first.mean(dtype=np.float64))).mean(axis=(1, 2)).astype(np.float32)
    label_slices: dict[int, np.ndarray] = {}
    kept = labelled = 0
    if scan.label is not None:
        labels = display(scan.label, axis)
        values = (int(value) for value in np.unique(scan.label) if value)
        label_slices = {value: (labels == value).any(axis=(1, 2)) for value in values}
        kept, labelled = _kept_by_crop(labels, scan, preprocessing)
    rows, columns = first.shape[1:]
    return ScanSummary(
        entry=scan.entry,
        record=describe(scan),
        dtype=scan.image.dtype,
        slice_size=(rows, columns),
        constant=constant,
        levels=tuple(_levels(scan.image[..., channel]) for channel in range(scan.image.shape[3])),
        hounsfield=_hounsfield(scan.image[..., 0]),
        label_slices=label_slices,
        kept=kept,
        labelled=labelled,
        window=window,
        coefficients=coefficients(first, window),
        content=content,
        slice_hashes=hashes,
        sketch=_sketch(scan.image),
    )


def _hash(values: np.ndarray) -> int:
    """Of the values and shape, whatever the type: whole numbers are the same as floats."""
    content = np.ascontiguousarray(values, np.float32)
    digest = hashlib.blake2b(str(values.shape).encode(), digest_size=8)
    digest.update(content.data)
    return int.from_bytes(digest.digest(), "little")


def _sample(values: np.ndarray) -> np.ndarray:
    return values.ravel()[:: max(1, values.size // _SAMPLE)].astype(np.float64)


def _levels(channel: np.ndarray) -> Levels:
    sample = _sample(channel)
    quantiles = np.quantile(sample, QUANTILES)
    quantiles[0], quantiles[-1] = channel.min(), channel.max()
    low, high = float(quantiles[1]), float(quantiles[-2])
    if not low < high:
        low, high = float(quantiles[0]), float(quantiles[-1])
    counts, _ = np.histogram(np.clip(sample, low, high), bins=BINS, range=(low, high))
    return Levels(quantiles, counts / sample.size, low, high)


def _hounsfield(channel: np.ndarray) -> Hounsfield:
    sample, lowest, highest = _sample(channel), float(channel.min()), float(channel.max())

    def share(low: float, high: float) -> float:
        return float(np.mean((sample >= low) & (sample <= high)))

    shifts = (share(-1100 + by, -900 + by) for by in (0, 1024, -1024))
    softs = (share(-150 + by, 150 + by) for by in (0, 1024, -1024))
    (air, higher, lower), (soft, soft_higher, soft_lower) = shifts, softs
    share_of_lowest = float(np.mean(sample == lowest))
    return Hounsfield(air, soft, higher, soft_higher, lower, soft_lower, lowest, highest, share_of_lowest)


def _kept_by_crop(labels: np.ndarray, scan: Scan, preprocessing: Preprocessing) -> tuple[int, int]:
    """Labelled pixels of displayed labels (S, rows, columns) inside the images of training, and all of them."""
    x, y, z = scan.image.shape[:3]
    size = resampled_size((x, y, z), scan.spacing_mm, preprocessing.slice_axis, preprocessing.target_spacing_mm)
    if size:
        rows, columns = size
        labels = resample_slices(labels, (rows, columns), nearest=True)
    placement = place((x, y, z), preprocessing.slice_axis, preprocessing.image_size, size)
    return int(np.count_nonzero(labels[(slice(None), *inside(placement))])), int(np.count_nonzero(labels))


def inside(placement: Placement) -> tuple[slice, slice]:
    """The rows and columns of a displayed slice that its image shows."""
    top, left, bottom, right = placement.box
    first_row, first_column = (max(-offset, 0) for offset in placement.offset)
    return slice(first_row, first_row + bottom - top), slice(first_column, first_column + right - left)


def _sketch(image: np.ndarray) -> np.ndarray:
    """The SKETCH smallest hashes of the distinct values of a scan that are no whole numbers, sorted; () with few."""
    if image.dtype.kind != "f":
        return np.zeros(0, np.uint64)
    values = np.unique(image.astype(np.float32))
    values = values[values != np.rint(values)]
    if len(values) < SKETCH:
        return np.zeros(0, np.uint64)
    mixed = values.view(np.uint32).astype(np.uint64)
    for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):  # of the mixing function of SplitMix64
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(32)
    return np.sort(mixed)[:SKETCH]
