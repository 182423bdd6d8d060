"""The signed-rank test against SciPy, enumeration and a worked example; the study's means against NumPy and by hand."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from inpaint_ssl.statistics import AVERAGE, describe, minimum_n, summarise, wilcoxon_greater


def _enumerated(d: np.ndarray) -> float:
    """Share of sign patterns whose positive rank sum is at least the observed one."""
    d = d[d != 0]
    ranks = stats.rankdata(np.abs(d))
    observed = ranks[d > 0].sum()
    patterns = itertools.product((0, 1), repeat=d.size)
    return float(np.mean([np.dot(signs, ranks) >= observed - 1e-9 for signs in patterns]))


def test_worked_example() -> None:
    # |d| = 1 2 3 4 5 ranks as itself; only the 2 is a loss, so the gains sum to 13. Of 32 sign patterns the positive
    # sum is >= 13 when the negative ranks sum to <= 2: none, {1}, {2}: 3 of 32.
    result = wilcoxon_greater([11.0, 8.0, 13.0, 14.0, 15.0], [10.0] * 5)
    assert (result.statistic, result.n, result.n_zero, result.method) == (13.0, 5, 0, "exact")
    assert result.p_value == pytest.approx(3 / 32)


def test_zeros_are_dropped_before_ranking_and_ties_share_ranks() -> None:
    # d = 0, 1, 1, -1, 2: ranks of 1, 1, 1, 2 are 2, 2, 2, 4; gains 8. Sums >= 8 of 16 patterns: 10 (none negative) and
    # 8 (one of three 2s negative): 4 of 16.
    result = wilcoxon_greater([5, 6, 6, 4, 7], [5, 5, 5, 5, 5])
    assert (result.statistic, result.n, result.n_zero, result.method) == (8.0, 4, 1, "exact_ties")
    assert result.p_value == pytest.approx(4 / 16)


def test_differences_equal_on_paper_are_tied_whatever_the_floating_point() -> None:
    first, second = np.array([0.3, 0.8, 0.9, 0.7]), np.array([0.2, 0.7, 0.8, 0.7 + 1e-16])
    assert np.unique(first - second).size > 2  # floating point separates them
    result = wilcoxon_greater(first, second)
    assert (result.n, result.n_zero, result.statistic, result.method) == (3, 1, 6.0, "exact_ties")
    assert result.p_value == pytest.approx(1 / 8)


@pytest.mark.parametrize("n", [1, 4, 9, 25, 50, 51, 120])
def test_agrees_with_scipy_without_ties(n: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.normal(0.05, 1, n), rng.normal(0, 1, n)
    method = "exact" if n <= 50 else "asymptotic"
    expected = stats.wilcoxon(first, second, alternative="greater", method=method)
    result = wilcoxon_greater(first, second)
    assert result.method == method
    assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)


@pytest.mark.parametrize("n", [14, 40, 90])
def test_agrees_with_scipy_with_many_ties_and_zeros(n: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.integers(0, 5, n).astype(float), rng.integers(0, 4, n).astype(float)
    expected = stats.wilcoxon(first, second, alternative="greater", method="asymptotic", zero_method="wilcox")
    result = wilcoxon_greater(first, second)
    if result.n > 13:
        assert result.method == "asymptotic"
        assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    assert result.n_zero == int((first == second).sum()) > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_small_samples_equal_the_enumeration_of_all_sign_patterns(d: list[int]) -> None:
    result = wilcoxon_greater(d, [0] * len(d))
    assert result.p_value == pytest.approx(_enumerated(np.array(d, float)) if any(d) else 1.0)


def test_ties_at_the_border_of_enumeration() -> None:
    d = np.array([1, 1, -2, 3, 4, 5, 6, -7, 8, 9, 10, 11, 12], float)
    result = wilcoxon_greater(d, np.zeros(13))
    assert result.method == "exact_ties"
    assert result.p_value == pytest.approx(_enumerated(d))
    assert wilcoxon_greater([*d, 13.0], np.zeros(14)).method == "asymptotic"


def test_pairs_that_are_not_finite_are_excluded() -> None:
    result = wilcoxon_greater([math.inf, 1.0, 2.0], [math.inf, 0.0, math.nan])
    assert (result.n, result.n_pairs_excluded, result.p_value) == (1, 2, 0.5)


def test_nothing_to_rank_gives_one_and_nan_pairs_are_counted() -> None:
    assert wilcoxon_greater([], []).p_value == 1.0
    same = wilcoxon_greater([0.5, math.nan, 0.7], [0.5, 0.1, math.nan])
    assert (same.p_value, same.n, same.n_zero, same.n_pairs_excluded, same.method) == (1.0, 0, 1, 2, "none")
    with pytest.raises(ValueError, match="equally long"):
        wilcoxon_greater([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("alpha", "expected"), [(0.05, 5), (0.5, 2), (0.01, 7), (0.0625, 5), (0.99, 1)])
def test_minimum_n_is_where_all_gains_become_significant(alpha: float, expected: int) -> None:
    assert minimum_n(alpha) == expected
    gains = np.arange(1.0, expected + 1)
    assert wilcoxon_greater(gains, np.zeros(expected)).p_value < alpha
    assert expected == 1 or wilcoxon_greater(gains[:-1], np.zeros(expected - 1)).p_value >= alpha


def test_minimum_n_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match=r"statistics\.alpha"):
        minimum_n(0.0)


def row(arm: str, scan: str, cls: str, value: float | str, **other: str) -> dict[str, str]:
    base = {"study": "s", "dataset": "d", "arm": arm, "label_fraction": "0.05", "subset_draw": "0", "seed": "0"}
    base |= {"split": "test", "subject": scan, "scan": scan, "class": cls, "metric": "dice", "unit": "ratio"}
    return base | {"prediction": "1", "truth": "1", "value": str(value), "flag": ""} | other


def test_means_deviations_and_test_of_a_random_study() -> None:
    rng = np.random.default_rng(3)
    dice = rng.uniform(0.3, 0.9, (2, 2, 3, 8, 2))  # arm, fraction, seed, scan, class
    rows = [
        row(arm, f"scan{i}", c, float(dice[a, f, s, i, k]), label_fraction=fraction, seed=str(s))
        for a, arm in enumerate(("from_scratch", "pretrained"))
        for f, fraction in enumerate(("0.05", "1.0"))
        for s, i, (k, c) in itertools.product(range(3), range(8), enumerate("AB"))
    ]
    result = summarise([*rows, *[r | {"split": "validation", "value": "0"} for r in rows]], 0.05)
    assert (result.label_fractions, result.classes, len(result.entries)) == ((0.05, 1.0), ("A", "B"), 6)
    for f, k in itertools.product(range(2), (None, 0, 1)):
        entry = result.entry((0.05, 1.0)[f], AVERAGE if k is None else "AB"[k])
        values = dice[:, f].mean(-1) if k is None else dice[:, f, ..., k]  # arm, seed, scan
        per_scan = values.mean(1)
        assert entry is not None and entry.comparison is not None
        for a, arm in enumerate(("from_scratch", "pretrained")):
            summary = entry.arms[arm]
            assert summary.mean == pytest.approx(per_scan[a].mean())
            assert summary.sd == pytest.approx(per_scan[a].std(ddof=1))
            assert (summary.n_scans, summary.n_subjects, summary.n_excluded) == (8, 8, 0)
            assert [run.mean for run in summary.runs] == pytest.approx(list(values[a].mean(-1)))
        expected = stats.wilcoxon(per_scan[1], per_scan[0], alternative="greater", method="exact")
        assert entry.comparison.wilcoxon.p_value == pytest.approx(expected.pvalue)
        assert entry.comparison.mean_difference == pytest.approx((per_scan[1] - per_scan[0]).mean())
    assert result.warnings == ()


def test_a_class_undefined_in_one_arm_is_dropped_from_both_for_that_scan() -> None:
    rows = [
        row("from_scratch", "x", "A", 0.4), row("from_scratch", "x", "B", 0.2),
        row("pretrained", "x", "A", 0.5), row("pretrained", "x", "B", ""),
        row("from_scratch", "y", "A", 0.6), row("from_scratch", "y", "B", 0.8),
        row("pretrained", "y", "A", 0.7), row("pretrained", "y", "B", 0.9),
        row("from_scratch", "z", "A", "nan"), row("from_scratch", "z", "B", "nan"),
        row("pretrained", "z", "A", "nan"), row("pretrained", "z", "B", 0.1),
    ]  # fmt: skip
    result = summarise(rows, 0.05)
    average = result.entry(0.05)
    assert average is not None and average.comparison is not None
    # paired: x compares class A alone (0.5 with 0.4), y both classes (0.8 with 0.7), z nothing
    assert average.comparison.differences == pytest.approx({"x": 0.1, "y": 0.1})
    assert average.comparison.pretrained_mean == pytest.approx((0.5 + 0.8) / 2)
    assert average.comparison.from_scratch_mean == pytest.approx((0.4 + 0.7) / 2)
    assert (average.comparison.n_subjects, average.comparison.n_excluded) == (2, 3)
    assert (average.comparison.wilcoxon.n, average.comparison.wilcoxon.method) == (2, "exact_ties")
    # alone: each arm keeps what it has
    assert average.arms["from_scratch"].mean == pytest.approx((0.3 + 0.7) / 2)
    assert average.arms["pretrained"].mean == pytest.approx((0.5 + 0.8 + 0.1) / 3)
    assert [average.arms[arm].n_excluded for arm in ("from_scratch", "pretrained")] == [2, 2]
    b = result.entry(0.05, "B")
    assert b is not None and b.comparison is not None
    assert (b.comparison.n_subjects, b.comparison.mean_difference) == (1, pytest.approx(0.1))


def test_scans_of_one_subject_count_once() -> None:
    values = {"p0": [0.2, 0.4, 0.9], "p1": [0.6], "p2": [0.1, 0.3]}
    rows = [
        row(arm, f"{p}-{i}", "A", v + gain, subject=p)
        for arm, gain in (("from_scratch", 0.0), ("pretrained", 0.05))
        for p, scans in values.items()
        for i, v in enumerate(scans)
    ]
    entry = summarise(rows, 0.05).entry(0.05, "A")
    assert entry is not None and entry.comparison is not None
    assert (entry.arms["from_scratch"].n_scans, entry.arms["from_scratch"].n_subjects) == (6, 3)
    assert entry.arms["from_scratch"].mean == pytest.approx((0.5 + 0.6 + 0.2) / 3)
    assert (entry.comparison.wilcoxon.n, entry.comparison.wilcoxon.p_value) == (3, pytest.approx(1 / 8))


def test_seeds_are_paired_and_a_scan_without_partner_is_reported() -> None:
    rows = [row("from_scratch", "x", "A", 0.5), row("pretrained", "x", "A", 0.6)]
    rows += [row("pretrained", "x", "A", 1.0, seed="1")]  # this seed has no from-scratch twin yet
    result = summarise(rows, 0.05)
    entry = result.entry(0.05)
    assert entry is not None and entry.comparison is not None
    assert entry.comparison.mean_difference == pytest.approx(0.1)
    assert entry.arms["pretrained"].mean == pytest.approx(0.8)
    assert any("1 evaluated scans have no partner" in w for w in result.warnings)


@pytest.mark.parametrize(("subjects", "warned"), [(4, True), (5, False)])
def test_too_few_subjects_are_warned_about(subjects: int, warned: bool) -> None:
    rows = [row("from_scratch", f"s{i}", "A", 0.1) for i in range(subjects)]
    rows += [row("pretrained", f"s{i}", "A", 0.2 + i / 100) for i in range(subjects)]
    result = summarise(rows, 0.05)
    assert any("cannot reach p < 0.05; at least 5" in w for w in result.warnings) == warned
    entry = result.entry(0.05)
    assert entry is not None and entry.comparison is not None
    assert (entry.comparison.wilcoxon.p_value < 0.05) != warned


def test_a_description_has_the_numbers_of_each_arm_and_no_comparison() -> None:
    mm = {"metric": "assd_mm"}
    rows = [row("pretrained", f"s{i}", "A", v, **mm) for i, v in enumerate([0.4, 0.6, 1.1])]
    rows += [row("from_scratch", f"s{i}", "A", v, **mm) for i, v in enumerate([0.7, 0.9, "nan"])]
    rows += [row("pretrained", "s0", "A", 0.9), row("pretrained", "s0", "B", 2.0, **mm)]
    found = {(d.class_name, d.arm): d for d in describe(rows, "assd_mm")}
    assert set(found) == {("A", "pretrained"), ("A", "from_scratch"), ("B", "pretrained")}
    first, second = found["A", "pretrained"].summary, found["A", "from_scratch"].summary
    assert (first.mean, first.sd, first.n_scans) == pytest.approx((0.7, np.std([0.4, 0.6, 1.1], ddof=1), 3))
    assert (second.mean, second.n_scans, second.n_excluded) == pytest.approx((0.8, 2, 1))
    assert not hasattr(found["A", "pretrained"], "comparison") and describe(rows, "hd95_mm") == ()


def test_missing_parts_leave_no_comparison() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = summarise([], 0.05)
        one_arm = summarise([row("from_scratch", "x", "A", 0.5), row("from_scratch", "x", "B", "")], 0.05)
    assert (empty.entries, empty.label_fractions, empty.entry(0.05)) == ((), (), None)
    assert [entry.comparison for entry in one_arm.entries] == [None] * 3
    undefined = one_arm.entry(0.05, "B")
    assert undefined is not None
    assert math.isnan(undefined.arms["from_scratch"].mean) and undefined.arms["from_scratch"].n_excluded == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("pretrained", "x", "A", 0.5), row("pretrained", "x", "A", 0.5)], "appears twice"),
        ([row("pretrained", "x", "A", "good")], "evaluate the study again"),
        ([row("pretrained", "x", AVERAGE, 0.5)], "reserved"),
    ],
)
def test_rows_that_cannot_be_used_are_named(rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarise(rows, 0.05)
