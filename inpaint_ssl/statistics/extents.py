"""Does pretraining on more unlabelled scans help, and which extent is best (paper, sections 2.6 and 3.4)? No jax here.

An extent is the size of the pretraining set as a multiple of the training set; 0 is training from scratch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.arms import (
    ArmMean,
    Paired,
    Values,
    arm_mean,
    compare,
    compare_subjects,
    restricted,
    values_by_arm,
)
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.holm import holm
from inpaint_ssl.statistics.rows import FROM_SCRATCH
from inpaint_ssl.statistics.selection import Selection
from inpaint_ssl.statistics.wilcoxon import minimum_n

TRAINING_SET = 1.0  # the extent that larger ones are tested against


@dataclass(frozen=True)
class ExtentArm:
    """One extent: its arm's name, and what it was pretrained on (None when unknown)."""

    name: str
    extent: float
    subjects: int | None = None
    scans: int | None = None
    slices: int | None = None


@dataclass(frozen=True)
class ExtentTest:
    """The largest extent against the training set at one label fraction; p_holm: adjusted over the label fractions."""

    label_fraction: float
    pair: Paired
    p_holm: float


@dataclass(frozen=True)
class ExtentAverage:
    """Mean Dice averaged over label fractions: by subject, and its mean over subjects."""

    subjects: dict[str, float]
    mean: float


@dataclass(frozen=True)
class ExtentStatistics:
    """Arms by rising extent, those with values only; means by (label fraction, extent).

    averages: by extent, over the label fractions `averaged_over`, at which every pretrained extent has values, on the
    classes of scans and runs that they all have. tests: none unless the training set and a larger extent are there.
    """

    split: str
    alpha: float
    arms: tuple[ExtentArm, ...]
    label_fractions: tuple[float, ...]
    means: dict[tuple[float, float], ArmMean]
    averages: dict[float, ExtentAverage]
    averaged_over: tuple[float, ...]
    tests: tuple[ExtentTest, ...]
    n_planned: int  # tests that p_holm is adjusted for
    warnings: tuple[str, ...]  # on the means and averages
    too_few: str  # that the tests cannot reach alpha, "" where they can

    @property
    def extents(self) -> tuple[float, ...]:
        """Extents with values, rising; 0 is from scratch."""
        return tuple(arm.extent for arm in self.arms)

    @property
    def largest(self) -> float | None:
        """The largest extent when it is larger than the training set."""
        return self.extents[-1] if self.extents and self.extents[-1] > TRAINING_SET else None

    @property
    def best(self) -> float | None:
        """The pretrained extent of the best average over label fractions; the smallest of equals."""
        found = {x: round(a.mean, 12) for x, a in self.averages.items() if x > 0}
        return max(found, key=lambda x: (found[x], -x)) if found else None


def extent_arms(arms: Iterable[Mapping[str, Any]]) -> tuple[ExtentArm, ...]:
    """The extents of a study from study.json's "arms", rising. InputError for one that is no number."""
    found = []
    for entry in arms:
        if entry.get("arm") == FROM_SCRATCH:
            found.append(ExtentArm(FROM_SCRATCH, 0.0))
        elif "extent" in entry:
            try:
                counts = [entry.get(f"pretraining_{what}") for what in ("subjects", "scans", "slices")]
                numbers = [None if n is None else int(n) for n in counts]
                found.append(ExtentArm(str(entry["arm"]), float(entry["extent"]), *numbers))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"study.json: the arm {dict(entry)} is wrong ({type(error).__name__}: {error}); expected an extent "
                    "and numbers of what it was pretrained on; run the study's command again"
                ) from None
    return tuple(sorted(found, key=lambda arm: arm.extent))


def extent_statistics(
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    split: str,
    alpha: float,
    bootstrap: Bootstrap | None = None,
    planned: Iterable[float] = (),
) -> ExtentStatistics:
    """Class-averaged Dice of every extent and label fraction over the subjects of `split`, and the tests.

    rows: those of per_scan.csv as strings; arms: study.json's; planned: the label fractions of pretrained models, which
    are the family of Holm's correction with those of the rows, a missing test counting as p = 1. Tests are one-sided
    Wilcoxon signed-rank tests over subjects (largest extent > training set). InputError for a row that is no number.
    """
    named = {arm.name: arm for arm in extent_arms(arms)}
    table = {(f, named[name].extent): v for (f, name), v in values_by_arm(rows, split).items() if name in named}
    means = {key: found for key, values in table.items() if (found := arm_mean(values)) is not None}
    there = tuple(arm for arm in named.values() if any(x == arm.extent for _, x in means))
    fractions = tuple(sorted({f for f, _ in means}))
    pretrained = [arm.extent for arm in there if arm.extent > 0]
    common = tuple(f for f in fractions if pretrained and all((f, x) in means for x in pretrained))
    averages, n_excluded = _averages(table, means, pretrained, common)
    family = sorted({*planned, *(f for f, x in means if x > 0)})  # from scratch may have all labels besides
    largest = pretrained[-1] if pretrained and pretrained[-1] > TRAINING_SET else None
    tests = _tests(table, largest, family, alpha, bootstrap or Bootstrap())
    warnings = [] if common or not pretrained else ["no label fraction has values of every extent: there is no average"]
    if pretrained and (absent := [_words(arm.extent) for arm in named.values() if arm not in there]):
        warnings.append(f"without values on the {split} scans, so that they took no part: {', '.join(absent)}")
    if common and (left := [f for f in family if f not in common]):
        names = ", ".join(f"{100 * f:g} %" for f in left)
        warnings.append(f"averages leave out {names} of the labels, where an extent has no values yet")
    if n_excluded:
        warnings.append(f"averages leave out {n_excluded} classes of scans without a value in every extent")
    if len({found.n_runs for (_, x), found in means.items() if x > 0}) > 1:
        warnings.append("extents have different numbers of runs (seeds)")
    return ExtentStatistics(
        split, alpha, there, fractions, means, averages, common if averages else (), tests, len(family),
        tuple(warnings), _too_few(tests, alpha, len(family), split),
    )  # fmt: skip


