"""Extents of pretraining: tests against SciPy, averages by hand, and curves against planted power laws."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from arm_rows import Row, extent_entries, rows_of
from scipy import stats

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED, Bootstrap, mean_interval
from inpaint_ssl.statistics.extents import extent_arms, extent_reason, extent_statistics, select_extent
from inpaint_ssl.statistics.label_curve import label_curves
from inpaint_ssl.statistics.unlabelled_curve import unlabelled_curves, worth_in_labels

FEW = Bootstrap(resamples=1000, seed=3)
FRACTIONS = (0.05, 0.25, 1.0)
COUNTS = {0.05: 4, 0.25: 20, 1.0: 80}
EXTENTS = (1.0, 1.5, 2.0)
N = 20
SUBJECTS = np.linspace(0.7, 1.3, N)[None, :, None]  # of the mean error


def study(
    error: np.ndarray, extents: Sequence[float] = EXTENTS, split: str = "test", noise: float = 0.0, seeds: int = 1
) -> list[Row]:
    """error (arms with from scratch first, fractions): mean errors."""
    rng, rows = np.random.default_rng(0), []
    for i, entry in enumerate(extent_entries(extents)):
        for k, fraction in enumerate(FRACTIONS):
            values = 1 - error[i, k] * SUBJECTS + rng.normal(0, noise, (seeds, N, 2))
            rows += rows_of(entry["arm"], values, fraction, split)
    return rows


def errors(extents: Sequence[float] = EXTENTS, exponent: float = 0.2, floor: float = 0.0) -> np.ndarray:
    """Falling power laws of the extent; from scratch is a tenth worse than extent 1."""
    of_labels = np.array([0.4, 0.25, 0.15])
    return np.stack([1.1 * of_labels, *(of_labels * (x**-exponent + floor) for x in extents)])


def test_means_and_tests_are_those_of_scipy() -> None:
    rows = study(errors(), noise=0.02, seeds=2)
    found = extent_statistics(rows, extent_entries(EXTENTS), "test", 0.05, FEW, planned=(0.05, 0.1, 0.25, 0.5, 1.0))
    assert found.extents == (0.0, *EXTENTS) and found.label_fractions == FRACTIONS and found.largest == 2.0
    by_hand = {}
    for entry in extent_entries(EXTENTS):
        for f in FRACTIONS:
            of = [r for r in rows if (r["arm"], r["label_fraction"]) == (entry["arm"], repr(f))]
            values = np.array([float(r["value"]) for r in of]).reshape(2, N, 2).mean(axis=(0, 2))
            by_hand[f, entry.get("extent", 0.0)] = values
            mean = found.means[f, entry.get("extent", 0.0)]
            assert (mean.mean, mean.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
            assert (mean.n_subjects, mean.n_runs) == (N, 2)
    assert [t.label_fraction for t in found.tests] == list(FRACTIONS) and found.n_planned == 5
    by_name = sorted(range(N), key=str)  # subject-10 comes before subject-2
    for t in found.tests:
        a, b = by_hand[t.label_fraction, 2.0], by_hand[t.label_fraction, 1.0]
        p = stats.wilcoxon(a, b, alternative="greater", method="exact").pvalue
        assert t.pair.wilcoxon.p_value == pytest.approx(p)
        assert (t.pair.lower, t.pair.upper) == pytest.approx(mean_interval((a - b)[by_name], 0.05, FEW), abs=1e-9)
    p_values = sorted(t.pair.wilcoxon.p_value for t in found.tests)
    smallest = min(found.tests, key=lambda t: t.pair.wilcoxon.p_value)
    assert smallest.p_holm == pytest.approx(5 * p_values[0])
    for x, average in found.averages.items():
        expected = np.mean([by_hand[f, x] for f in FRACTIONS], axis=0)
        assert average.mean == pytest.approx(expected.mean())
        assert average.subjects["test-subject-7"] == pytest.approx(expected[7])
    assert found.averaged_over == FRACTIONS and found.best == 2.0
    assert found.warnings == ("averages leave out 10 %, 50 % of the labels, where an extent has no values yet",)


def test_the_best_average_is_selected_on_its_split() -> None:
    table = errors()
    table[2] = [0.28, 0.3, 0.09]  # 150 %: worse at 25 % of the labels, best on average
    rows = study(table) + study(errors(), split="validation")
    found = select_extent(rows, extent_entries(EXTENTS), "test", 0.05, FEW)
    assert found.selected == {"split.pretraining_extent": 1.5} and found.warnings == ()
    means = [1 - table[i].mean() for i in (2, 1)]
    text = found.reason
    assert f"{means[0]:.3f}, against {means[1]:.3f} with 100 % (difference {means[0] - means[1]:+.3f}" in text
    assert "150 % of the training set" in text and "20 test subjects averaged over 5, 25, 100 % of the labels" in text
    assert select_extent(rows, extent_entries(EXTENTS), "validation", 0.05, FEW).selected == {
        "split.pretraining_extent": 2.0
    }


def test_of_equal_extents_the_smallest_is_selected_and_from_scratch_never() -> None:
    table = errors()
    table[0], table[3] = 0.01, table[2]
    found = select_extent(study(table), extent_entries(EXTENTS), "test", 0.05, FEW)
    assert found.selected == {"split.pretraining_extent": 1.5}
    assert any("from scratch has a higher average Dice" in w for w in found.warnings)


def test_what_is_not_there_is_left_out_and_told() -> None:
    rows = study(errors())
    some = [r for r in rows if (r["arm"], r["label_fraction"]) != ("extent-200pct", "0.25")]
    found = extent_statistics(some, extent_entries(EXTENTS), "test", 0.05, FEW, planned=FRACTIONS)
    assert found.averaged_over == (0.05, 1.0) and [t.label_fraction for t in found.tests] == [0.05, 1.0]
    assert found.tests[0].p_holm == pytest.approx(3 * 0.5**N) and any("25 % of the labels" in w for w in found.warnings)
    one = select_extent([r for r in rows if r["arm"] == "extent-150pct"], extent_entries(EXTENTS), "test", 0.05, FEW)
    assert one.selected == {"split.pretraining_extent": 1.5} and "no other extent has values" in one.reason
    assert "from scratch, 100 % of pretraining data, 200 % of pretraining data" in " ".join(one.warnings)
    single = select_extent([r for r in rows if r["subject"] == "test-subject-0"], extent_entries(EXTENTS), "test", 0.05)
    assert single.selected and "nan" not in single.reason  # one subject has no interval
    for nothing in (rows_of(FROM_SCRATCH, np.ones((1, 3, 1))), []):
        chosen = select_extent(nothing, extent_entries(EXTENTS), "test", 0.05, FEW)
        assert chosen.selected == {} and "no pretrained extent has values on the test scans" in chosen.reason
    apart = [r for r in rows if r["arm"] == "extent-100pct" and r["label_fraction"] == "0.05"]
    apart += [r for r in rows if r["arm"] == "extent-200pct" and r["label_fraction"] == "1.0"]
    chosen = select_extent(apart, extent_entries(EXTENTS), "test", 0.05, FEW)
    assert chosen.selected == {} and any("there is no average" in w for w in chosen.warnings)
    assert extent_reason(extent_statistics([], [], "test", 0.05), FEW) == ""
    smaller = extent_statistics(study(errors((0.5, 1.0)), (0.5, 1.0)), extent_entries((0.5, 1.0)), "test", 0.05, FEW)
    assert smaller.largest is None and smaller.tests == () and smaller.best == 1.0


def test_from_scratch_with_all_labels_is_no_planned_test() -> None:
    rows = [r for r in study(errors()) if r["arm"] == FROM_SCRATCH or r["label_fraction"] != "1.0"]
    found = extent_statistics(rows, extent_entries(EXTENTS), "test", 0.05, FEW, planned=FRACTIONS[:2])
    assert found.n_planned == 2 and found.warnings == () and found.averaged_over == FRACTIONS[:2]
    assert found.means[1.0, 0.0].n_subjects == N  # the dotted line of figure 5


def test_averages_use_only_what_every_extent_has() -> None:
    rows = study(errors())
    for row in rows:
        if row["arm"] == "extent-200pct" and row["label_fraction"] == "0.05" and row["subject"] == "test-subject-0":
            row["value"] = ""
    found = extent_statistics(rows, extent_entries(EXTENTS), "test", 0.05, FEW)
    assert "test-subject-0" not in found.averages[1.0].subjects and len(found.averages[1.0].subjects) == N - 1
    assert any("2 classes of scans without a value in every extent" in w for w in found.warnings)


def test_too_few_subjects_and_unequal_seeds_are_told() -> None:
    rows = [r for r in study(errors()) if r["subject"] in {f"test-subject-{k}" for k in range(5)}]
    rows += [r | {"seed": "1"} for r in rows if r["arm"] == "extent-150pct"]
    found = extent_statistics(rows, extent_entries(EXTENTS), "test", 0.05, FEW)
    assert found.too_few == "5 test subjects cannot reach p < 0.05 adjusted for 3 label fractions; 6 would do"
    assert any("different numbers of runs" in w for w in found.warnings)


@pytest.mark.parametrize("wrong", [{"extent": "all"}, {"pretraining_scans": "many"}])
def test_a_wrong_extent_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected an extent and numbers"):
        extent_arms([extent_entries(EXTENTS)[1] | wrong])


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_planted_power_laws_of_pretraining_scans_are_recovered(floor: float) -> None:
    extents = (0.5, 1.0, 1.5, 2.0, 4.0) if floor else EXTENTS
    rows = study(errors(extents, 0.4, floor), extents)
    found = unlabelled_curves(rows, extent_entries(extents), 0.05, FEW)
    assert found.reason == "" and found.unit == "scans" and [c.label_fraction for c in found.curves] == list(FRACTIONS)
    largest = 80 * extents[-1]
    for c, of_labels in zip(found.curves, (0.4, 0.25, 0.15), strict=True):
        assert (c.exponent, c.floor) == pytest.approx((0.4, of_labels * floor), rel=1e-5, abs=1e-7)
        expected = of_labels * ((largest / 80) ** -0.4 - (2 * largest / 80) ** -0.4)
        assert c.doubling == pytest.approx(expected, rel=1e-5) and c.scatter < 1e-6 and c.unsupported == ""
        np.testing.assert_allclose(c.curve, of_labels * ((found.grid / 80) ** -0.4 + floor), rtol=1e-5)
        assert c.fall == pytest.approx(1 - c.measured[-1] / c.measured[0])
        assert f"{2 * largest:,.0f} pretraining scans instead of {largest:,.0f}" in c.statement
        assert f"{expected:+.3f}" in c.statement and found.grid[-1] == pytest.approx(2 * largest)


def test_the_interval_of_a_doubling_is_that_of_resampled_subjects() -> None:
    rows = study(errors(), noise=0.01)
    curve = unlabelled_curves(rows, extent_entries(EXTENTS), 0.1, Bootstrap(4000, 1)).curves[1]
    of = [r for r in rows if r["label_fraction"] == "0.25" and r["arm"] != FROM_SCRATCH]
    table = 1 - np.array([float(r["value"]) for r in of]).reshape(3, N, 2).mean(axis=2)
    rng, logs, gains = np.random.default_rng(9), np.log([80, 120, 160]), []
    for _ in range(4000):
        means = table[:, rng.integers(0, N, N)].mean(axis=1)
        slope, start = np.polyfit(logs, np.log(means), 1)  # of the logarithms: close to the relative fit
        gains.append(math.exp(start + slope * math.log(160)) - math.exp(start + slope * math.log(320)))
    assert curve.doubling_interval == pytest.approx(np.quantile(gains, [0.05, 0.95]), abs=1.5e-3)


def test_no_statement_where_the_error_does_not_fall_or_scatters() -> None:
    flat = errors(exponent=0.0)
    scattered = errors()
    scattered[2] *= 0.8  # 150 % far better than 100 and 200 %
    for table, why in ((flat, "may not help at all"), (scattered, "no power law fits")):
        found = unlabelled_curves(study(table), extent_entries(EXTENTS), 0.05, FEW)
        for c in found.curves:
            assert why in c.unsupported and c.statement == f"No statement: {c.unsupported}."
    uncertain = study(errors(exponent=0.01), noise=0.05)
    assert any(
        "may not help" in c.unsupported for c in unlabelled_curves(uncertain, extent_entries(EXTENTS), 0.05, FEW).curves
    )


def test_no_curve_without_enough_extents_numbers_or_subjects() -> None:
    def why(rows: list[Row], arms: list[dict[str, Any]]) -> str:
        found = unlabelled_curves(rows, arms, 0.05, FEW)
        assert found.curves == ()
        return found.reason

    rows, arms = study(errors()), extent_entries(EXTENTS)
    assert "needs 3 or more different numbers of pretraining scans, and there are 2" in why(rows, arms[:3])
    assert "not known" in why(rows, [{k: v for k, v in a.items() if "pretraining" not in k} for a in arms])
    few = [r for r in rows if r["subject"] in ("test-subject-1", "test-subject-2")]
    assert "2 test subjects have values of every extent; 5 are needed" in why(few, arms)
    assert "no pretrained extent" in why([], arms) and "mean Dice is 1" in why(study(0 * errors()), arms)
    unknown = [a | {"pretraining_scans": None} for a in arms]
    assert unlabelled_curves(rows, unknown, 0.05, FEW).unit == "subjects"


def test_labels_gained_are_those_of_the_label_curve_of_that_extent() -> None:
    rows, arms = study(errors(), noise=0.002), extent_entries(EXTENTS)
    found = worth_in_labels(rows, arms, COUNTS, 0.05, FEW)
    assert list(found) == [1.0, 2.0] and found[2.0].reason == ""
    for extent, name in ((1.0, "extent-100pct"), (2.0, "extent-200pct")):
        two = [r | {"arm": PRETRAINED} for r in rows if r["arm"] == name]
        two += [r for r in rows if r["arm"] == FROM_SCRATCH]
        expected = label_curves(two, COUNTS, 0.05, FEW)
        assert [e.more for e in found[extent].equivalents] == [e.more for e in expected.equivalents]
    assert all(b.more > a.more > 0 for a, b in zip(found[1.0].equivalents, found[2.0].equivalents, strict=True))
    assert worth_in_labels([], arms, COUNTS, 0.05, FEW) == {}
    assert (
        "no label fraction has a run in both arms"
        in worth_in_labels([r for r in rows if r["arm"] != FROM_SCRATCH], arms, COUNTS, 0.05, FEW)[1.0].reason
    )
