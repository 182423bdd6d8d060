"""Every pretraining strategy against from scratch at every label fraction (paper, section 3.2, Figures 3, 4, 8, 9)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inpaint_ssl.statistics.arm_gains import arm_gains, subjects_needed
from inpaint_ssl.statistics.arms import Paired
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.rows import FROM_SCRATCH
from inpaint_ssl.statistics.strategies import Strategy, strategies_of


@dataclass(frozen=True)
class Gain:
    """One strategy at one label fraction; `paired.mean_difference` is strategy - from scratch, by subject."""

    strategy: Strategy
    label_fraction: float
    paired: Paired
    p_holm: float  # over all strategies and label fractions of the study


@dataclass(frozen=True)
class Gains:
    """Gains by strategy in the order of the arms, then by rising label fraction; n_planned: tests of the family."""

    split: str
    alpha: float
    strategies: tuple[Strategy, ...]
    label_fractions: tuple[float, ...]
    gains: tuple[Gain, ...]
    n_planned: int
    n_runs: int  # the fewest seeds and draws that a compared arm has; 0 without a comparison
    n_unpaired: int  # scans and runs of one arm without a partner in the other, which are not compared

    def at(self, label_fraction: float) -> tuple[Gain, ...]:
        """The gains at one label fraction."""
        return tuple(gain for gain in self.gains if gain.label_fraction == label_fraction)

    def of(self, strategy: Strategy, label_fraction: float) -> Gain | None:
        """The gain of one strategy at one label fraction, or None where it was not evaluated."""
        return next((gain for gain in self.at(label_fraction) if gain.strategy == strategy), None)

    def is_better(self, gain: Gain) -> bool:
        """Is this gain significant once adjusted, and the mean higher?"""
        return gain.p_holm < self.alpha and gain.paired.mean_difference > 0

    @property
    def too_few(self) -> int:
        """Number of subjects with which the adjusted tests could reach alpha, or 0 where there are as many."""
        return subjects_needed([gain.paired for gain in self.gains], self.alpha, self.n_planned)


def strategy_gains(
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    *,
    split: str,
    alpha: float,
    bootstrap: Bootstrap | None = None,
    planned: Iterable[float] = (),
) -> Gains:
    """One-sided tests (strategy > from scratch) of the class-averaged Dice on the scans of `split`, subjects as unit.

    rows: of per_scan.csv as strings, values are ratios; arms: of study.json; planned: the label fractions of
    its strategies. Holm's correction is over all strategies and their label fractions, planned or found; a missing test
    counts as p = 1. Raises InputError for rows or arms that are damaged.
    """
    strategies = strategies_of(arms)
    of_arm = {strategy.arm: strategy for strategy in strategies}
    pairs = [(arm, FROM_SCRATCH) for arm in of_arm]
    found = arm_gains(rows, pairs, split=split, alpha=alpha, bootstrap=bootstrap, planned=planned)
    return Gains(
        split=split,
        alpha=alpha,
        strategies=strategies,
        label_fractions=found.label_fractions,
        gains=tuple(Gain(of_arm[g.arm], g.label_fraction, g.paired, g.p_holm) for g in found.gains),
        n_planned=found.n_planned,
        n_runs=min((g.n_runs for g in found.gains), default=0),
        n_unpaired=sum(g.n_unpaired for g in found.gains),
    )
