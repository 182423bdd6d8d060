"""How well quantities of predicted masks agree with those of true masks (paper, sections 2.7 and 3.5, figure 6).

From the rows of per_scan.csv. A pair is the quantity of one test scan by the network of one run (prediction) and by the
true mask (truth). A pair without a percent error (nothing true or predicted to measure, or a truth of 0) is left out of
every number of its arm and counted; the other arm keeps its own pair, so that the arms may rest on different scans.
What compares them takes `paired_errors`. A flag alone removes nothing.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics.rows import FROM_SCRATCH, PRETRAINED, Case, Key, by_subject, key_and_case

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
    n_near_zero: int  # mean_hu: pairs with a truth or mean within NEAR_ZERO_HU of 0: errors and CVs say little
    pairs: tuple[Pair, ...]  # that all numbers rest on, one per scan and run
    excluded: tuple[Case, ...]  # scans and runs without a percent error

    @property
    def n_excluded(self) -> int:
        """Pairs without a percent error, over scans and runs."""
        return len(self.excluded)

    @property
    def n_evaluated(self) -> int:
        """Scans times runs, with and without a percent error."""
        return len(self.pairs) + len(self.excluded)

    @property
    def n_scans_excluded(self) -> int:
        """Scans without a percent error in at least one run."""
        return len({case[1:] for case in self.excluded})

    @property
    def n_scans_evaluated(self) -> int:
        """Scans, with and without a percent error."""
        return len({case[1:] for case in (*map(_case, self.pairs), *self.excluded)})


@dataclass(frozen=True)
class PairedErrors:
    """Percent errors of both arms over the scans and runs that have one in both; see `paired_errors`."""

    from_scratch: PercentError
    pretrained: PercentError
    n_pairs: int


def _case(pair: Pair) -> Case:
    return pair.run, pair.subject, pair.scan


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


def _collect(rows: Iterable[Mapping[str, str]]) -> dict[Key, dict[Case, Pair]]:
    table: dict[Key, dict[Case, Pair]] = {}
    for row in rows:
        if row["split"] != "test" or row["metric"] not in QUANTITIES:
            continue
        key, case = key_and_case(row)
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
    """Sample standard deviation (n - 1) of two values over their absolute mean: |d| / sqrt(2) / |mean|, a ratio."""
    mean = abs(pair.prediction + pair.truth) / 2
    return abs(pair.prediction - pair.truth) / math.sqrt(2) / mean if mean else math.inf


def _rmse_cv(run: Sequence[Pair]) -> float:
    """Root mean squared error over the absolute mean of the truth, a ratio."""
    error = _root_mean_square(pair.prediction - pair.truth for pair in run)
    mean = abs(float(np.mean([pair.truth for pair in run])))
    return error / mean if mean else math.inf


def _near_zero(pair: Pair) -> bool:
    """A percent error divides by the truth, a coefficient of variation by the mean."""
    return min(abs(pair.truth), abs(pair.prediction + pair.truth) / 2) < NEAR_ZERO_HU


def _agreement(key: Key, cases: Mapping[Case, Pair]) -> Agreement:
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
        n_near_zero=sum(map(_near_zero, pairs)) if QUANTITIES[metric] == "hu" else 0,
        pairs=pairs,
        excluded=tuple(case for case, pair in sorted(cases.items()) if not math.isfinite(pair.percent_error)),
    )


def agreement(rows: Iterable[Mapping[str, str]]) -> tuple[Agreement, ...]:
    """Agreement of prediction and truth for each metric of QUANTITIES, label fraction, class and arm of the test scans.

    - Percent error (figure 6): absolute, in percent of the truth; median and quartiles over test subjects.
    - Bland-Altman (Bland and Altman 1986): bias and 95 % limits, bias +- 1.96 sd, in the quantity's unit and in percent
      of the truth. The unit of analysis is the scan of one run; scans of one subject count as independent.
    - RMS-CV (Gluer et al. 1995, Osteoporosis International 5, 262-270): root mean square over scans of the coefficient
      of variation of the two values, with their sample standard deviation, |d| / sqrt(2). The metric cv of per_scan.csv
      (metrics.cv) takes the population's, |d| / 2, and is sqrt(2) times smaller. RMSE-CV: root mean squared error over
      the mean of the truth. Both in percent and with absolute means, as HU may be negative; `n_near_zero` counts pairs
      for which they say little.
    With several runs, Bland-Altman and CVs are taken for each run and then combined: the bias as a mean, the others as
    a root mean square. Each arm has its own pairs; `paired_errors` takes those that both have.

    `rows` are strings; other splits and metrics are skipped, so a study without clinical metrics gives (). Metrics come
    in the order of QUANTITIES, then label fractions rise, classes and arms as they first appear. Raises InputError for
    a row that is no number, contradicts itself or appears twice.
    """
    table = _collect(rows)
    metrics, classes = list(QUANTITIES), list(dict.fromkeys(name for _, _, name, _ in table))
    keys = sorted(table, key=lambda key: (metrics.index(key[0]), key[1], classes.index(key[2])))
    return tuple(_agreement(key, table[key]) for key in keys)


def paired_errors(from_scratch: Agreement, pretrained: Agreement) -> PairedErrors:
    """Absolute percent errors of two arms over the same scans and runs: those that have a percent error in both.

    Otherwise an arm that predicts nothing of a hard scan, where HU and T2 are then undefined, would be compared on the
    easy ones. InputError unless these are the two arms of one metric, class and label fraction.
    """
    arms = (from_scratch, pretrained)
    what = {(a.metric, a.label_fraction, a.class_name) for a in arms}
    if len(what) > 1 or [a.arm for a in arms] != [FROM_SCRATCH, PRETRAINED]:
        got = " and ".join(f"{a.metric} of {a.class_name!r} ({a.arm}, {a.label_fraction:g})" for a in arms)
        raise InputError(f"got {got}; expected {FROM_SCRATCH} and {PRETRAINED} of one metric, class and label fraction")
    both = {_case(pair) for pair in from_scratch.pairs} & {_case(pair) for pair in pretrained.pairs}
    first, second = (_percent_error([pair for pair in a.pairs if _case(pair) in both]) for a in arms)
    return PairedErrors(first, second, len(both))
