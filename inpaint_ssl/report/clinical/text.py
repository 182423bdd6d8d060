"""Clinical metrics in words: numbers with their units, what the numbers say, what flags and conventions mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inpaint_ssl.metrics import FLAGS, QUANTITIES
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.text import ARM_NAMES, enumeration, percent
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED, Agreement, BlandAltman, minimum_n

_FAT_RULES = {
    "below_-30_hu": "predicted muscle below −30 HU was counted as intramuscular fat",
    "-190_to_-30_hu": "predicted muscle from −190 to −30 HU was counted as intramuscular fat",
}


def amount(value: float) -> str:
    """Three digits before the point are enough: 12,345; 123; 12.3; 1.23; a dash for what is undefined."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    size = abs(value)
    text = f"{size:,.{0 if size >= 99.95 else 1 if size >= 9.995 else 2}f}"
    return f"\N{MINUS SIGN}{text}" if value < 0 and float(text.replace(",", "")) else text


def signed_amount(value: float) -> str:
    """As `amount`, with a plus."""
    text = amount(value)
    return f"+{text}" if value > 0 and text not in ("0.00", "–") else text


def error_text(value: float) -> str:
    """A percent error without its unit: one decimal below 100."""
    return "–" if math.isnan(value) else f"{value:.1f}" if abs(value) < 99.95 else f"{value:,.0f}"


def limits_text(b: BlandAltman, with_sign: bool = True) -> str:
    """ "−12.0 to +34.0", or what a single pair has."""
    show = signed_amount if with_sign else amount
    return "no limits" if math.isnan(b.sd) else f"{show(b.lower_limit)} to {show(b.upper_limit)}"


def counts_text(entries: Sequence[Agreement | None]) -> str:
    """For example "n = 9–12 subjects, 3 values undefined": the smallest and largest n of several agreements."""
    found = [entry for entry in entries if entry is not None]
    n, excluded = [entry.error.n_subjects for entry in found], sum(entry.n_excluded for entry in found)
    if not found:
        return "not evaluated"
    span = f"{min(n)}" if min(n) == max(n) else f"{min(n)}–{max(n)}"
    return f"n = {span}" + (f", {excluded} undefined" if excluded else "")


def finding(study: Study, metric: str) -> str:
    """What the medians say at the smallest label fraction that both arms have; "" where that supports no sentence.

    It counts classes in which one arm's median is lower by what shows in one decimal, and makes no claim of
    significance; below the number of subjects that a test of the study's alpha needs it is silent.
    """
    for fraction in study.statistics.label_fractions:
        pairs = [
            (name, scratch.error.median, pretrained.error.median)
            for name in study.class_names
            if (scratch := study.agreement(metric, fraction, name, FROM_SCRATCH)) is not None
            and (pretrained := study.agreement(metric, fraction, name, PRETRAINED)) is not None
            and min(scratch.error.n_subjects, pretrained.error.n_subjects) >= minimum_n(study.statistics.alpha)
        ]
        if pairs:
            return _sentence(QUANTITIES[metric].title, fraction, pairs)
    return ""


def _sentence(title: str, fraction: float, pairs: Sequence[tuple[str, float, float]]) -> str:
    lower = [pair for pair in pairs if round(pair[2], 1) < round(pair[1], 1)]
    higher = [pair for pair in pairs if round(pair[2], 1) > round(pair[1], 1)]
    start = f"With {percent(fraction)} of the labels, the median error of {title} was"
    if not lower and not higher:
        return f"{start} the same in both arms."
    side, word = (lower, "lower") if len(lower) >= len(higher) else (higher, "higher")
    if len(pairs) == 1:
        how = f"{word} with pretraining"
    elif len(side) == len(pairs):
        how = f"{word} with pretraining for {'both' if len(pairs) == 2 else f'all {len(pairs)}'} classes"
    else:
        how = f"{word} with pretraining for {len(side)} of {len(pairs)} classes"
        rest = higher if word == "lower" else lower
        how += f" and {'higher' if word == 'lower' else 'lower'} for {len(rest)}" if rest else ""
    name, scratch, pretrained = max(side, key=lambda pair: abs(pair[1] - pair[2]))
    most = f", most for {name}" if len(pairs) > 1 else ""
    values = f"{error_text(scratch)} % {ARM_NAMES[FROM_SCRATCH]}, {error_text(pretrained)} % {ARM_NAMES[PRETRAINED]}"
    return f"{start} {how}{most} ({values})."


