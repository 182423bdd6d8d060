"""From stored pixel values to those of the scan: padding, MONOCHROME1, rescaling, and the type that holds them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from inpaint_ssl.data.readers.dicom.headers import Damage, Stored, number

AIR_HU = -1024


@dataclass(frozen=True)
class Rescale:
    """value = slope * stored + intercept, or a table (modality LUT): table[stored - first], clipped at its ends."""

    slope: float = 1.0
    intercept: float = 0.0
    table: np.ndarray | None = None
    first: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.table is not None or (self.slope.is_integer() and self.intercept.is_integer())

    def range_of(self, stored: tuple[int, int]) -> tuple[float, float]:
        """The smallest and the largest value for stored values in that range."""
        if self.table is not None:
            return float(self.table.min()), float(self.table.max())
        ends = [self.slope * value + self.intercept for value in stored]
        return min(ends), max(ends)

    def apply(self, stored: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Stored values (rows, columns), int64, as values of `dtype`."""
        if self.table is not None:
            return self.table[np.clip(stored - self.first, 0, len(self.table) - 1)].astype(dtype)
        if self.is_whole:
            return (stored * int(self.slope) + int(self.intercept)).astype(dtype)
        return (stored * self.slope + self.intercept).astype(dtype)


def rescale_of(header: Dataset, group: Dataset | None) -> Rescale:
    """Of a file, or of one frame with the functional group PixelValueTransformationSequence. Raises Damage."""
    tables = header.get("ModalityLUTSequence")
    if tables and group is None:
        return _table(tables[0])
    slope, intercept = (
        next((value for holder in (group, header) if (value := number(holder, keyword)) is not None), default)
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope == 0 or abs(slope) > 1e6 or abs(intercept) > 1e9:
        raise Damage(f"has RescaleSlope {slope:g} and RescaleIntercept {intercept:g}, which gives no image; correct it")
    return Rescale(slope, intercept)


def _table(item: Dataset) -> Rescale:
    try:
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        content = item.LUTData
        if isinstance(content, bytes):
            content = np.frombuffer(content, np.uint8 if len(content) == count else "<u2")
        table = np.asarray(content, np.int64)[: count or 65536]
    except Exception:
        raise Damage("has a modality LUT that cannot be read; export it again") from None
    if len(table) != (count or 65536) or not 0 < bits <= 16 or table.min() < 0:
        raise Damage("has a modality LUT that does not fit its description; export it again")
    return Rescale(table=table, first=first)


def padding_range(header: Dataset, kept: Stored) -> tuple[int, int] | None:
    """Smallest and largest stored value that stand for "no image here", or None."""
    ends = [
        _as_stored(value, kept)
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if (value := number(header, keyword)) is not None
    ]
    return (min(ends), max(ends)) if ends and number(header, "PixelPaddingValue") is not None else None


def _as_stored(value: float, kept: Stored) -> int:
    """Padding is often given as unsigned where pixels are signed, or the other way round."""
    low, high = kept.value_range
    whole = int(value)
    if low <= whole <= high:
        return whole
    return whole - (1 << kept.bits_allocated) if whole > high else whole + (1 << kept.bits_allocated)


def common_dtype(ranges: Collection[tuple[float, float]], all_whole: bool) -> np.dtype:
    """The smallest of int16, int32 and float32 for values in these ranges; air (CT padding) fits into any."""
    if all_whole:
        low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return np.dtype(dtype)
    return np.dtype(np.float32)


def fits(rescale: Rescale, stored: tuple[int, int], dtype: np.dtype) -> bool:
    """Whether `dtype` holds every value of a frame."""
    if dtype.kind == "f":
        return True
    low, high = rescale.range_of(stored)
    return rescale.is_whole and np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
