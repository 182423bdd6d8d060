"""Tables of a study of arms: Dice with every test, Dice by class, HD95, volume error, labels saved, and the arms."""

from collections.abc import Mapping

from inpaint_ssl.report.clinical.text import amount, signed_amount
from inpaint_ssl.report.info import VALIDATION
from inpaint_ssl.report.kinds.arm_results import Arm, ArmResults, Measured
from inpaint_ssl.report.kinds.extent_worth import gain_entries
from inpaint_ssl.report.kinds.strategy_text import count_entry, p_entry, plural, ratio_entry, signed_entry, text_entry
from inpaint_ssl.report.parts import MISSING, Column, Entry, TableView
from inpaint_ssl.report.text import percent, plain, ratio
from inpaint_ssl.statistics import AVERAGE, ArmSummary

BETTER, WORSE, UNDECIDED, DISAGREE = "better", "worse", "undecided", "runs disagree"
_ARM = (Column("label_fraction", "Labels"), Column("arm", "Arm", numeric=False))


def arm_tables(found: ArmResults) -> list[TableView]:
    """The tables that have rows, the arms themselves first."""
    tables = [arms_table(found)]
    if found.statistics.entries:
        tables.append(dice_table(found))
        tables += [class_table(found)] if len(found.classes) > 1 else []
        tables += [t for t in (hd95_table(found), volume_table(found)) if t.rows]
    return tables + ([labels_table(found)] if found.labels else [])


def _on(found: ArmResults) -> str:
    """Which scans, for a note."""
    why = " (for choosing settings, not evidence)" if found.split == VALIDATION else ""
    return f"{found.split} scans{why}"


def _first(found: ArmResults, fraction: float, arm: str) -> tuple[Entry, Entry]:
    return Entry(percent(fraction), fraction), Entry(found.label(arm), arm)


def arms_table(found: ArmResults) -> TableView:
    """Every arm with its control and the settings in which it differs from the study's."""
    columns = (
        Column("arm", "Arm", numeric=False), Column("start", "Start", numeric=False),
        Column("control", "Compared with", numeric=False), Column("settings", "Settings of its own", numeric=False),
    )  # fmt: skip
    rows = []
    for arm in found.arms:
        settings = "; ".join(f"{name} {plain(value)}" for name, value in arm.settings.items())
        start = "pretrained" if arm.pretrained else "from scratch"
        control = Entry(found.label(arm.control), arm.control) if arm.control else Entry("–", "")
        rows.append((Entry(arm.label, arm.name), text_entry(start), control, Entry(settings or "–", settings)))
    return TableView("arms", "Arms", columns, tuple(rows), "All other settings are those of the study.")


