"""Percent errors of clinical metrics: a panel per class, a pair of bars per label fraction (paper, figure 6)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from inpaint_ssl.metrics import QUANTITIES
from inpaint_ssl.report.clinical.shown import like_the_paper, shown_metrics
from inpaint_ssl.report.clinical.text import bars_note, error_text
from inpaint_ssl.report.drawing import ARM_COLOURS, INK, MUTED, PAPER, Drawing
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.panels import SMALL, Sheet, Spaces, empty, heading, sheet
from inpaint_ssl.report.text import ARM_NAMES, percent
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED, Agreement, PercentError

_ARMS = (FROM_SCRATCH, PRETRAINED)
_WIDTH = 11.9  # inches that a row of panels may take
_GROUP, _BAR = 0.46, 0.38  # inches of a label fraction; share of it that one bar takes
_DWARFING, _KEPT = 6.0, 3.0  # a bar above so many medians of all bars may be cut; the axis keeps so many
_GAP = 2.0  # times the largest bar that is kept, or the axis, is what a bar exceeds to be cut
_COUNTS = 0.16  # inches for a line of n below the bars


def percent_errors(study: Study) -> list[Drawing]:
    """Figure 6 of each clinical metric: median absolute percent error over test subjects, with quartiles."""
    return [_drawing(study, metric) for metric in shown_metrics(study)]


def clipped_at(errors: Sequence[PercentError]) -> float:
    """Top of an axis for these bars and whiskers; a bar that would dwarf the others goes beyond it.

    A bar does when it is more than six times the median of all bars and more than twice as high as any lower bar and
    as three medians. Whiskers of the bars that stay lengthen the axis, to twice its bars at most.
    """
    heights = sorted(error.median for error in errors if math.isfinite(error.median) and error.median > 0)
    if not heights:
        return 1.0
    middle = float(np.median(heights))
    bars = 0.0
    for height in heights:
        if height > max(_DWARFING * middle, _GAP * max(bars, _KEPT * middle)):
            bars = max(bars, _KEPT * middle)
            break
        bars = height
    whiskers = [error.upper_quartile for error in errors if error.median <= bars]
    return 1.06 * min(max([bars, *whiskers]), 2 * bars)


def _drawing(study: Study, metric: str) -> Drawing:
    names, fractions = study.class_names, study.statistics.label_fractions
    found = {(a.label_fraction, a.class_name, a.arm): a for a in study.agreements if a.metric == metric}
    entries = {name: {(f, arm): found.get((f, name, arm)) for f in fractions for arm in _ARMS} for name in names}
    notes = {name: bars_note(list(of_class.values())) for name, of_class in entries.items()}
    made = _sheet(len(names), len(fractions), _COUNTS if any(differ for _, differ in notes.values()) else 0.0)
    top = clipped_at([a.error for a in found.values()])
    places = [(row, column) for row in range(len(made.axes)) for column in range(len(made.axes[0]))]
    for (row, column), (name, (note, differ)) in zip(places, notes.items(), strict=False):
        axes = made.axes[row][column]
        _panel(axes, fractions, entries[name], top)
        heading(made, row, column, name, note)
        if differ:
            _counts(made, row, column, fractions, entries[name])
        axes.tick_params(labelleft=column == 0)
    for row, column in places[len(names) :]:
        made.axes[row][column].set_axis_off()
    _words(made, metric, {arm for _, _, arm in found})
    caption = _caption(study, metric, [a.error for a in found.values()], top)
    return Drawing(f"clinical_{metric}", made.figure, _alt(study, metric), caption)


def _sheet(classes: int, fractions: int, counts: float) -> Sheet:
    """Panels of equal size in rows of equal length, with room below each for a line of n where `counts` is not 0."""
    width = max(1.75, _GROUP * fractions + 0.2)
    s = Spaces(
        *(width, 1.75), left=0.84, right=0.12, top=0.8, bottom=0.58 + counts, column_gap=0.3, row_gap=0.98 + counts
    )
    columns = max(1, min(classes, int((_WIDTH - s.left - s.right + s.column_gap) / (width + s.column_gap))))
    rows = math.ceil(classes / columns)
    return sheet(rows, math.ceil(classes / rows), s)


def _place(fractions: Sequence[float], fraction: float, arm: str) -> float:
    """Middle of a bar on the axis."""
    return fractions.index(fraction) + (_BAR / 2 + 0.01) * (1 if arm == PRETRAINED else -1)


def _counts(
    made: Sheet,
    row: int,
    column: int,
    fractions: Sequence[float],
    entries: Mapping[tuple[float, str], Agreement | None],
) -> None:
    """n below each bar, under the label fractions."""
    x, y = made.corner(row, column)
    low, high = made.axes[row][column].get_xlim()
    below = y + made.spaces.height + 0.33
    made.write(x - 0.02, below, "n", ha="right", color=MUTED, fontsize=7)
    for (fraction, arm), entry in entries.items():
        if entry is not None:
            place = x + made.spaces.width * (_place(fractions, fraction, arm) - low) / (high - low)
            made.write(place, below, f"{entry.error.n_subjects}", ha="center", color=MUTED, fontsize=6.5)


def _panel(
    axes: Axes, fractions: Sequence[float], entries: Mapping[tuple[float, str], Agreement | None], top: float
) -> None:
    axes.set_xlim(-0.5 - 0.1 / _GROUP, len(fractions) - 0.5 + 0.1 / _GROUP)
    axes.set_ylim(0, top)
    axes.set_xticks(range(len(fractions)), [percent(f) for f in fractions])
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    if len(fractions) > 6:
        axes.tick_params(axis="x", labelsize=7)
    if not any(entry is not None and entry.error.n_subjects for entry in entries.values()):
        empty(axes, "no defined value")
    for (fraction, arm), entry in entries.items():
        if entry is not None and entry.error.n_subjects:
            _bar(axes, _place(fractions, fraction, arm), entry.error, arm, top)


def _bar(axes: Axes, x: float, error: PercentError, arm: str, top: float) -> None:
    """Open and hatched from scratch, filled with pretraining: the arms differ without colour too."""
    colour, clipped = ARM_COLOURS[arm], error.median > top
    fill: dict[str, Any] = {"facecolor": PAPER, "hatch": "/////"} if arm == FROM_SCRATCH else {"facecolor": colour}
    axes.bar(x, min(error.median, top), _BAR, edgecolor=colour, linewidth=1.1, zorder=2, **fill)
    if not clipped:
        axes.plot([x, x], [error.lower_quartile, error.upper_quartile], color=INK, lw=1.1, zorder=4)
        if error.upper_quartile > top:  # an arrow head where the whisker leaves the axis
            axes.plot([x], [0.985 * top], "^", color=INK, ms=4, mew=0, zorder=5)
        return
    for height in (0.36, 0.42):  # a cut through the bar
        edges, heights = [x - 0.53 * _BAR, x + 0.53 * _BAR], [height * top, (height + 0.04) * top]
        axes.plot(edges, heights, color=PAPER, lw=1.8, zorder=3, solid_capstyle="butt")
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}
    style: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "top", "fontsize": 7.5, "zorder": 5, "bbox": box}
    axes.text(x, 0.97 * top, f"{error_text(error.median)} %", **style)


def _words(made: Sheet, metric: str, arms: set[str]) -> None:
    width, height = made.figure.get_size_inches()
    s = made.spaces
    bars = {
        FROM_SCRATCH: Patch(facecolor=PAPER, edgecolor=ARM_COLOURS[FROM_SCRATCH], hatch="/////"),
        PRETRAINED: Patch(color=ARM_COLOURS[PRETRAINED]),
    }
    handles: list[Artist] = [bar for arm, bar in bars.items() if arm in arms]
    handles.append(Line2D([], [], color=INK, marker="|", ls="none", ms=10, mew=1.1))
    labels = [*(ARM_NAMES[arm] for arm in _ARMS if arm in arms), "quartiles"]
    place = (s.left / width, 1 - 0.02 / height)
    made.figure.legend(
        handles=handles, labels=labels, loc="upper left", bbox_to_anchor=place, ncols=3, fontsize=8.5, handlelength=1.4,
        borderaxespad=0, borderpad=0.2, columnspacing=1.4,
    )  # fmt: skip
    middle = s.top + (height - s.top - s.bottom) / 2
    title = QUANTITIES[metric].title
    made.write(0.2, middle, f"median |error| of\n{title} (%)", rotation=90, ha="center", va="center", fontsize=9)
    made.write(s.left, height - 0.14, "labelled share of the training set", color=MUTED, fontsize=SMALL + 0.5)


def _alt(study: Study, metric: str) -> str:
    parts = []
    for name in study.class_names:
        for fraction in study.statistics.label_fractions:
            entries = [(arm, study.agreement(metric, fraction, name, arm)) for arm in _ARMS]
            values = [f"{ARM_NAMES[arm]} {error_text(a.error.median)} %" for arm, a in entries if a is not None]
            if values:
                parts.append(f"{name}, {percent(fraction)}: {', '.join(values)}")
    return f"Median absolute percent error of {QUANTITIES[metric].title}. {'; '.join(parts)}"


def _caption(study: Study, metric: str, errors: Sequence[PercentError], top: float) -> str:
    q = QUANTITIES[metric]
    parts = [
        f"{like_the_paper(study, metric)}: absolute percent error of {q.title} ({q.meaning}), median over test "
        "subjects; whiskers from the lower to the upper quartile. n: test subjects, below each bar where they differ"
    ]
    if any(a.n_excluded for a in study.agreements if a.metric == metric):
        parts[0] += "; undefined: values (scans times runs) that a bar lacks. Each bar has the scans of its own arm"
    if any(error.median > top for error in errors):
        parts.append("Bars that are cut leave the axis; their median is written on them")
    if any(error.median <= top < error.upper_quartile for error in errors):
        parts.append("Whiskers with an arrow head end beyond the axis")
    if len(parts) > 1:
        parts.append(f"All quartiles: tables/{metric}.csv")
    return ". ".join(parts) + "."
