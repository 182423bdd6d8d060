"""What one study says of one claim."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inpaint_ssl.report.evidence.factors import step
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.evidence.rules import Difference, cautions, together, verdict
from inpaint_ssl.report.kinds.arm_results import Arm
from inpaint_ssl.report.text import percent


@dataclass(frozen=True)
class Outcome:
    """setting: data set, scans and arms in which a claim was tested; figure: the number; verdict: by the rules.

    cautions: what rules.cautions says of the trainings that it rests on.
    """

    setting: str
    figure: str
    verdict: str
    cautions: tuple[str, ...] = ()


def of_settings(evidence: Evidence) -> tuple[EvidenceStudy, ...]:
    """The studies whose arms differ in single settings."""
    return (*evidence.of("tuning"), *evidence.of("primary"))


def place(study: EvidenceStudy) -> str:
    """Data set and scans."""
    return f"{study.title}, {study.results.split} scans"


def over_fractions(
    study: EvidenceStudy, setting: str, rule: str, found: Mapping[float, Difference], minded: tuple[str, ...]
) -> list[Outcome]:
    """One outcome from the differences by label fraction; [] where there is none at all."""
    if not found:
        return []
    figure = "; ".join(f"{percent(fraction)}: {d.words}" for fraction, d in found.items())
    decided = together(verdict(d, rule) for d in found.values())
    return [Outcome(f"{place(study)}; {setting}", figure, decided, minded)]


def between(
    study: EvidenceStudy, setting: str, rule: str, first: Arm, second: Arm, fractions: Iterable[float] | None = None
) -> list[Outcome]:
    """One outcome from `first` - `second` in Dice at every label fraction (of `fractions`)."""
    some = study.fractions if fractions is None else fractions
    found = {f: d for f in some if (d := step(study, first, second, f)) is not None}
    runs = [study.by_run(first.name, second.name, fraction).values() for fraction in found]
    minded = cautions(runs, study.lost_a_class((first.name, second.name), found))
    return over_fractions(study, setting, rule, found, minded)