def _words(extent: float) -> str:
    return f"{100 * extent:g} % of pretraining data" if extent else "from scratch"


def _averages(
    table: Mapping[tuple[float, float], Values],
    means: Mapping[tuple[float, float], ArmMean],
    pretrained: Sequence[float],
    fractions: Sequence[float],
) -> tuple[dict[float, ExtentAverage], int]:
    by_extent: dict[float, list[dict[str, float]]] = {}
    excluded = 0
    for fraction in fractions:
        values, left_out = restricted([table[fraction, x] for x in pretrained])
        excluded += left_out
        for x, of in zip(pretrained, values, strict=True):
            found = arm_mean(of)
            by_extent.setdefault(x, []).append(found.subjects if found else {})
        if (fraction, 0.0) in means:
            by_extent.setdefault(0.0, []).append(means[fraction, 0.0].subjects)
    averages = {}
    for x, of_fractions in sorted(by_extent.items()):
        subjects = set[str].intersection(*map(set, of_fractions))
        if subjects and len(of_fractions) == len(fractions):
            values_of = {s: float(np.mean([of[s] for of in of_fractions])) for s in sorted(subjects)}
            averages[x] = ExtentAverage(values_of, float(np.mean(list(values_of.values()))))
    return averages, excluded


def _tests(
    table: Mapping[tuple[float, float], Values],
    largest: float | None,
    family: Sequence[float],
    alpha: float,
    bootstrap: Bootstrap,
) -> tuple[ExtentTest, ...]:
    if largest is None:
        return ()
    pairs: dict[float, Paired] = {}
    for f in family:
        if (f, largest) in table and (f, TRAINING_SET) in table:
            pair = compare(table[f, largest], table[f, TRAINING_SET], alpha, bootstrap)
            pairs |= {f: pair} if pair else {}
    adjusted = holm(pairs[f].wilcoxon.p_value if f in pairs else 1.0 for f in family)
    return tuple(ExtentTest(f, pairs[f], p) for f, p in zip(family, adjusted, strict=True) if f in pairs)


def _too_few(tests: Sequence[ExtentTest], alpha: float, n_planned: int, split: str) -> str:
    enough, n = minimum_n(alpha / max(n_planned, 1)), max((t.pair.n_subjects for t in tests), default=0)
    if not tests or n >= enough:
        return ""
    return (
        f"{n} {split} subject{'s' * (n != 1)} cannot reach p < {alpha:g} adjusted for {n_planned} label fractions; "
        f"{enough} would do"
    )


def select_extent(
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    split: str,
    alpha: float,
    bootstrap: Bootstrap | None = None,
) -> Selection:
    """The extent with the best Dice on `split` averaged over the label fractions (paper, section 2.6).

    From scratch cannot be chosen; the smallest of equal extents is. Arguments and errors as in `extent_statistics`.
    `selected` holds split.pretraining_extent.
    """
    found, how = extent_statistics(rows, arms, split, alpha, bootstrap), bootstrap or Bootstrap()
    best = found.best
    if best is None:
        return Selection({}, f"Nothing was selected: {_nothing(found)}.", found.warnings)
    warnings = list(found.warnings)
    if 0.0 in found.averages and found.averages[0.0].mean > found.averages[best].mean:
        warnings.append("from scratch has a higher average Dice than every extent of pretraining")
    return Selection({"split.pretraining_extent": best}, extent_reason(found, how), tuple(warnings))


def _nothing(found: ExtentStatistics) -> str:
    if any(x > 0 for x in found.extents):
        return f"no label fraction has values of every extent on the same {found.split} scans"
    return f"no pretrained extent has values on the {found.split} scans"


def extent_reason(found: ExtentStatistics, bootstrap: Bootstrap) -> str:
    """Why the best extent was chosen, in one sentence with the numbers; "" when none was."""
    best = found.best
    if best is None:
        return ""
    averages, others = found.averages, [x for x in found.averages if x > 0 and x != best]
    n, fractions = len(averages[best].subjects), ", ".join(f"{100 * f:g}" for f in found.averaged_over)
    text = (
        f"Pretraining on {100 * best:g} % of the training set has the highest mean Dice on {n} {found.split} "
        f"subject{'s' * (n != 1)} averaged over {fractions} % of the labels, {averages[best].mean:.3f}"
    )
    if not others:
        return f"{text}; no other extent has values."
    other = TRAINING_SET if TRAINING_SET in others else max(others, key=lambda x: averages[x].mean)
    pair = compare_subjects(averages[best].subjects, averages[other].subjects, found.alpha, bootstrap)
    against = f"{averages[other].mean:.3f} with {100 * other:g} %"
    if pair is None:
        return f"{text}, against {against}."
    ends = f", {100 * (1 - found.alpha):g} % interval {pair.lower:+.3f} to {pair.upper:+.3f}"  # one subject has none
    ends = "" if math.isnan(pair.lower) else ends
    return f"{text}, against {against} (difference {pair.mean_difference:+.3f}{ends}).".replace(" -", " \N{MINUS SIGN}")
