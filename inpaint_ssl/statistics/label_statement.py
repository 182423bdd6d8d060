"""What a pair of label curves says in words, and when it says nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from inpaint_ssl.statistics.rows import FROM_SCRATCH, PRETRAINED

FARTHEST = 2.0  # a number of labels beyond this many times the largest is not stated
LARGEST_SCATTER = 0.1  # relative deviation of the points from their curve, standard deviation
LARGEST_MISS = 0.5  # of the gain: how far the curves' gain may lie from the measured one
_NAMES = {FROM_SCRATCH: "from scratch", PRETRAINED: "pretrained"}


@dataclass(frozen=True)
class Facts:
    """The numbers that decide at one label fraction. Intervals are (lower, upper); errors are 1 - Dice by arm."""

    n: int  # labelled subjects
    largest: int  # of the study
    measured: Mapping[str, float]
    fitted: Mapping[str, float]
    more: float
    more_interval: tuple[float, float]
    exponent: float  # mean one of the curve from scratch
    exponent_interval: tuple[float, float]
    scatter: Mapping[str, float]  # by arm
    level: float

    @property
    def end(self) -> float:
        """The largest number of labels that is stated."""
        return FARTHEST * self.largest


def labels_amount(value: float) -> str:
    """A number of labelled subjects: one decimal below 10, a true minus."""
    text = f"{abs(value):.1f}" if abs(value) < 9.95 else f"{abs(value):,.0f}"
    return ("\N{MINUS SIGN}" if value < 0 and text != "0.0" else "") + text


def _gain(errors: Mapping[str, float]) -> float:
    return errors[FROM_SCRATCH] - errors[PRETRAINED]


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def interval_words(facts: Facts) -> str:
    """For example "9.2 to 22"; an end that is not stated reads "more than"."""
    lower, upper = facts.more_interval
    high = f"more than {labels_amount(facts.end - facts.n)}" if facts.n + upper > facts.end else labels_amount(upper)
    return high if facts.n + lower > facts.end else f"{labels_amount(lower)} to {high}"


def unsupported(facts: Facts) -> str:
    """Why the curves support no number of labels here, or nothing."""
    level, (lower, upper) = f"{100 * facts.level:.4g} % interval", facts.exponent_interval
    if lower <= 0:
        return (
            "more labels may not help from scratch at all "
            f"(mean exponent {facts.exponent:.2f}, {level} {lower:.2f} to {upper:.2f})".replace("-", "\N{MINUS SIGN}")
        )
    worst = max(facts.scatter, key=lambda arm: facts.scatter[arm])
    if facts.scatter[worst] > LARGEST_SCATTER:
        return (
            f"no power law fits (the errors {_NAMES[worst]} scatter around theirs by "
            f"{100 * facts.scatter[worst]:.1f} %; {100 * LARGEST_SCATTER:g} % are accepted)"
        )
    gain = _gain(facts.fitted)
    if gain <= 0:
        dice = [f"{1 - facts.fitted[arm]:.3f} {_NAMES[arm]}" for arm in (PRETRAINED, FROM_SCRATCH)]
        return f"pretraining is not better (Dice of the curves {dice[0]}, {dice[1]})"
    if facts.more_interval[0] <= 0:
        return f"pretraining may be worth nothing ({level} of the labels gained {interval_words(facts)})"
    if abs(gain - _gain(facts.measured)) > LARGEST_MISS * gain:
        return (
            f"the curves miss the gain (Dice {_signed(_gain(facts.measured))} measured, {_signed(gain)} by the curves)"
        )
    if math.isinf(facts.more):
        return "from scratch the curve never comes to the pretrained Dice"
    if facts.n + facts.more > facts.end:
        return (
            f"from scratch the curve comes to the pretrained Dice only beyond {labels_amount(facts.end)} labelled "
            f"subjects, {FARTHEST:g} times the largest number trained with"
        )
    return ""


def statement(facts: Facts) -> str:
    """One or two sentences, from the numbers alone."""
    if reason := unsupported(facts):
        return f"No number of labels: {reason}."
    n, equivalent, largest = facts.n, labels_amount(facts.n + facts.more), f"{facts.largest:,}"
    text = (
        f"Pretrained, {n:,} labelled subject{' does' if n == 1 else 's do'} as well as {equivalent} from scratch: "
        f"pretraining is worth {labels_amount(facts.more)} more labelled subjects "
        f"({100 * facts.level:.4g} % interval {interval_words(facts)})."
    )
    if n + facts.more > facts.largest:
        return f"{text} Extrapolated: no more than {largest} were trained with."
    if n + facts.more_interval[1] > facts.largest:
        return f"{text} The upper end is extrapolated: no more than {largest} were trained with."
    return text
