"""Figures of a study of arms: Dice against the label fraction, one line an arm, and every gain with its interval."""

import math
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from inpaint_ssl.report.drawing import INK, MUTED, PAPER, Drawing
from inpaint_ssl.report.info import VALIDATION
from inpaint_ssl.report.kinds.arm_results import Arm, ArmResults
from inpaint_ssl.report.kinds.strategy_curves import ALL_LABELS, SCRATCH, dice_panel, points
from inpaint_ssl.report.kinds.strategy_text import plural
from inpaint_ssl.report.text import interval, percent, ratio, signed
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH

# apart for common kinds of colour blindness and on light and dark pages; markers differ as well
_COLOURS = ("#d55e00", "#009e73", "#aa4499", "#999933", "#0072b2", "#888888", "#e69f00")
_MARKERS = "osD^vPX"
_PANEL, _COLUMNS = (3.7, 2.75), 2
_DASHED = " Dashed with open markers: not pretrained."
_NAME = 26  # characters of a line of a name


def _style(found: ArmResults, arm: Arm) -> dict[str, Any]:
    k = [a.name for a in found.arms if a.name != FROM_SCRATCH].index(arm.name) % len(_COLOURS)
    return {
        "color": _COLOURS[k], "marker": _MARKERS[k], "ls": "-" if arm.pretrained else (0, (4, 2)), "lw": 1.6, "ms": 5.5,
        "mfc": _COLOURS[k] if arm.pretrained else "none", "mew": 1.2,
    }  # fmt: skip


def _has_dashed(found: ArmResults) -> bool:
    return any(not arm.pretrained and arm.name != FROM_SCRATCH for arm in found.evaluated)


def _name(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _NAME)) or text


def _scans(found: ArmResults) -> str:
    return f"{found.split} scans{' (for choosing settings, not evidence)' if found.split == VALIDATION else ''}"


def _panel(axes: Axes, found: ArmResults, name: str) -> None:
    lines = [(arm.name, _style(found, arm)) for arm in found.evaluated if arm.name != FROM_SCRATCH]
    dice_panel(axes, found.statistics, found.label_counts, lines, name)
    dots = [(arm, str(style["color"])) for arm, style in lines] + [(FROM_SCRATCH, str(SCRATCH["color"]))]
    for arm, colour in dots:
        places, means = _of_runs(found, arm, name)
        axes.scatter(places, means, s=11, color=colour, alpha=0.6, lw=0, zorder=3)


def _of_runs(found: ArmResults, arm: str, name: str) -> tuple[list[int], list[float]]:
    """(index of the label fraction, mean Dice) of each run, where there are several."""
    places, means = list[int](), list[float]()
    for k, fraction in enumerate(found.statistics.label_fractions):
        entry = found.statistics.entry(fraction, name)
        runs = entry.arms[arm].runs if entry is not None and arm in entry.arms else ()
        for run in runs if len(runs) > 1 else ():
            places.append(k)
            means.append(run.mean)
    return places, means


def _legend(figure: Figure, found: ArmResults, axes: Axes) -> None:
    shown = [arm for arm in found.evaluated if arm.name != FROM_SCRATCH]
    items = [(Line2D([], [], **_style(found, arm)), _name(arm.label)) for arm in shown]
    items.append((Line2D([], [], **SCRATCH), found.label(FROM_SCRATCH)))
    if any(line.get_linestyle() == ":" for line in axes.get_lines()):
        items.append((Line2D([], [], **ALL_LABELS), f"{found.label(FROM_SCRATCH)}, all labels"))
    handles, names = zip(*items, strict=True)
    figure.legend(handles, names, loc="outside lower center", ncols=min(2, len(items)), fontsize=8.5, handlelength=3.2)


def _alt(found: ArmResults, name: str) -> str:
    parts = []
    for k, fraction in enumerate(found.statistics.label_fractions):
        values = [
            f"{arm.label} {ratio(y)}"
            for arm in found.evaluated
            for x, y in points(found.statistics, arm.name, name)
            if x == k
        ]
        parts.append(f"{percent(fraction)}: {', '.join(values) or 'nothing'}")
    return f"{'class average' if name == AVERAGE else name}: {'; '.join(parts)}"


