"""Is pretraining worth it? Its gain in labelled subjects, from power laws of the Dice error. No jax here.

The error of a subject is 1 - Dice, averaged over classes, runs and the subject's scans. Both arms and all label
fractions are compared on the same classes of the same scans. From 4 different numbers of labels on a curve has a floor,
the error that no number of labels removes: Dice of a segmentation has a ceiling below 1, and a curve without a floor
would promise that a few more labels from scratch make up for anything. With 3 it would pass through every point, and
nothing would tell whether it fits.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.bootstrap import Bootstrap, percentile_interval, resampled_means
from inpaint_ssl.statistics.label_statement import FARTHEST, Facts, statement, unsupported
from inpaint_ssl.statistics.power_law import PowerLaws, fit_power_laws
from inpaint_ssl.statistics.rows import FROM_SCRATCH, PRETRAINED, Case, by_subject, key_and_case

MINIMUM_COUNTS = 3  # different numbers of labelled subjects for a curve
FLOOR_COUNTS = 4  # for a curve with a floor
MINIMUM_SUBJECTS = 5  # test subjects
_ARMS = (FROM_SCRATCH, PRETRAINED)


@dataclass(frozen=True)
class ArmCurve:
    """One arm: error = scale * n^-exponent + floor.

    Intervals are (lower, upper). mean_exponent: slope on log-log axes between the ends of the points;
    scatter: standard deviation of the points' relative deviations from the curve; band: pointwise at LabelCurves.grid.
    """

    arm: str
    scale: float
    exponent: float
    floor: float
    exponent_interval: tuple[float, float]
    floor_interval: tuple[float, float]
    mean_exponent: float
    mean_exponent_interval: tuple[float, float]
    scatter: float
    curve: np.ndarray  # (grid,)
    band: tuple[np.ndarray, np.ndarray]  # (grid,) each


@dataclass(frozen=True)
class Equivalent:
    """What pretraining is worth at one label fraction. Errors are 1 - Dice, by arm: measured, and of the curves.

    n_equivalent: labelled subjects with which the curve from scratch reaches the pretrained curve's error at n_labels;
    more: n_equivalent - n_labels, infinite where the curve from scratch never reaches it. unsupported: why the numbers
    must not be stated, in words; empty when they may. statement: the whole in words.
    """

    label_fraction: float
    n_labels: int
    measured: dict[str, float]
    fitted: dict[str, float]
    n_equivalent: float
    more: float
    more_interval: tuple[float, float]
    extrapolated: bool  # n_equivalent lies beyond the largest number of labels
    unsupported: str
    statement: str


@dataclass(frozen=True)
class LabelCurves:
    """Curves of both arms, from scratch first, and one equivalent a label fraction; or `reason`, why there are none."""

    label_fractions: tuple[float, ...]  # those with a run in both arms
    n_subjects: int
    n_excluded: int  # classes of scans left out because a run has no value of them
    level: float  # of all intervals, for example 0.95
    bootstrap: Bootstrap
    with_floor: bool
    grid: np.ndarray  # numbers of labels of the curves and bands, up to FARTHEST times the largest
    curves: tuple[ArmCurve, ...]
    equivalents: tuple[Equivalent, ...]
    reason: str


@dataclass(frozen=True)
class _Errors:
    """Errors (subjects, arms, fractions) on what all runs have."""

    label_fractions: tuple[float, ...]
    errors: np.ndarray
    n_excluded: int


def _number(row: Mapping[str, str]) -> float:
    try:
        return float(row["value"] or "nan")
    except ValueError as error:
        raise InputError(f"per_scan.csv: {error} in the row {dict(row)}; evaluate the study again") from None


def _errors(rows: Iterable[Mapping[str, str]], split: str) -> _Errors:
    runs: dict[tuple[float, str, tuple[int, int]], dict[tuple[str, str, str], float]] = {}
    for row in rows:
        if row["split"] == split and row["metric"] == "dice":
            (_, fraction, name, arm), (run, subject, scan) = key_and_case(row)
            runs.setdefault((fraction, arm, run), {})[subject, scan, name] = _number(row)
    paired = {key: v for key, v in runs.items() if all((key[0], arm, key[2]) in runs for arm in _ARMS)}
    paired = {key: v for key, v in paired.items() if key[1] in _ARMS}
    defined = [{place for place, value in v.items() if not math.isnan(value)} for v in paired.values()]
    kept = sorted(set.intersection(*defined)) if defined else []
    means: dict[tuple[float, str], dict[Case, list[float]]] = {}
    for (fraction, arm, run), values in sorted(paired.items()):
        of_arm = means.setdefault((fraction, arm), {})
        for place in kept:
            of_arm.setdefault((run, place[0], place[1]), []).append(1 - values[place])
    fractions = tuple(sorted({fraction for fraction, _ in means}))
    columns = [
        [by_subject({case: float(np.mean(v)) for case, v in means[f, arm].items()}) for f in fractions]
        for arm in _ARMS
        if fractions
    ]
    subjects = sorted({place[0] for place in kept})
    table = np.array([[[cell[s] for cell in arm] for arm in columns] for s in subjects]).reshape(
        len(subjects), 2, len(fractions)
    )
    seen: set[tuple[str, str, str]] = set().union(*paired.values())
    return _Errors(fractions, table, len(seen) - len(kept))


def label_curves(
    rows: Iterable[Mapping[str, str]],
    label_counts: Mapping[float, int],
    alpha: float,
    bootstrap: Bootstrap | None = None,
    split: str = "test",
) -> LabelCurves:
    """Fit both arms' error against the number of labelled subjects, and say what pretraining is worth in labels.

    rows: those of per_scan.csv as strings, of which the scans of `split` count; label_counts: labelled subjects of each
    label fraction. Intervals have level 1 - alpha and are percentiles (BCa needs finite values) over resamples of the
    subjects of `split`, both arms and all label fractions together; they do not cover other draws of labelled subjects.
    InputError for a row that is no number.
    """
    found, how = _errors(rows, split), bootstrap or Bootstrap()
    n = np.array([label_counts.get(f, 0) for f in found.label_fractions], dtype=np.float64)
    with_floor, reason = len(set(n)) >= FLOOR_COUNTS, _no_curves(found, n)
    grid, curves, equivalents = np.empty(0), dict[str, ArmCurve](), list[Equivalent]()
    if not reason:
        means = found.errors.mean(axis=0)
        resampled = np.maximum(resampled_means(found.errors, how), means * 1e-6)  # a draw may have none
        grid = np.unique([*np.geomspace(n.min(), FARTHEST * n.max(), 80), *n])
        laws = {}
        for k, arm in enumerate(_ARMS):
            fit, squares = fit_power_laws(n, means[None, k], with_floor)
            laws[arm] = (fit, fit_power_laws(n, resampled[:, k], with_floor)[0])
            scatter = math.sqrt(float(squares[0]) / (n.size - (3 if with_floor else 2)))
            curves[arm] = _arm_curve(arm, *laws[arm], scatter, n, grid, alpha)
        equivalents = [_equivalent(k, found, n, laws, curves, alpha) for k in range(n.size)]
    return LabelCurves(
        label_fractions=found.label_fractions,
        n_subjects=len(found.errors),
        n_excluded=found.n_excluded,
        level=1 - alpha,
        bootstrap=how,
        with_floor=with_floor,
        grid=grid,
        curves=tuple(curves.values()),
        equivalents=tuple(equivalents),
        reason=reason,
    )


def labels_of_arm(
    rows: Iterable[Mapping[str, str]],
    arm: str,
    control: str,
    label_counts: Mapping[float, int],
    alpha: float,
    bootstrap: Bootstrap | None = None,
    split: str = "test",
) -> LabelCurves:
    """`label_curves` of any pretrained arm against any control from scratch; the curves bear the names of two arms.

    Arguments and errors as there.
    """
    names = {arm: PRETRAINED, control: FROM_SCRATCH}
    renamed = [{**row, "arm": names[row["arm"]]} for row in rows if row["arm"] in names]
    return label_curves(renamed, label_counts, alpha, bootstrap, split)


def _no_curves(found: _Errors, n: np.ndarray) -> str:
    """Why there is no curve at all, or nothing."""
    if not found.label_fractions:
        return "no label fraction has a run in both arms"
    if not n.all():
        return "the number of labelled subjects is not known at every label fraction"
    if len(set(n)) < MINIMUM_COUNTS:
        return (
            f"a label curve needs {MINIMUM_COUNTS} or more different numbers of labelled subjects in both arms, "
            f"and this study has {len(set(n))}"
        )
    if (subjects := len(found.errors)) < MINIMUM_SUBJECTS:
        return (
            f"an interval over test subjects needs {MINIMUM_SUBJECTS} or more with a value in every run, "
            f"and this study has {subjects}"
        )
    return (
        "" if found.errors.mean(axis=0).all() else "the mean Dice is 1 at a label fraction: no power law comes to that"
    )


def _arm_curve(
    arm: str, fit: PowerLaws, draws: PowerLaws, scatter: float, n: np.ndarray, grid: np.ndarray, alpha: float
) -> ArmCurve:
    ends = (float(n.min()), float(n.max()))
    errors = draws.error(grid)
    lower, upper = np.quantile(errors, [alpha / 2, 1 - alpha / 2], axis=0, method="inverted_cdf")
    return ArmCurve(
        arm=arm,
        scale=float(fit.scale[0]),
        exponent=float(fit.exponent[0]),
        floor=float(fit.floor[0]),
        exponent_interval=percentile_interval(draws.exponent, alpha),
        floor_interval=percentile_interval(draws.floor, alpha),
        mean_exponent=float(fit.mean_exponent(*ends)[0]),
        mean_exponent_interval=percentile_interval(draws.mean_exponent(*ends), alpha),
        scatter=scatter,
        curve=fit.error(grid)[0],
        band=(lower, upper),
    )


def _equivalent(
    k: int, found: _Errors, n: np.ndarray, laws: Mapping[str, tuple[PowerLaws, PowerLaws]],
    curves: Mapping[str, ArmCurve], alpha: float,
) -> Equivalent:  # fmt: skip
    here, means = n[k : k + 1], found.errors.mean(axis=0)
    (scratch, scratch_draws), (pretrained, pretrained_draws) = (laws[arm] for arm in _ARMS)
    n_equivalent = float(scratch.labels(pretrained.error(here)[:, 0])[0])
    draws = scratch_draws.labels(pretrained_draws.error(here)[:, 0]) - n[k]
    facts = Facts(
        n=int(n[k]),
        largest=int(n.max()),
        measured={arm: float(means[i, k]) for i, arm in enumerate(_ARMS)},
        fitted={arm: float(laws[arm][0].error(here)[0, 0]) for arm in _ARMS},
        more=n_equivalent - float(n[k]),
        more_interval=percentile_interval(draws, alpha),
        exponent=curves[FROM_SCRATCH].mean_exponent,
        exponent_interval=curves[FROM_SCRATCH].mean_exponent_interval,
        scatter={arm: curve.scatter for arm, curve in curves.items()},
        level=1 - alpha,
    )
    return Equivalent(
        label_fraction=found.label_fractions[k],
        n_labels=facts.n,
        measured=dict(facts.measured),
        fitted=dict(facts.fitted),
        n_equivalent=n_equivalent,
        more=facts.more,
        more_interval=facts.more_interval,
        extrapolated=n_equivalent > facts.largest,
        unsupported=unsupported(facts),
        statement=statement(facts),
    )
