"""The tables of a comparison as TableView: what tables/<name>.tex shows beside the full numbers of <name>.csv."""

from collections.abc import Sequence

from inpaint_ssl.metrics import QUANTITIES
from inpaint_ssl.report.clinical.text import amount, error_text, limits_text, pairs_text, signed_amount
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.parts import Column, Entry, TableView
from inpaint_ssl.report.tables import ordered_entries
from inpaint_ssl.report.text import ARM_NAMES, interval, p_text, percent, ratio, signed
from inpaint_ssl.report.worth import gained, has_section
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED, Agreement, Comparison

_ARMS = (FROM_SCRATCH, PRETRAINED)
_NONE = Entry("–", "")


def _text(key: str, heading: str) -> Column:
    return Column(key, heading, numeric=False)


def _labels(study: Study, fraction: float) -> Entry:
    count = study.labelled(fraction)
    return Entry(percent(fraction) + ("" if count is None else f" ({count})"), fraction)


def study_views(study: Study) -> list[TableView]:
    """Every table of a comparison that has rows: Dice, inpainting, label curve, clinical metrics, distances, flags."""
    views = [_dice(study), _inpainting(study), _label_curve(study)]
    views += [_agreement(study, metric) for metric in study.clinical_metrics]
    views += [_distances(study), _flags(study)]
    return [view for view in views if view.rows]


def _compared(c: Comparison | None) -> Sequence[Entry]:
    if c is None:
        return (_NONE,) * 6
    holm = _NONE if c.p_holm is None else Entry(p_text(c.p_holm), c.p_holm)
    return (
        Entry(signed(c.mean_difference), c.mean_difference),
        Entry(interval(c.difference_lower, c.difference_upper), c.difference_lower),
        Entry(p_text(c.wilcoxon.p_value), c.wilcoxon.p_value),
        holm,
        Entry(signed(c.rank_biserial), c.rank_biserial),
        Entry(str(c.wilcoxon.n), c.wilcoxon.n),
    )


def _dice(study: Study) -> TableView:
    level = percent(1 - study.statistics.alpha)
    columns = (
        _text("labels", "Labels"), _text("class", "Class"), Column("from_scratch", "From scratch"),
        Column("pretrained", "Pretrained"), Column("gain", "Gain"), Column("interval", f"{level} interval"),
        Column("p", "p"), Column("p_holm", "p (Holm)"), Column("r", "r"), Column("n", "n"),
    )  # fmt: skip
    rows: list[tuple[Entry, ...]] = []
    average = set()
    for entry in ordered_entries(study):
        if entry.class_name == AVERAGE:
            average.add(len(rows))
        arms = [entry.arms.get(arm) for arm in _ARMS]
        dice = [Entry(f"{ratio(a.mean)} ± {ratio(a.sd)}", a.mean) if a else _NONE for a in arms]
        where = (_labels(study, entry.label_fraction), Entry(entry.class_name))
        rows.append((*where, *dice, *_compared(entry.comparison)))
    note = (
        "Labels: share of the training subjects, their number in brackets. Dice: mean ± standard deviation over test "
        "subjects. p: one-sided Wilcoxon signed-rank test, pretrained > from scratch; Holm: adjusted over the label "
        "fractions, for the average alone. r: matched-pairs rank-biserial correlation. n: subjects with a difference."
    )
    title = f"Dice on the test scans of {study.info['dataset'] or study.info['study']}"
    return TableView("dice", title, columns, tuple(rows), note, frozenset(average))


def _inpainting(study: Study) -> TableView:
    columns = (_text("channel", "Channel"), Column("l2", "L2 norm"), Column("slices", "Slices"))
    rows = [
        (Entry(r.channel), Entry(f"{r.mean:.4g} ± {r.sd:.2g}" if r.sd == r.sd else f"{r.mean:.4g}", r.mean),
         Entry(str(r.n_slices), r.n_slices))
        for r in study.restoration
    ]  # fmt: skip
    unit = study.restoration[0].unit if study.restoration else ""
    note = f"Restored − original ({unit}): mean ± standard deviation over test slices; averaged over seeds first."
    return TableView("inpainting", "Inpainting: L2 norm per test slice", columns, tuple(rows), note)


