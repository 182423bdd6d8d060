"""How well quantities of predicted masks agree with those of true masks (paper, sections 2.7 and 3.5, figure 6).

From the rows of per_scan.csv. A pair is the quantity of one test scan by the network of one run (prediction) and by the
true mask (truth). A pair without a percent error (nothing true or predicted to measure, or a truth of 0) is left out of
every number and counted, so that all numbers of a class rest on the same pairs. A flag alone removes nothing.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.rows import Case, by_subject

QUANTITIES: Mapping[str, str] = {"volume_mm3": "mm3", "area_mm2": "mm2", "mean_hu": "hu", "mean_t2_ms": "ms"}
NEAR_ZERO_HU = 20.0  # a coefficient of variation divides by HU, whose zero is water: closer to it it says little
_Z = 1.96  # 95 % of a normal distribution


@dataclass(frozen=True)
class Pair:
    """One scan by the network of one run; `prediction` and `truth` in the quantity's unit, the error in percent."""

    run: tuple[int, int]  # subset_draw, seed
    subject: str
    scan: str
    prediction: float
    truth: float
    percent_error: float  # 100 * (prediction - truth) / |truth|


@dataclass(frozen=True)
class PercentError:
    """Absolute percent error over test subjects: median and quartiles (linear interpolation), NaN without any."""

    median: float
    lower_quartile: float
    upper_quartile: float
    n_subjects: int
    n_scans: int


@dataclass(frozen=True)
class BlandAltman:
    """Bias and standard deviation (n - 1) of prediction - truth; `sd` is NaN for a single pair."""

    bias: float
    sd: float

    @property
    def lower_limit(self) -> float:
        """Lower 95 % limit of agreement."""
        return self.bias - _Z * self.sd

    @property
    def upper_limit(self) -> float:
        """Upper 95 % limit of agreement."""
        return self.bias + _Z * self.sd


@dataclass(frozen=True)
class Agreement:
    """One metric of one class, arm and label fraction; see `agreement`."""

    metric: str
    label_fraction: float
    class_name: str
    arm: str
    error: PercentError
    difference: BlandAltman  # in the unit of the quantity
    percent_difference: BlandAltman  # in percent of the truth
    rms_cv_percent: float
    rmse_cv_percent: float
    n_runs: int
    n_excluded: int  # pairs without a percent error, over scans and runs
    n_near_zero: int  # mean_hu: pairs whose mean is within NEAR_ZERO_HU of 0, so that the CVs say little
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class FlagCount:
    """One kind of flag on the rows of one metric, class, arm and label fraction."""

    metric: str
    label_fraction: float
    class_name: str
    arm: str
    flag: str
    scans: tuple[str, ...]  # flagged in at least one run
    n_scans: int  # evaluated
    n_values: int  # flagged rows, over scans and runs
    n_defined: int  # of these, rows with a value


@dataclass(frozen=True)
class Flags:
    """All flags of the test scans, and how many test scans there are."""

    counts: tuple[FlagCount, ...]
    n_scans: int

    @property
    def scans(self) -> tuple[str, ...]:
        """Scans with any flag."""
        return tuple(sorted({scan for count in self.counts for scan in count.scans}))


_Key = tuple[str, float, str, str]  # metric, label fraction, class, arm


def _key_and_case(row: Mapping[str, str]) -> tuple[_Key, Case]:
    try:
        run = int(row["subset_draw"]), int(row["seed"])
        return (row["metric"], float(row["label_fraction"]), row["class"], row["arm"]), (
            run,
            row["subject"],
            row["scan"],
        )
    except ValueError as error:
        raise InputError(f"per_scan.csv: {error} in the row {dict(row)}; evaluate the study again") from None


def _pair(row: Mapping[str, str], case: Case) -> Pair:
    try:
        numbers = [float(row[column] or "nan") for column in ("prediction", "truth", "value")]
    except ValueError as error:
        raise InputError(f"per_scan.csv: {error} in the row {dict(row)}; evaluate the study again") from None
    if math.isfinite(numbers[2]) and not (math.isfinite(numbers[0]) and math.isfinite(numbers[1])):
        raise InputError(
            f"per_scan.csv: {row['metric']} of class {row['class']!r} of scan {row['scan']!r} has the value "
            f"{row['value']} but prediction {row['prediction']!r} and truth {row['truth']!r}; expected two numbers; "
            "evaluate the study again"
        )
    return Pair(*case, *numbers)


def _collect(rows: Iterable[Mapping[str, str]]) -> dict[_Key, dict[Case, Pair]]:
    table: dict[_Key, dict[Case, Pair]] = {}
    for row in rows:
        if row["split"] != "test" or row["metric"] not in QUANTITIES:
            continue
        key, case = _key_and_case(row)
        if case in table.setdefault(key, {}):
            raise InputError(
                f"per_scan.csv: {key[0]} of class {key[2]!r} of scan {case[2]!r} ({key[3]}, label fraction {key[1]:g}, "
                f"seed {case[0][1]}) appears twice; expected one row per scan, class and metric"
            )
        table[key][case] = _pair(row, case)
    return table


def _percent_error(pairs: Sequence[Pair]) -> PercentError:
    """Absolute errors are averaged over runs for each scan, then over the scans of a subject, as Dice is."""
    errors = list(by_subject({(p.run, p.subject, p.scan): abs(p.percent_error) for p in pairs}).values())
    n_scans = len({(p.subject, p.scan) for p in pairs})
    if not errors:
        return PercentError(math.nan, math.nan, math.nan, 0, 0)
    lower, median, upper = (float(q) for q in np.percentile(errors, (25, 50, 75)))
    return PercentError(median, lower, upper, len(errors), n_scans)