def curves_of_average(found: ArmResults) -> Drawing | None:
    """Class-averaged Dice against the share of the labels, one line an arm; None for fewer than two label fractions."""
    if len(found.statistics.label_fractions) < 2:
        return None
    rows = math.ceil((len(found.evaluated) + 1) / 2)
    figure = Figure(figsize=(5.8, 3.7 + 0.24 * rows), layout="constrained")
    axes = figure.add_subplot()
    _panel(axes, found, AVERAGE)
    _legend(figure, found, axes)
    caption = (
        f"Class-averaged Dice on the {_scans(found)}, means over subjects and runs; label fractions in equal steps. "
        f"Small dots: single runs, where there are several.{_DASHED if _has_dashed(found) else ''}"
    )
    alt = f"Dice of every arm against the share of the labels. {_alt(found, AVERAGE)}"
    return Drawing("dice_of_arms", figure, alt, caption)


def curves_of_classes(found: ArmResults) -> Drawing | None:
    """One panel a class; None for a single one, which the average shows, and for fewer than two label fractions."""
    if len(found.classes) < 2 or len(found.statistics.label_fractions) < 2:
        return None
    rows = math.ceil(len(found.classes) / _COLUMNS)
    legend = 0.24 * math.ceil((len(found.evaluated) + 1) / 2) + 0.1
    figure = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] * rows + legend), layout="constrained")
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).ravel())
    for axes, name in zip(panels, found.classes, strict=False):
        _panel(axes, found, name)
        axes.set_title(name, loc="left")
    for axes in panels[len(found.classes) :]:
        axes.remove()
    _legend(figure, found, panels[0])
    alt = f"Dice of each class against the share of the labels. {'. '.join(_alt(found, c) for c in found.classes)}"
    return Drawing("dice_of_classes", figure, alt, f"Dice of each class on the {_scans(found)}.")


def gains_figure(found: ArmResults) -> Drawing | None:
    """Gain of every arm over its control with its interval, one panel a label fraction; None without a comparison."""
    gains = found.gains
    fractions = [f for f in gains.label_fractions if gains.at(f)]
    if not fractions:
        return None
    arms = [arm for arm in found.arms if any(gain.arm == arm.name for gain in gains.gains)]
    several = len({arm.control for arm in arms}) > 1
    names = [_name(arm.label) + ("\n" + _name(f"against {found.label(arm.control)}")) * several for arm in arms]
    lines = [line for name in names for line in name.split("\n")]
    columns = min(len(fractions), 4)
    rows = math.ceil(len(fractions) / columns)
    room = 0.3 + 0.075 * max(map(len, lines)) + (3.4 if columns == 1 else 1.75 * columns)
    size = (room, rows * (0.9 + 0.14 * len(arms) + 0.2 * len(lines)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, fraction in zip(panels, fractions, strict=False):
        axes.axvline(0, color=INK, lw=1, zorder=1.5)
        for y, arm in enumerate(arms):
            _dot(axes, found, arm, fraction, y)
        axes.set_title(f"{percent(fraction)} of the labels", loc="left", fontsize=9)
        axes.set_yticks(range(len(arms)), names)
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axes.tick_params(labelbottom=True)
    for axes in panels[len(fractions) :]:
        axes.remove()
    control = "its control" if several else found.label(arms[0].control)
    figure.supxlabel(f"gain in Dice over {control}", fontsize=9.5)
    level = percent(1 - found.alpha)
    caption = (
        f"Gain in class-averaged Dice over {control} on the {_scans(found)}, with its {level} interval. Filled: "
        f"significant once adjusted for {plural(gains.n_planned, 'test')}, and its runs agree; open: not."
    )
    words = [
        f"{found.label(g.arm)} at {percent(g.label_fraction)} {signed(g.paired.mean_difference)} "
        f"({interval(g.paired.lower, g.paired.upper)})"
        for g in gains.gains
    ]
    return Drawing("gains_of_arms", figure, f"Gain over {control}: {'; '.join(words)}", caption)


def _dot(axes: Axes, found: ArmResults, arm: Arm, fraction: float, y: int) -> None:
    gain = found.gains.of(arm.name, fraction)
    if gain is None:
        axes.text(0, y, " not compared", color=MUTED, fontsize=8, va="center")
        return
    style, p = _style(found, arm), gain.paired
    if not math.isnan(p.lower):
        axes.plot([p.lower, p.upper], [y, y], color=style["color"], lw=1.8, zorder=3)
    filled = style["color"] if found.gains.is_better(gain) else PAPER
    axes.plot([p.mean_difference], [y], style["marker"], color=style["color"], mfc=filled, ms=7, mew=1.5, zorder=4)
