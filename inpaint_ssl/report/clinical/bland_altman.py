"""Bland-Altman plots of clinical metrics: a row per class, both arms side by side, at few and at all labels."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from inpaint_ssl.metrics import QUANTITIES
from inpaint_ssl.report.clinical.shown import shown_metrics
from inpaint_ssl.report.clinical.text import limits_text, pairs_text, signed_amount
from inpaint_ssl.report.drawing import ARM_COLOURS, ARM_MARKERS, INK, MUTED, Drawing
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.panels import SMALL, Sheet, Spaces, empty, sheet, shortened
from inpaint_ssl.report.text import ARM_NAMES, percent
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED, Agreement

_ARMS = (FROM_SCRATCH, PRETRAINED)
_WIDTH, _COLUMN_GAP = 2.3, 0.2  # inches of a panel and between those of a pair
_Column = tuple[float, str]  # label fraction, arm


def bland_altman_plots(study: Study) -> list[Drawing]:
    """One drawing per clinical metric, at the smallest and at the largest label fraction."""
    return [_drawing(study, metric) for metric in shown_metrics(study)]


def _drawing(study: Study, metric: str) -> Drawing:
    fractions = study.statistics.label_fractions
    shown = sorted({min(fractions), max(fractions)})
    arms = [arm for arm in _ARMS if any(a.arm == arm for a in study.agreements)]
    columns = [(fraction, arm) for fraction in shown for arm in arms]
    s = Spaces(
        *(_WIDTH, 1.5), left=0.95, right=0.12, top=1.2, bottom=0.58, column_gap=_COLUMN_GAP, row_gap=1.18,
        group=len(arms), group_gap=0.62,
    )  # fmt: skip
    made = sheet(len(study.class_names), len(columns), s)
    sentences = []
    for row, name in enumerate(study.class_names):
        entries = [study.agreement(metric, *(fraction, name, arm)) for fraction, arm in columns]
        _heading(made, row, name)
        for first in range(0, len(columns), len(arms)):
            _pair(made, row, first, entries[first : first + len(arms)], metric)
        values = [_values(metric, column, a) for column, a in zip(columns, entries, strict=True) if a and a.pairs]
        sentences.append(f"{name}: {'; '.join(values) or 'no defined value'}")
    _words(made, columns, metric)
    title, unit = QUANTITIES[metric].title, QUANTITIES[metric].symbol
    alt = f"Bland-Altman plots of {title}, bias and 95 % limits of agreement in {unit}. {'. '.join(sentences)}."
    return Drawing(f"bland_altman_{metric}", made.figure, alt, _caption(study, title, shown))


def _values(metric: str, column: _Column, a: Agreement) -> str:
    where = f"{ARM_NAMES[column[1]]} with {percent(column[0])} of the labels"
    return f"{where} {signed_amount(a.difference.bias)} ({limits_text(a.difference)}) {QUANTITIES[metric].symbol}"


def _caption(study: Study, title: str, fractions: Sequence[float]) -> str:
    runs = max((a.n_runs for a in study.agreements), default=1)
    pair = f"test scan by one of {runs} runs" if runs > 1 else "test scan"
    where = " and ".join(percent(fraction) for fraction in fractions)
    caption = (
        f"Prediction − truth of {title} against their mean with {where} of the labels; each point is one pair: a "
        f"{pair}. Solid: bias; dashed: 95 % limits of agreement (bias ± 1.96 standard deviations); grey: no "
        "difference. Every class and label fraction has its own scale, which both arms share."
    )
    combined = " Bias and standard deviation are those of single runs: bias averaged, deviation the root mean square."
    return caption + combined if runs > 1 else caption


def _heading(made: Sheet, row: int, name: str) -> None:
    x, y = made.corner(row, 0)
    width = float(made.figure.get_size_inches()[0]) - x
    made.write(x, y - 0.62, shortened(name, width), fontsize=9.5, fontweight="bold", color=INK)


def _pair(made: Sheet, row: int, first: int, entries: Sequence[Agreement | None], metric: str) -> None:
    """The arms at one label fraction, from column `first` on, with the same axes."""
    low, high, bottom, top = _limits([a for a in entries if a is not None])
    for column, a in enumerate(entries, first):
        axes = made.axes[row][column]
        axes.set_xlim(low, high)
        axes.set_ylim(bottom, top)
        _ticks(axes)
        axes.tick_params(labelleft=column == first)
        if a is None or not a.pairs:
            empty(axes, "not evaluated" if a is None else f"no defined value ({a.n_excluded} undefined)")
            continue
        _panel(axes, a)
        x, y = made.corner(row, column)
        unit = QUANTITIES[metric].symbol
        lines = (f"bias {signed_amount(a.difference.bias)} {unit}", f"limits {limits_text(a.difference)} {unit}", _n(a))
        for line, height in zip(lines, (0.42, 0.26, 0.1), strict=True):
            made.write(x, y - height, line, color=MUTED)


def _n(a: Agreement) -> str:
    if a.n_runs > 1:
        return f"n = {pairs_text(a)}, {a.n_runs} runs"
    return f"n = {pairs_text(a)}" if a.n_excluded else f"n = {a.error.n_scans}"


def _limits(entries: Sequence[Agreement]) -> tuple[float, float, float, float]:
    """Axes of both arms: all points, limits of agreement and zero, with a margin."""
    pairs = [pair for a in entries for pair in a.pairs]
    if not pairs:
        return 0.0, 1.0, -1.0, 1.0
    means = [(p.prediction + p.truth) / 2 for p in pairs]
    lines = [limit for a in entries if a.pairs for limit in (a.difference.lower_limit, a.difference.upper_limit)]
    heights = [0.0, *(p.prediction - p.truth for p in pairs), *(v for v in lines if math.isfinite(v))]
    x, y = (max(max(v) - min(v), 1e-6 * max(map(abs, v)), 1e-9) for v in (means, heights))
    return min(means) - 0.06 * x, max(means) + 0.06 * x, min(heights) - 0.08 * y, max(heights) + 0.08 * y


def _ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(FixedLocator(_places(*axes.get_xlim())))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _label(x)))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: f"{y:+,.10g}".replace("-", "\N{MINUS SIGN}") if y else "0")
    )


def _label(x: float) -> str:
    return f"{x:,.10g}".replace("-", "\N{MINUS SIGN}")


def _places(low: float, high: float) -> list[float]:
    """Ticks of a horizontal axis whose labels keep clear of each other and of the neighbouring panel's."""
    inches = _WIDTH / (high - low)
    edge = _COLUMN_GAP / 2 - 0.03  # how far a label may reach beyond the panel
    clear: list[list[float]] = [[]]
    for most in (4, 3, 2, 1):
        for steps in ([1, 2, 5, 10], [1, 2.5, 4, 5, 10]):
            widths = {
                float(x): 0.64 * SMALL / 72 * len(_label(x))  # a digit is as wide as 0.64 of its height
                for x in MaxNLocator(most, steps=steps).tick_values(low, high)
            }
            ticks = [x for x, w in widths.items() if min(x - low, high - x) * inches + edge >= w / 2]
            room = [(b - a) * inches - (widths[a] + widths[b]) / 2 for a, b in pairwise(ticks)]
            if min(room, default=1.0) >= 0.06:
                clear.append(ticks)
    return max(clear, key=len)


