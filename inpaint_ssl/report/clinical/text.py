"""Clinical metrics in words: numbers with their units, what they rest on, what flags and conventions mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inpaint_ssl.metrics import FLAGS
from inpaint_ssl.report.clinical.shown import shown_metrics
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.text import enumeration
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED, Agreement, BlandAltman, FlagCount

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


def pairs_text(a: Agreement) -> str:
    """ "10 of 12 pairs": scans times runs with a value, of how many; "12 pairs" when all have one."""
    used = len(a.pairs)
    noun = f"pair{'s' if a.n_evaluated != 1 else ''}"
    return f"{used} of {a.n_evaluated} {noun}" if a.n_excluded else f"{used} {noun}"


def pairs_note(a: Agreement) -> str:
    """`pairs_text` where the number of subjects does not say it already, else ""."""
    return pairs_text(a) if len(a.pairs) != a.error.n_subjects or a.n_excluded else ""


def bars_note(entries: Sequence[Agreement | None]) -> tuple[str, bool]:
    """Words above the bars of one class, and whether n differs between its bars and has to stand at each of them.

    For example "n = 12, up to 3 of 36 undefined": the values, scans times runs, that the bar with most of them lacks.
    """
    found = [entry for entry in entries if entry is not None]
    if not found:
        return "not evaluated", False
    n = {entry.error.n_subjects for entry in found}
    worst = max(found, key=lambda entry: entry.n_excluded)
    most = "" if len({(e.n_excluded, e.n_evaluated) for e in found}) == 1 else "up to "
    undefined = f"{most}{worst.n_excluded} of {worst.n_evaluated} undefined" if worst.n_excluded else ""
    return ", ".join(filter(None, (f"n = {n.pop()}" if len(n) == 1 else "", undefined))), len(n) > 1


@dataclass(frozen=True)
class FlagRow:
    """One kind of flag and class: which scans carry it in each arm, and how many rows it leaves without a value."""

    flag: str
    meaning: str
    class_name: str
    scans: Mapping[str, str]  # by arm: "3 of 12", a dash where the arm was not evaluated
    scan_ids: Mapping[str, tuple[str, ...]]  # by arm
    undefined: int  # flagged rows without a value of the metrics shown, over label fractions, arms and runs


def flag_rows(study: Study) -> list[FlagRow]:
    """Flags by kind, then class; scans are counted once, whatever the run, label fraction or metric."""
    kinds = sorted({count.flag for count in study.flags.counts}, key=lambda flag: ([*FLAGS, flag].index(flag), flag))
    rows = []
    for kind in kinds:
        of_kind = [count for count in study.flags.counts if count.flag == kind]
        classes = {count.class_name for count in of_kind}
        for name in (*(n for n in study.class_names if n in classes), *sorted(classes - set(study.class_names))):
            rows.append(_flag_row(study, kind, name, [count for count in of_kind if count.class_name == name]))
    return rows


def _flag_row(study: Study, kind: str, name: str, counts: Sequence[FlagCount]) -> FlagRow:
    scans, ids = {}, {}
    for arm in (FROM_SCRATCH, PRETRAINED):
        ids[arm] = tuple(sorted({scan for count in counts if count.arm == arm for scan in count.scans}))
        total = study.flags.n_evaluated.get((name, arm))
        scans[arm] = "–" if total is None else f"{len(ids[arm])} of {total}"
    undefined = sum(c.n_values - c.n_defined for c in counts if c.metric in shown_metrics(study))
    return FlagRow(kind, FLAGS.get(kind, "a flag that this report does not know"), name, scans, ids, undefined)


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
