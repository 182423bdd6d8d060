"""Agreement of clinical metrics against numbers worked out by hand and against NumPy and SciPy."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from inpaint_ssl import metrics
from inpaint_ssl.statistics import QUANTITIES, Agreement, agreement, count_flags, paired_errors


def row(scan: str, prediction: float, truth: float, **other: str) -> dict[str, str]:
    """A row of per_scan.csv with the percent error worked out here."""
    error = 100 * (prediction - truth) / abs(truth) if truth and not math.isnan(prediction - truth) else math.nan
    base = {"study": "s", "dataset": "d", "arm": "pretrained", "label_fraction": "0.05", "subset_draw": "0"}
    base |= {"seed": "0", "split": "test", "subject": scan, "scan": scan, "class": "A", "metric": "volume_mm3"}
    return base | {"prediction": repr(prediction), "truth": repr(truth), "value": repr(error), "flag": ""} | other


def only(rows: list[dict[str, str]]) -> Agreement:
    (found,) = agreement(rows)
    return found


def test_by_hand() -> None:
    found = only([row("x", 110.0, 100.0), row("y", 180.0, 200.0), row("z", 52.0, 40.0)])
    # percent errors +10, -10, +30: the absolute ones are 10, 10, 30
    assert (found.error.median, found.error.lower_quartile, found.error.upper_quartile) == pytest.approx((10, 10, 20))
    # differences 10, -20, 12: mean 2/3, squared deviations (28/3)^2 + (62/3)^2 + (34/3)^2 = 5784/9, over 2
    sd = math.sqrt(5784 / 18)
    assert (found.difference.bias, found.difference.sd) == pytest.approx((2 / 3, sd))
    assert found.difference.lower_limit == pytest.approx(2 / 3 - 1.96 * sd)
    assert found.difference.upper_limit == pytest.approx(2 / 3 + 1.96 * sd)
    assert (found.percent_difference.bias, found.percent_difference.sd) == pytest.approx((10, 20))
    # CVs 10/sqrt2/105, 20/sqrt2/190, 12/sqrt2/46
    squares = [100 / 2 / 105**2, 400 / 2 / 190**2, 144 / 2 / 46**2]
    assert found.rms_cv_percent == pytest.approx(100 * math.sqrt(sum(squares) / 3))
    assert found.rmse_cv_percent == pytest.approx(100 * math.sqrt((100 + 400 + 144) / 3) / (340 / 3))
    assert (found.error.n_subjects, found.error.n_scans, len(found.pairs), found.n_excluded) == (3, 3, 3, 0)


def test_random_study_against_numpy_and_scipy() -> None:
    rng = np.random.default_rng(5)
    truth = rng.uniform(500, 2000, (9, 2))  # scan, class
    predicted = truth * rng.uniform(0.7, 1.2, (2, 2, 3, 9, 2))  # arm, fraction, seed, scan, class
    arms, fractions = ("from_scratch", "pretrained"), ("0.05", "1.0")
    rows = [
        row(
            f"scan{i}",
            float(p),
            float(truth[i, k]),
            subject=f"subject{i // 2}",
            arm=arms[a],
            label_fraction=fractions[f],
        )
        | {"seed": str(s), "class": "AB"[k]}
        for (a, f, s, i, k), p in np.ndenumerate(predicted)
    ]
    found = agreement([*rows, *(r | {"split": "validation", "value": "0"} for r in rows)])
    order = [(e.label_fraction, e.class_name, e.arm) for e in found]
    assert order == [(float(f), c, a) for f, c, a in itertools.product(fractions, "AB", arms)]
    for entry in found:
        k = "AB".index(entry.class_name)
        p = predicted[arms.index(entry.arm), fractions.index(str(entry.label_fraction)), ..., k]  # seed, scan
        t = truth[:, k]
        percent = 100 * (p - t) / t
        scans = np.abs(percent).mean(0)
        subjects = [scans[2 * j : 2 * j + 2].mean() for j in range(5)]
        assert entry.error.median == pytest.approx(np.median(subjects))
        assert entry.error.upper_quartile - entry.error.lower_quartile == pytest.approx(stats.iqr(subjects))
        assert (entry.error.n_subjects, entry.error.n_scans, len(entry.pairs), entry.n_runs) == (5, 9, 27, 3)
        for measured, d in ((entry.difference, p - t), (entry.percent_difference, percent)):
            assert measured.bias == pytest.approx(d.mean())
            assert measured.sd == pytest.approx(math.sqrt(np.mean([stats.tstd(run) ** 2 for run in d])))
        cvs = [stats.variation([a, b], ddof=1) for run in p for a, b in zip(run, t, strict=True)]
        assert entry.rms_cv_percent == pytest.approx(100 * np.sqrt(np.mean(np.square(cvs))))
        assert entry.rmse_cv_percent == pytest.approx(100 * np.sqrt(((p - t) ** 2).mean()) / t.mean())


def test_limits_are_those_of_one_network_and_not_of_an_average_of_networks() -> None:
    # two runs that err in opposite ways: their average is perfect, each alone is off by 10
    rows = [row("x", 110.0, 100.0), row("y", 90.0, 100.0)]
    rows += [row("x", 90.0, 100.0, seed="1"), row("y", 110.0, 100.0, seed="1")]
    found = only(rows)
    assert found.difference.bias == pytest.approx(0)
    assert found.difference.sd == pytest.approx(math.sqrt(200))
    assert found.error.median == pytest.approx(10)  # absolute errors are averaged, not the errors


def test_the_cv_of_a_pair_is_that_of_its_sample_and_the_scores_that_of_its_population() -> None:
    found = only([row("x", 30.0, 50.0)])
    assert found.rms_cv_percent == pytest.approx(100 * stats.variation([30, 50], ddof=1))
    mask = np.arange(80) < 30, np.arange(80) < 50
    assert metrics.cv(*mask) == pytest.approx(stats.variation([30, 50], ddof=0))


def test_quantities_are_those_of_the_metrics() -> None:
    assert {name: q.unit for name, q in metrics.QUANTITIES.items()} == dict(QUANTITIES)
    assert list(metrics.QUANTITIES) == list(QUANTITIES)


def test_arms_are_compared_on_the_scans_and_runs_that_both_have() -> None:
    nan, rng = math.nan, np.random.default_rng(2)
    values = rng.uniform(60, 140, (2, 2, 7))  # arm, run, scan
    values[0, 0, 2] = values[0, 1, 2] = values[1, 1, 4] = nan
    rows = [
        row(f"scan{i}", float(v), 100.0, arm=("from_scratch", "pretrained")[a], seed=str(r), subject=f"s{i // 2}")
        for (a, r, i), v in np.ndenumerate(values)
    ]
    first, second = agreement(rows)
    both = paired_errors(first, second)
    errors = np.where(np.isnan(values).any(0), nan, np.abs(values - 100))
    for arm, found in enumerate((both.from_scratch, both.pretrained)):
        scans = [np.nanmean(errors[arm, :, i]) for i in range(7) if i != 2]  # runs of a scan, 4 with one of them
        subjects = [np.mean(scans[:2]), scans[2], np.mean(scans[3:5]), scans[5]]
        assert (found.median, found.lower_quartile) == pytest.approx((np.median(subjects), np.quantile(subjects, 0.25)))
        assert (found.n_subjects, found.n_scans) == (4, 6)
    assert both.n_pairs == 11 and first.error.n_scans == 6 and second.error.n_scans == 7
    counts = [(a.n_excluded, a.n_evaluated, a.n_scans_excluded, a.n_scans_evaluated) for a in (first, second)]
    assert counts == [(2, 14, 1, 7), (1, 14, 1, 7)]
    with pytest.raises(ValueError, match="expected from_scratch and pretrained of one metric"):
        paired_errors(second, first)
    with pytest.raises(ValueError, match="got volume_mm3 of 'A'"):
        paired_errors(first, only([row("x", 1.0, 2.0, metric="area_mm2")]))


def test_undefined_pairs_are_left_out_of_every_number_and_counted() -> None:
    nan = math.nan
    rows = [row("x", 0.0, 100.0, flag="empty_prediction"), row("y", 50.0, 0.0, flag="empty_truth")]
    rows += [row("z", nan, nan, flag="absent"), row("w", 120.0, 100.0)]
    found = only(rows)
    assert (found.n_excluded, len(found.pairs), found.error.n_subjects) == (2, 2, 2)
    assert found.difference.bias == pytest.approx((-100 + 20) / 2)  # an empty prediction counts with all of its error
    assert found.error.median == pytest.approx(60)
    assert found.rms_cv_percent == pytest.approx(100 * math.sqrt((2 + 200 / 110**2) / 2))


def test_a_single_pair_has_no_limits_and_none_has_no_numbers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, none = only([row("x", 90.0, 100.0)]), only([row("x", 0.0, 0.0)])
    assert (one.difference.bias, one.error.median) == pytest.approx((-10, 10))
    assert math.isnan(one.difference.sd) and math.isnan(one.difference.upper_limit)
    assert (none.n_excluded, none.n_runs, none.error.n_subjects, none.pairs) == (1, 0, 0, ())
    undefined = (none.error.median, none.difference.bias, none.difference.sd, none.rms_cv_percent, none.rmse_cv_percent)
    assert all(math.isnan(value) for value in undefined)
    two = only([row("x", 90.0, 100.0), row("x", 80.0, 100.0, seed="1")])  # each run has one scan
    assert math.isnan(two.difference.sd) and two.difference.bias == pytest.approx(-15)


def test_hu_may_be_negative_and_values_near_water_are_counted() -> None:
    hu = {"metric": "mean_hu"}
    found = only([row("x", -90.0, -100.0, **hu), row("y", -110.0, -100.0, **hu)])
    assert found.percent_difference.bias == pytest.approx(0) and found.percent_difference.sd == pytest.approx(200**0.5)
    assert found.rms_cv_percent == pytest.approx(100 * math.sqrt((100 / 2 / 95**2 + 100 / 2 / 105**2) / 2))
    assert (found.rmse_cv_percent, found.n_near_zero) == (pytest.approx(10), 0)
    near = only([row("x", 25.0, 14.0, **hu), row("y", -5.0, 5.0, **hu), row("z", 40.0, 50.0, **hu)])
    assert near.n_near_zero == 2 and near.rms_cv_percent == math.inf
    assert only([row("x", 60.0, 2.0, **hu)]).n_near_zero == 1  # the percent error divides by the truth
    assert only([row("x", -58.0, 30.0, **hu), row("y", 30.0, -20.0, **hu)]).n_near_zero == 2  # the CV by the mean
    assert only([row("x", -60.0, -20.0, **hu)]).n_near_zero == 0
    assert only([row("x", 1.0, 2.0, metric="mean_t2_ms")]).n_near_zero == 0


def test_studies_without_clinical_rows_and_with_one_arm() -> None:
    dice = row("x", 3.0, 4.0, metric="dice")
    assert agreement([dice]) == agreement([]) == ()
    assert [entry.arm for entry in agreement([dice, row("x", 3.0, 4.0, arm="from_scratch")])] == ["from_scratch"]
    rows = [row("x", 3.0, 4.0, metric=m) for m in ("mean_t2_ms", "volume_mm3", "area_mm2")]
    assert [entry.metric for entry in agreement(rows)] == ["volume_mm3", "area_mm2", "mean_t2_ms"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("x", 3.0, 4.0), row("x", 3.0, 4.0)], "volume_mm3 of class 'A' of scan 'x' .* appears twice"),
        ([row("x", 3.0, 4.0, value="large")], "'large'.*evaluate the study again"),
        ([row("x", 3.0, 4.0, seed="")], "evaluate the study again"),
        ([row("x", 3.0, 4.0) | {"prediction": "nan"}], "prediction 'nan' and truth '4.0'; expected two numbers"),
    ],
)
def test_rows_that_cannot_be_used_are_named(rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agreement(rows)


def test_flags_are_counted_by_kind_with_and_without_a_value() -> None:
    rows = [row("x", 0.0, 100.0, flag="empty_prediction;touches_border"), row("y", 90.0, 100.0, flag="touches_border")]
    rows += [row("x", 5.0, 100.0, seed="1", flag="touches_border"), row("z", 5.0, 0.0, flag="empty_truth")]
    rows += [row("z", 1.0, 0.0, metric="dice", value="0.0", flag="empty_truth")]
    rows += [row("v", 1.0, 2.0, split="validation", flag="absent"), row("w", 1.0, 2.0, arm="from_scratch")]
    flags = count_flags(rows)
    found = {(c.metric, c.flag): (c.scans, c.n_scans, c.n_values, c.n_defined) for c in flags.counts}
    assert found == {
        ("volume_mm3", "empty_prediction"): (("x",), 3, 1, 1),
        ("volume_mm3", "touches_border"): (("x", "y"), 3, 3, 3),
        ("volume_mm3", "empty_truth"): (("z",), 3, 1, 0),
        ("dice", "empty_truth"): (("z",), 1, 1, 1),
    }
    assert flags.scans == ("x", "y", "z") and flags.n_scans == 4
    assert flags.n_evaluated == {("A", "pretrained"): 3, ("A", "from_scratch"): 1}
    empty = count_flags([])
    assert (empty.counts, empty.n_scans, empty.scans) == ((), 0, ())
