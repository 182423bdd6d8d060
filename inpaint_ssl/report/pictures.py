"""Slices: every corruption of one; test slices original, corrupted and restored; segmentations beside the truth."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from inpaint_ssl.colours import colour_of
from inpaint_ssl.report.drawing import MUTED, RULE, Drawing
from inpaint_ssl.report.load import Study, StudyFiles
from inpaint_ssl.report.slices import Gallery, Inpainting, Overlay
from inpaint_ssl.report.text import ARM_NAMES, percent, ratio
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED

_WIDTH = 6.4  # inches of a row of four pictures
SAMPLING_NAMES = {"poisson_disc": "Poisson-disc", "random": "random"}
_FRAME = "#e69f00"  # stands out from grey pictures, light or dark
_GALLERY_WIDTH, _LABEL, _GAP = 8.8, 0.95, 0.08  # inches: of the gallery, of the words beside a row, between panels
_ORIGINAL = 1.3  # width of the original over that of a panel
_LARGEST = 512  # pixels of a side in the page; larger pictures are thinned to keep the file small


def thin(image: np.ndarray) -> np.ndarray:
    """Every n-th pixel of an image that is larger than the page needs."""
    step = math.ceil(max(image.shape[:2]) / _LARGEST)
    return image[::step, ::step]


def _panels(rows: int, columns: int, shape: Sequence[int], extra: float) -> tuple[Figure, list[list[Axes]]]:
    """Axes for pictures of `shape` (H, W); `extra` is the height in inches for text."""
    side = min(_WIDTH / columns * shape[0] / shape[1], 3.2)
    figure = Figure(figsize=(_WIDTH, rows * (side + 0.19) + extra), layout="constrained")
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, [list(row) for row in grid]


def _show(axes: Axes, image: np.ndarray, low: float, high: float, colours: str = "gray") -> None:
    axes.imshow(thin(image), cmap=colours, vmin=low, vmax=max(high, low + 1e-6), interpolation="none")


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=8.5, loc="center", fontweight="normal", pad=3)


def corruption_gallery(g: Gallery) -> Drawing:
    """The slice on the left; a row for each task and sampling, a column for each patch size; the own setting framed."""
    ratio = g.original.shape[0] / g.original.shape[1]
    side = min((_GALLERY_WIDTH - _LABEL) / (len(g.patch_sizes) + _ORIGINAL) - _GAP, 2.0)
    left, top = _GAP + _ORIGINAL * side + _LABEL, 0.3
    width, height = left + len(g.patch_sizes) * (side + _GAP), top + len(g.rows) * (side * ratio + _GAP)
    figure = Figure(figsize=(width, height), dpi=180)  # the SVG too holds as many pixels as are seen

    def panel(x: float, y: float, side: float) -> Axes:
        """Axes of this width whose upper left corner is at (x, y), in inches."""
        box = (x / width, 1 - (y + side * ratio) / height, side / width, side * ratio / height)
        return figure.add_axes(box, xticks=[], yticks=[], facecolor="none")

    low, high = (float(value) for value in np.percentile(g.original, (0.5, 99.5)))
    first = panel(_GAP, (height - _ORIGINAL * side * ratio) / 2, _ORIGINAL * side)
    _fill(first, g.original, low, high)
    _title(first, "original")
    note = (
        f"{g.scan}, slice {g.slice_index}\nat least {percent(g.area_fraction)} of\nthe area corrupted;\n"
        "zero is mean grey" + ";\nframed: the\nconfigured setting" * g.shows_own
    )
    _write(first, note, (0.5, -0.04), ha="center", va="top", color=MUTED)
    for row, (task, sampling) in enumerate(g.rows):
        for column, patch_size in enumerate(g.patch_sizes):
            axes = panel(left + column * (side + _GAP), top + row * (side * ratio + _GAP), side)
            image = g.corrupted[..., row, column] if g.fits[row, column] else None
            _fill(axes, image, low, high, framed=(task, sampling, patch_size) == g.own)
            if row == 0:
                _title(axes, f"{patch_size} × {patch_size} pixels")
            if column == 0:
                words = f"{task},\n{SAMPLING_NAMES[sampling]}".replace("_", "\n")
                _write(axes, words, (-0.06, 0.5), ha="right", va="center")
    return Drawing("corruption_gallery", figure, *_gallery_words(g))


def _fill(axes: Axes, image: np.ndarray | None, low: float, high: float, framed: bool = False) -> None:
    """Show an image, or say that there is none; unlike _show it averages pixels where they are smaller than seen."""
    if image is None:
        _write(axes, "does not fit", (0.5, 0.5), ha="center", va="center", color=MUTED)
    else:
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect="auto")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=framed or image is None, edgecolor=_FRAME if framed else RULE, linewidth=3 if framed else 0.8)


def _write(axes: Axes, text: str, place: tuple[float, float], **style: Any) -> None:
    axes.text(*place, text, transform=axes.transAxes, fontsize=8, **style)


def _gallery_words(g: Gallery) -> tuple[str, str]:
    """Text for those who do not see the gallery, and its caption."""
    task, sampling, patch_size = g.own
    own = f"{task.replace('_', ' ')}, {SAMPLING_NAMES[sampling]} sampling, {patch_size} × {patch_size} pixels"
    where = f"{g.scan}, slice {g.slice_index}"
    sizes = ", ".join(map(str, g.patch_sizes))
    alt = f"Slice {where}, corrupted by both tasks with both samplings and patches of {sizes} pixels."
    caption = (
        f"{where}, first channel. Rows: task and sampling; columns: patch size. Context prediction sets patches to "
        f"zero, the mean intensity; context restoration swaps pairs of patches. At least {percent(g.area_fraction)} "
        f"of the area is corrupted. "
    )
    if g.shows_own:
        return alt, f"{caption}Framed: the setting of this study ({own})."
    return alt, f"{caption}The setting of this study is not among them: {own}."


def inpainting_examples(files: StudyFiles, channels: Sequence[str] = ()) -> list[Drawing]:
    """One drawing per kept test slice: a row for each of at most three channels, named when all names are known."""
    return [_inpainting(example, i, channels) for i, example in enumerate(files.inpainting)]


def _inpainting(example: Inpainting, number: int, channels: Sequence[str]) -> Drawing:
    count = min(example.original.shape[-1], 3)
    figure, grid = _panels(count, 4, example.original.shape, 0.0)
    for c, row in enumerate(grid):
        original, corrupted, restored = (a[..., c] for a in (example.original, example.corrupted, example.restored))
        difference = np.abs(restored - original)
        low, high = np.percentile(original, (0.5, 99.5))
        top = float(np.percentile(difference, 99.5))
        for axes, image in zip(row, (original, corrupted, restored), strict=False):
            _show(axes, image, float(low), float(high))
        _show(row[3], difference, 0.0, top, "magma")
        named = f", {channels[c]}" if count > 1 and len(channels) == example.original.shape[-1] else ""
        for axes, title in zip(row, ("original", "corrupted", "restored", f"|difference|, 0–{top:.2g}"), strict=True):
            _title(axes, title + (named if title == "original" else ""))
    where = f"{example.scan}, slice {example.slice_index}"
    alt = f"Test slice {where}: original, corrupted and restored image, and their absolute difference."
    return Drawing(f"inpainting_{number + 1:02d}", figure, alt, where)


def _painted(image: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Grey image (H, W) as RGB with classes in colour; the outline of a class is denser than its inside."""
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    if labels is None:
        return rgb
    padded = np.pad(labels, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edge = np.any([n != labels for n in neighbours], axis=0)
    for k in np.unique(labels[labels > 0]):
        colour = np.array(to_rgb(colour_of(int(k) - 1)))
        share = np.where(edge, 0.95, 0.5)[labels == k][:, None]
        rgb[labels == k] = (1 - share) * rgb[labels == k] + share * colour
    return rgb


def window_of(overlay: Overlay) -> tuple[slice, slice]:
    """Rows and columns around everything that is labelled or predicted, when that is much smaller than the image."""
    found = np.any([overlay.truth > 0, *(p > 0 for p in overlay.predictions.values())], axis=0)
    if not found.any():
        return slice(None), slice(None)
    window = []
    for axis, side in enumerate(found.shape):
        used = np.flatnonzero(found.any(axis=1 - axis))
        half = max((used[-1] - used[0] + 1) * 0.75, 24.0)
        centre = (used[0] + used[-1] + 1) / 2
        window.append((max(int(centre - half), 0), min(math.ceil(centre + half), side)))
    area = math.prod(stop - start for start, stop in window) / found.size
    rows, columns = (slice(*w) if area < 0.6 else slice(None) for w in window)
    return rows, columns


def overlays(study: Study) -> list[Drawing]:
    """Best, median and worst test scan: image, truth, from scratch, pretrained."""
    names = list(study.info["classes"]) or list(study.class_names)
    return [_overlay(overlay, names) for overlay in study.overlays]


def _overlay(o: Overlay, names: Sequence[str]) -> Drawing:
    window = window_of(o)
    columns: list[tuple[str, np.ndarray | None]] = [("image", None), ("truth", o.truth)]
    columns += [(ARM_NAMES[arm], o.predictions[arm]) for arm in (FROM_SCRATCH, PRETRAINED) if arm in o.predictions]
    dice = {ARM_NAMES[arm]: value for arm, value in o.dice.items()}
    legend_rows = math.ceil(len(names) / 4)
    image = o.image[window]
    figure, [row] = _panels(1, len(columns), image.shape, 0.1 + 0.2 * legend_rows)
    for axes, (title, labels) in zip(row, columns, strict=True):
        painted = _painted(thin(image), None if labels is None else thin(labels[window]))
        axes.imshow(painted, interpolation="none")
        _title(axes, f"{title}\nDice {ratio(dice[title])}" if title in dice else f"{title}\n")
    patches = [Patch(color=colour_of(k), label=name) for k, name in enumerate(names)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(names), 4), fontsize=8, handlelength=1.2)
    cropped = ", shown around the classes" if image.shape != o.image.shape else ""
    caption = (
        f"{o.rank.capitalize()} test scan: {o.scan}, slice {o.slice_index}{cropped}. "
        f"Models fine-tuned on {percent(o.label_fraction)} of the labels, seed {o.seed}."
    )
    scores = ", ".join(f"{name} Dice {ratio(value)}" for name, value in dice.items())
    return Drawing(f"overlay_{o.rank}", figure, f"{caption} Image, truth and predictions; {scores}.", caption)
