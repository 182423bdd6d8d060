"""How well each pretraining strategy restores images: L2 norms of Table 2 (paper, sections 2.5.2 and 3.2).

The L2 norm is that of the difference between restored and original slice, sqrt of the summed squares, for each slice
and channel in units of normalised intensity. Channels are averaged for each slice, then seeds; mean and standard
deviation are over slices. Poisson-disc sampling is tested against random over slices, which is the paper's way although
slices of one subject are no independent pairs, and with subjects as the unit. No jax here.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.holm import holm
from inpaint_ssl.statistics.strategies import Key, Strategy, strategies_of
from inpaint_ssl.statistics.wilcoxon import WilcoxonResult, wilcoxon_greater

METRIC = "inpainting_l2_norm"
_FEWEST = 5  # strategies with which a rank correlation is worth stating
SliceKey = tuple[str, str, str]  # subject, scan, slice


@dataclass(frozen=True)
class StrategyNorm:
    """L2 norm of one strategy: mean and sample standard deviation over slices (NaN for one slice)."""

    strategy: Strategy
    mean: float
    sd: float
    n_slices: int
    n_subjects: int
    n_excluded: int  # values (of a slice, channel and seed) that are not finite


@dataclass(frozen=True)
class SamplingTest:
    """Poisson-disc against random sampling for one task and patch size; the alternative is random > Poisson-disc."""

    poisson_disc: Strategy
    random: Strategy
    by_slice: WilcoxonResult  # the paper's
    by_subject: WilcoxonResult  # slices averaged for each scan, scans for each subject
    p_holm: float  # of by_subject, over all tasks and patch sizes
    mean_difference: float  # random - Poisson-disc, over subjects
    n_subjects: int
    n_slices: int


@dataclass(frozen=True)
class Restorations:
    """L2 norms in the order of the arms, and the tests between samplings; n_planned: tests of Holm's family."""

    norms: tuple[StrategyNorm, ...]
    tests: tuple[SamplingTest, ...]
    n_planned: int
    unit: str
    channels: int

    def norm(self, key: Key) -> StrategyNorm | None:
        """The L2 norm of the strategy with this key, or None."""
        return next((n for n in self.norms if n.strategy.key == key), None)

    def test(self, task: str, paper_patch_size: int) -> SamplingTest | None:
        """The test for a task and patch size, or None where one sampling is missing."""
        key = (task, paper_patch_size)
        return next((t for t in self.tests if (t.random.task, t.random.paper_patch_size) == key), None)

    def falls(self) -> dict[tuple[str, str], bool]:
        """Does the mean fall with every smaller patch? By (task, sampling), those with two patch sizes or more."""
        series: dict[tuple[str, str], list[StrategyNorm]] = {}
        for norm in self.norms:
            if not norm.n_slices:
                continue
            series.setdefault((norm.strategy.task, norm.strategy.sampling), []).append(norm)
        ordered = {key: sorted(of, key=lambda n: n.strategy.patch_size) for key, of in series.items() if len(of) > 1}
        return {key: all(a.mean < b.mean for a, b in itertools.pairwise(of)) for key, of in ordered.items()}


@dataclass
class _Collected:
    """Values of one arm by slice, each a dict of the seeds' lists over channels."""

    slices: dict[SliceKey, dict[str, list[float]]]
    n_excluded: int = 0

    def by_slice(self) -> dict[SliceKey, float]:
        """Mean over channels for each seed, then over seeds."""
        return {
            key: float(np.mean([np.mean(channels) for channels in seeds.values()]))
            for key, seeds in sorted(self.slices.items())
        }


def _collect(
    rows: Iterable[Mapping[str, str]], split: str, names: set[str]
) -> tuple[dict[str, _Collected], set[str], str]:
    found, channels, unit = dict[str, _Collected](), set[str](), ""
    for row in rows:
        if row["metric"] != METRIC or row["split"] != split or row["arm"] not in names:
            continue
        try:
            value = float(row["value"] or "nan")
        except ValueError as error:
            raise InputError(f"per_slice.csv: {error} in the row {dict(row)}; evaluate the study again") from None
        of_arm = found.setdefault(row["arm"], _Collected({}))
        if not math.isfinite(value):
            of_arm.n_excluded += 1
            continue
        unit = row["unit"]
        channels.add(row["class"])
        seeds = of_arm.slices.setdefault((row["subject"], row["scan"], row["slice"]), {})
        seeds.setdefault(row["seed"], []).append(value)
    return found, channels, unit


