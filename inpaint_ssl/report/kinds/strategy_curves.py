"""Dice of pretraining strategies against the labelled share (paper, Figures 3, 4, 8 and 9), and their gains by rank."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from inpaint_ssl.report.drawing import ARM_COLOURS, INK, MUTED, Drawing
from inpaint_ssl.report.kinds.strategy_text import capital, is_scaled, patch_name, sampling_name, task_name
from inpaint_ssl.report.text import percent, ratio
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED, StudyStatistics
from inpaint_ssl.statistics.strategies import Strategy

LIGHT_BLUE = "#56b4e9"  # the paper's from scratch
# vermilion, green, purple, olive: apart for common kinds of colour blindness and on light and dark pages
_COLOURS, _MARKERS = (ARM_COLOURS[PRETRAINED], "#009e73", "#aa4499", "#999933", "#888888"), "osD^v"
_DODGE = 0.036  # of the step between two label fractions, so that strategies of equal Dice stay visible
_COLUMNS, _PANEL = 2, (3.7, 2.75)


@dataclass(frozen=True)
class Curves:
    """What the curves show: Dice on the test scans, the strategies, and the classes in the study's order."""

    statistics: StudyStatistics
    strategies: tuple[Strategy, ...]
    classes: tuple[str, ...]
    label_counts: Mapping[float, int]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Pretext tasks with results, context restoration first, as the paper numbers its figures."""
        tasks = {s.task for s in self.strategies if self.has(s)}
        return tuple(sorted(tasks, reverse=True))

    def has(self, strategy: Strategy) -> bool:
        """Has this strategy been evaluated at all?"""
        return any(strategy.arm in e.arms for e in self.statistics.entries)

    def points(self, arm: str, class_name: str) -> list[tuple[int, float]]:
        """(index of the label fraction, mean Dice) of one arm, by rising fraction; what is missing is left out."""
        return points(self.statistics, arm, class_name)


def _style(curves: Curves, strategy: Strategy) -> dict[str, Any]:
    sizes = sorted({s.paper_patch_size for s in curves.strategies}, reverse=True)
    k = min(sizes.index(strategy.paper_patch_size), len(_COLOURS) - 1)
    whole = strategy.sampling == "poisson_disc"
    return {
        "color": _COLOURS[k], "marker": _MARKERS[k], "ls": "-" if whole else (0, (4, 2)), "lw": 1.5, "ms": 5,
        "mfc": _COLOURS[k] if whole else "none", "mew": 1.2,
    }  # fmt: skip


SCRATCH: dict[str, Any] = {"color": LIGHT_BLUE, "lw": 3, "marker": "o", "ms": 5}
ALL_LABELS: dict[str, Any] = {"color": INK, "ls": ":", "lw": 1.5}


def _panel(axes: Axes, curves: Curves, strategies: Sequence[Strategy], name: str) -> None:
    lines = [(s.arm, _style(curves, s)) for s in strategies]
    dice_panel(axes, curves.statistics, curves.label_counts, lines, name)


def points(statistics: StudyStatistics, arm: str, class_name: str) -> list[tuple[int, float]]:
    """(index of the label fraction, mean Dice) of one arm, by rising fraction; what is missing is left out."""
    found = []
    for k, fraction in enumerate(statistics.label_fractions):
        entry = statistics.entry(fraction, class_name)
        if entry is not None and arm in entry.arms and not math.isnan(entry.arms[arm].mean):
            found.append((k, entry.arms[arm].mean))
    return found


def dice_panel(
    axes: Axes,
    statistics: StudyStatistics,
    label_counts: Mapping[float, int],
    lines: Sequence[tuple[str, Mapping[str, Any]]],
    name: str,
) -> None:
    """Dice of a class against the share of the labels, in equal steps: `lines` (arm, style), and from scratch behind.

    The dotted line is from scratch with all labels, where the study has that.
    """
    shift, fractions = -_DODGE * (len(lines) - 1) / 2, statistics.label_fractions
    places = range(len(fractions))

    def line(arm: str) -> list[float]:  # with a gap where a label fraction is missing, not a stroke across it
        found = dict(points(statistics, arm, name))
        return [found.get(j, math.nan) for j in places]

    for k, (arm, style) in enumerate(lines):
        axes.plot([j + shift + k * _DODGE for j in places], line(arm), **style)
    axes.plot(places, scratch := line(FROM_SCRATCH), zorder=1.9, **SCRATCH)
    if fractions[-1] == 1.0 and not math.isnan(scratch[-1]):
        axes.axhline(scratch[-1], zorder=1.8, **ALL_LABELS)
    counts = [label_counts.get(f) for f in fractions]
    known = all(c is not None for c in counts)
    labels = [percent(f) + (f"\n{c}" if known else "") for f, c in zip(fractions, counts, strict=True)]
    axes.set_xticks(places, labels)
    axes.set_xlim(-0.3, len(fractions) - 0.7)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(y=0.08)
    axes.set_ylabel("Dice")
    axes.set_xlabel("share of the labels" + (" and labelled subjects" if known else ""))


def _legend(figure: Figure, curves: Curves, strategies: Sequence[Strategy], panels: Sequence[Axes]) -> None:
    """A column for each sampling and one for the baselines, below the panels."""
    columns = []
    for sampling in dict.fromkeys(s.sampling for s in strategies):
        own = [s for s in strategies if s.sampling == sampling]
        columns.append(
            [(Line2D([], [], **_style(curves, s)), f"{patch_name(s)}, {sampling_name(sampling)}") for s in own]
        )
    baselines = [(Line2D([], [], **SCRATCH), "from scratch")]
    if any(line.get_linestyle() == ":" for axes in panels for line in axes.get_lines()):
        baselines.append((Line2D([], [], **ALL_LABELS), "from scratch, all labels"))
    columns.append(baselines)
    height = max(map(len, columns))
    nothing = (Line2D([], [], ls="none"), "")  # keeps the columns apart: a legend is filled column by column
    items = [item for column in columns for item in [*column, *[nothing] * (height - len(column))]]
    scaled = " (in brackets: the paper's, in images of 512 × 512)" if is_scaled(strategies) else ""
    legend = figure.legend(
        [handle for handle, _ in items], [text for _, text in items], loc="outside lower center", ncols=len(columns),
        title=f"patches in pixels{scaled}, sampling", fontsize=8.5, title_fontsize=8.5, handlelength=3.2,
    )  # fmt: skip
    legend.get_title().set_color(MUTED)


def _alt(curves: Curves, strategies: Sequence[Strategy], names: Sequence[str]) -> str:
    """Range of the strategies beside from scratch, for each class and label fraction."""
    parts = []
    for name in names:
        numbers = []
        for k, fraction in enumerate(curves.statistics.label_fractions):
            values = [y for s in strategies for x, y in curves.points(s.arm, name) if x == k]
            scratch = [y for x, y in curves.points(FROM_SCRATCH, name) if x == k]
            words = [f"from scratch {ratio(scratch[0])}"] if scratch else []
            words += [f"strategies {ratio(min(values))} to {ratio(max(values))}"] if values else []
            numbers.append(f"{percent(fraction)}: {', '.join(words) or 'nothing'}")
        parts.append(f"{'class average' if name == AVERAGE else name}: {'; '.join(numbers)}")
    return ". ".join(parts)


def _seeds(curves: Curves) -> str:
    runs = max((len(a.runs) for e in curves.statistics.entries for a in e.arms.values()), default=0)
    return f"means over subjects and {runs} runs (seeds)" if runs > 1 else "means over subjects, one run (seed) each"


def curves_of_task(curves: Curves, task: str) -> Drawing:
    """One panel a class (Figures 3 and 4 for context restoration, 8 and 9 for context prediction)."""
    strategies = [s for s in curves.strategies if s.task == task]
    columns = min(_COLUMNS, len(curves.classes))
    rows = math.ceil(len(curves.classes) / columns)
    figure = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] * rows + 1.5), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes, name in zip(panels, curves.classes, strict=False):
        _panel(axes, curves, strategies, name)
        axes.set_title(name, loc="left")
    for axes in panels[len(curves.classes) :]:
        axes.remove()
    _legend(figure, curves, strategies, panels[: len(curves.classes)])
    caption = (
        f"{capital(task_name(task))}: Dice of each class on the test scans, {_seeds(curves)}; label fractions in equal "
        "steps. Points are moved sideways a little so that none hides another."
    )
    alt = f"Dice of {task_name(task)} against the share of the labels. {_alt(curves, strategies, curves.classes)}"
    return Drawing(f"dice_of_{task}", figure, alt, caption)


def curves_of_average(curves: Curves) -> Drawing:
    """The class average, one panel a task with one scale."""
    tasks = curves.tasks
    figure = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] + 1.5), layout="constrained")
    panels = list(figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0])
    for axes, task in zip(panels, tasks, strict=True):
        _panel(axes, curves, [s for s in curves.strategies if s.task == task], AVERAGE)
        axes.set_title(capital(task_name(task)), loc="left")
    unique = {(s.paper_patch_size, s.sampling): s for s in reversed(curves.strategies)}
    shown = [s for s in curves.strategies if unique[(s.paper_patch_size, s.sampling)] == s]
    _legend(figure, curves, shown, panels)
    alt = f"Class-averaged Dice against the share of the labels. {_alt(curves, curves.strategies, [AVERAGE])}"
    caption = f"Class-averaged Dice on the test scans, {_seeds(curves)}; label fractions in equal steps."
    return Drawing("dice_of_strategies", figure, alt, caption)
