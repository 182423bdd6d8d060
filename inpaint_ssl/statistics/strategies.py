"""Pretraining strategies ranked by the paper's pooled test, and the one chosen for all data sets (2.5.3, Table 3).

A strategy is a pretext task, a patch size and a way to sample patches. The ranking p-value is the paper's: one-sided
Wilcoxon over all test scans at all label subsets below 100 %, in which each scan counts once per subset; so its pairs
are not independent. Beside it stands the test whose unit is the subject, after averaging the subsets. No jax here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.arms import Pairs, compare_subjects, mean_pairs, pairs, values_by_arm
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.holm import holm
from inpaint_ssl.statistics.rows import FROM_SCRATCH
from inpaint_ssl.statistics.selection import Selection
from inpaint_ssl.statistics.wilcoxon import WilcoxonResult, minimum_n, wilcoxon_greater

TOP = 3  # of every data set (paper, section 2.5.3)
TASKS = {"context_prediction": "context prediction", "context_restoration": "context restoration"}
SAMPLINGS = {"poisson_disc": "Poisson-disc", "random": "random"}
Key = tuple[str, int, str]  # task, patch size of the paper, sampling


@dataclass(frozen=True)
class Strategy:
    """One arm of the grid. patch_size: pixels; paper_patch_size: what that is in images of 512 x 512 pixels."""

    arm: str
    task: str
    sampling: str
    patch_size: int
    paper_patch_size: int

    @property
    def key(self) -> Key:
        """By what strategies of data sets with other image sizes are matched."""
        return self.task, self.paper_patch_size, self.sampling

    @property
    def words(self) -> str:
        """For example "context restoration, 32 x 32, Poisson-disc" (patch size of the paper)."""
        size = f"{self.paper_patch_size}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{self.paper_patch_size}"
        return f"{TASKS.get(self.task, self.task)}, {size}, {SAMPLINGS.get(self.sampling, self.sampling)}"


@dataclass(frozen=True)
class RankedStrategy:
    """One strategy against from scratch at the label subsets below 100 %.

    rank: 1 for the smallest pooled p-value; None while runs that from scratch has are missing. mean_difference:
    strategy - from scratch, over subjects; lower, upper: its bootstrap interval of level 1 - alpha (NaN without one).
    """

    strategy: Strategy
    rank: int | None
    pooled: WilcoxonResult  # a pair is one scan at one label subset: the paper's test
    by_subject: WilcoxonResult  # a pair is one subject, subsets averaged
    p_holm: float  # of by_subject, over all strategies of the data set
    mean_difference: float
    lower: float
    upper: float
    n_subjects: int
    n_scans: int
    n_excluded: int  # class values left out of both arms because they were undefined in one
    n_missing: int  # scans and runs that from scratch has and this strategy does not


@dataclass(frozen=True)
class Ranking:
    """Strategies of one data set by rank, those without a rank last. label_fractions: the subsets that were pooled."""

    name: str
    split: str
    alpha: float
    label_fractions: tuple[float, ...]
    strategies: tuple[RankedStrategy, ...]
    not_evaluated: tuple[Strategy, ...]
    warnings: tuple[str, ...]

    @property
    def n_planned(self) -> int:
        """Strategies of the study, evaluated or not: the family of Holm's correction."""
        return len(self.strategies) + len(self.not_evaluated)

    @property
    def ranked(self) -> tuple[RankedStrategy, ...]:
        """Strategies that have a rank."""
        return tuple(s for s in self.strategies if s.rank is not None)

    def of(self, key: Key) -> RankedStrategy | None:
        """The strategy with this key, or None."""
        return next((s for s in self.strategies if s.strategy.key == key), None)


def strategies_of(arms: Iterable[Mapping[str, Any]]) -> tuple[Strategy, ...]:
    """The arms of study.json that are strategies (they have a task), in order.

    Raises InputError for one without a sampling or patch size, and for two that are the same.
    """
    found: dict[Key, Strategy] = {}
    for arm in arms:
        if not arm.get("task"):
            continue
        try:
            sizes = int(arm["patch_size"]), int(arm["paper_patch_size"])
            strategy = Strategy(str(arm["arm"]), str(arm["task"]), str(arm["sampling"]), *sizes)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"study.json: the arm {dict(arm)} lacks {error}; expected arm, task, sampling, patch_size and "
                "paper_patch_size (pixels); evaluate the study again"
            ) from None
        if strategy.key in found:
            raise InputError(
                f"study.json: arms {found[strategy.key].arm!r} and {strategy.arm!r} are both {strategy.words}; "
                "expected one arm a strategy; evaluate the study again"
            )
        found[strategy.key] = strategy
    return tuple(found.values())


