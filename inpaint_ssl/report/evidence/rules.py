"""Verdicts from an interval of a difference, by written rules."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from inpaint_ssl.report.clinical.text import signed_amount
from inpaint_ssl.report.text import interval, signed
from inpaint_ssl.statistics.arm_gains import disagree
from inpaint_ssl.statistics.arms import Paired
from inpaint_ssl.statistics.lost_classes import LOST

SEEN, NOT_SEEN, UNDECIDED, NOT_TESTED = "seen", "not seen", "undecided", "not tested"
MARGIN = 0.01  # Dice; the paper's "matched (within 0.01)", section 3.2
PERCENT_MARGIN = 1.0  # percentage points of the volume error
HIGHER, NOT_LOWER, ALIKE = "higher", "not lower", "alike"
ONE_RUN, RUNS_DISAGREE, CLASS_LOST = CAUTIONS = ("from one run", "runs disagree", "a class was lost")
RULES = (
    f'"Higher": seen, where the interval of the difference lies wholly above 0; not seen, where it lies wholly below 0 '
    f"or within ±{MARGIN:g} Dice of 0.",
    f'"Not lower": seen, where the interval lies wholly above −{MARGIN:g} Dice; not seen, where it does not and lies '
    "wholly below 0.",
    f'"Alike": seen, where the interval lies within ±{MARGIN:g} Dice of 0; not seen, where it does not and lies wholly '
    "on one side of 0.",
    '"In order" (L2 norms, of which only means are kept): seen, where every step goes the claim\'s way; not seen, '
    "where none does.",
    "Anything else is undecided. A claim about several label fractions is seen where it is seen at every one of them, "
    "and not seen where it is not seen at one. Without the runs that it needs it is not tested.",
    '"From one run": the arms have one training in common at a label fraction that is compared. Intervals hold the '
    "spread of subjects and not that of trainings, so such a verdict is provisional, whatever its interval.",
    '"Runs disagree": at a label fraction that is compared the difference has another sign in one of the trainings (of '
    "ten or more, in over a tenth of them), so that chance in training may have made the verdict.",
    f'"A class was lost": in a training that is compared a class has a median Dice below {LOST:g}, which weighs more '
    "in a mean than most settings do.",
    "Claims 5a, 5b and 11 are seen only where there is a gain (a fall of the error) at all: its own interval, at the "
    "small label fraction, in the weak classes or of the hard class, lies wholly above 0; not seen where wholly below.",
    f"Of volume errors the margin is {PERCENT_MARGIN:g} percentage point instead of {MARGIN:g} Dice. Intervals are not "
    "adjusted for the number of claims: one verdict alone is weak evidence.",
)


@dataclass(frozen=True)
class Difference:
    """A difference with its interval; unit "" for Dice, else what stands behind the number."""

    mean: float
    lower: float
    upper: float
    n_subjects: int
    unit: str = ""

    @property
    def words(self) -> str:
        """The number with its interval in brackets."""
        if self.unit:
            return f"{signed_amount(self.mean)} ({signed_amount(self.lower)} to {signed_amount(self.upper)}){self.unit}"
        return f"{signed(self.mean)} ({interval(self.lower, self.upper)})"


def difference(paired: Paired | None, unit: str = "") -> Difference | None:
    """The difference of a pair, or None."""
    if paired is None:
        return None
    return Difference(paired.mean_difference, paired.lower, paired.upper, paired.n_subjects, unit)


def verdict(found: Difference | None, rule: str) -> str:
    """SEEN, NOT_SEEN or UNDECIDED by RULES; NOT_TESTED without a difference."""
    if found is None:
        return NOT_TESTED
    margin = PERCENT_MARGIN if found.unit else MARGIN
    lower, upper = found.lower, found.upper
    if math.isnan(lower) or math.isnan(upper):
        return UNDECIDED
    within = -margin <= lower and upper <= margin
    if rule == HIGHER:
        return SEEN if lower > 0 else NOT_SEEN if upper < 0 or within else UNDECIDED
    if rule == NOT_LOWER:
        return SEEN if lower > -margin else NOT_SEEN if upper < 0 else UNDECIDED
    if rule == ALIKE:
        return SEEN if within else NOT_SEEN if upper < 0 or lower > 0 else UNDECIDED
    raise ValueError(rule)


def verdict_of_gain(found: Difference | None, gain: Difference | None) -> str:
    """`verdict` by HIGHER of a difference between gains, of which the first one (`gain`) has to be above 0 itself."""
    decided = verdict(found, HIGHER)
    if decided != SEEN or gain is None:
        return decided
    return SEEN if gain.lower > 0 else NOT_SEEN if gain.upper < 0 else UNDECIDED


def cautions(by_run: Iterable[Collection[float]], lost: bool) -> tuple[str, ...]:
    """What to mind of a verdict: differences by run for each label fraction, and whether a run lost a class."""
    runs = list(by_run)
    holds = (any(len(of) == 1 for of in runs), any(map(disagree, runs)), lost)
    return tuple(words for words, there in zip(CAUTIONS, holds, strict=True) if there)


def in_order(steps: Sequence[bool]) -> str:
    """Of L2 norms: `steps` says of each step whether it goes the claim's way."""
    if not steps:
        return NOT_TESTED
    return SEEN if all(steps) else UNDECIDED if any(steps) else NOT_SEEN


def together(verdicts: Iterable[str]) -> str:
    """The verdict of a claim about several label fractions."""
    found = list(verdicts)
    if not found or NOT_TESTED in found:
        return NOT_TESTED
    return SEEN if set(found) == {SEEN} else NOT_SEEN if NOT_SEEN in found else UNDECIDED


def change(found: Difference | None) -> str:
    """A difference without a claim: "higher", "lower", "no difference that matters" or "undecided"."""
    if found is None:
        return "not compared"
    if found.lower > 0:
        return "higher"
    if found.upper < 0:
        return "lower"
    return "no difference that matters" if verdict(found, ALIKE) == SEEN else "undecided"
