"""What a study of the amount of unlabelled data contributes to its report: Figure 5 of the paper, tests, verdict."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inpaint_ssl.report.kinds.extent_figures import curves_figure, figure_5
from inpaint_ssl.report.kinds.extent_worth import number, worth_statements, worth_table
from inpaint_ssl.report.kinds.planned import planned_fractions
from inpaint_ssl.report.load import read_rows
from inpaint_ssl.report.parts import MISSING, Column, Entry, StudyPart, TableView
from inpaint_ssl.report.text import METHOD_NAMES, enumeration, interval, p_text, percent, ratio, signed
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.extents import (
    TRAINING_SET,
    ExtentStatistics,
    ExtentTest,
    extent_reason,
    extent_statistics,
)
from inpaint_ssl.statistics.unlabelled_curve import UnlabelledCurves, unlabelled_curves, worth_in_labels


def part(workdir: Path, info: Mapping[str, Any]) -> StudyPart:
    """The verdict, Figure 5, tests per label fraction, what unlabelled scans are worth (paper, sections 2.6, 3.4).

    workdir: the study's folder, whose per_scan.csv may be missing; info: study.json with defaults. All but the
    choice is of test scans. What is not there yet is left out. InputError for rows that are none.
    """
    rows = read_rows(workdir / "per_scan.csv")
    arms, alpha, how = info.get("arms", []), float(info.get("alpha", 0.05)), Bootstrap(**info.get("bootstrap", {}))
    planned, split = planned_fractions(info), str(info.get("select_on", "validation"))
    test = extent_statistics(rows, arms, "test", alpha, how, planned)
    selection = test if split == "test" else extent_statistics(rows, arms, split, alpha, how, planned)
    if not any(x > 0 for x in (*test.extents, *selection.extents)):
        return StudyPart(
            "No segmentation results yet.", cautions=("No pretrained model has been evaluated on test scans.",)
        )
    counts = {float(f): int(n) for f, n in info.get("label_counts", {}).items()}
    curves = unlabelled_curves(rows, arms, alpha, how)
    labels = worth_in_labels(rows, arms, counts, alpha, how)
    tables = [_dice_table(test, selection)] if test.extents else []
    tables += [_test_table(test)] if test.tests else []
    worth = worth_table(curves, labels)
    tables += [worth] if worth else []
    return StudyPart(
        headline=_headline(test),
        statements=(*_statements(test, selection, how), *worth_statements(curves, labels)),
        cautions=tuple(_cautions(test, selection, curves)),
        tables=tuple(tables),
        figures=tuple(f for f in (figure_5(test), curves_figure(curves)) if f is not None),
    )


def _at(tests: list[ExtentTest]) -> str:
    return enumeration([percent(t.label_fraction) for t in tests]) + " of the labels"


def _headline(found: ExtentStatistics) -> str:
    if found.largest is None or not found.tests:
        return "No verdict: the training set and a larger extent have no test scans in common."
    more = f"Pretraining on {percent(found.largest)} of the training set instead of {percent(TRAINING_SET)}"
    better = [t for t in found.tests if t.p_holm < found.alpha and t.pair.mean_difference > 0]
    if not better and found.too_few:
        return f"No verdict: {found.too_few}."
    if not better:
        where = _at(list(found.tests)) if len(found.tests) == 1 else "any label fraction tested"
        return f"{more} did not improve segmentation significantly at {where}."
    if len(better) == len(found.tests):
        every = _at(better) if len(better) == 1 else "every label fraction tested"
        return f"{more} improved segmentation at {every}."
    return f"{more} improved segmentation at {_at(better)}; no significant gain at the others."


def _statements(test: ExtentStatistics, selection: ExtentStatistics, how: Bootstrap) -> list[str]:
    sentences = []
    for t in test.tests:
        pair = t.pair
        sure = "significant" if t.p_holm < test.alpha else "not significant"
        level, ends = percent(1 - test.alpha), interval(pair.lower, pair.upper)
        sentences.append(
            f"{percent(t.label_fraction)} of the labels: Dice {ratio(pair.second_mean)} became {ratio(pair.first_mean)}"
            f" ({signed(pair.mean_difference)}, {level} interval {ends}; adjusted p {p_text(t.p_holm)}, {sure}; "
            f"{pair.n_subjects} test subjects)."
        )
    if above := [x for x in test.extents if x > 0 and (f := _above_scratch(test, x))[1] and f[0] == f[1]]:
        sentences.append(
            "The mean Dice is higher than from scratch at every label fraction that has both, with pretraining on "
            f"{enumeration([percent(x) for x in above])}."
        )
    chosen = extent_reason(selection, how)
    return [*sentences, f"Chosen: {chosen[0].lower()}{chosen[1:]}"] if chosen else sentences


def _above_scratch(found: ExtentStatistics, extent: float) -> tuple[int, int]:
    """At how many label fractions an extent's mean is higher than from scratch, of how many."""
    pairs = [
        (found.means[f, extent].mean, found.means[f, 0.0].mean)
        for f in found.label_fractions
        if (f, extent) in found.means and (f, 0.0) in found.means
    ]
    return sum(a > b for a, b in pairs), len(pairs)


