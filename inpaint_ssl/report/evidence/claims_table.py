"""The claims as a table, and the rules by which verdicts are given."""

from inpaint_ssl.report.evidence.claims import Claim, claims, verdicts
from inpaint_ssl.report.evidence.markdown import bullets, table
from inpaint_ssl.report.evidence.read import Evidence
from inpaint_ssl.report.evidence.rules import CAUTIONS, NOT_SEEN, NOT_TESTED, RULES, SEEN, UNDECIDED
from inpaint_ssl.report.text import enumeration, percent

_HEADINGS = ("", "Claim", "Paper", "Tested here", "Figure (difference in Dice with interval)", "Rule", "Verdict")


def claims_table(evidence: Evidence) -> str:
    """A row for each claim and study that tests it; then the rules."""
    found = claims(evidence)
    levels = {percent(1 - study.results.alpha) for study in evidence.studies}
    level = f" Intervals are {enumeration(sorted(levels))} ones over subjects." if levels else ""
    return "\n\n".join(
        (
            _summary(found) + level,
            table(_HEADINGS, [row for claim in found for row in _rows(claim)]),
            f"How a verdict is given:\n\n{bullets(RULES)}",
        )
    )


def _summary(found: tuple[Claim, ...]) -> str:
    tested = [verdict for claim in found for verdict in verdicts(claim) if verdict != NOT_TESTED]
    counts = enumeration([f"{tested.count(v)} {v}" for v in (SEEN, NOT_SEEN, UNDECIDED)])
    untested = [claim.number for claim in found if not claim.outcomes]
    lacking = f" Not tested: {enumeration(untested)}." if untested else ""
    minded = [words for claim in found for outcome in claim.outcomes for words in outcome.cautions]
    words = [f'"{caution}" {n}' for caution in CAUTIONS if (n := minded.count(caution))]
    weak = f" To be read with care, see the rules: {enumeration(words)}." if words else ""
    return (
        f"Verdicts of {len(tested)} tests: {counts}.{weak}{lacking}"
        if tested
        else f"No claim could be tested.{lacking}"
    )


def _rows(claim: Claim) -> list[list[str]]:
    first = [claim.number, claim.text, f"Section {claim.place}"]
    if not claim.outcomes:
        return [[*first, "–", "–", claim.rule, NOT_TESTED]]
    rows = []
    for number, outcome in enumerate(claim.outcomes):
        about = first if not number else ["", "", ""]
        rows.append(
            [
                *about,
                outcome.setting,
                outcome.figure,
                claim.rule,
                ", ".join((f"**{outcome.verdict}**", *outcome.cautions)),
            ]
        )
    return rows
