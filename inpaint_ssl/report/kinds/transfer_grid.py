"""What a transfer grid contributes to its report: Figure 7 of the paper, a table of all arms, and the verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from inpaint_ssl.report.drawing import INK, MUTED, RULE, Drawing
from inpaint_ssl.report.kinds.strategy_text import plural
from inpaint_ssl.report.load import read_rows
from inpaint_ssl.report.parts import MISSING, Column, Entry, StudyPart, TableView
from inpaint_ssl.report.text import p_text, percent, ratio, signed
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.transfer_grid import (
    FIRST_RUN,
    MARGIN,
    SECOND_RUN,
    GridResult,
    GridStatistics,
    arm_words,
    effect,
    rate_text,
    reason,
    transfer_statistics,
)

# Okabe and Ito, in the order of FIRST_RUN and SECOND_RUN
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # apart on a dark page too, where the first two become lighter
_MEDIAN = "#14171a"  # dark on a dark page too, as the boxes keep their colours
_STEP = 0.2  # between the boxes of one rate, whose places are 1 apart
_WORDS = {("encoder",): "encoder", ("encoder", "decoder"): "encoder and decoder"}


def part(workdir: Path, info: Mapping[str, Any]) -> StudyPart:
    """The verdict, Figure 7 (test scans) and the table of all arms (paper, sections 2.5.1 and 6.2).

    workdir: the study's folder, whose per_scan.csv may be missing; info: study.json with defaults. Arms that are not
    there yet are marked. InputError for rows that are none.
    """
    rows = read_rows(workdir / "per_scan.csv")
    arms, alpha, how = info.get("arms", []), float(info.get("alpha", 0.05)), Bootstrap(**info.get("bootstrap", {}))
    split = str(info.get("select_on", "validation"))
    selection = transfer_statistics(rows, arms, split, alpha, how)
    test = selection if split == "test" else transfer_statistics(rows, arms, "test", alpha, how)
    shown = test if test.best is not None else selection
    if shown.best is None:
        caution = "No arm of the grid has been evaluated."
        return StudyPart("No segmentation results yet.", cautions=(caution,))
    return StudyPart(
        headline=_headline(selection),
        statements=tuple(_statements(selection, test)),
        cautions=tuple(_cautions(selection)),
        tables=(_table(selection, test),),
        figures=(_figure_7(shown, selection),),
    )


def _headline(found: GridStatistics) -> str:
    chosen = found.chosen
    if chosen is None or chosen.found is None:
        return f"Nothing was selected: no arm has values on the {found.split} scans."
    arm, rates = chosen.arm, [rate_text(rate) for rate in chosen.arm.learning_rates]
    if arm.freeze:
        again = f", then train all weights at {rates[1]}" if arm.runs > 1 else ""
        how = f"train the other weights at {rates[0]}{again}"
    else:
        how = f"fine-tune at once with a learning rate of {rates[0]}" + (
            f", again at {rates[1]}" if arm.runs > 1 else ""
        )
    what = "the best of all arms" if chosen is found.best else f"within {MARGIN:g} of the best arm"
    weights = _WORDS.get(arm.parts, " and ".join(arm.parts))
    return (
        f"Transfer the {weights}{' frozen' if arm.freeze else ''} and {how} ({arm.design}): Dice "
        f"{ratio(chosen.found.mean)} on the {found.split} scans, {what}."
    )


def _statements(selection: GridStatistics, test: GridStatistics) -> list[str]:
    found, sentences = selection if selection.best else test, [reason(selection)]
    once = [r for r in found.results if r.found and r.arm.runs == 1]
    twice = [r for r in found.results if r.found and r.arm.runs == 2]
    if once and twice:
        first, second = max(once, key=_mean), max(twice, key=_mean)
        gain = _mean(second) - _mean(first)
        sentences.append(
            f"On the {found.split} scans the best arm of two training runs, {arm_words(second.arm)}, differs from the "
            f"best of one, {arm_words(first.arm)}, by {signed(gain)} in mean Dice."
        )
    if pairs := effect(found, "parts"):
        sentences.append(
            f"The encoder alone instead of encoder and decoder changed Dice by {signed(pairs.mean_difference)} on "
            f"average over {pairs.n_pairs} otherwise equal pairs of arms, and was better in {pairs.n_better} of them."
        )
    if pairs := effect(found, "freeze"):
        sentences.append(
            f"Freezing the transferred weights in the first run changed Dice by {signed(pairs.mean_difference)} on "
            f"average over {pairs.n_pairs} otherwise equal pairs of arms, and was better in {pairs.n_better} of them."
        )
    chosen = selection.chosen and test.of(selection.chosen.arm.name)
    if test is not selection and chosen and chosen.found and test.best and test.best.found:
        sentences.append(
            f"On the {plural(chosen.found.n_subjects, 'test subject')}, which had no part in the choice, the "
            f"chosen arm has a mean Dice of {ratio(_mean(chosen))}; the highest there is {ratio(_mean(test.best))} "
            f"({arm_words(test.best.arm)})."
        )
    return [sentence for sentence in sentences if sentence]


def _mean(result: GridResult) -> float:
    return result.found.mean if result.found else 0.0


def _cautions(found: GridStatistics) -> list[str]:
    cautions = [text[0].upper() + text[1:] + "." for text in found.warnings]
    there = [r.found for r in found.results if r.found]
    if there and max(r.n_runs for r in there) == 1:
        cautions.append("One run per arm: the tests cover differences between subjects, not between training runs.")
    if len(there) > 1:
        cautions.append(
            f"The best of {len(there)} arms was picked on the {found.split} scans, so its Dice there is somewhat too "
            "high."
        )
    return cautions


def _columns(selection: GridStatistics, *, two: bool) -> tuple[Column, ...]:
    split, level = selection.split, percent(1 - selection.alpha)
    columns = [
        Column("design", "design", False), Column("parts", "transferred", False),
        Column("first_rate", "first run"), Column("second_rate", "second run"), Column("steps", "steps"),
        Column(f"{split}_dice", f"Dice, {split}"), Column(f"{split}_sd", "sd"),
        Column(f"{split}_subjects", "subjects"), Column("difference", "to the best"),
        Column("difference_lower", f"{level} from"), Column("difference_upper", "to"), Column("p", "p"),
        Column("p_holm", "p (Holm)"), Column("effect_size", "effect size"), Column("zeros", "zeros"),
        Column("as_good", "as good", False),
    ]  # fmt: skip
    test = (Column("test_dice", "Dice, test"), Column("test_sd", "sd"), Column("test_subjects", "subjects"))
    return (*columns, *(test if two else ()))


def _table(selection: GridStatistics, test: GridStatistics) -> TableView:
    two, split = test is not selection, selection.split
    results = sorted(selection.results, key=lambda r: -_mean(r))
    rows = []
    for r in results:
        counterpart = test.of(r.arm.name) if two else None
        rows.append((*_row(r, selection), *(_values(counterpart) if two else ())))
    note = (
        f"Mean and standard deviation over {split} subjects of class-averaged Dice. To the best: the arm minus the "
        "best one on the subjects of both, with bootstrap interval (BCa). p: one-sided Wilcoxon signed-rank test that "
        "the best is higher, beside it adjusted over all other arms (Holm); effect size: matched-pairs rank-biserial "
        f"correlation of that test; zeros: pairs without a difference. As good: p (Holm) not below {selection.alpha:g} "
        f"and no more than {MARGIN:g} below the best. Bold: chosen, the least training among those as good."
    )
    emphasised = frozenset(k for k, r in enumerate(results) if r is selection.chosen)
    return TableView(
        "transfer_grid", "All arms of the grid", _columns(selection, two=two), tuple(rows), note, emphasised
    )


def _values(r: GridResult | None) -> tuple[Entry, ...]:
    if r is None or r.found is None:
        return (MISSING,) * 3
    found = r.found
    return (
        Entry(ratio(found.mean), found.mean),
        Entry(ratio(found.sd), found.sd),
        Entry(f"{found.n_subjects}", len(found.subjects)),
    )


def _row(r: GridResult, found: GridStatistics) -> tuple[Entry, ...]:
    arm, pair, p = r.arm, r.below_best, r.p_holm
    second = Entry(rate_text(arm.learning_rates[1]), arm.learning_rates[1]) if arm.runs > 1 else MISSING
    steps = MISSING if arm.steps is None else Entry(f"{arm.steps:,.0f}", arm.steps)
    words = _WORDS.get(arm.parts, " and ".join(arm.parts))
    own = (
        Entry(arm.design),
        Entry(words),
        Entry(rate_text(arm.learning_rates[0]), arm.learning_rates[0]),
        second,
        steps,
    )
    if pair is None or p is None:
        verdict = Entry("best") if r is found.best else Entry("no values" if r.found is None else "not comparable")
        return (*own, *_values(r), *[MISSING] * 7, verdict)
    w, below = pair.wilcoxon, (-pair.mean_difference, -pair.upper, -pair.lower)
    tests = (*(Entry(signed(v), v) for v in below), Entry(p_text(w.p_value), w.p_value), Entry(p_text(p), p))
    size = Entry(signed(w.rank_biserial), w.rank_biserial)
    verdict = Entry("yes" if r.as_good else "worse" if r.worse else "lower")
    return (*own, *_values(r), *tests, size, Entry(f"{w.n_zero}", w.n_zero), verdict)


def _figure_7(shown: GridStatistics, selection: GridStatistics) -> Drawing:
    """A row for the first training run and one for the second run of the models of each first rate (figure 7)."""
    results = {(r.arm.design, r.arm.learning_rates): r for r in shown.results}
    rates = sorted({r.arm.learning_rates[-1] for r in shown.results}, reverse=True)
    before = sorted({r.arm.learning_rates[0] for r in shown.results if r.arm.runs > 1}, reverse=True)
    rows: list[tuple[str, tuple[str, ...], float | None]] = [("First training run", FIRST_RUN, None)]
    rows += [(f"Second training run, after a first one at {rate_text(rate)}", SECOND_RUN, rate) for rate in before]
    figure = Figure(figsize=(5.6, 1.0 + 1.65 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    chosen = selection.chosen.arm.name if selection.chosen else ""
    words: list[str] = []
    for axes, (title, designs, first) in zip(panels, rows, strict=True):
        _panel(axes, [[results.get((design, _rates(first, rate))) for design in designs] for rate in rates], chosen)
        axes.set_title(title, loc="left", fontsize=9.5)
    for r in shown.results:
        words += [f"{arm_words(r.arm)}: {ratio(r.found.mean)}"] if r.found else []
    bottom, top = panels[0].get_ylim()
    panels[0].set_ylim(bottom, top + 0.12 * (top - bottom))  # room for the mark of the chosen arm
    panels[-1].set_xticks(range(len(rates)), [rate_text(rate) for rate in rates])
    panels[-1].set_xlim(-0.5, len(rates) - 0.5)
    panels[-1].set_xlabel("initial learning rate of the training run")
    names = [f"{once}, {twice}" if before else once for once, twice in zip(FIRST_RUN, SECOND_RUN, strict=True)]
    handles = [
        Patch(facecolor=colour, edgecolor=INK, lw=0.8, label=name) for colour, name in zip(_COLOURS, names, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return Drawing("figure_7_transfer_grid", figure, f"Box plots of Dice. {'; '.join(words)}", _caption(shown, chosen))


def _rates(first: float | None, rate: float) -> tuple[float, ...]:
    return (rate,) if first is None else (first, rate)


def _panel(axes: Axes, groups: Sequence[Sequence[GridResult | None]], chosen: str) -> None:
    """Boxes of each learning rate (x), one a design."""
    for i, group in enumerate(groups):
        for k, result in enumerate(group):
            bold = result is not None and result.arm.name == chosen
            _box(axes, i + (k - 1.5) * _STEP, result, _COLOURS[k], emphasised=bold)
    for border in range(1, len(groups)):
        axes.axvline(border - 0.5, color=RULE, lw=0.8, zorder=0)
    axes.set_ylabel("Dice")
    axes.grid(False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def _box(axes: Axes, x: float, result: GridResult | None, colour: str, *, emphasised: bool) -> None:
    """A box over subjects, with every subject as a point where they are few; a dash where there is no value."""
    if result is None or result.found is None:
        axes.text(x, 0.02, "–", transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=MUTED)
        return
    values, line = list(result.found.subjects.values()), {"color": INK, "lw": 0.8}
    axes.boxplot(
        [values], positions=[x], widths=_STEP * 0.8, patch_artist=True, manage_ticks=False,
        boxprops={"facecolor": colour, "edgecolor": INK, "lw": 2.0 if emphasised else 0.8},
        medianprops={"color": _MEDIAN, "lw": 1.4}, whiskerprops=line, capprops=line,
        flierprops={"marker": ".", "ms": 3.5, "mfc": colour, "mec": colour},
    )  # fmt: skip
    if emphasised:
        axes.text(x, 0.98, "▼", transform=axes.get_xaxis_transform(), ha="center", va="top", color=INK, fontsize=8)


def _caption(shown: GridStatistics, chosen: str) -> str:
    subjects = max((r.found.n_subjects for r in shown.results if r.found), default=0)
    mark = " The triangle and the thick border mark the chosen arm." if chosen else ""
    return (
        f"Class-averaged Dice of {subjects} {shown.split} subjects (paper, figure 7). F: fine-tuned at once, FF: first "
        "run with the transferred weights frozen; E: encoder, B: encoder and decoder; last letter F: one training run, "
        "S: a second one with all weights. Boxes: quartiles and median; whiskers: up to 1.5 interquartile ranges; "
        f"points: beyond. A dash: not there yet.{mark}"
    )