def _by_subject(values: Mapping[SliceKey, float]) -> dict[str, float]:
    scans: dict[tuple[str, str], list[float]] = {}
    for (subject, scan, _), value in values.items():
        scans.setdefault((subject, scan), []).append(value)
    subjects: dict[str, list[float]] = {}
    for (subject, _), of_scan in scans.items():
        subjects.setdefault(subject, []).append(float(np.mean(of_scan)))
    return {subject: float(np.mean(of_subject)) for subject, of_subject in sorted(subjects.items())}


def _norm(strategy: Strategy, collected: _Collected) -> StrategyNorm:
    values = collected.by_slice()
    found = np.array(list(values.values()))
    return StrategyNorm(
        strategy=strategy,
        mean=float(found.mean()) if found.size else math.nan,
        sd=float(found.std(ddof=1)) if found.size > 1 else math.nan,
        n_slices=found.size,
        n_subjects=len({subject for subject, _, _ in values}),
        n_excluded=collected.n_excluded,
    )


def _tested(poisson: Strategy, random: Strategy, found: Mapping[str, _Collected]) -> SamplingTest | None:
    """None without a slice that both have."""
    if poisson.arm not in found or random.arm not in found:
        return None
    first, second = found[poisson.arm].by_slice(), found[random.arm].by_slice()
    shared = [key for key in first if key in second]
    if not shared:
        return None
    ours, theirs = (_by_subject({key: values[key] for key in shared}) for values in (first, second))
    return SamplingTest(
        poisson_disc=poisson,
        random=random,
        by_slice=wilcoxon_greater([second[key] for key in shared], [first[key] for key in shared]),
        by_subject=wilcoxon_greater(theirs.values(), ours.values()),
        p_holm=1.0,
        mean_difference=float(np.mean([theirs[subject] - ours[subject] for subject in ours])),
        n_subjects=len(ours),
        n_slices=len(shared),
    )


def restorations(
    rows: Iterable[Mapping[str, str]], arms: Iterable[Mapping[str, Any]], split: str = "test"
) -> Restorations:
    """Table 2: L2 norm of every strategy on the slices of `split`, and the tests between samplings.

    rows: of per_slice.csv as strings (one per slice, channel and seed); arms: of study.json. Values that are not finite
    are left out and counted. Holm's correction is over all tasks and patch sizes that have both samplings among the
    arms; a missing test counts as p = 1. Raises InputError for a value that is no number or arms that are damaged.
    """
    strategies = strategies_of(arms)
    found, channels, unit = _collect(rows, split, {s.arm for s in strategies})
    by_key = {s.key: s for s in strategies}
    couples = [
        (by_key[(s.task, s.paper_patch_size, "poisson_disc")], s)
        for s in strategies
        if s.sampling == "random" and (s.task, s.paper_patch_size, "poisson_disc") in by_key
    ]
    tests = [test for poisson, random in couples if (test := _tested(poisson, random, found)) is not None]
    adjusted = holm([*(t.by_subject.p_value for t in tests), *[1.0] * (len(couples) - len(tests))])
    return Restorations(
        norms=tuple(_norm(s, found[s.arm]) for s in strategies if s.arm in found),
        tests=tuple(replace(t, p_holm=p) for t, p in zip(tests, adjusted[: len(tests)], strict=True)),
        n_planned=len(couples),
        unit=unit,
        channels=len(channels),
    )


def rank_agreement(norms: Mapping[Key, float], gains: Mapping[Key, float]) -> float | None:
    """Spearman's correlation of L2 norm and gain in Dice over the strategies that have both (-1 to 1).

    None with fewer than five strategies, or where one of the two is the same for all.
    """
    shared = [key for key in norms if key in gains and math.isfinite(norms[key]) and math.isfinite(gains[key])]
    first, second = [norms[key] for key in shared], [gains[key] for key in shared]
    if len(shared) < _FEWEST or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(stats.spearmanr(first, second).statistic)