def _cautions(test: ExtentStatistics, selection: ExtentStatistics, curves: UnlabelledCurves) -> list[str]:
    warnings = [f"{w} (test scans)" for w in test.warnings] + [test.too_few] * bool(test.too_few)
    if selection is not test:
        warnings += [f"{w} ({selection.split} scans)" for w in selection.warnings]
    cautions = [text[:1].upper() + text[1:] + "." for text in warnings]
    if test.means and max(m.n_runs for m in test.means.values()) == 1:
        cautions.append("One run per extent: the tests cover differences between subjects, not between training runs.")
    if test.tests and len(test.tests) < test.n_planned:
        cautions.append(
            f"Of the {test.n_planned} planned tests {len(test.tests)} could be made; a missing one counts as p = 1."
        )
    if curves.curves:
        cautions.append(
            "Intervals of curves cover other test subjects, not other draws of the unlabelled scans or other runs."
        )
    return cautions


def _dice_table(test: ExtentStatistics, selection: ExtentStatistics) -> TableView:
    columns = [Column("extent", "pretraining data"), Column("pretraining_scans", "scans")]
    columns += [Column("pretraining_slices", "slices")]
    for f in test.label_fractions:
        columns += [Column(f"dice_{100 * f:g}pct", f"{percent(f)} of the labels"), Column(f"sd_{100 * f:g}pct", "sd")]
    columns.append(Column("average_test", "average, test"))
    if selection is not test:
        columns.append(Column(f"average_{selection.split}", f"average, {selection.split}"))
    rows = []
    for arm in test.arms:
        row = [Entry(percent(arm.extent) if arm.extent else "from scratch", arm.extent)]
        row += [number(arm.scans), number(arm.slices)]
        for f in test.label_fractions:
            found = test.means.get((f, arm.extent))
            row += [Entry(ratio(v), v) for v in (found.mean, found.sd)] if found else [MISSING, MISSING]
        for statistics in (test, selection)[: 1 + (selection is not test)]:
            average = statistics.averages.get(arm.extent)
            row.append(Entry(ratio(average.mean), average.mean) if average else MISSING)
        rows.append(tuple(row))
    over = enumeration([percent(f) for f in selection.averaged_over])
    note = (
        "Mean and standard deviation over test subjects of class-averaged Dice. Averages: over "
        f"{over or 'no'} of the labels, on the classes of scans that every extent has. Bold: chosen, the best average "
        f"on the {selection.split} scans."
    )
    chosen = frozenset(k for k, arm in enumerate(test.arms) if arm.extent == selection.best)
    return TableView("dice_by_extent", "Dice by amount of pretraining data", tuple(columns), tuple(rows), note, chosen)


def _test_table(found: ExtentStatistics) -> TableView:
    level, largest = percent(1 - found.alpha), percent(found.largest or math.nan)
    columns = (
        Column("label_fraction", "labels"), Column("training_set_dice", f"Dice, {percent(TRAINING_SET)}"),
        Column("largest_dice", f"Dice, {largest}"), Column("difference", "difference"),
        Column("difference_lower", f"{level} from"), Column("difference_upper", "to"), Column("p", "p"),
        Column("p_holm", "p (Holm)"), Column("effect_size", "effect size"), Column("subjects", "subjects"),
        Column("zeros", "zeros"), Column("method", "method", False),
    )  # fmt: skip
    rows = []
    for t in found.tests:
        pair, w = t.pair, t.pair.wilcoxon
        means = [Entry(ratio(v), v) for v in (pair.second_mean, pair.first_mean)]
        ends = [Entry(signed(v), v) for v in (pair.mean_difference, pair.lower, pair.upper)]
        p_values = [Entry(p_text(p), p) for p in (w.p_value, t.p_holm)]
        size, n = Entry(signed(w.rank_biserial), w.rank_biserial), (number(pair.n_subjects), number(w.n_zero))
        first = Entry(percent(t.label_fraction), t.label_fraction)
        rows.append((first, *means, *ends, *p_values, size, *n, Entry(METHOD_NAMES[w.method])))
    note = (
        f"One-sided Wilcoxon signed-rank tests over test subjects that Dice is higher with {largest} than with "
        f"{percent(TRAINING_SET)} pretraining data (paper, section 3.4); Holm: adjusted for {found.n_planned} label "
        "fractions. Intervals: BCa bootstrap of the mean difference. Effect size: matched-pairs rank-biserial "
        "correlation. Zeros: subjects without a difference. Bold: p (Holm) below alpha."
    )
    bold = frozenset(k for k, t in enumerate(found.tests) if t.p_holm < found.alpha)
    return TableView("extent_tests", "Largest extent against the training set", columns, tuple(rows), note, bold)
