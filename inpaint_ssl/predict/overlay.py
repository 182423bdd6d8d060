"""One small picture of a scan with its mask: three slices, outlined and tinted in the colours of the classes."""

import io
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inpaint_ssl.colours import CLASS_COLOURS
from inpaint_ssl.data.geometry import SLICE_AXES, display, plane_axes

_PANEL = 300  # pixels of the longer side of a slice
_GAP, _LINE, _SWATCH, _TEXT = 6, 18, 10, 12
_MOST_SLICES = 3
_SHARES = (0.2, 0.5, 0.8)  # of the labelled extent
_CT_WINDOW = (400.0, 50.0)  # HU: width and level of soft tissue
_MRI_PERCENTILES = (0.5, 99.5)
_OPACITY = 0.35
# The palette: greys, then every colour over a range of greys, then the colours alone. Few levels keep the file small.
_GREYS, _TINTS = 56, 18
_FIRST_TINT = _GREYS
_FIRST_COLOUR = _GREYS + len(CLASS_COLOURS) * _TINTS
_LEFT_SIDE = {"sagittal": "A", "coronal": "R", "axial": "R"}  # what lies at the left of a displayed slice


def overlay_picture(
    image: np.ndarray,
    labels: np.ndarray,
    slice_axis: str,
    spacing_mm: Sequence[float],
    names: Sequence[str],
    modality: str,
) -> bytes:
    """A PNG of the slice with most of the mask and two more from its extent, in true proportions.

    image: (X, Y, Z, C) raw intensities in RAS, of which the first channel is shown: CT (modality "ct") in the window
    400/50 HU, MRI between the percentiles 0.5 and 99.5 of the slices shown. labels: uint8 (X, Y, Z) of class index + 1.
    slice_axis: "sagittal", "coronal" or "axial". spacing_mm: of the voxels. names: of the classes. An empty mask is
    said to be so, over the middle slice. The letter says what side of the patient the left of the picture is.
    """
    slices, masks = display(image[..., 0], slice_axis), display(labels, slice_axis)
    counts = _labelled(labels, SLICE_AXES[slice_axis])
    chosen = _chosen(counts)
    shown = np.stack([np.nan_to_num(np.asarray(slices[k], np.float32)) for k in chosen])
    low, high = _window(shown, modality)
    grey = np.clip((shown - low) / max(high - low, 1e-6), 0, 1)
    width, height = _panel_size(masks.shape[1:], slice_axis, spacing_mm)
    present = sorted({int(value) for k in chosen for value in np.unique(masks[k])} - {0})
    words = [names[value - 1] if value <= len(names) else str(value) for value in present]
    across = len(chosen) * (width + _GAP) + _GAP
    across = max(across, _PANEL)
    legend = _legend(present, words, across)
    canvas = np.zeros((_GAP + height + _GAP + len(legend) * _LINE + _GAP, across), np.uint8)
    for number, k in enumerate(chosen):
        x = _GAP + number * (width + _GAP)
        canvas[_GAP : _GAP + height, x : x + width] = _panel(grey[number], masks[k], (width, height))
        _write(canvas, (x + 4, _GAP + 3), f"slice {k + 1} of {len(counts)}")
        _write(canvas, (x + 4, _GAP + height // 2 - 7), _LEFT_SIDE[slice_axis])
    for line, entries in enumerate(legend):
        y = _GAP + height + _GAP + line * _LINE
        for x, value, word in entries:
            if value:
                canvas[y + 3 : y + 3 + _SWATCH, x : x + _SWATCH] = _FIRST_COLOUR + (value - 1) % len(CLASS_COLOURS)
            _write(canvas, (x + (_SWATCH + 5 if value else 0), y), word)
    return _png(canvas)


def _labelled(labels: np.ndarray, axis: int) -> np.ndarray:
    """Labelled voxels in each slice, without a copy of the volume."""
    counts = np.zeros(labels.shape[axis], np.int64)
    for index, part in enumerate(labels):  # along X
        if axis == 0:
            counts[index] = np.count_nonzero(part)
        else:
            counts += np.count_nonzero(part, axis=2 - axis)
    return counts


def _chosen(counts: np.ndarray) -> list[int]:
    """The fullest slice, and those of three places in the labelled extent that are farthest from it; sorted."""
    labelled = np.flatnonzero(counts)
    if not labelled.size:
        return [len(counts) // 2]
    fullest, first, last = int(counts.argmax()), labelled[0], labelled[-1]
    places = sorted((first + share * (last - first) for share in _SHARES), key=lambda place: -abs(place - fullest))
    chosen = {fullest}
    for place in places[: _MOST_SLICES - 1]:
        left = [int(k) for k in labelled if int(k) not in chosen]
        if left:
            chosen.add(min(left, key=lambda k: abs(k - place)))
    return sorted(chosen)


def _window(shown: np.ndarray, modality: str) -> tuple[float, float]:
    if modality == "ct":
        width, level = _CT_WINDOW
        return level - width / 2, level + width / 2
    low, high = np.percentile(shown, _MRI_PERCENTILES)
    return float(low), float(high)


def _panel_size(shape: Sequence[int], slice_axis: str, spacing_mm: Sequence[float]) -> tuple[int, int]:
    """(width, height) in pixels of a slice of (rows, columns)."""
    row_mm, column_mm = (length * spacing_mm[axis] for length, axis in zip(shape, plane_axes(slice_axis), strict=True))
    scale = _PANEL / max(row_mm, column_mm)
    return max(1, round(column_mm * scale)), max(1, round(row_mm * scale))


def _panel(grey: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Entries of the palette (height, width) for a slice of greys from 0 to 1."""
    enlarged = Image.fromarray(np.ascontiguousarray(255 * grey).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    classes = np.asarray(Image.fromarray(np.ascontiguousarray(mask)).resize(size, Image.Resampling.NEAREST))
    levels = np.asarray(enlarged, np.uint16)
    panel = (levels * _GREYS // 256).astype(np.uint8)
    colour = (classes.astype(np.int16) - 1) % len(CLASS_COLOURS)
    inside = classes > 0
    tint = _FIRST_TINT + colour * _TINTS + levels * _TINTS // 256
    panel[inside] = tint[inside]
    edge = inside & _border(classes)
    panel[edge] = _FIRST_COLOUR + colour[edge]
    return panel


def _border(classes: np.ndarray) -> np.ndarray:
    """Pixels beside one of another class."""
    border = np.zeros(classes.shape, bool)
    down, across = classes[1:] != classes[:-1], classes[:, 1:] != classes[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= across
    border[:, :-1] |= across
    return border


def _legend(present: Sequence[int], words: Sequence[str], across: int) -> list[list[tuple[int, int, str]]]:
    """Lines of (x, class or 0, words) that fit into the width."""
    if not present:
        return [[(_GAP, 0, "nothing was segmented")]]
    lines: list[list[tuple[int, int, str]]] = [[]]
    x = _GAP
    for value, word in zip(present, words, strict=True):
        kept = _fitting(word, across - 2 * _GAP - _SWATCH - 5)
        needed = _SWATCH + 5 + _text_width(kept)
        if lines[-1] and x + needed > across - _GAP:
            lines.append([])
            x = _GAP
        lines[-1].append((x, value, kept))
        x += needed + 2 * _GAP + 4
    return lines


def _fitting(word: str, pixels: float) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in word[:200])
    if _text_width(shown) <= pixels:
        return shown
    while shown and _text_width(f"{shown}…") > pixels:
        shown = shown[:-1]
    return f"{shown}…"


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _TEXT)


def _text_width(text: str) -> int:
    return int(np.ceil(_font().getlength(text)))


def _write(canvas: np.ndarray, place: tuple[int, int], text: str) -> None:
    """Light letters with a dark rim, cut at the border of the canvas."""
    x, y = place
    area = canvas[y : y + _LINE, x : x + _text_width(text) + 2]
    letters = Image.new("L", (area.shape[1], area.shape[0]))
    ImageDraw.Draw(letters).text((1, 1), text, fill=255, font=_font())
    coverage = np.asarray(letters, np.uint16)
    rim = np.zeros(coverage.shape, bool)
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        rim |= np.roll(coverage, shift, (0, 1)) > 96
    area[rim] = 0
    strong = coverage > 24
    area[strong] = (coverage[strong] * (_GREYS - 1) // 255).astype(np.uint8)


def _palette() -> Iterator[int]:
    colours = [tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5)) for colour in CLASS_COLOURS]
    for level in range(_GREYS):
        yield from [round(255 * level / (_GREYS - 1))] * 3
    for colour in colours:
        for level in range(_TINTS):
            grey = 255 * level / (_TINTS - 1)
            yield from (round((1 - _OPACITY) * grey + _OPACITY * part) for part in colour)
    for colour in colours:
        yield from colour


def _png(canvas: np.ndarray) -> bytes:
    picture = Image.fromarray(canvas, mode="P")
    picture.putpalette(list(_palette()))
    content = io.BytesIO()
    picture.save(content, format="PNG", compress_level=6)
    return content.getvalue()