def _panel(axes: Axes, a: Agreement) -> None:
    colour, b = ARM_COLOURS[a.arm], a.difference
    predicted, true = (np.array([getattr(pair, name) for pair in a.pairs]) for name in ("prediction", "truth"))
    axes.axhline(0.0, color=MUTED, lw=1, zorder=1)
    if math.isfinite(b.sd):
        axes.axhspan(b.lower_limit, b.upper_limit, color=colour, alpha=0.08, lw=0, zorder=0)
        for limit in (b.lower_limit, b.upper_limit):
            axes.axhline(limit, color=colour, lw=1.3, ls=(0, (4, 2.5)), zorder=2)
    axes.axhline(b.bias, color=colour, lw=1.7, zorder=2)
    style: dict[str, Any] = {"ms": 4.2, "mfc": "none", "mec": colour, "mew": 1.0, "zorder": 3}
    axes.plot((predicted + true) / 2, predicted - true, ARM_MARKERS[a.arm], **style)


def _words(made: Sheet, columns: Sequence[_Column], metric: str) -> None:
    height = float(made.figure.get_size_inches()[1])
    q, s = QUANTITIES[metric], made.spaces
    for column, (fraction, arm) in enumerate(columns):
        x, _ = made.corner(0, column)
        marker = Line2D([], [], color=ARM_COLOURS[arm], marker=ARM_MARKERS[arm], ls="none", mfc="none", ms=6, mew=1.2)
        place = (x / float(made.figure.get_size_inches()[0]), 1 - 0.06 / height)
        words = f"{ARM_NAMES[arm]}, {percent(fraction)} of labels"
        made.figure.legend(
            handles=[marker], labels=[words], loc="upper left", bbox_to_anchor=place, fontsize=9, handlelength=0.9,
            borderaxespad=0, borderpad=0, handletextpad=0.4,
        )  # fmt: skip
    middle = s.top + (height - s.top - s.bottom) / 2
    y_label = f"prediction − truth ({q.symbol})"
    made.write(0.14, middle, y_label, rotation=90, ha="center", va="center", fontsize=9)
    x_label = f"mean of prediction and truth: {q.title} ({q.symbol})"
    made.write(s.left, height - 0.14, x_label, color=MUTED, fontsize=8.5)
