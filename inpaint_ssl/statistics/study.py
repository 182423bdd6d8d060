"""Does pretraining help? Paired one-sided tests on the rows of per_scan.csv (paper, section 2.8).

The subject is the unit: values are averaged over seeds for each scan, then over the scans of a subject, and only then
summarised or tested. The planned test of a label fraction is the one on the class average. The planned tests over the
label fractions of a study are the family within which Holm's method adjusts p-values; those of single classes describe,
are not in the family and are not adjusted. No jax here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from inpaint_ssl.statistics.arms import Values, arm_mean, compare_subjects, pairs, values_by_arm
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.holm import holm
from inpaint_ssl.statistics.rows import AVERAGE, FROM_SCRATCH, PRETRAINED
from inpaint_ssl.statistics.wilcoxon import WilcoxonResult, minimum_n


@dataclass(frozen=True)
class RunMean:
    """Mean over test subjects of one run (one seed and one draw of the label subset)."""

    subset_draw: int
    seed: int
    mean: float


@dataclass(frozen=True)
class ArmSummary:
    """One arm at one label fraction for one class: mean and sample standard deviation over test subjects."""

    mean: float
    sd: float  # NaN for a single subject
    n_subjects: int
    n_scans: int
    n_excluded: int  # undefined (NaN) values left out, over scans and runs (and classes, for the average)
    runs: tuple[RunMean, ...]


@dataclass(frozen=True)
class Comparison:
    """Pretrained against from scratch on the same subjects, runs and classes."""

    from_scratch_mean: float
    pretrained_mean: float
    mean_difference: float  # pretrained - from scratch
    n_subjects: int
    n_excluded: int  # values dropped from both arms because they were undefined in one
    differences: dict[str, float]  # by subject
    wilcoxon: WilcoxonResult
    difference_lower: float  # bootstrap interval of mean_difference, two-sided, level 1 - alpha; NaN for one subject
    difference_upper: float
    p_holm: float | None = None  # p-value adjusted over the planned tests of the study; None for a single class
    p_holm_in_reach: float | None = None  # what p_holm would be if all numbers of pairs gave their smallest p-value

    @property
    def rank_biserial(self) -> float:
        """Effect size of the test, -1 (every subject loses) to 1 (every subject gains); NaN without a difference."""
        return self.wilcoxon.rank_biserial


@dataclass(frozen=True)
class Entry:
    """One class (or the class average, `AVERAGE`) at one label fraction."""

    label_fraction: float
    class_name: str
    arms: dict[str, ArmSummary]
    comparison: Comparison | None  # None while one arm is missing


@dataclass(frozen=True)
class Description:
    """One metric of one class, arm and label fraction; see `describe`."""

    metric: str
    label_fraction: float
    class_name: str
    arm: str
    summary: ArmSummary


@dataclass(frozen=True)
class StudyStatistics:
    """Entries by rising label fraction, the class average first, then the classes as they first appear in the rows."""

    metric: str
    alpha: float
    label_fractions: tuple[float, ...]
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]
    n_planned: int  # tests that p_holm is adjusted for: the label fractions of the study, also those not tested yet
    bootstrap: Bootstrap

    def entry(self, label_fraction: float, class_name: str = AVERAGE) -> Entry | None:
        """The entry of a class at a label fraction, or None when it has no rows."""
        return next((e for e in self.entries if (e.label_fraction, e.class_name) == (label_fraction, class_name)), None)


def _pick(values: Values, name: str) -> Values:
    """One class, or all of them for the average."""
    return values if name == AVERAGE else {case: {c: of[c] for c in of if c == name} for case, of in values.items()}


def _arm(values: Values, name: str) -> ArmSummary | None:
    picked = _pick(values, name)
    n_values = sum(map(len, picked.values()))
    if not n_values:
        return None
    if (found := arm_mean(picked)) is None:
        return ArmSummary(math.nan, math.nan, 0, 0, n_values, ())
    of_runs = {run: arm_mean({c: v for c, v in picked.items() if c[0] == run}) for run in {case[0] for case in picked}}
    return ArmSummary(
        mean=found.mean,
        sd=found.sd,
        n_subjects=found.n_subjects,
        n_scans=found.n_scans,
        n_excluded=found.n_excluded,
        runs=tuple(RunMean(*run, of_run.mean) for run, of_run in sorted(of_runs.items()) if of_run is not None),
    )


def _compare(first: Values, second: Values, name: str, alpha: float, bootstrap: Bootstrap) -> Comparison | None:
    """`first` (pretrained) against `second` (from scratch)."""
    paired = pairs(_pick(first, name), _pick(second, name))
    subjects = paired.by_subject()
    pretrained, scratch = ({subject: pair[side] for subject, pair in subjects.items()} for side in (0, 1))
    found = compare_subjects(pretrained, scratch, alpha, bootstrap, paired.n_excluded)
    if found is None:
        return None
    return Comparison(
        from_scratch_mean=found.second_mean,
        pretrained_mean=found.first_mean,
        mean_difference=found.mean_difference,
        n_subjects=found.n_subjects,
        n_excluded=found.n_excluded,
        differences={subject: pretrained[subject] - scratch[subject] for subject in subjects},
        wilcoxon=found.wilcoxon,
        difference_lower=found.lower,
        difference_upper=found.upper,
    )


def _adjust(entries: Sequence[Entry], family: Sequence[float]) -> list[Entry]:
    """Holm's p-values for the class averages; a label fraction of the family without a test counts as p = 1."""
    tests = {e.label_fraction: e.comparison for e in entries if e.class_name == AVERAGE and e.comparison}
    found = {f: c.wilcoxon.p_value for f, c in tests.items()}
    smallest = {f: 0.5 ** (c.wilcoxon.n or c.n_subjects) for f, c in tests.items()}
    adjusted, in_reach = (
        dict(zip(family, holm(p.get(f, 1.0) for f in family), strict=True)) for p in (found, smallest)
    )
    return [
        replace(e, comparison=replace(c, p_holm=adjusted[e.label_fraction], p_holm_in_reach=in_reach[e.label_fraction]))
        if e.class_name == AVERAGE and (c := e.comparison)
        else e
        for e in entries
    ]


