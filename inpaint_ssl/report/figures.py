"""Curves: Dice against labels (paper, figures 3 and 4) and losses against steps."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from inpaint_ssl.report.drawing import ARM_COLOURS, ARM_MARKERS, INK, MUTED, Drawing, file_name
from inpaint_ssl.report.load import History, Study
from inpaint_ssl.report.text import ARM_NAMES, percent, ratio
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED

_ARMS = (FROM_SCRATCH, PRETRAINED)


def _positions(study: Study) -> dict[float, float]:
    """Place of each label fraction on the axis: its number of subjects, or the fraction when one number is unknown."""
    counts = {f: study.labelled(f) for f in study.statistics.label_fractions}
    known = all(counts.values())
    return {f: float(counts[f] or 0) if known else f for f in counts}


def _label_axis(axes: Axes, study: Study, positions: dict[float, float]) -> None:
    axes.set_xscale("log")
    ticks: dict[float, list[str]] = {}
    for fraction, x in positions.items():  # tiny data sets: two fractions can be the same number of subjects
        ticks.setdefault(x, []).append(percent(fraction))
    counted = all(study.labelled(f) for f in positions)
    labels = [(f"{x:g}\n" if counted else "") + ", ".join(names) for x, names in ticks.items()]
    axes.set_xticks(list(ticks), labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(ticks) / 1.35, max(ticks) * 1.35)
    axes.set_xlabel(
        "labelled subjects (share of the training set)" if counted else "labelled share of the training set"
    )


def _dice_axes(axes: Axes, study: Study, name: str) -> None:
    positions = _positions(study)
    for arm in _ARMS:
        entries = [(f, study.statistics.entry(f, name)) for f in study.statistics.label_fractions]
        found = [(f, e.arms[arm]) for f, e in entries if e is not None and arm in e.arms]
        points = [(positions[f], summary) for f, summary in found if not math.isnan(summary.mean)]
        colour, marker = ARM_COLOURS[arm], ARM_MARKERS[arm]
        shift = 0.975 if arm == FROM_SCRATCH else 1.025  # so that seeds of the arms do not hide each other
        for x, summary in points:
            if len(summary.runs) > 1:
                values = [run.mean for run in summary.runs]
                axes.plot([x * shift] * len(values), values, marker, ms=4, mfc="none", mec=colour, mew=1.2, zorder=3)
        means = [summary.mean for _, summary in points]
        axes.plot([x for x, _ in points], means, f"-{marker}", color=colour, ms=6.5, label=ARM_NAMES[arm], zorder=4)
        if arm == FROM_SCRATCH and found and found[-1][0] == 1.0 and len(found) > 1 and points:
            axes.axhline(means[-1], color=INK, ls=":", lw=1.4, label="from scratch, all labels", zorder=2)
    _label_axis(axes, study, positions)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(y=0.12)
    axes.set_ylabel("Dice")


def _dice_alt(study: Study, name: str) -> str:
    parts = []
    for fraction in study.statistics.label_fractions:
        entry = study.statistics.entry(fraction, name)
        values = [f"{ARM_NAMES[a]} {ratio(entry.arms[a].mean)}" for a in _ARMS if entry and a in entry.arms]
        parts.append(f"{percent(fraction)}: {', '.join(values)}")
    what = "averaged over classes" if name == AVERAGE else f"of {name}"
    return f"Mean Dice {what} against the number of labelled subjects. " + "; ".join(parts)


def _seeds(study: Study) -> str:
    runs = max((len(a.runs) for e in study.statistics.entries for a in e.arms.values()), default=0)
    many = f"Open markers: each of the {runs} runs (seeds); filled markers and lines: their mean."
    return many if runs > 1 else "One run (seed) per arm."


def dice_against_labels(study: Study) -> Drawing | None:
    """Class-averaged Dice of both arms against the number of labelled subjects; None without results."""
    if not study.statistics.entries:
        return None
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    _dice_axes(axes, study, AVERAGE)
    axes.legend(loc="lower right")
    axes.set_ylabel("Dice, mean over subjects and classes")
    caption = f"Class-averaged Dice on the test scans. {_seeds(study)}"
    return Drawing("dice_against_labels", figure, _dice_alt(study, AVERAGE), caption)


def dice_of_classes(study: Study) -> list[Drawing]:
    """One panel per class, as in figures 3 and 4 of the paper; none for a single class, which the average shows."""
    drawings = []
    for k, name in enumerate(study.class_names if len(study.class_names) > 1 else ()):
        figure = Figure(figsize=(4.4, 3.1), layout="constrained")
        axes = figure.add_subplot()
        _dice_axes(axes, study, name)
        axes.set_title(name, loc="left")
        if k == 0:
            axes.legend(loc="best", fontsize=8)
        drawings.append(Drawing(f"dice_{k + 1:02d}_{file_name(name)}", figure, _dice_alt(study, name), ""))
    return drawings


def loss_curves(study: Study) -> list[Drawing]:
    """Training and validation loss: one panel for pretraining, one per label fraction for fine-tuning."""
    drawings = []
    pretraining = [h for h in study.histories if h.cell["phase"] == "pretrain"]
    if pretraining:
        groups = [(h, ARM_COLOURS[PRETRAINED]) for h in pretraining]
        drawings.append(_losses("loss_pretraining", "Pretraining", "loss (mean L2 norm)", groups, arms=False))
    finetuning = [h for h in study.histories if h.cell["phase"] == "finetune"]
    for fraction in sorted({h.cell["label_fraction"] for h in finetuning}):
        groups = [
            (h, ARM_COLOURS[h.cell["arm"]])
            for h in finetuning
            if h.cell["label_fraction"] == fraction and h.cell["arm"] in ARM_COLOURS
        ]
        name = f"loss_finetuning_{file_name(f'{100 * fraction:g}')}"
        title = f"Fine-tuning, {percent(fraction)} of the labels"
        drawings.append(_losses(name, title, "Dice loss", groups, arms=True))
    return drawings


def _losses(name: str, title: str, label: str, groups: Sequence[tuple[History, str]], *, arms: bool) -> Drawing:
    figure = Figure(figsize=(4.4, 3.1), layout="constrained")
    axes = figure.add_subplot()
    for history, colour in groups:
        axes.plot(*history.train, color=colour, lw=0.9, alpha=0.55)
        axes.plot(*history.validation, color=colour, lw=1.9)
        best: tuple[Any, Any] = (history.cell.get("best_step"), history.cell.get("best_validation_loss"))
        if None not in best:
            axes.plot(*best, "o", color=colour, ms=5.5, mec=INK, mew=0.8, zorder=5)
    if not arms:
        tidy_log_scale(axes, [h for h, _ in groups])
    axes.set_title(title, loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    handles = [Line2D([], [], color=MUTED, lw=0.9), Line2D([], [], color=MUTED, lw=1.9)]
    names = ["training", "validation"]
    if arms:
        handles += [Line2D([], [], color=ARM_COLOURS[arm], lw=3) for arm in _ARMS]
        names += [ARM_NAMES[arm] for arm in _ARMS]
    axes.legend(handles, names, loc="upper right", fontsize=8)
    last = [f"{h.cell['name']} {min(h.validation[1]):.4g}" for h, _ in groups if h.validation[1]]
    return Drawing(name, figure, f"{title}: loss against step. Smallest validation loss: {'; '.join(last)}", "")


def tidy_log_scale(axes: Axes, histories: Sequence[History]) -> None:
    """Make the axis of losses logarithmic where they span more than a factor of four."""
    losses = [loss for h in histories for loss in (*h.train[1], *h.validation[1])]
    if losses and min(losses) > 0 and max(losses) > 4 * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
