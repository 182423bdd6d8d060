"""Tables of the Dice of all pretraining strategies: an overview, and every test."""

from inpaint_ssl.report.kinds.strategy_curves import Curves
from inpaint_ssl.report.kinds.strategy_text import (
    count_entry,
    is_scaled,
    method_entry,
    p_entry,
    patch_name,
    ratio_entry,
    sampling_name,
    signed_entry,
    task_name,
    text_entry,
)
from inpaint_ssl.report.parts import MISSING, Column, Entry, TableView
from inpaint_ssl.report.text import percent, ratio, signed
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, Bootstrap
from inpaint_ssl.statistics.strategies import Strategy
from inpaint_ssl.statistics.strategy_gains import Gains

SCALED_NOTE = "Patches in pixels; in brackets the paper's, in images of 512 × 512 pixels."
STRATEGY_COLUMNS = (
    Column("task", "Pretext task", numeric=False),
    Column("patch_size", "Patch size"),
    Column("sampling", "Sampling", numeric=False),
)


def strategy_entries(strategy: Strategy) -> tuple[Entry, ...]:
    """Task, patch size (sorted by its pixels) and sampling."""
    size = Entry(patch_name(strategy), strategy.patch_size)
    return text_entry(task_name(strategy.task)), size, text_entry(sampling_name(strategy.sampling))


def dice_table(curves: Curves, gains: Gains) -> TableView:
    """Class-averaged Dice of every strategy and from scratch at every label fraction, with the gain and its mark."""
    statistics = curves.statistics
    columns = [Column(f"dice_{100 * f:g}_percent", percent(f)) for f in statistics.label_fractions]
    rows = []
    for strategy in (None, *(s for s in curves.strategies if curves.has(s))):
        arm = FROM_SCRATCH if strategy is None else strategy.arm
        cells = []
        for fraction in statistics.label_fractions:
            entry = statistics.entry(fraction, AVERAGE)
            if entry is None or arm not in entry.arms:
                cells.append(MISSING)
                continue
            mean = entry.arms[arm].mean
            gain = gains.of(strategy, fraction) if strategy is not None else None
            mark = "*" if gain is not None and gains.is_better(gain) else ""
            shown = ratio(mean) if gain is None else f"{ratio(mean)} ({signed(gain.paired.mean_difference)}{mark})"
            cells.append(Entry(shown, mean))
        first = (text_entry("from scratch"), MISSING, MISSING)
        rows.append((*(first if strategy is None else strategy_entries(strategy)), *cells))
    scaled = f" {SCALED_NOTE}" if is_scaled(curves.strategies) else ""
    return TableView(
        name="dice_of_strategies",
        title="Dice of every pretraining strategy, averaged over classes",
        columns=(*STRATEGY_COLUMNS, *columns),
        rows=tuple(rows),
        note="Mean over the test subjects at each share of the labels; in brackets the gain over from scratch on the "
        f"scans that both have, with * where it is significant (one-sided Wilcoxon over subjects, p < {gains.alpha:g} "
        f"after Holm's correction for {gains.n_planned} tests). Bold: from scratch.{scaled}",
        emphasised=frozenset({0}),
    )


def gain_table(gains: Gains, how: Bootstrap) -> TableView:
    """Every test of a strategy against from scratch."""
    columns = (
        Column("label_fraction", "Labels"), *STRATEGY_COLUMNS,
        Column("from_scratch", "From scratch"), Column("pretrained", "Pretrained"), Column("difference", "Gain"),
        Column("difference_lower", f"{percent(1 - gains.alpha)} from"), Column("difference_upper", "to"),
        Column("p_value", "p"),
        Column("p_holm", "p, adjusted"), Column("rank_biserial", "Effect"), Column("n", "n"), Column("n_zero", "Equal"),
        Column("method", "Null distribution", numeric=False),
    )  # fmt: skip
    rows = []
    for fraction in gains.label_fractions:
        for gain in gains.at(fraction):
            p, test = gain.paired, gain.paired.wilcoxon
            cells = (
                Entry(percent(fraction), fraction), *strategy_entries(gain.strategy), ratio_entry(p.second_mean),
                ratio_entry(p.first_mean), *map(signed_entry, (p.mean_difference, p.lower, p.upper)),
                p_entry(test.p_value), p_entry(gain.p_holm), signed_entry(test.rank_biserial), count_entry(test.n),
                count_entry(test.n_zero), method_entry(test),
            )  # fmt: skip
            rows.append(cells)
    better = frozenset(
        k for k, gain in enumerate(g for f in gains.label_fractions for g in gains.at(f)) if gains.is_better(gain)
    )
    return TableView(
        name="gains_of_strategies",
        title="Every strategy against from scratch",
        columns=columns,
        rows=tuple(rows),
        note="One-sided Wilcoxon signed-rank tests of the class-averaged Dice on the test scans; the unit is the "
        "subject, seeds and scans of a subject are averaged first. Adjusted: Holm, for all strategies and label "
        "fractions of the study. Effect: matched-pairs rank-biserial correlation. n: subjects with a difference; "
        f"equal: without. Intervals: BCa bootstrap over subjects, {how.resamples:,} resamples, seed {how.seed}, not "
        "adjusted. Bold: significant.",
        emphasised=better,
    )
