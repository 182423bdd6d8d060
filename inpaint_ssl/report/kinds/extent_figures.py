"""Figure 5 of the paper, and the curves of Dice error against the number of pretraining scans."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from inpaint_ssl.report.drawing import INK, Drawing
from inpaint_ssl.report.text import percent, ratio
from inpaint_ssl.statistics.extents import ExtentStatistics
from inpaint_ssl.statistics.unlabelled_curve import FARTHEST, UnlabelledCurves

# apart for every common kind of colour blindness, and on a dark page; markers differ as well
_LOOKS = (
    ("#d55e00", "o"), ("#009e73", "s"), ("#0072b2", "^"), ("#cc79a7", "D"), ("#7f7f7f", "v"), ("#e69f00", "P"),
)  # fmt: skip
_NEAREST = 0.09  # of the axis: extents that lie closer get places of equal distance


def _look(k: int) -> tuple[str, str]:
    return _LOOKS[k % len(_LOOKS)]


def _places(extents: tuple[float, ...]) -> tuple[list[float], bool]:
    """Where extents lie on the axis, and whether they are to scale: labels of close ones would hide each other."""
    gaps = np.diff(extents)
    if gaps.size and gaps.min() < _NEAREST * (extents[-1] - extents[0]):
        return [float(k) for k in range(len(extents))], False
    return list(extents), True


def figure_5(found: ExtentStatistics) -> Drawing | None:
    """Class-averaged Dice of the test scans against the pretraining data, one line per label fraction; None without.

    0 % is from scratch; the dotted black line is from scratch with all labels (paper, figure 5).
    """
    if not found.means:
        return None
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    places, to_scale = _places(found.extents)
    place = dict(zip(found.extents, places, strict=True))
    words = []
    for k, f in enumerate(found.label_fractions):
        points = [(x, found.means[f, x].mean) for x in found.extents if (f, x) in found.means]
        colour, marker = _look(k)
        xs, means = [place[x] for x, _ in points], [mean for _, mean in points]
        axes.plot(xs, means, f"-{marker}", color=colour, ms=6, label=percent(f), zorder=3)
        shown = "; ".join(f"{percent(x)} {ratio(mean)}" for x, mean in points)
        words.append(f"{percent(f)} of the labels: {shown}")
    if (all_labels := found.means.get((1.0, 0.0))) is not None:
        axes.axhline(all_labels.mean, color=INK, ls=":", lw=1.5, label="from scratch,\nall labels", zorder=2)
    axes.set_xticks(places, [percent(x) for x in found.extents])
    axes.margins(x=0.06, y=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel("pretraining data (share of the training set)")
    axes.set_ylabel("Dice, mean over subjects and classes")
    handles, names = axes.get_legend_handles_labels()
    in_order = [k for k in reversed(range(len(found.label_fractions)))] + list(
        range(len(found.label_fractions), len(names))
    )
    figure.legend(
        [handles[k] for k in in_order], [names[k] for k in in_order], title="labels", loc="outside right center"
    )
    scale = "" if to_scale else " Places of the extents are not to scale."
    caption = (
        "Class-averaged Dice on the test scans against the amount of pretraining data, one line per share of the "
        f"labels (paper, figure 5). 0 %: from scratch; 100 %: the training set alone.{scale}"
    )
    alt = "Dice against the amount of pretraining data. " + ". ".join(words)
    return Drawing("figure_5_pretraining_data", figure, alt, caption)


def curves_figure(found: UnlabelledCurves) -> Drawing | None:
    """Dice error against the number of pretraining scans with power laws, both axes logarithmic; None without."""
    if not found.curves:
        return None
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for k, c in enumerate(found.curves):
        colour, marker = _look(k)
        largest = c.n.max()
        inside, beyond = found.grid <= largest, (found.grid >= largest) & (not c.unsupported)
        shown = inside | beyond
        axes.fill_between(
            found.grid[shown], c.band[0][shown], c.band[1][shown], color=colour, alpha=0.14, lw=0, zorder=1
        )
        axes.plot(found.grid[inside], c.curve[inside], color=colour, zorder=3)
        axes.plot(found.grid[beyond], c.curve[beyond], color=colour, ls=(0, (3, 2)), lw=1.5, zorder=3)
        axes.plot(c.n, c.measured, marker, color=colour, ms=6, label=percent(c.label_fraction), zorder=4)
    _logarithmic(axes, sorted({float(n) for c in found.curves for n in c.n}))
    axes.set_xlabel(f"pretraining {found.unit}")
    axes.set_ylabel("Dice error (1 \N{MINUS SIGN} Dice)")
    figure.legend(title="labels", loc="outside right center")
    caption = (
        "Mean Dice error over test subjects and classes against the number of pretraining scans, both axes "
        f"logarithmic. Lines: power laws, dashed up to {FARTHEST:g} times the largest number where a statement is "
        f"supported; bands: pointwise {percent(found.level)} intervals over test subjects."
    )
    alt = " ".join(f"{percent(c.label_fraction)} of the labels: {c.statement}" for c in found.curves)
    return Drawing("unlabelled_curve", figure, f"Dice error against pretraining {found.unit}. {alt}", caption)


def _logarithmic(axes: Axes, numbers: list[float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    span = np.log(FARTHEST * numbers[-1] / numbers[0])
    ticks: list[float] = []
    for n in (FARTHEST * numbers[-1], *reversed(numbers)):  # numbers that lie too close would hide each other
        if not ticks or np.log(ticks[-1] / n) > _NEAREST * span:
            ticks.append(n)
    axes.set_xticks(ticks, [f"{n:,.0f}" for n in ticks])
    bottom, top = axes.get_ylim()
    inside = [y for y in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(bottom, top) if bottom <= y <= top]
    axes.set_yticks(inside, [f"{y:.3g}" for y in inside])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