def _tested(
    strategy: Strategy, parts: Sequence[Pairs], n_missing: int, alpha: float, how: Bootstrap
) -> RankedStrategy | None:
    """Both tests of one strategy, `parts` has one element for each label subset; None without a pair."""
    scans = [part.by_scan() for part in parts]
    pooled = [pair for of_scan in scans for pair in of_scan.values()]
    subjects = mean_pairs(part.by_subject() for part in parts)
    own, scratch = ({subject: pair[side] for subject, pair in subjects.items()} for side in (0, 1))
    if (compared := compare_subjects(own, scratch, alpha, how)) is None:
        return None
    return RankedStrategy(
        strategy=strategy,
        rank=None,
        pooled=wilcoxon_greater([a for a, _ in pooled], [b for _, b in pooled]),
        by_subject=compared.wilcoxon,
        p_holm=1.0,
        mean_difference=compared.mean_difference,
        lower=compared.lower,
        upper=compared.upper,
        n_subjects=compared.n_subjects,
        n_scans=len({scan for of_scan in scans for scan in of_scan}),
        n_excluded=sum(part.n_excluded for part in parts),
        n_missing=n_missing,
    )


def _order(found: RankedStrategy) -> tuple[float, float, float]:
    """By pooled p; equal ones, also those too small for a float, by the pooled effect size, then by the mean gain."""
    effect = found.pooled.rank_biserial
    return found.pooled.p_value, -effect if math.isfinite(effect) else 0.0, -found.mean_difference


def rank_strategies(
    name: str,
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    *,
    split: str,
    alpha: float,
    bootstrap: Bootstrap | None = None,
    planned: Iterable[float] = (),
) -> Ranking:
    """Rank the strategies of one data set on the scans of `split` (paper, section 2.5.3, Table 3).

    name: of the data set; rows: of per_scan.csv, as strings, values are ratios; arms: of study.json; planned: its label
    fractions. Seeds are averaged for each scan first. Strategies are ordered by the pooled p-value; where p-values are
    equal (also when both are too small for a float) by the pooled rank-biserial effect, then by the mean gain. A
    strategy that lacks runs which from scratch has gets no rank: its p-value rests on fewer pairs. Holm's correction is
    over all strategies in `arms`, missing ones counting as p = 1. Raises InputError for rows or arms that are damaged.
    """
    strategies, values = strategies_of(arms), values_by_arm(rows, split)
    scratch = {f: cases for (f, arm), cases in values.items() if arm == FROM_SCRATCH and f < 1.0}
    fractions = tuple(sorted(scratch))
    tested, absent = list[RankedStrategy](), list[Strategy]()
    for strategy in strategies:
        own = {f: values.get((f, strategy.arm), {}) for f in fractions}
        missing = sum(len(scratch[f].keys() - own[f].keys()) for f in fractions)
        parts = [pairs(own[f], scratch[f]) for f in fractions]
        found_one = _tested(strategy, parts, missing, alpha, bootstrap or Bootstrap())
        if found_one is None:
            absent.append(strategy)
        else:
            tested.append(found_one)
    adjusted = holm([*(t.by_subject.p_value for t in tested), *(1.0 for _ in absent)])
    tested = [replace(t, p_holm=p) for t, p in zip(tested, adjusted[: len(tested)], strict=True)]
    complete = sorted((t for t in tested if not t.n_missing), key=_order)
    ranked = [replace(t, rank=place) for place, t in enumerate(complete, 1)]
    rest = sorted((t for t in tested if t.n_missing), key=_order)
    found = Ranking(name, split, alpha, fractions, (*ranked, *rest), tuple(absent), ())
    lacking = sorted({f for f in planned if f < 1.0} - set(fractions))
    return replace(found, warnings=tuple(_warnings(found, lacking, any(arm == FROM_SCRATCH for _, arm in values))))


def _warnings(found: Ranking, lacking: Sequence[float], has_baseline: bool) -> Iterable[str]:
    where, scans = f"{found.name}: ", f"{found.split} scans"
    if not has_baseline:
        yield f"{where}no model from scratch has been evaluated on {scans}, so nothing can be compared"
        return
    if not found.label_fractions:
        yield f"{where}no label subset below 100 % has been evaluated on {scans}, so there is nothing to rank"
        return
    if lacking:
        subsets = ", ".join(f"{100 * f:.4g} %" for f in lacking)
        yield f"{where}from scratch is missing at {subsets} of the labels, which the ranking leaves out"
    if unranked := [s for s in found.strategies if s.rank is None]:
        yield f"{where}of {found.n_planned} strategies {len(unranked)} {_lack(len(unranked))} runs and cannot be ranked"
    if found.not_evaluated:
        absent = len(found.not_evaluated)
        yield f"{where}of {found.n_planned} strategies {absent} {_lack(absent)} any results on {scans}"
    n = max((s.n_subjects for s in found.strategies), default=0)
    if found.strategies and n < (enough := minimum_n(found.alpha / found.n_planned)):
        yield (
            f"{where}{n} subjects cannot reach p < {found.alpha:g} once adjusted for {found.n_planned} strategies; "
            f"{enough} would do"
        )


