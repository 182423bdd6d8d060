"""Every arm of a study against its control at every label fraction: one family of planned tests. No jax here.

The subject is the unit, as everywhere (statistics/arms): what an arm and its control both have is compared, so that
arms may differ in their seeds and label subsets.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.arms import Paired, Values, compare, values_by_arm
from inpaint_ssl.statistics.arms import pairs as paired_values
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.holm import holm
from inpaint_ssl.statistics.rows import AVERAGE, Run
from inpaint_ssl.statistics.wilcoxon import minimum_n


@dataclass(frozen=True)
class ArmGain:
    """An arm at one label fraction; `paired.mean_difference` is arm - control, by subject."""

    arm: str
    control: str
    label_fraction: float
    paired: Paired
    p_holm: float  # over all pairs and label fractions of the study
    by_run: tuple[float, ...]  # mean over subjects for each run (draw of the label subset, seed) that both have
    n_unpaired: int  # scans and runs of one without a partner in the other, which are not compared

    @property
    def n_runs(self) -> int:
        """Seeds and draws of the label subset that both have."""
        return len(self.by_run)

    @property
    def n_higher(self) -> int:
        """Runs in which the arm is higher than its control."""
        return sum(difference > 0 for difference in self.by_run)

    @property
    def runs_disagree(self) -> bool:
        """`disagree` of the differences by run: the interval, which is over subjects, does not tell."""
        return disagree(self.by_run)

    @property
    def rank_biserial(self) -> float:
        """Effect size of the test, -1 (every subject loses) to 1 (every subject gains); NaN without a difference."""
        return self.paired.wilcoxon.rank_biserial

    @property
    def is_worse(self) -> bool:
        """Is the mean lower, its interval wholly below 0, and do the runs agree?

        It describes: the planned tests ask for a gain.
        """
        return self.paired.mean_difference < 0 and self.paired.upper < 0 and not self.runs_disagree


@dataclass(frozen=True)
class ArmGains:
    """Gains by pair in the given order, then by rising label fraction; n_planned: tests of the family."""

    split: str
    alpha: float
    pairs: tuple[tuple[str, str], ...]
    label_fractions: tuple[float, ...]  # those with a value of any of the arms
    gains: tuple[ArmGain, ...]
    n_planned: int

    def at(self, label_fraction: float) -> tuple[ArmGain, ...]:
        """The gains at one label fraction."""
        return tuple(gain for gain in self.gains if gain.label_fraction == label_fraction)

    def of(self, arm: str, label_fraction: float) -> ArmGain | None:
        """The gain of an arm at one label fraction, or None where nothing could be compared."""
        return next((gain for gain in self.at(label_fraction) if gain.arm == arm), None)

    def is_better(self, gain: ArmGain) -> bool:
        """Is this gain significant once adjusted, the mean higher, and do the runs agree?"""
        return gain.p_holm < self.alpha and gain.paired.mean_difference > 0 and not gain.runs_disagree

    @property
    def too_few(self) -> int:
        """Number of subjects with which the adjusted tests could reach alpha, or 0 where there are as many."""
        return subjects_needed([gain.paired for gain in self.gains], self.alpha, self.n_planned)


def subjects_needed(tests: Sequence[Paired], alpha: float, n_planned: int) -> int:
    """Number of subjects that n_planned tests need for an adjusted p < alpha; 0 where a test has them, or without any.

    InputError for an alpha that is no level (statistics.wilcoxon.minimum_n).
    """
    needed = minimum_n(alpha / n_planned) if tests else 0
    return needed if tests and max(test.n_subjects for test in tests) < needed else 0


def arm_gains(
    rows: Iterable[Mapping[str, str]],
    pairs: Sequence[tuple[str, str]],
    *,
    split: str,
    alpha: float,
    bootstrap: Bootstrap | None = None,
    planned: Iterable[float] = (),
) -> ArmGains:
    """One-sided tests (arm > control) of the class-averaged Dice on the scans of `split` (paper, section 2.8).

    rows: of per_scan.csv as strings, values are ratios; pairs: (arm, its control); planned: label fractions of the
    arms. Holm's correction is over all pairs and all label fractions that are planned or found for an arm; a missing
    test counts as p = 1. A control may have further label fractions: no test is planned there. InputError for an arm
    that is its own control or has two, and for rows that are damaged.
    """
    arms = [arm for arm, _ in pairs]
    if len(set(arms)) < len(arms) or any(arm == control for arm, control in pairs):
        raise InputError(
            f"got the pairs {', '.join(map(' against '.join, pairs))}; expected each arm once, against another one; "
            'look at "arms" in study.json'
        )
    values = values_by_arm(rows, split)
    named = {arm for pair in pairs for arm in pair}
    fractions = sorted({f for f, arm in values if arm in named})
    family = len(pairs) * len({*planned, *(f for f, arm in values if arm in arms)})
    found = list[ArmGain]()
    for arm, control in pairs:
        for fraction in fractions:
            first, second = values.get((fraction, arm), {}), values.get((fraction, control), {})
            paired = compare(first, second, alpha, bootstrap or Bootstrap())
            if paired is not None:
                alone = len(first.keys() ^ second.keys())
                found.append(ArmGain(arm, control, fraction, paired, 1.0, tuple(by_run(first, second).values()), alone))
    p_values = [gain.paired.wilcoxon.p_value for gain in found]
    adjusted = holm([*p_values, *[1.0] * (family - len(found))])
    return ArmGains(
        split=split,
        alpha=alpha,
        pairs=tuple(pairs),
        label_fractions=tuple(fractions),
        gains=tuple(replace(g, p_holm=p) for g, p in zip(found, adjusted[: len(found)], strict=True)),
        n_planned=family,
    )


def by_run(first: Values, second: Values) -> dict[Run, float]:
    """first - second for each run that both have, mean over subjects; runs in order.

    A run without a class that both have a value of is left out.
    """
    found = dict[Run, float]()
    for run in sorted({case[0] for case in first.keys() & second.keys()}):
        one, other = ({case: of for case, of in values.items() if case[0] == run} for values in (first, second))
        if both := paired_values(one, other).by_subject():
            found[run] = float(np.mean([a - b for a, b in both.values()]))
    return found


def disagree(by_run: Collection[float]) -> bool:
    """Does more than a tenth of the runs go against their mean? Of fewer than ten one is enough."""
    mean = float(np.mean(list(by_run))) if by_run else 0.0
    return 10 * sum(difference * mean < 0 for difference in by_run) > len(by_run)


def mean_differences(
    rows: Iterable[Mapping[str, str]], pairs: Sequence[tuple[str, str]], *, split: str, metric: str
) -> dict[tuple[str, float, str], float]:
    """By (arm, label fraction, class or AVERAGE) the mean of arm - control over subjects, in the metric's unit.

    rows: of per_scan.csv as strings. Only scans, runs and classes of which both have a value count; without any there
    is no entry. These describe and are not tested. InputError for rows that are damaged.
    """
    values = values_by_arm(rows, split, metric)
    classes = dict.fromkeys(c for of_arm in values.values() for case in of_arm.values() for c in case)
    found = {}
    for arm, control in pairs:
        for fraction in sorted({f for f, name in values if name == arm}):
            first, second = values[fraction, arm], values.get((fraction, control), {})
            for name in (AVERAGE, *classes):
                both = paired_values(_of_class(first, name), _of_class(second, name)).by_subject()
                if both:
                    found[arm, fraction, name] = float(np.mean([a - b for a, b in both.values()]))
    return found


def _of_class(values: Values, name: str) -> Values:
    if name == AVERAGE:
        return values
    return {case: {name: classes[name]} for case, classes in values.items() if name in classes}
