"""Numbers as text, and the verdict in words."""

import math
from dataclasses import dataclass
from typing import Any

from inpaint_ssl.report.load import Study
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED, Comparison, Entry, minimum_n
from inpaint_ssl.statistics.lost_classes import LOST

ARM_NAMES = {FROM_SCRATCH: "from scratch", PRETRAINED: "pretrained"}
METHOD_NAMES = {
    "exact": "exact", "exact_ties": "exact with ties", "asymptotic": "normal approximation", "none": "no difference",
}  # fmt: skip
_FEW_SUBJECTS = 10  # with fewer a bootstrap interval of 95 % covers less than 90 % even where gains are normal


def ratio(value: float) -> str:
    """Three decimals; a dash for an undefined value."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def signed(value: float) -> str:
    """Three decimals with a sign (a true minus); no sign when it rounds to zero."""
    text = ratio(abs(value))
    return text if text in ("–", "0.000") else ("+" if value > 0 else "\N{MINUS SIGN}") + text


def p_text(p: float) -> str:
    """A p-value with three decimals, or the bound it lies beyond; results.csv has all digits."""
    if p < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= p < 1.0 else f"{p:.3f}"


def percent(fraction: float) -> str:
    """A fraction as per cent, with as many digits as it needs."""
    return f"{100 * fraction:.4g} %"


def interval(lower: float, upper: float) -> str:
    """Both ends with three decimals and sign; a dash for an undefined one. Where it must break, after "to"."""
    return "–" if math.isnan(lower) or math.isnan(upper) else f"{signed(lower)}\N{NO-BREAK SPACE}to {signed(upper)}"


def duration(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds; a dash when unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plain(value: Any) -> str:
    """A setting or a number as a person writes it; a dash for None and ""."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(f"({plain(v)})" if isinstance(v, list | tuple) else plain(v) for v in value) or "()"
    return str(value)


