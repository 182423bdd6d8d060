"""T2 in colour on a test slice: inside the truth and inside the prediction of each arm."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from inpaint_ssl.report.clinical.text import amount
from inpaint_ssl.report.drawing import INK, MUTED, Drawing
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.panels import SMALL, Sheet, Spaces, sheet
from inpaint_ssl.report.pictures import thin, window_of
from inpaint_ssl.report.slices import TRUTH, Overlay
from inpaint_ssl.report.text import ARM_NAMES, percent
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED

_COLOURS = "viridis"  # perceptually uniform, rising in lightness
_INVALID = "#ffffff"  # lighter than any colour of the map and than the dimmed image
_BRIGHTEST = 0.6  # of the image under the colours
_HEIGHT, _WIDEST = 2.9, 3.3  # inches of a panel, at most
_BAR, _STEP_MS = 0.16, 5.0  # width of the colour bar in inches; its ends are multiples of so many ms


def t2_maps(study: Study) -> list[Drawing]:
    """The median test scan, else the first shown; none where no T2 is known."""
    known = sorted((o for o in study.overlays if o.t2_ms), key=lambda o: o.rank != "median")
    return [_drawing(study, overlay) for overlay in known[:1]]


def colour_range_ms(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """One scale for all panels: the second to the 98th percentile of their T2, widened to whole steps."""
    values = np.concatenate([t2[np.isfinite(t2)] for t2 in maps])
    if not values.size:
        return 0.0, 100.0
    low, high = np.percentile(values, (2, 98))
    low, high = _STEP_MS * math.floor(low / _STEP_MS), _STEP_MS * math.ceil(high / _STEP_MS)
    return float(low), float(max(high, low + _STEP_MS))


def _drawing(study: Study, o: Overlay) -> Drawing:
    labels = {TRUTH: o.truth} | {arm: o.predictions[arm] for arm in (FROM_SCRATCH, PRETRAINED) if arm in o.t2_ms}
    window = window_of(o)
    low, high = colour_range_ms([o.t2_ms[key] for key in labels])
    image = thin(o.image[window])
    height = min(_HEIGHT, _WIDEST * image.shape[0] / image.shape[1])
    width = height * image.shape[1] / image.shape[0]
    s = Spaces(max(width, 1.6), height, left=0.05, right=0.85, top=0.54, bottom=0.34, column_gap=0.1, row_gap=0.0)
    made = sheet(1, len(labels), s)
    sentences = []
    for column, (key, label_map) in enumerate(labels.items()):
        t2, inside = o.t2_ms[key][window], label_map[window] > 0
        _show(made.axes[0][column], image, thin(t2), thin(inside), (low, high))
        mean, invalid = _summary(t2, inside)
        x, y = made.corner(0, column)
        made.write(x, y - 0.26, ARM_NAMES.get(key, key), fontsize=9.5, fontweight="bold", color=INK)
        made.write(x, y - 0.1, f"mean T2 {mean}, {invalid}", color=MUTED)
        sentences.append(f"{ARM_NAMES.get(key, key)} mean T2 {mean}, {invalid}")
    _colour_bar(made, len(labels), low, high)
    patch = Patch(facecolor=_INVALID, edgecolor=MUTED, linewidth=0.8, label="no valid T2")
    made.figure.legend(handles=[patch], loc="lower left", fontsize=SMALL, handlelength=1.2, borderpad=0.3)
    caption = _caption(study, o, image.shape != o.image.shape)
    return Drawing(f"t2_map_{o.rank}", made.figure, f"{caption} {'; '.join(sentences)}.", caption)


def _show(axes: Axes, image: np.ndarray, t2: np.ndarray, inside: np.ndarray, scale: tuple[float, float]) -> None:
    low, high = (float(value) for value in np.percentile(image, (0.5, 99.5)))
    grey = _BRIGHTEST * np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="none")
    shown = np.ma.masked_where(~(inside & np.isfinite(t2)), t2)
    axes.imshow(shown, cmap=_COLOURS, vmin=scale[0], vmax=scale[1], interpolation="none")
    invalid = np.ma.masked_where(~(inside & ~np.isfinite(t2)), np.ones(t2.shape))
    axes.imshow(invalid, cmap="gray", vmin=0, vmax=1, interpolation="none")
    axes.set_axis_off()


def _summary(t2: np.ndarray, inside: np.ndarray) -> tuple[str, str]:
    """Mean over the valid voxels of what is shown, and how many are not valid."""
    values = t2[inside].astype(np.float64)
    valid = values[np.isfinite(values)]
    mean = f"{amount(float(valid.mean()))} ms" if valid.size else "undefined"
    return mean, f"{values.size - valid.size:,} of {values.size:,} voxels invalid"


def _colour_bar(made: Sheet, columns: int, low: float, high: float) -> None:
    """An image of 256 pixels: Matplotlib's own colour bar is as many paths in the page."""
    width, height = made.figure.get_size_inches()
    s = made.spaces
    x = s.x(columns - 1) + s.width + 0.16
    box = (x / width, s.bottom / height, _BAR / width, s.height / height)
    axes = made.figure.add_axes(box)
    ramp = np.linspace(low, high, 256)[:, None]
    axes.imshow(ramp, cmap=_COLOURS, origin="lower", aspect="auto", extent=(0, 1, low, high), interpolation="none")
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=SMALL)
    axes.grid(False)
    made.write(x, s.top - 0.1, "T2 (ms)", color=MUTED)


def _caption(study: Study, o: Overlay, cropped: bool) -> str:
    fate = (study.info["clinical"].get("t2") or {}).get("invalid", "excluded")
    where = f"{o.scan}, slice {o.slice_index}{', shown around the classes' if cropped else ''}"
    counted = "; they count as 0 ms in the tables, not here" if fate != "excluded" else ""
    return (
        f"T2 inside all classes of the {o.rank} test scan ({where}), by truth and by models fine-tuned on "
        f"{percent(o.label_fraction)} of the labels, seed {o.seed}. One scale; T2 beyond its ends has their colour. "
        f"White: voxels without a valid T2{counted}. Means are over the valid voxels of this slice."
    )
