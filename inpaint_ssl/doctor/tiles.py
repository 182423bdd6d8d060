"""Small pictures of slices for the page: read once more, in worker processes, so that no scan has to be kept."""

from dataclasses import dataclass, replace

import numpy as np

from inpaint_ssl.data.geometry import display, plane_axes
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.doctor.findings import MIDDLE
from inpaint_ssl.doctor.inspect import Examination
from inpaint_ssl.doctor.raw import raw_image, raw_label
from inpaint_ssl.errors import InputError

SIDE = 176  # pixels of a picture's longer side
NO_NUMBER = 255  # in Tile.label: NaN or infinite


@dataclass(frozen=True)
class Tile:
    """grey, label: uint8 (rows, columns) with square pixels; label values as they are in the file, modulo 255."""

    scan_id: str
    slice_index: int
    grey: np.ndarray
    label: np.ndarray


def make_tile(examination: Examination, task: tuple[ScanEntry, int]) -> Tile | None:
    """The slice of a scan, MIDDLE: the one with most labelled pixels; None when there is nothing to show."""
    entry, index = task
    axis = examination.preprocessing.slice_axis
    slices, label, spacing = _volume(examination, entry, axis)
    if slices is None or not len(slices):
        return None
    if label is not None and label.shape != slices.shape:
        label = None
    if index == MIDDLE:
        labelled = None if label is None else (label != 0).sum(axis=(1, 2))
        index = len(slices) // 2 if labelled is None or not labelled.any() else int(labelled.argmax())
    index = min(index, len(slices) - 1)
    shown = np.zeros(slices.shape[1:], np.float64) if label is None else label[index]
    shown = np.where(np.isfinite(slices[index]), np.mod(shown, 255), NO_NUMBER).astype(np.uint8)
    rows, columns = _square(slices.shape[1], slices.shape[2], spacing)
    return Tile(entry.scan_id, index, _grey(slices, index)[rows][:, columns], shown[rows][:, columns])


def _volume(
    examination: Examination, entry: ScanEntry, axis: str
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[float, float]]:
    """(displayed slices of the first channel, of the label, (row, column) spacing); refused files as they are."""
    reader = examination.reader
    row, column = plane_axes(axis)
    for has_label in (True, False) if entry.has_label else (False,):
        try:
            scan = reader.read(entry if has_label else replace(entry, has_label=False, label_path=""))
        except InputError:
            continue
        label = None if scan.label is None else display(scan.label, axis)
        if entry.has_label and not has_label:
            label = _label_as_it_is(entry, axis)
        return display(scan.image[..., 0], axis), label, (scan.spacing_mm[row], scan.spacing_mm[column])
    try:
        images = raw_image(entry, axis)
    except InputError:
        images = []
    return (images[0][..., 0] if images else None), None, (1.0, 1.0)


def _label_as_it_is(entry: ScanEntry, axis: str) -> np.ndarray | None:
    try:
        label = raw_label(entry, axis)
    except InputError:
        return None
    return None if label is None else np.nan_to_num(np.asarray(label, np.float64))


def _grey(slices: np.ndarray, index: int) -> np.ndarray:
    """A slice between the rare extremes of its scan; where all is one value, grey."""
    numbers = slices[np.isfinite(slices)].astype(np.float32)
    if not numbers.size:
        return np.zeros(slices.shape[1:], np.uint8)
    low, high = np.percentile(numbers[:: max(1, numbers.size // 500_000)], (0.5, 99.5))
    values = np.nan_to_num(slices[index].astype(np.float32), nan=float(low), posinf=float(high), neginf=float(low))
    scaled = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)


def _square(rows: int, columns: int, spacing: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows and columns for square pixels, SIDE of them along the longer side."""
    height, width = rows * spacing[0], columns * spacing[1]
    scale = SIDE / max(height, width)
    return tuple(  # type: ignore[return-value]
        np.minimum((np.arange(max(1, round(size * scale))) + 0.5) * n / max(1, round(size * scale)), n - 1).astype(int)
        for size, n in ((height, rows), (width, columns))
    )
