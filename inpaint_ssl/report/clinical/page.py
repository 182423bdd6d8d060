"""What the section "Clinical metrics" of the page shows."""

from dataclasses import dataclass
from typing import Any

from inpaint_ssl.metrics import QUANTITIES
from inpaint_ssl.report.clinical.findings import finding
from inpaint_ssl.report.clinical.shown import shown_metrics
from inpaint_ssl.report.clinical.text import (
    FlagRow,
    amount,
    error_text,
    fat_rule_words,
    flag_rows,
    limits_text,
    pairs_note,
    signed_amount,
    t2_words,
)
from inpaint_ssl.report.drawing import Picture
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.text import labels_text
from inpaint_ssl.statistics import FROM_SCRATCH, NEAR_ZERO_HU, PRETRAINED, Agreement


def _lower_first(title: str) -> str:
    """A title inside a sentence."""
    return title[:1].lower() + title[1:]


def _flag_name(kind: str) -> str:
    return kind.replace("_", " ").replace("t2", "T2")


FILTERS = {
    "amount": amount, "signed_amount": signed_amount, "error": error_text, "limits": limits_text, "pairs": pairs_note,
    "flag_name": _flag_name, "lower_first": _lower_first,
}  # fmt: skip

_ONE_SLICE = (
    "Each scan has one slice: its volume is the area times the thickness of the slice and has the same percent errors, "
    "so that only the area is shown. Volumes are in tables/volume_mm3.csv."
)


@dataclass(frozen=True)
class MetricPart:
    """One clinical metric: its sentence, its figures, and the rows of its table by label fraction."""

    metric: str
    title: str
    symbol: str
    meaning: str
    finding: str
    cautions: tuple[str, ...]
    error_figure: Picture
    bland_altman: Picture
    groups: list[dict[str, Any]]


@dataclass(frozen=True)
class ClinicalPart:
    """The whole section."""

    metrics: list[MetricPart]
    hidden: str  # a note on the volume of scans of one slice, which is not among them
    t2_maps: list[Picture]
    t2_convention: str
    fat_rule: str
    flag_groups: list[tuple[str, str, list[FlagRow]]]  # kind, its meaning, rows
    t2_invalid_share: float | None


def clinical_part(study: Study, figures: dict[str, list[Picture]]) -> ClinicalPart | None:
    """The section for this study, or None."""
    if not study.clinical_metrics:
        return None
    clinical = study.info["clinical"]
    pictures = {p.name: p for name in ("clinical", "bland_altman") for p in figures[name]}
    rows, shown = flag_rows(study), shown_metrics(study)
    kinds = dict.fromkeys((row.flag, row.meaning) for row in rows)
    share = clinical.get("t2_invalid_share")
    return ClinicalPart(
        metrics=[_metric(study, metric, pictures) for metric in shown],
        hidden=_ONE_SLICE if "volume_mm3" in study.clinical_metrics and "volume_mm3" not in shown else "",
        t2_maps=figures["t2_maps"],
        t2_convention=t2_words(clinical["t2"]) if clinical.get("t2") else "",
        fat_rule=fat_rule_words(clinical.get("intramuscular_fat", "off")),
        flag_groups=[(kind, meaning, [row for row in rows if row.flag == kind]) for kind, meaning in kinds],
        t2_invalid_share=None if share is None else float(share),
    )


def _metric(study: Study, metric: str, pictures: dict[str, Picture]) -> MetricPart:
    q = QUANTITIES[metric]
    near = sum(a.n_near_zero for a in study.agreements if a.metric == metric)
    count, have = ("1 pair", "has") if near == 1 else (f"{near:,} pairs", "have")
    caution = (
        f"{count} of prediction and truth (of all classes, arms, label fractions and runs) {have} a truth or a mean "
        f"within {NEAR_ZERO_HU:g} HU of 0, the value of water: percent errors and coefficients of variation divide by "
        "little there and say little."
    )
    return MetricPart(
        metric=metric,
        title=q.title[0].upper() + q.title[1:],
        symbol=q.symbol,
        meaning=q.meaning,
        finding=finding(study, metric),
        cautions=(caution,) if near else (),
        error_figure=pictures[f"clinical_{metric}"],
        bland_altman=pictures[f"bland_altman_{metric}"],
        groups=[
            {"labels": labels_text(study, fraction), "rows": rows}
            for fraction in study.statistics.label_fractions
            if (rows := _rows(study, metric, fraction))
        ],
    )


def _rows(study: Study, metric: str, fraction: float) -> list[tuple[str, list[Agreement | None]]]:
    """Class and the agreement of each arm."""
    rows = []
    for name in study.class_names:
        arms = [study.agreement(metric, fraction, name, arm) for arm in (FROM_SCRATCH, PRETRAINED)]
        if any(arms):
            rows.append((name, arms))
    return rows