def dice_table(found: ArmResults) -> TableView:
    """Class-averaged Dice of every arm at every label fraction, and its test against the control."""
    level = percent(1 - found.alpha)
    columns = (
        *_ARM, Column("dice", "Dice"), Column("sd", "sd"), Column("runs", "Runs"),
        Column("control", "Control", numeric=False), Column("control_dice", "its Dice"), Column("difference", "Gain"),
        Column("difference_lower", f"{level} from"), Column("difference_upper", "to"), Column("p_value", "p"),
        Column("p_holm", "p, adjusted"), Column("rank_biserial", "Effect"), Column("subjects", "n"),
        Column("compared_runs", "Runs compared"), Column("runs_higher", "Higher in"),
        Column("verdict", "Verdict", numeric=False),
        Column("late", "Late best"), Column("finetunings", "of"),
    )  # fmt: skip
    rows, better = list[tuple[Entry, ...]](), set[int]()
    for fraction in found.statistics.label_fractions:
        entry = found.statistics.entry(fraction, AVERAGE)
        for arm in found.arms:
            summary = entry.arms.get(arm.name) if entry is not None else None
            if summary is None:
                continue
            gain, late = found.gains.of(arm.name, fraction), found.late.get((arm.name, fraction))
            if gain is not None and found.gains.is_better(gain):
                better.add(len(rows))
            counts = (count_entry(late.late), count_entry(late.total)) if late else (MISSING, MISSING)
            dice = (ratio_entry(summary.mean), ratio_entry(summary.sd), count_entry(len(summary.runs)))
            rows.append((*_first(found, fraction, arm.name), *dice, *_test(found, arm, fraction), *counts))
    note = (
        f"Class-averaged Dice on the {_on(found)}: mean and standard deviation over subjects, seeds and scans of a "
        "subject averaged first. Gain: over the control, on the scans and runs that both have, with the control's Dice "
        "there and the BCa bootstrap "
        f"interval ({found.bootstrap.resamples:,} resamples, not adjusted). p: one-sided Wilcoxon signed-rank test of "
        f"subjects; adjusted: Holm, for {plural(found.gains.n_planned, 'planned test')}. Effect: matched-pairs "
        f"rank-biserial correlation. Better: adjusted p < {found.alpha:g} and the mean higher (bold); worse: "
        "the interval wholly below 0. Late best: fine-tunings whose best validation lies in the last tenth of the "
        "steps, so that longer "
        "training might help. Higher in: how many of the compared runs are higher than the control's; where over a "
        "tenth of them goes against the mean, runs disagree, and the arm is neither better nor worse."
    )
    title = "Dice of every arm, averaged over classes"
    return TableView("dice_of_arms", title, columns, tuple(rows), note, frozenset(better))


def verdict_of(found: ArmResults, arm: str, fraction: float) -> str:
    """ "better", "worse", "undecided" or "runs disagree"; "" where nothing was compared."""
    gain = found.gains.of(arm, fraction)
    if gain is None:
        return ""
    if found.gains.is_better(gain):
        return BETTER
    return WORSE if gain.is_worse else DISAGREE if gain.runs_disagree else UNDECIDED


def _test(found: ArmResults, arm: Arm, fraction: float) -> tuple[Entry, ...]:
    gain = found.gains.of(arm.name, fraction)
    control = Entry(found.label(arm.control), arm.control) if arm.control else Entry("–", "")
    if gain is None:
        return (control, *[MISSING] * 10, Entry("–", ""))
    p = gain.paired
    return (
        control, ratio_entry(p.second_mean), *map(signed_entry, (p.mean_difference, p.lower, p.upper)),
        p_entry(p.wilcoxon.p_value),
        p_entry(gain.p_holm), signed_entry(gain.rank_biserial), count_entry(p.n_subjects), count_entry(gain.n_runs),
        Entry(f"{gain.n_higher} of {gain.n_runs}", gain.n_higher), text_entry(verdict_of(found, arm.name, fraction)),
    )  # fmt: skip


def class_table(found: ArmResults) -> TableView:
    """Dice of each class of every arm at every label fraction, with the gain over the control."""
    columns = [*_ARM]
    for name in found.classes:
        columns += [Column(f"{name}_dice", name), Column(f"{name}_sd", "sd"), Column(f"{name}_gain", "gain")]
    rows = []
    for fraction in found.statistics.label_fractions:
        for arm in found.evaluated:
            cells = list[Entry]()
            for name in found.classes:
                entry = found.statistics.entry(fraction, name)
                summary = entry.arms.get(arm.name) if entry is not None else None
                gain = found.dice_differences.get((arm.name, fraction, name))
                cells += [ratio_entry(summary.mean), ratio_entry(summary.sd)] if summary else [MISSING, MISSING]
                cells.append(MISSING if gain is None else signed_entry(gain))
            if any(cell is not MISSING for cell in cells):
                rows.append((*_first(found, fraction, arm.name), *cells))
    note = (
        f"Dice on the {_on(found)}: mean and standard deviation over subjects; gain over the control on the scans and "
        "runs that both have. Single classes describe and are not tested."
    )
    return TableView("dice_by_class", "Dice of every class", tuple(columns), tuple(rows), note)