@dataclass(frozen=True)
class FlagRow:
    """One kind of flag and class: how many scans carry it in each arm, and how many rows it leaves without a value."""

    flag: str
    meaning: str
    class_name: str
    scans: Mapping[str, str]  # by arm: "3 of 12"
    undefined: int


def flag_rows(study: Study) -> list[FlagRow]:
    """Flags by kind, then class; scans are counted once, whatever the run, label fraction or metric."""
    kinds = sorted({count.flag for count in study.flags.counts}, key=lambda flag: ([*FLAGS, flag].index(flag), flag))
    rows = []
    for kind in kinds:
        of_kind = [count for count in study.flags.counts if count.flag == kind]
        classes = {count.class_name for count in of_kind}
        for name in (*(n for n in study.class_names if n in classes), *sorted(classes - set(study.class_names))):
            counts = [count for count in of_kind if count.class_name == name]
            scans = {}
            for arm in (FROM_SCRATCH, PRETRAINED):
                flagged = {scan for count in counts if count.arm == arm for scan in count.scans}
                scans[arm] = f"{len(flagged)} of {study.flags.n_scans}"
            clinical = [count for count in counts if count.metric in QUANTITIES]
            undefined = sum(count.n_values - count.n_defined for count in clinical)
            rows.append(FlagRow(kind, FLAGS.get(kind, "a flag that this report does not know"), name, scans, undefined))
    return rows


def flag_summary(study: Study) -> str:
    """For example "2 of 12 test scans are flagged (empty_prediction 1, touches_border 2)"; "" when none is."""
    scans, total = study.flags.scans, study.flags.n_scans
    if not scans:
        return ""
    kinds: dict[str, set[str]] = {}
    for count in study.flags.counts:
        kinds.setdefault(count.flag, set()).update(count.scans)
    listed = ", ".join(f"{kind} {len(of_kind)}" for kind, of_kind in sorted(kinds.items()))
    return f"{len(scans)} of {total} test scans {'is' if len(scans) == 1 else 'are'} flagged ({listed})"


def t2_words(t2: Mapping[str, Any]) -> str:
    """The convention of study.json["clinical"]["t2"] as a sentence or two."""
    low, high = (f"{float(bound):g}" for bound in t2["bounds_ms"])
    suppressed = [word for key, word in (("suppress_fat", "fat"), ("suppress_fluid", "fluid")) if t2[key]]
    no_valid = f"voxels outside [{low}, {high}] ms" + (
        f" and those suppressed as {' or '.join(suppressed)}" if suppressed else " (nothing is suppressed)"
    )
    fate = "left out" if t2["invalid"] == "excluded" else "counted as 0 ms"
    times: dict[str, list[str]] = {}
    for name, t1 in t2["t1_ms"].items():
        times.setdefault(f"{float(t1):g}", []).append(name)
    by_class = [f"{t1} ms" + (f" for {enumeration(names)}" if len(times) > 1 else "") for t1, names in times.items()]
    tail = f" T1 was {enumeration(by_class)}." if by_class else ""
    return f"T2 follows the convention {t2['convention']}: {no_valid} have no valid T2 and were {fate}.{tail}"


def fat_rule_words(rule: str) -> str:
    """The rule of intramuscular fat that was applied to predictions; "" when none was."""
    return _FAT_RULES.get(rule, "")