def _label_curve(study: Study) -> TableView:
    found = study.label_curves
    columns = (
        _text("labels", "Labels"), Column("from_scratch", "Error, from scratch"),
        Column("pretrained", "Error, pretrained"), Column("more", "More labelled subjects"),
    )  # fmt: skip
    rows = [
        (_labels(study, e.label_fraction), *(Entry(ratio(e.measured[arm]), e.measured[arm]) for arm in _ARMS),
         Entry(gained(e), e.more))
        for e in (found.equivalents if has_section(study) and found.curves else ())
    ]  # fmt: skip
    note = (
        "Dice error: 1 − class-averaged Dice. More labelled subjects: how many more would give, from scratch, the Dice "
        "that pretraining gives, by the fitted curves; a dash where that cannot be said."
    )
    return TableView("label_curve", "What pretraining is worth", columns, tuple(rows), note)


def _agreement(study: Study, metric: str) -> TableView:
    q = QUANTITIES[metric]
    columns = (
        _text("labels", "Labels"), _text("class", "Class"), _text("arm", "Model"),
        Column("median", "Median |error| (%)"), Column("quartiles", "Quartiles (%)"),
        Column("bias", f"Bias ({q.symbol})"), Column("limits", f"Limits ({q.symbol})"),
        Column("rms_cv", "RMS-CV (%)"), Column("rmse_cv", "RMSE-CV (%)"),
        Column("n", "n"), Column("pairs", "Pairs"),
    )  # fmt: skip
    rows = [_agreement_row(study, a) for a in study.agreements if a.metric == metric]
    note = (
        f"{q.title[0].upper()}{q.title[1:]}: {q.meaning}. Errors of test scans; limits: 95 % limits of agreement. "
        "n: test subjects. Pairs: test scans times runs with a value."
    )
    return TableView(metric, f"{q.title[0].upper()}{q.title[1:]}: agreement", columns, tuple(rows), note)


def _agreement_row(study: Study, a: Agreement) -> tuple[Entry, ...]:
    e, d = a.error, a.difference
    return (
        _labels(study, a.label_fraction), Entry(a.class_name), Entry(ARM_NAMES[a.arm]),
        Entry(error_text(e.median), e.median),
        Entry(f"{error_text(e.lower_quartile)} to {error_text(e.upper_quartile)}", e.lower_quartile),
        Entry(signed_amount(d.bias), d.bias), Entry(limits_text(d), d.lower_limit),
        Entry(amount(a.rms_cv_percent), a.rms_cv_percent), Entry(amount(a.rmse_cv_percent), a.rmse_cv_percent),
        Entry(str(e.n_subjects), e.n_subjects), Entry(pairs_text(a), len(a.pairs)),
    )  # fmt: skip


def _distances(study: Study) -> TableView:
    columns = (
        _text("labels", "Labels"), _text("class", "Class"), _text("arm", "Model"), _text("metric", "Metric"),
        Column("distance", "Mean ± sd (mm)"), Column("n", "n"),
    )  # fmt: skip
    rows = [
        (_labels(study, d.label_fraction), Entry(d.class_name), Entry(ARM_NAMES.get(d.arm, d.arm)),
         Entry(d.metric.removesuffix("_mm").upper()),
         Entry(f"{amount(d.summary.mean)} ± {amount(d.summary.sd)}", d.summary.mean),
         Entry(str(d.summary.n_subjects), d.summary.n_subjects))
        for d in study.distances
    ]  # fmt: skip
    return TableView("surface_distances", "Surface distances on the test scans", columns, tuple(rows))


def _flags(study: Study) -> TableView:
    columns = (
        _text("flag", "Flag"), _text("metric", "Metric"), _text("class", "Class"), _text("arm", "Model"),
        _text("labels", "Labels"), Column("scans", "Scans"), Column("undefined", "Values undefined"),
    )  # fmt: skip
    rows = [
        (Entry(c.flag.replace("_", " ")), Entry(c.metric), Entry(c.class_name), Entry(ARM_NAMES.get(c.arm, c.arm)),
         _labels(study, c.label_fraction), Entry(f"{len(c.scans)} of {c.n_scans}", len(c.scans)),
         Entry(str(c.n_values - c.n_defined), c.n_values - c.n_defined))
        for c in study.flags.counts
        if study.clinical_metrics
    ]  # fmt: skip
    return TableView("flags", "Flags of the test scans", columns, tuple(rows), "A flag removes nothing.")