def enumeration(items: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


@dataclass(frozen=True)
class Finding:
    """What the data say at one label fraction; outcome is better, worse, unclear, conflicting or too_few."""

    label_fraction: float
    labels: str
    comparison: Comparison
    outcome: str
    remark: str


@dataclass(frozen=True)
class Verdict:
    """The headline, one finding per label fraction, and what limits them."""

    headline: str
    findings: tuple[Finding, ...]
    cautions: tuple[str, ...]


def labels_text(study: Study, fraction: float) -> str:
    """For example "5 % of the labels (6 subjects)"."""
    count = study.labelled(fraction)
    subjects = "" if count is None else f" ({count} subject{'s' if count != 1 else ''})"
    return f"{percent(fraction)} of the labels{subjects}"


def is_significant(study: Study, comparison: Comparison) -> bool:
    """Does a planned test reach alpha once adjusted? Never true of a single class, whose test only describes."""
    return comparison.p_holm is not None and comparison.p_holm < study.statistics.alpha


def _finding(study: Study, fraction: float, comparison: Comparison) -> Finding:
    alpha, tests, n = study.statistics.alpha, study.statistics.n_planned, comparison.wilcoxon.n
    significant, gain = is_significant(study, comparison), comparison.mean_difference
    if comparison.n_subjects < minimum_n(alpha) or 0 < n < minimum_n(alpha):
        outcome, remark = "too_few", f"too few, as p < {alpha:g} needs at least {minimum_n(alpha)}"
    elif comparison.p_holm_in_reach is not None and comparison.p_holm_in_reach >= alpha:
        enough = minimum_n(alpha / tests)
        outcome, remark = "too_few", f"too few for p < {alpha:g} adjusted for {tests} tests; {enough} would do"
    elif significant and gain > 0:
        outcome, remark = "better", "significantly better with pretraining"
    elif significant:
        outcome = "conflicting"
        remark = "most subjects gain a little, but a few lose more: the mean is not higher"
    elif gain < 0:
        sure = "and so is the whole interval" if comparison.difference_upper < 0 else "but the interval includes 0"
        outcome, remark = "worse", f"lower with pretraining, {sure}"
    else:
        outcome, remark = "unclear", "not significant"
    return Finding(fraction, labels_text(study, fraction), comparison, outcome, remark)


def _headline(findings: list[Finding], alpha: float) -> str:
    def at(some: list[Finding]) -> str:
        return enumeration([percent(f.label_fraction) for f in some]) + " of the labels"

    better, outcomes = [f for f in findings if f.outcome == "better"], {f.outcome for f in findings}
    if len(better) == len(findings):
        every = at(better) if len(better) == 1 else "every label fraction tested"
        return f"Pretraining improved segmentation at {every}."
    if better:
        rest = [f for f in findings if f.outcome != "better"]
        others = at(rest) if len(rest) <= 3 else f"the other {len(rest)} label fractions"
        return f"Pretraining improved segmentation at {at(better)}; no significant gain at {others}."
    if outcomes == {"too_few"}:
        return f"No verdict yet: too few test subjects to reach p < {alpha:g}."
    if outcomes == {"worse"}:
        where = at(findings) if len(findings) == 1 else "every label fraction"
        return f"Pretraining did not help: Dice was lower with it at {where}."
    return "No significant benefit of pretraining was found."


def verdict(study: Study) -> Verdict:
    """The verdict from the numbers alone."""
    statistics = study.statistics
    findings = []
    for fraction in statistics.label_fractions:
        entry = statistics.entry(fraction)
        if entry is not None and entry.comparison is not None:
            findings.append(_finding(study, fraction, entry.comparison))
    if not findings:
        present = {arm for entry in statistics.entries for arm in entry.arms}
        if not present:
            caution = "No fine-tuned model has been evaluated on test scans."
            return Verdict("No segmentation results yet.", (), (caution,))
        arms = enumeration([ARM_NAMES.get(arm, arm) for arm in sorted(present)])
        headline = "No comparison yet: the two arms have no test scan in common."
        if len(present) == 1:
            headline = f"No comparison yet: only the models {arms} have been evaluated."
        return Verdict(headline, (), ())
    return Verdict(_headline(findings, statistics.alpha), tuple(findings), tuple(_cautions(study, findings)))


def _cautions(study: Study, findings: list[Finding]) -> list[str]:
    cautions = []
    entries = [study.statistics.entry(f.label_fraction) for f in findings]
    runs = min(len(summary.runs) for entry in entries if entry for summary in entry.arms.values())
    if runs == 1:
        cautions.append("One run per arm: the tests cover differences between subjects, not between training runs.")
    tests, level = study.statistics.n_planned, percent(1 - study.statistics.alpha)
    if tests > 1:
        cautions.append(
            f"{tests} label fractions are tested: p-values are adjusted for that (Holm), the {level} intervals are not."
        )
    if missing := tests - len(findings):
        cautions.append(f"{missing} of the {tests} planned tests are still to come; each counts as p = 1 until then.")
    fewest = min(f.comparison.n_subjects for f in findings)
    if 1 < fewest < _FEW_SUBJECTS:
        cautions.append(f"With {fewest} test subjects the intervals are somewhat too narrow.")
    weak = [f.labels for f, e in zip(findings, entries, strict=True) if e and max(_means(e)) < LOST]
    if weak:
        cautions.append(f"Neither arm learnt to segment with {enumeration(weak)}: train longer before comparing them.")
    return cautions


def _means(entry: Entry) -> list[float]:
    return [summary.mean for summary in entry.arms.values()]


def methods_used(study: Study) -> str:
    """The null distributions that the planned tests of this study used."""
    compared = [e.comparison for e in study.statistics.entries if e.comparison and e.class_name == AVERAGE]
    return enumeration([METHOD_NAMES[m] for m in sorted({c.wilcoxon.method for c in compared})]) if compared else ""
