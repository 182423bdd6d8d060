"""The section "Is it worth it?": what pretraining gains, in labelled subjects (inpaint_ssl.statistics.label_curve)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.report.drawing import ARM_COLOURS, ARM_MARKERS, INK, Drawing, Picture
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.text import ARM_NAMES, labels_text, percent
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED
from inpaint_ssl.statistics.label_curve import FLOOR_COUNTS, ArmCurve, Equivalent, LabelCurves
from inpaint_ssl.statistics.label_statement import FARTHEST, labels_amount

TABLE = (
    "label_fraction", "labelled_subjects", "from_scratch_error", "pretrained_error", "from_scratch_curve",
    "pretrained_curve", "equivalent_labelled_subjects", "more_labelled_subjects", "more_lower", "more_upper",
    "extrapolated", "stated", "why_not_stated",
)  # fmt: skip
CURVE = (
    "scale", "exponent", "exponent_lower", "exponent_upper", "floor", "floor_lower", "floor_upper", "mean_exponent",
    "mean_exponent_lower", "mean_exponent_upper", "scatter",
)  # fmt: skip
# the first of these that puts 4 ticks on the axis
_TICKS = ((1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), tuple(np.arange(1, 10, 0.2)))


@dataclass(frozen=True)
class Worth:
    """What the section shows: one item (labels, gain, equivalent) per label fraction, or `line` where there is none."""

    picture: Picture | None
    items: tuple[tuple[str, str, Equivalent], ...]
    line: str
    note: str
    methods: str


def has_section(study: Study) -> bool:
    """A study that never asked for a curve (one label fraction, or one arm) has no section."""
    return len(study.label_curves.label_fractions) > 1


def worth(study: Study, pictures: Sequence[Picture]) -> Worth | None:
    """The section for this study, or None. `pictures`: what was drawn by `labels_saved`."""
    found = study.label_curves
    if not has_section(study):
        return None
    if found.reason:
        return Worth(None, (), f"No statement: {found.reason}.", "", "")
    items = tuple((labels_text(study, e.label_fraction), gained(e), e) for e in found.equivalents)
    statements = {e.statement for e in found.equivalents}
    same = statements.pop() if len(statements) == 1 else ""  # the curves as a whole say nothing
    return Worth(pictures[0], () if same else items, same, _note(found), _methods(found))


def gained(e: Equivalent) -> str:
    """For example "+14", or a dash where no number may be stated."""
    return "–" if e.unsupported else f"+{labels_amount(e.more)}"


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}".replace("-", "\N{MINUS SIGN}")


def _note(found: LabelCurves) -> Markup:
    def of(curve: ArmCurve) -> Markup:
        floor = f" + {curve.floor:.3f}" if found.with_floor else ""
        floors = f", floor {curve.floor_interval[0]:.3f} to {curve.floor_interval[1]:.3f}" if found.with_floor else ""
        exponent = f"{-curve.exponent:.2f}".replace("-", "\N{MINUS SIGN}")
        name, ends = ARM_NAMES[curve.arm], _interval(curve.exponent_interval)
        law = Markup("{} {:.3g} <i>n</i><sup>{}</sup>{}").format(name, curve.scale, exponent, floor)
        return law + f" (exponent {ends}{floors}; scatter {100 * curve.scatter:.1f} %)"

    left_out = f" {found.n_excluded} classes of scans without a value in every run are left out." * bool(
        found.n_excluded
    )
    return Markup("Curves of the Dice error: {}. {}").format(
        Markup("; ").join(of(c) for c in found.curves),
        f"{percent(found.level)} intervals over "
        f"{found.n_subjects} test subjects; they do not cover other draws of the labelled subjects.{left_out}",
    )


def _methods(found: LabelCurves) -> str:
    floor = (
        "with c ≥ 0" if found.with_floor else f"with c = 0, as fewer than {FLOOR_COUNTS} numbers of labels were used"
    )
    return (
        "Labels saved: for each arm the mean Dice error (1 − class-averaged Dice, on the classes of scans that have a "
        "value in every run) was fitted against the number n of labelled subjects as a·n^(−b) + c, "
        f"{floor}, by least squares of the relative deviations. The number of labels that pretraining is worth is the "
        "number with which the curve from scratch reaches the error of the pretrained curve, minus n. Intervals are "
        f"percentiles over {found.bootstrap.resamples:,} resamples of the test subjects (seed {found.bootstrap.seed}), "
        "both arms and all label fractions drawn together. A number is stated only if the error from scratch falls "
        "and the gain in labels is positive within their intervals, the errors scatter little around the curves, the "
        "curves agree with the measured gain, and the number lies within "
        f"{FARTHEST:g} times the largest number of labels; beyond the largest it is called extrapolated."
    )


def labels_saved(study: Study) -> list[Drawing]:
    """Both arms' Dice error against labelled subjects with their curves, and steps from one to the other."""
    found = study.label_curves
    if not found.curves or not has_section(study):
        return []
    stated = [e for e in found.equivalents if not e.unsupported]
    largest = max(e.n_labels for e in found.equivalents)
    end = max([largest, *(e.n_equivalent for e in stated)])
    figure = Figure(figsize=(5.6, 4.3), layout="constrained")
    axes = figure.add_subplot()
    shown = found.grid <= (end * 1.1 if end > largest else largest)
    for curve in found.curves:
        colour, label = ARM_COLOURS[curve.arm], ARM_NAMES[curve.arm]
        lower, upper = curve.band
        axes.fill_between(found.grid[shown], lower[shown], upper[shown], color=colour, alpha=0.16, lw=0, zorder=1)
        inside, beyond = found.grid <= largest, shown & (found.grid >= largest)
        axes.plot(found.grid[inside], curve.curve[inside], color=colour, zorder=3)
        axes.plot(found.grid[beyond], curve.curve[beyond], color=colour, ls=(0, (3, 2)), lw=1.6, zorder=3)
        points = [(e.n_labels, e.measured[curve.arm]) for e in found.equivalents]
        axes.plot(*zip(*points, strict=True), ARM_MARKERS[curve.arm], color=colour, ms=6.5, zorder=4, label=label)
    _scales(axes, found, max((e.n_equivalent for e in stated), default=1.0))
    for e in stated:
        _step(axes, e)
    axes.legend(loc="upper right")
    beyond_words = "; dashed: beyond the largest number" if end > largest else ""
    caption = (
        f"Mean Dice error over subjects and classes, both axes logarithmic. Lines: power laws{beyond_words}; bands: "
        f"pointwise {percent(found.level)} intervals over test subjects. Arrows: how many more labelled subjects from "
        "scratch would equal pretraining, where that can be said."
    )
    alt = " ".join(f"{percent(e.label_fraction)} of the labels: {e.statement}" for e in found.equivalents)
    words = "Dice error of both arms against the number of labelled subjects, with fitted curves."
    return [Drawing("labels_saved", figure, f"{words} {alt}", caption)]