def _root_mean_square(values: Iterable[float]) -> float:
    """Of the values that are defined; NaN when none is."""
    defined = [value for value in values if not math.isnan(value)]
    return math.sqrt(float(np.mean(np.square(defined)))) if defined else math.nan


def _bland_altman(runs: Sequence[Sequence[Pair]], difference: Callable[[Pair], float]) -> BlandAltman:
    """Bias averaged over runs, standard deviation as root mean square over runs.

    Averaging predictions over runs first would describe an ensemble that nobody trained, with limits narrower than
    those of any one network.
    """
    values = [np.array([difference(pair) for pair in run]) for run in runs]
    bias = float(np.mean([v.mean() for v in values])) if values else math.nan
    return BlandAltman(bias, _root_mean_square(float(v.std(ddof=1)) if v.size > 1 else math.nan for v in values))


def _pair_cv(pair: Pair) -> float:
    """Sample standard deviation of two values over their absolute mean: |d| / sqrt(2) / |mean|, a ratio."""
    mean = abs(pair.prediction + pair.truth) / 2
    return abs(pair.prediction - pair.truth) / math.sqrt(2) / mean if mean else math.inf


def _rmse_cv(run: Sequence[Pair]) -> float:
    """Root mean squared error over the absolute mean of the truth, a ratio."""
    error = _root_mean_square(pair.prediction - pair.truth for pair in run)
    mean = abs(float(np.mean([pair.truth for pair in run])))
    return error / mean if mean else math.inf


def _near_zero(pair: Pair) -> bool:
    return abs(pair.prediction + pair.truth) / 2 < NEAR_ZERO_HU


def _agreement(key: _Key, cases: Mapping[Case, Pair]) -> Agreement:
    metric, fraction, name, arm = key
    pairs = tuple(pair for _, pair in sorted(cases.items()) if math.isfinite(pair.percent_error))
    runs = [[pair for pair in pairs if pair.run == run] for run in sorted({pair.run for pair in pairs})]
    return Agreement(
        metric=metric,
        label_fraction=fraction,
        class_name=name,
        arm=arm,
        error=_percent_error(pairs),
        difference=_bland_altman(runs, lambda pair: pair.prediction - pair.truth),
        percent_difference=_bland_altman(runs, lambda pair: pair.percent_error),
        rms_cv_percent=100 * _root_mean_square(_root_mean_square(map(_pair_cv, run)) for run in runs),
        rmse_cv_percent=100 * _root_mean_square(map(_rmse_cv, runs)),
        n_runs=len(runs),
        n_excluded=len(cases) - len(pairs),
        n_near_zero=sum(map(_near_zero, pairs)) if QUANTITIES[metric] == "hu" else 0,
        pairs=pairs,
    )


def agreement(rows: Iterable[Mapping[str, str]]) -> tuple[Agreement, ...]:
    """Agreement of prediction and truth for each metric of QUANTITIES, label fraction, class and arm of the test scans.

    - Percent error (figure 6): absolute, in percent of the truth; median and quartiles over test subjects.
    - Bland-Altman (Bland and Altman 1986): bias and 95 % limits, bias +- 1.96 sd, in the quantity's unit and in percent
      of the truth. The unit of analysis is the scan of one run; scans of one subject count as independent.
    - RMS-CV (Gluer et al. 1995, Osteoporosis International 5, 262-270): root mean square over scans of the coefficient
      of variation of the two values. RMSE-CV: root mean squared error over the mean of the truth. Both in percent and
      with absolute means, as HU may be negative; `n_near_zero` counts pairs for which they say little.
    With several runs, Bland-Altman and CVs are taken for each run and then averaged: the bias as a mean, the others as
    a root mean square.

    `rows` are strings; other splits and metrics are skipped, so a study without clinical metrics gives (). Metrics come
    in the order of QUANTITIES, then label fractions rise, classes and arms as they first appear. Raises InputError for
    a row that is no number, contradicts itself or appears twice.
    """
    table = _collect(rows)
    metrics, classes = list(QUANTITIES), list(dict.fromkeys(name for _, _, name, _ in table))
    keys = sorted(table, key=lambda key: (metrics.index(key[0]), key[1], classes.index(key[2])))
    return tuple(_agreement(key, table[key]) for key in keys)


def count_flags(rows: Iterable[Mapping[str, str]]) -> Flags:
    """Count the flags of the test scans' rows, of every metric in the file; a row may carry several, joined by ";"."""
    evaluated: dict[_Key, set[str]] = {}
    flagged: dict[tuple[_Key, str], list[tuple[str, bool]]] = {}
    for row in rows:
        if row["split"] != "test":
            continue
        key, case = _key_and_case(row)
        evaluated.setdefault(key, set()).add(case[2])
        for flag in filter(None, (row["flag"] or "").split(";")):
            has_value = (row["value"] or "nan").strip().lower() not in ("nan", "-nan")
            flagged.setdefault((key, flag), []).append((case[2], has_value))
    counts = []
    for (key, flag), found in flagged.items():
        scans = tuple(sorted({scan for scan, _ in found}))
        defined = sum(has_value for _, has_value in found)
        counts.append(FlagCount(*key, flag, scans, len(evaluated[key]), len(found), defined))
    return Flags(tuple(counts), len(set().union(*evaluated.values())))
