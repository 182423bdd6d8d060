"""Which pretrained weights to transfer, and how to fine-tune them (paper, sections 2.5.1, 3.1 and 6.2). No jax here.

The paper takes the arm with the best Dice that needs the least training: encoder alone, fine-tuned at once with a
learning rate of 1e-3 (FEF), "because this model achieved high segmentation performance with minimal training time"
(6.2.2). Here that argument is a rule with numbers: see `select_transfer`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.arms import ArmMean, Paired, arm_mean, compare, values_by_arm
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.holm import holm
from inpaint_ssl.statistics.selection import Selection
from inpaint_ssl.statistics.wilcoxon import minimum_n

MARGIN = 0.01  # of Dice: arms no further below the best are as good; the paper's "matched (within 0.01)", section 3.2
FIRST_RUN = ("FEF", "FBF", "FFEF", "FFBF")  # in the order of the acronyms in section 6.2.2
SECOND_RUN = ("FES", "FBS", "FFES", "FFBS")


@dataclass(frozen=True)
class GridArm:
    """One arm of the grid: its entry in study.json in checked form; steps of all its runs, None when unknown."""

    name: str
    label: str
    design: str
    parts: tuple[str, ...]
    freeze: bool
    learning_rates: tuple[float, ...]
    steps: float | None

    @property
    def runs(self) -> int:
        """Number of training runs after each other, 1 or 2."""
        return len(self.learning_rates)


@dataclass(frozen=True)
class GridResult:
    """One arm's class-averaged Dice; `found` is None while it has no values.

    below_best: the best arm against this one; p_holm: its p-value adjusted over all other arms of the grid. Both are
    None for the best itself. worse: significantly so; near: no more than MARGIN below the best.
    """

    arm: GridArm
    found: ArmMean | None
    below_best: Paired | None = None
    p_holm: float | None = None
    worse: bool = False
    near: bool = True

    @property
    def as_good(self) -> bool:
        """Is it neither significantly worse than the best nor more than MARGIN below it?"""
        return self.found is not None and self.near and not self.worse


@dataclass(frozen=True)
class GridStatistics:
    """Results in the order of the arms; best: of the highest mean; chosen: of those as good, least training."""

    split: str
    alpha: float
    results: tuple[GridResult, ...]
    best: GridResult | None
    chosen: GridResult | None
    warnings: tuple[str, ...]

    def of(self, name: str) -> GridResult | None:
        """The result of an arm by its name."""
        return next((r for r in self.results if r.arm.name == name), None)


def rate_text(rate: float) -> str:
    """A learning rate as the paper writes it: 0.001 is "1e-3"."""
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def grid_arms(arms: Iterable[Mapping[str, Any]]) -> tuple[GridArm, ...]:
    """The arms of a grid from study.json's "arms"; entries without a design (from scratch) are left out.

    InputError for an entry with a design that says no learning rate or parts.
    """
    found = []
    for entry in arms:
        if "design" not in entry:
            continue
        try:
            steps = list(entry.get("steps") or ())
            rates = tuple(float(rate) for rate in entry["learning_rates"])
            known = len(steps) == len(rates) and None not in steps
            found.append(
                GridArm(
                    name=str(entry["arm"]),
                    label=str(entry.get("label", entry["arm"])),
                    design=str(entry["design"]),
                    parts=tuple(entry["parts"]),
                    freeze=bool(entry["freeze"]),
                    learning_rates=rates,
                    steps=float(sum(steps)) if known else None,
                )
            )
            if not 1 <= len(rates) <= 2 or not found[-1].parts:
                raise ValueError(f"{len(rates)} learning rates and parts {found[-1].parts}")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"study.json: the arm {dict(entry)} is wrong ({type(error).__name__}: {error}); expected a design with "
                "parts, freeze and one or two learning_rates; run the study's command again"
            ) from None
    return tuple(found)


def transfer_statistics(
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    split: str,
    alpha: float,
    bootstrap: Bootstrap | None = None,
) -> GridStatistics:
    """Class-averaged Dice of every arm over the subjects of `split`, and the best against each other arm.

    rows: those of per_scan.csv as strings; arms: study.json's. One-sided Wilcoxon tests (best > arm) over subjects,
    adjusted by Holm's method over all other arms of the grid, in which an arm without values counts as p = 1.
    InputError for a row that is no number, or rows of several label fractions.
    """
    grid, table = grid_arms(arms), values_by_arm(rows, split)
    names = {arm.name for arm in grid}
    fractions = sorted({fraction for fraction, name in table if name in names})
    if len(fractions) > 1:
        raise InputError(
            f"per_scan.csv has the label fractions {fractions} of the arms of a transfer grid; expected one, as arms "
            "are compared at equal labels; run the grid with a single label fraction, in a folder of its own"
        )
    values = {name: found for (_, name), found in table.items() if name in names}
    results = [GridResult(arm, arm_mean(values.get(arm.name, {}))) for arm in grid]
    there = [r for r in results if r.found is not None]
    if not there:
        return GridStatistics(split, alpha, tuple(results), None, None, ())
    best = max(there, key=lambda r: (r.found.mean if r.found else 0.0, _saving(r, steps=False)))
    how = bootstrap or Bootstrap()
    pairs = {
        r.arm.name: compare(values[best.arm.name], values[r.arm.name], alpha, how)
        for r in there
        if r.arm.name != best.arm.name
    }
    family = [r.arm.name for r in results if r.arm.name != best.arm.name]
    p_values = {name: pair.wilcoxon.p_value for name, pair in pairs.items() if pair}
    adjusted = dict(zip(family, holm(p_values.get(name, 1.0) for name in family), strict=True))
    final = tuple(_judged(r, pairs.get(r.arm.name), adjusted, alpha) if r.arm.name in pairs else r for r in results)
    best = next(r for r in final if r.arm.name == best.arm.name)
    chosen = _least_training([r for r in final if r.as_good])
    return GridStatistics(split, alpha, final, best, chosen, tuple(_warnings(final, best, len(family), alpha, split)))


def _judged(result: GridResult, pair: Paired | None, adjusted: Mapping[str, float], alpha: float) -> GridResult:
    if pair is None:  # no scan in common with the best: nothing says that it is as good
        return replace(result, near=False)
    p = adjusted[result.arm.name]
    return replace(result, below_best=pair, p_holm=p, worse=p < alpha, near=round(pair.mean_difference, 12) <= MARGIN)


def _saving(result: GridResult, *, steps: bool) -> tuple[float, ...]:
    """Larger is less training."""
    arm = result.arm
    return (-arm.runs, -(arm.steps or 0) if steps else 0, -len(arm.parts))


def _least_training(candidates: Sequence[GridResult]) -> GridResult | None:
    """One run before two, then the fewest steps where all say theirs, then fewer parts, then the higher Dice."""
    if not candidates:
        return None
    fewest = min(r.arm.runs for r in candidates)
    left = [r for r in candidates if r.arm.runs == fewest]
    known = all(r.arm.steps is not None for r in left)
    return max(left, key=lambda r: (*_saving(r, steps=known), r.found.mean if r.found else 0.0))


def _warnings(results: Sequence[GridResult], best: GridResult, n_family: int, alpha: float, split: str) -> list[str]:
    there = [r.found for r in results if r.found is not None]
    warnings = []
    if missing := len(results) - len(there):
        verb = "has" if missing == 1 else "have"
        warnings.append(f"{missing} of {len(results)} arms {verb} no values on the {split} scans and took no part")
    if len({found.n_runs for found in there}) > 1:
        counts = sorted({found.n_runs for found in there})
        warnings.append(f"arms have between {counts[0]} and {counts[-1]} runs (seeds) each")
    if len({frozenset(found.subjects) for found in there}) > 1:
        warnings.append(f"arms have values of different {split} subjects; each is compared on those of both")
    n = best.found.n_subjects if best.found else 0
    if n_family and n < (enough := minimum_n(alpha / n_family)):
        warnings.append(
            f"{n} {split} subjects cannot show that an arm is worse (p < {alpha:g} adjusted for {n_family} tests needs "
            f"{enough}): only the margin of {MARGIN:g} in Dice excluded arms"
        )
    return warnings


def select_transfer(
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    split: str,
    alpha: float,
    bootstrap: Bootstrap | None = None,
) -> Selection:
    """The arm with the least training among those as good as the best on `split` (sections 2.5.1, 3.1 and 6.2.2).

    Best is the highest mean class-averaged Dice. As good: not significantly worse (one-sided Wilcoxon, Holm over the
    arms, p < alpha) and no more than MARGIN below the best. Least training: one run before two, then the fewest steps
    where all of those left say theirs, then the encoder alone before both parts, then the higher Dice. Arguments and
    errors as in `transfer_statistics`. `selected` holds transfer.parts, transfer.freeze, finetune.learning_rate and
    transfer.second_learning_rate (0.0 for one run).
    """
    found = transfer_statistics(rows, arms, split, alpha, bootstrap)
    if found.chosen is None:
        return Selection({}, f"Nothing was selected: no arm has values on the {split} scans.", found.warnings)
    arm = found.chosen.arm
    selected = {
        "transfer.parts": arm.parts,
        "transfer.freeze": arm.freeze,
        "finetune.learning_rate": arm.learning_rates[0],
        "transfer.second_learning_rate": arm.learning_rates[1] if arm.runs > 1 else 0.0,
    }
    return Selection(selected, reason(found), found.warnings)


@dataclass(frozen=True)
class Effect:
    """Arms that differ in one design choice alone: their number, the mean difference in Dice and how many gained."""

    n_pairs: int
    mean_difference: float
    n_better: int


def effect(found: GridStatistics, choice: str) -> Effect | None:
    """Fewer parts instead of more (choice "parts"), frozen at first instead of at once ("freeze"); None without pairs.

    Describes: arms share their scans, so that no test over arms would hold.
    """
    sides: dict[tuple[Any, ...], dict[bool, float]] = {}
    for r in found.results:
        arm = r.arm
        if r.found is not None:
            side, rest = (len(arm.parts) == 1, arm.freeze) if choice == "parts" else (arm.freeze, arm.parts)
            sides.setdefault((rest, arm.learning_rates), {})[side] = r.found.mean
    differences = [means[True] - means[False] for means in sides.values() if len(means) > 1]
    if not differences:
        return None
    return Effect(len(differences), sum(differences) / len(differences), sum(d > 0 for d in differences))


def arm_words(arm: GridArm) -> str:
    """For example "FES (first run at 1e-2, second at 1e-3)"."""
    rates = [rate_text(rate) for rate in arm.learning_rates]
    return f"{arm.design} (" + (f"{rates[0]})" if arm.runs == 1 else f"first run at {rates[0]}, second at {rates[1]})")


def reason(found: GridStatistics) -> str:
    """Why `found.chosen` was chosen, in one sentence with the numbers; "" when there is none."""
    best, chosen = found.best, found.chosen
    if best is None or chosen is None or best.found is None or chosen.found is None:
        return ""
    n, as_good = best.found.n_subjects, sum(r.as_good for r in found.results)
    subjects = f"{n} {found.split} subject{'s' * (n != 1)}"
    top = f"{arm_words(best.arm)} has the highest mean Dice on {subjects}, {best.found.mean:.3f}"
    if as_good == 1:
        return f"{top}; no other arm comes within {MARGIN:g} of it without being significantly worse."
    rule = (
        f"of the {as_good} arms within {MARGIN:g} of the best and not significantly worse (p < {found.alpha:g}, Holm)"
    )
    if chosen is best or chosen.below_best is None or chosen.p_holm is None:
        return f"{top}, and takes the least training {rule}."
    pair = chosen.below_best
    return (
        f"{arm_words(chosen.arm)} takes the least training {rule}: its mean Dice is {chosen.found.mean:.3f}; {top} "
        f"(difference {pair.mean_difference:.3f}, adjusted p = {chosen.p_holm:.3f})."
    )