def _warnings(entry: Entry, arms: Mapping[str, Values], alpha: float, n_planned: int) -> list[str]:
    where, warnings, comparison = f"label fraction {entry.label_fraction:g}: ", list[str](), entry.comparison
    first, second = arms.get(PRETRAINED, {}), arms.get(FROM_SCRATCH, {})
    if first and second and (alone := first.keys() ^ second.keys()):
        warnings.append(f"{where}{len(alone)} evaluated scans have no partner in the other arm and are not compared")
    if comparison is None:
        return warnings
    w, in_reach = comparison.wilcoxon, comparison.p_holm_in_reach
    zeros = f" ({w.n_zero} more with no difference)" if w.n_zero else ""
    cannot = f"{where}{w.n} test subjects with a difference{zeros} cannot reach p < {alpha:g}"
    if w.n < minimum_n(alpha):
        warnings.append(f"{cannot}; at least {minimum_n(alpha)} are needed")
    elif in_reach is not None and in_reach >= alpha:
        enough = minimum_n(alpha / n_planned)
        warnings.append(f"{cannot} once adjusted for {n_planned} label fractions; {enough} would do")
    return warnings


def describe(
    rows: Iterable[Mapping[str, str]], metric: str, split: str = "test", average: bool = False
) -> tuple[Description, ...]:
    """Each arm's mean of a metric for every label fraction and class, without a comparison: for a metric of which less
    is better the tests of `summarise` would ask the wrong question.

    Each arm over the scans that it has a value of. Label fractions rise, classes and arms are in order of appearance;
    with `average` the class average, over the classes that a scan has a value of, comes first. `rows` and errors as in
    `summarise`.
    """
    table = values_by_arm(rows, split, metric)
    classes = dict.fromkeys(c for values in table.values() for case in values.values() for c in case)
    arms = dict.fromkeys(arm for _, arm in table)
    return tuple(
        Description(metric, fraction, name, arm, summary)
        for fraction in sorted({fraction for fraction, _ in table})
        for name in (*([AVERAGE] if average else []), *classes)
        for arm in arms
        if (summary := _arm(table.get((fraction, arm), {}), name)) is not None
    )


def summarise(
    rows: Iterable[Mapping[str, str]],
    alpha: float,
    metric: str = "dice",
    *,
    planned: Iterable[float] = (),
    bootstrap: Bootstrap | None = None,
    split: str = "test",
) -> StudyStatistics:
    """Means, paired differences and tests for every label fraction and class (paper, sections 2.5.3 and 2.8).

    `rows` are the rows of per_scan.csv as strings; other metrics and splits than `split` are skipped. Values are
    ratios. Arms, classes and label fractions may be missing: what cannot be compared has the comparison None. `planned`
    are the label fractions of the study; with those of the rows they are the family of Holm's correction, in which a
    test that is still missing counts as p = 1, so that what is significant stays so. Raises InputError for a row that
    is no number or appears twice.
    """
    bootstrap = bootstrap or Bootstrap()
    table = values_by_arm(rows, split, metric)
    fractions = tuple(sorted({fraction for fraction, _ in table}))
    classes = tuple(dict.fromkeys(c for values in table.values() for case in values.values() for c in case))
    arms_at = {f: {arm: values for (g, arm), values in table.items() if f == g} for f in fractions}
    entries: list[Entry] = []
    for fraction, arms in arms_at.items():
        for name in (AVERAGE, *classes):
            summaries = {arm: s for arm, values in sorted(arms.items()) if (s := _arm(values, name))}
            comparison = None
            if FROM_SCRATCH in summaries and PRETRAINED in summaries:
                comparison = _compare(arms[PRETRAINED], arms[FROM_SCRATCH], name, alpha, bootstrap)
            if summaries:
                entries.append(Entry(fraction, name, summaries, comparison))
    family = sorted({*planned, *fractions})
    entries = _adjust(entries, family)
    averages = [entry for entry in entries if entry.class_name == AVERAGE]
    warnings = [text for e in averages for text in _warnings(e, arms_at[e.label_fraction], alpha, len(family))]
    return StudyStatistics(metric, alpha, fractions, classes, tuple(entries), tuple(warnings), len(family), bootstrap)