def hd95_table(found: ArmResults) -> TableView:
    """HD95 in mm by arm and class; no rows where it was not measured."""
    note = (
        f"95th percentile of the surface distance on the {_on(found)}, in mm: mean ± standard deviation over subjects, "
        "less is better. Difference: to the control, on the scans and runs that both have a value of. A class that is "
        "absent from truth or prediction has none: undefined counts these values, which an average leaves out."
    )
    return _less_is_better(found, found.hd95, "hd95_of_arms", "HD95 (mm)", note)


def volume_table(found: ArmResults) -> TableView:
    """Absolute percent error of the volume by arm and class; no rows where it was not measured."""
    note = (
        f"Absolute error of the volume in per cent of the true one on the {_on(found)}: mean ± standard deviation over "
        "subjects, less is better. Difference: to the control in percentage points, on the scans and runs that both "
        "have. Undefined: values without a true volume."
    )
    return _less_is_better(found, found.volume, "volume_error_of_arms", "Volume error (%)", note)


def _less_is_better(found: ArmResults, measured: Measured, name: str, title: str, note: str) -> TableView:
    summaries = {(d.arm, d.label_fraction, d.class_name): d.summary for d in measured.described}
    classes = found.classes if len(found.classes) == 1 else (AVERAGE, *found.classes)
    columns = [*_ARM]
    for c in classes:
        columns += [Column(c, c), Column(f"{c}_difference", "difference")]
    columns.append(Column("undefined", "Undefined"))
    rows = []
    for fraction in sorted({d.label_fraction for d in measured.described}):
        for arm in found.arms:
            own = {c: summaries[arm.name, fraction, c] for c in classes if (arm.name, fraction, c) in summaries}
            if own:
                cells = [e for c in classes for e in _distance(own, measured, (arm.name, fraction, c))]
                undefined = count_entry(max(summary.n_excluded for summary in own.values()))
                rows.append((*_first(found, fraction, arm.name), *cells, undefined))
    return TableView(name, title, tuple(columns), tuple(rows), note)


def _distance(own: Mapping[str, ArmSummary], measured: Measured, key: tuple[str, float, str]) -> tuple[Entry, Entry]:
    summary, difference = own.get(key[2]), measured.differences.get(key)
    if summary is None or not summary.n_subjects:
        return MISSING, MISSING
    shown = f"{amount(summary.mean)} ± {amount(summary.sd)}"
    return Entry(shown, summary.mean), MISSING if difference is None else Entry(signed_amount(difference), difference)


def labels_table(found: ArmResults) -> TableView:
    """What each pretrained arm is worth in labelled subjects, one row a label fraction."""
    level = percent(1 - found.alpha)
    columns = (
        *_ARM, Column("labelled_subjects", "Subjects"), Column("from_scratch_error", "Error, from scratch"),
        Column("pretrained_error", "Error, pretrained"), Column("more", "Labels gained"),
        Column("more_lower", f"{level} from"), Column("more_upper", "to"),
        Column("why_not_stated", "Not stated, as", numeric=False),
    )  # fmt: skip
    rows = []
    for arm, curves in found.labels.items():
        for e in curves.equivalents:
            errors = [Entry(ratio(v), v) for v in (e.measured["from_scratch"], e.measured["pretrained"])]
            reason = Entry(e.unsupported or "–", e.unsupported)
            first = (*_first(found, e.label_fraction, arm), count_entry(e.n_labels))
            rows.append((*first, *errors, *gain_entries(curves, e.label_fraction), reason))
    note = (
        f"Power laws of the Dice error (1 − Dice) on the {_on(found)} against the number of labelled subjects. Labels "
        "gained: how many more labelled subjects from scratch would equal pretraining; a dash where that cannot be "
        "said. Intervals are percentiles over resamples of the subjects."
    )
    return TableView("labels_saved", "What pretraining is worth in labels", columns, tuple(rows), note)
