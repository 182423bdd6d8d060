"""Are more unlabelled scans worth it? Dice error against the number of pretraining scans (paper, section 4). No jax.

"Improvements in SSL Dice scores tended to follow a power-law relationship as the size of the unlabeled corpora
increased": one power law is fitted for each label fraction, on the same classes of the same scans and runs of all
extents. What the gain of an extent is worth in labelled subjects comes from the label curves of that extent and from
scratch (label_curve).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inpaint_ssl.statistics.arms import Values, arm_mean, restricted, values_by_arm
from inpaint_ssl.statistics.bootstrap import Bootstrap, percentile_interval, resampled_means
from inpaint_ssl.statistics.extents import TRAINING_SET, ExtentArm, extent_arms
from inpaint_ssl.statistics.label_curve import (
    FLOOR_COUNTS,
    MINIMUM_COUNTS,
    MINIMUM_SUBJECTS,
    LabelCurves,
    labels_of_arm,
)
from inpaint_ssl.statistics.power_law import PowerLaws, fit_power_laws
from inpaint_ssl.statistics.rows import FROM_SCRATCH

FARTHEST = 2.0  # times the largest number of pretraining scans: how far curves are followed
LARGEST_SCATTER = 0.5  # of the curve's fall over the extents: the points' scatter around it


@dataclass(frozen=True)
class UnlabelledCurve:
    """One label fraction: error = scale * n^-exponent + floor over the numbers `n` of pretraining scans.

    Errors are 1 - Dice, intervals (lower, upper). mean_exponent: slope on log-log axes between the ends of `n`;
    scatter: standard deviation of the points' relative deviations from the curve; fall: the share of the error that the
    curve loses from the smallest to the largest n; doubling: what FARTHEST times the largest n would add to Dice.
    unsupported: why the gain of a doubling must not be stated, "" when it may; statement: the whole in words.
    """

    label_fraction: float
    n: np.ndarray  # (extents,)
    measured: np.ndarray  # (extents,)
    scale: float
    exponent: float
    floor: float
    mean_exponent: float
    mean_exponent_interval: tuple[float, float]
    scatter: float
    fall: float
    curve: np.ndarray  # (grid,)
    band: tuple[np.ndarray, np.ndarray]  # (grid,) each
    doubling: float
    doubling_interval: tuple[float, float]
    unsupported: str
    statement: str


@dataclass(frozen=True)
class UnlabelledCurves:
    """Curves by rising label fraction, or `reason`, why there are none. unit: what `n` counts, for example "scans"."""

    unit: str
    level: float
    bootstrap: Bootstrap
    grid: np.ndarray  # numbers of pretraining scans of the curves and bands, up to FARTHEST times the largest
    curves: tuple[UnlabelledCurve, ...]
    reason: str


def pretraining_counts(arms: Sequence[ExtentArm]) -> tuple[str, list[int]]:
    """What all pretrained extents say their number of: scans, else subjects, else slices, and the numbers; ("", [])."""
    for unit in ("scans", "subjects", "slices"):
        counts = [getattr(arm, unit) for arm in arms]
        if counts and all(counts):
            return unit, counts
    return "", []


def unlabelled_curves(
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    alpha: float,
    bootstrap: Bootstrap | None = None,
) -> UnlabelledCurves:
    """Fit the error on the test scans against the number of pretraining scans at every label fraction.

    rows: those of per_scan.csv as strings; arms: study.json's. Intervals have level 1 - alpha and are percentiles over
    resamples of the test subjects, all extents together. From MINIMUM_COUNTS different numbers on, with a floor from
    FLOOR_COUNTS on, as label curves. InputError for a row that is no number.
    """
    how, named = bootstrap or Bootstrap(), {a.name: a for a in extent_arms(arms) if a.extent > 0}
    table = {(f, name): v for (f, name), v in values_by_arm(rows, "test").items() if name in named}
    there = [arm for arm in named.values() if any(name == arm.name for _, name in table)]
    unit, counts = pretraining_counts(there)
    grid = np.empty(0)
    if reason := _no_curves(there, counts):
        return UnlabelledCurves(unit, 1 - alpha, how, grid, (), reason)
    grid = np.unique([*np.geomspace(min(counts), FARTHEST * max(counts), 60), *counts])
    curves, reasons = [], []
    for fraction in sorted({f for f, _ in table}):
        pairs = [(n, table.get((fraction, arm.name))) for arm, n in zip(there, counts, strict=True)]
        errors = _errors([values for _, values in pairs if values])
        numbers = np.array([n for n, values in pairs if values], dtype=np.float64)
        if why := _not_fitted(numbers, errors):
            reasons.append(f"{100 * fraction:g} % of the labels: {why}")
        else:
            curves.append(_curve(fraction, numbers, errors, grid, unit, alpha, how))
    return UnlabelledCurves(unit, 1 - alpha, how, grid, tuple(curves), "; ".join(reasons) if not curves else "")


def _no_curves(there: Sequence[ExtentArm], counts: Sequence[int]) -> str:
    if not there:
        return "no pretrained extent has values on the test scans"
    if not counts:
        return "the number of pretraining scans is not known at every extent"
    return _too_few_counts(counts)


def _too_few_counts(counts: Iterable[float]) -> str:
    found = len(set(counts))
    if found >= MINIMUM_COUNTS:
        return ""
    have = "is 1" if found == 1 else f"are {found}"
    return f"a curve needs {MINIMUM_COUNTS} or more different numbers of pretraining scans, and there {have}"


def _not_fitted(n: np.ndarray, errors: np.ndarray) -> str:
    if few := _too_few_counts(n.tolist()):
        return few
    if len(errors) < MINIMUM_SUBJECTS:
        return f"{len(errors)} test subjects have values of every extent; {MINIMUM_SUBJECTS} are needed for an interval"
    return "" if errors.mean(axis=0).all() else "the mean Dice is 1 at an extent: no power law comes to that"


def _errors(arms: Sequence[Values]) -> np.ndarray:
    """Errors (subjects, extents) on what all extents have."""
    found = [arm_mean(values) for values in restricted(arms)[0]]
    subjects = sorted(found[0].subjects) if found and found[0] else []
    return np.array([[1 - f.subjects[s] for f in found if f] for s in subjects]).reshape(len(subjects), len(arms))


def _doubling(laws: PowerLaws, largest: float) -> np.ndarray:
    ends = laws.error(np.array([largest, FARTHEST * largest]))
    return np.asarray(ends[:, 0] - ends[:, 1])


def _curve(
    fraction: float, n: np.ndarray, errors: np.ndarray, grid: np.ndarray, unit: str, alpha: float, how: Bootstrap
) -> UnlabelledCurve:
    means, with_floor = errors.mean(axis=0), len(set(n.tolist())) >= FLOOR_COUNTS
    resampled = np.maximum(resampled_means(errors, how), means * 1e-6)  # a draw may have none
    fit, squares = fit_power_laws(n, means[None], with_floor)
    draws = fit_power_laws(n, resampled, with_floor)[0]
    ends, drawn = (float(n.min()), float(n.max())), draws.error(grid)
    lower, upper = np.quantile(drawn, [alpha / 2, 1 - alpha / 2], axis=0, method="inverted_cdf")
    first, last = fit.error(np.array(ends))[0]
    curve = UnlabelledCurve(
        label_fraction=fraction,
        n=n,
        measured=means,
        scale=float(fit.scale[0]),
        exponent=float(fit.exponent[0]),
        floor=float(fit.floor[0]),
        mean_exponent=float(fit.mean_exponent(*ends)[0]),
        mean_exponent_interval=percentile_interval(draws.mean_exponent(*ends), alpha),
        scatter=math.sqrt(float(squares[0]) / (n.size - (3 if with_floor else 2))),
        fall=float(1 - last / first),
        curve=fit.error(grid)[0],
        band=(lower, upper),
        doubling=float(_doubling(fit, ends[1])[0]),
        doubling_interval=percentile_interval(_doubling(draws, ends[1]), alpha),
        unsupported="",
        statement="",
    )
    why = unsupported(curve, 1 - alpha, unit)
    text = f"No statement: {why}." if why else _statement(curve, 1 - alpha, unit)
    return replace(curve, unsupported=why, statement=text)


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def unsupported(c: UnlabelledCurve, level: float, unit: str) -> str:
    """Why the curve supports no statement on more pretraining scans, or nothing."""
    (lower, upper), name = c.mean_exponent_interval, f"{100 * level:.4g} % interval"
    if lower <= 0:
        return (
            f"more pretraining {unit} may not help at all (mean exponent {c.mean_exponent:.2f}, {name} {lower:.2f} to "
            f"{upper:.2f})"
        ).replace("-", "\N{MINUS SIGN}")
    if c.scatter > LARGEST_SCATTER * c.fall:
        return (
            f"no power law fits (errors scatter around it by {100 * c.scatter:.1f} %, while it falls by "
            f"{100 * c.fall:.1f} % in all)"
        )
    if c.doubling_interval[0] <= 0:
        ends = [_signed(v) for v in c.doubling_interval]
        return f"a doubling of the pretraining {unit} may bring nothing ({name} of its gain {ends[0]} to {ends[1]})"
    return ""


def _statement(c: UnlabelledCurve, level: float, unit: str) -> str:
    largest, ends = float(c.n.max()), [_signed(v) for v in c.doubling_interval]
    return (
        f"{FARTHEST * largest:,.0f} pretraining {unit} instead of {largest:,.0f} would bring a Dice of "
        f"{_signed(c.doubling)} more ({100 * level:.4g} % interval {ends[0]} to {ends[1]}). Extrapolated: no more than "
        f"{largest:,.0f} were pretrained on."
    )


def worth_in_labels(
    rows: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    label_counts: Mapping[float, int],
    alpha: float,
    bootstrap: Bootstrap | None = None,
) -> dict[float, LabelCurves]:
    """By extent (the training set and the largest that have rows): its label curve beside the one from scratch.

    label_counts: labelled subjects by label fraction. Its equivalents say how many more labelled subjects from scratch
    would equal pretraining on that extent. Empty without pretrained extents. InputError for a row that is no number.
    """
    kept = [row for row in rows if row["split"] == "test" and row["metric"] == "dice"]
    present = {row["arm"] for row in kept}
    there = [arm for arm in extent_arms(arms) if arm.extent > 0 and arm.name in present]
    wanted = {arm.extent: arm.name for arm in there if arm.extent == TRAINING_SET or arm is there[-1]}
    return {
        extent: labels_of_arm(kept, name, FROM_SCRATCH, label_counts, alpha, bootstrap)
        for extent, name in wanted.items()
    }
