"""What one study says of one claim."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inpaint_ssl.report.evidence.factors import step
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.evidence.rules import Difference, together, verdict
from inpaint_ssl.report.kinds.arm_results import Arm
from inpaint_ssl.report.text import percent


@dataclass(frozen=True)
class Outcome:
    """setting: data set, scans and arms in which a claim was tested; figure: the number; verdict: by the rules.

    caution: "", or what EvidenceStudy.caution says of the trainings that it rests on.
    """

    setting: str
    figure: str
    verdict: str
    caution: str = ""


def of_settings(evidence: Evidence) -> tuple[EvidenceStudy, ...]:
    """The studies whose arms differ in single settings."""
    return (*evidence.of("tuning"), *evidence.of("primary"))


def place(study: EvidenceStudy) -> str:
    """Data set and scans."""
    return f"{study.title}, {study.results.split} scans"


def over_fractions(
    study: EvidenceStudy, setting: str, rule: str, found: Mapping[float, Difference], caution: str
) -> list[Outcome]:
    """One outcome from the differences by label fraction; [] where there is none at all."""
    if not found:
        return []
    figure = "; ".join(f"{percent(fraction)}: {d.words}" for fraction, d in found.items())
    decided = together(verdict(d, rule) for d in found.values())
    return [Outcome(f"{place(study)}; {setting}", figure, decided, caution)]


def between(
    study: EvidenceStudy, setting: str, rule: str, first: Arm, second: Arm, fractions: Iterable[float] | None = None
) -> list[Outcome]:
    """One outcome from `first` - `second` in Dice at every label fraction (of `fractions`)."""
    some = study.fractions if fractions is None else fractions
    found = {f: d for f in some if (d := step(study, first, second, f)) is not None}
    return over_fractions(study, setting, rule, found, study.caution(first.name, second.name, found))