def _step(axes: Axes, e: Equivalent) -> None:
    y = e.fitted[PRETRAINED]
    line = (0, (3, 2)) if e.extrapolated else "-"
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": INK, "lw": 1.3, "ls": line, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(e.n_equivalent, y), xytext=(e.n_labels, y), arrowprops=arrow, zorder=5)
    axes.annotate(
        gained(e), xy=(e.n_equivalent, y), xytext=(4, -1), textcoords="offset points", ha="left", va="bottom",
        color=INK, fontsize=9, fontweight="bold", zorder=6,
    )  # fmt: skip


def _scales(axes: Axes, found: LabelCurves, end: float) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks: dict[int, list[str]] = {}
    for e in found.equivalents:  # tiny data sets: two fractions can be the same number of subjects
        ticks.setdefault(e.n_labels, []).append(percent(e.label_fraction))
    axes.set_xticks(list(ticks), [f"{n}\n{', '.join(names)}" for n, names in ticks.items()])
    room = (end / min(ticks)) ** 0.16  # for a number at the tip of an arrow
    axes.set_xlim(min(ticks) / 1.25, max(max(ticks) * 1.25, end * room))
    bottom, top = axes.get_ylim()
    inside: list[float] = []
    for steps in _TICKS:
        if len(inside) < 4:
            inside = [y for k in range(-5, 1) for t in steps if bottom <= (y := t * 10.0**k) <= top]
    axes.set_yticks(inside, [f"{y:.3g}" for y in inside])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("labelled subjects (share of the training set)")
    axes.set_ylabel("Dice error (1 \N{MINUS SIGN} Dice)")


def write_label_curve(study: Study) -> None:
    """Write tables/label_curve.csv where curves were fitted: label fractions with, in every row, the curves' numbers.

    Errors are 1 - Dice; an infinite number of labels is "inf". `stated`: may more_labelled_subjects be stated?
    """
    found = study.label_curves
    if not found.curves or not has_section(study):
        return
    columns = (*TABLE, *(f"{arm}_{name}" for arm in (FROM_SCRATCH, PRETRAINED) for name in CURVE))
    curves: dict[str, float] = {}
    for c in found.curves:
        floor = (c.floor, *c.floor_interval)
        values = (c.scale, c.exponent, *c.exponent_interval, *floor, c.mean_exponent, *c.mean_exponent_interval)
        curves |= {f"{c.arm}_{name}": v for name, v in zip(CURVE, (*values, c.scatter), strict=True)}
    rows = []
    for e in found.equivalents:
        errors = [of[arm] for of in (e.measured, e.fitted) for arm in (FROM_SCRATCH, PRETRAINED)]
        words = ("yes" if e.extrapolated else "no", "no" if e.unsupported else "yes", e.unsupported)
        numbers = (e.label_fraction, e.n_labels, *errors, e.n_equivalent, e.more, *e.more_interval)
        rows.append(dict(zip(TABLE, (*numbers, *words), strict=True)) | curves)
    write_csv_atomic(study.workdir / "tables" / "label_curve.csv", columns, rows)