def _lack(count: int) -> str:
    return "lacks" if count == 1 else "lack"


def _better(found: RankedStrategy | None, alpha: float) -> bool:
    return found is not None and found.rank is not None and found.rank <= TOP and found.pooled.p_value < alpha


def _preference(chosen: Sequence[RankedStrategy]) -> tuple[int, float, float]:
    """One strategy in all data sets: the sum of its ranks, then its smallest effect, then its smallest gain."""
    effects = [c.by_subject.rank_biserial if c.by_subject.n else -1.0 for c in chosen]
    return sum(c.rank or 0 for c in chosen), -min(effects), -min(c.mean_difference for c in chosen)


def _on(found: RankedStrategy, ranking: Ranking) -> str:
    gain = f"{found.mean_difference:+.3f}".replace("-", "\N{MINUS SIGN}")
    p = f"pooled p = {found.pooled.p_value:.3g}"
    return f"rank {found.rank} of {len(ranking.ranked)} on {ranking.name} ({p}, mean gain {gain} Dice)"


def select_strategy(rankings: Sequence[Ranking]) -> Selection:
    """The strategy in the top three of every data set (paper, section 2.5.3), or none.

    To qualify it must also be better than from scratch in every data set: pooled p < alpha. Among several the one with
    the smallest sum of ranks is taken, then the one whose smallest effect size over the data sets (rank-biserial, by
    subject) is largest, then whose smallest mean gain is. With one data set this is rank 1, if it is better. Strategies
    are matched by task, patch size of the paper and sampling. selected: the settings corruption.task,
    corruption.sampling and grid.selected_patch_size (the paper's, at 512 x 512 pixels), or {}.
    """
    warnings = tuple(text for ranking in rankings for text in ranking.warnings)
    empty = [ranking for ranking in rankings if not ranking.ranked]
    if not rankings or empty:
        where = f"on the {empty[0].split} scans of {empty[0].name}" if empty else "in any data set"
        return Selection({}, f"No strategy was selected: none can be ranked {where} yet.", warnings)
    every = "every data set" if len(rankings) > 1 else rankings[0].name
    candidates = []
    for first in rankings[0].ranked[:TOP]:
        of_all = [ranking.of(first.strategy.key) for ranking in rankings]
        if all(_better(found, ranking.alpha) for found, ranking in zip(of_all, rankings, strict=True)):
            candidates.append([found for found in of_all if found is not None])
    if not candidates:
        best = "; ".join(f"{r.ranked[0].strategy.words} has {_on(r.ranked[0], r)}" for r in rankings)
        reason = (
            f"No strategy was selected: none is among the first {TOP} of {every} and better than from scratch there "
            f"(pooled p < {rankings[0].alpha:g}); {best}."
        )
        return Selection({}, reason, warnings)
    chosen = min(candidates, key=_preference)
    strategy = chosen[0].strategy
    numbers = " and ".join(_on(c, r) for c, r in zip(chosen, rankings, strict=True))
    if len(candidates) == 1:
        why = f"no other is among the first {TOP} and better than from scratch" + " everywhere" * (len(rankings) > 1)
    elif len(rankings) == 1:
        why = f"it has the smallest p of the {len(candidates)} among the first {TOP} that are better than from scratch"
    else:
        why = (
            f"of the {len(candidates)} that qualify it has the smallest sum of ranks and, among equals, the best effect"
        )
    reason = f"{strategy.words}: {numbers}; {why}."
    unsure = tuple(
        f"{r.name}: with subjects as the unit the gain of the selected strategy is not significant "
        f"(p = {c.by_subject.p_value:.2g}, {c.p_holm:.2g} adjusted for {r.n_planned} strategies)"
        for c, r in zip(chosen, rankings, strict=True)
        if c.p_holm >= r.alpha
    )
    selected = {
        "corruption.task": strategy.task,
        "corruption.sampling": strategy.sampling,
        "grid.selected_patch_size": strategy.paper_patch_size,
    }
    return Selection(selected, reason, (*warnings, *unsure))
