"""Label curves against planted laws, SciPy's curve_fit and simulated studies; and when they must say nothing."""

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED, Bootstrap
from inpaint_ssl.statistics.label_curve import LabelCurves, label_curves
from inpaint_ssl.statistics.label_statement import Facts, interval_words, labels_amount, statement, unsupported
from inpaint_ssl.statistics.power_law import fit_power_laws

COUNTS = {0.05: 6, 0.1: 12, 0.25: 30, 0.5: 60, 1.0: 120}
N = np.array(list(COUNTS.values()), dtype=np.float64)
SUBJECTS = np.array([0.7, 0.85, 0.9, 1.0, 1.1, 1.15, 1.3])  # of the mean error; their mean is 1
FEW = Bootstrap(resamples=500, seed=3)


def rows_of(errors: np.ndarray, counts: dict[float, int] = COUNTS, **other: str) -> list[dict[str, str]]:
    """Rows of per_scan.csv; errors (subjects, arms, fractions)."""
    found = []
    for i, arm in enumerate((FROM_SCRATCH, PRETRAINED)):
        for k, fraction in enumerate(counts):
            for s in range(len(errors)):
                row = {"split": "test", "metric": "dice", "arm": arm, "label_fraction": repr(fraction)}
                row |= {"subset_draw": "0", "seed": "0", "subject": f"s{s}", "scan": f"s{s}", "class": "a"}
                found.append(row | {"value": repr(float(1 - errors[s, i, k]))} | other)
    return found


def planted(scratch: np.ndarray, pretrained: np.ndarray) -> np.ndarray:
    """Errors whose means are the curves given."""
    return SUBJECTS[:, None, None] * np.stack([scratch, pretrained])


def curves(errors: np.ndarray, counts: dict[float, int] = COUNTS, bootstrap: Bootstrap = FEW) -> LabelCurves:
    return label_curves(rows_of(errors, counts), counts, 0.05, bootstrap)


@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_planted_power_laws_are_recovered(floor: float) -> None:
    found = curves(planted(0.6 * N**-0.4 + floor, 0.5 * N**-0.5 + floor))
    for curve, law in zip(found.curves, ((0.6, 0.4), (0.5, 0.5)), strict=True):
        assert (curve.scale, curve.exponent) == pytest.approx(law, rel=1e-6)
        assert curve.floor == pytest.approx(floor, abs=1e-8) and curve.scatter < 1e-9
        np.testing.assert_allclose(curve.curve, law[0] * found.grid ** -law[1] + floor, rtol=1e-6)
    assert found.with_floor and found.n_subjects == 7 and found.reason == ""
    for e, n in zip(found.equivalents, N, strict=True):
        expected = (0.6 / (0.5 * n**-0.5)) ** (1 / 0.4)
        assert (e.n_equivalent, e.more) == pytest.approx((expected, expected - n), rel=1e-5)
        assert e.extrapolated is bool(expected > 120) and e.n_labels == n
        assert e.more_interval == pytest.approx((e.more, e.more), rel=1e-4)  # all subjects have the same ratio
    assert [e.label_fraction for e in found.equivalents] == list(COUNTS)


def test_a_single_class_of_errors_scales_without_moving_the_equivalent() -> None:
    first, second = (curves(planted(s * 0.6 * N**-0.4, s * 0.4 * N**-0.4)) for s in (1.0, 0.5))
    for a, b in zip(first.equivalents, second.equivalents, strict=True):
        assert a.n_equivalent == pytest.approx(b.n_equivalent, rel=1e-6) == pytest.approx(a.n_labels * 1.5**2.5)


@pytest.mark.parametrize(("with_floor", "points"), [(False, 3), (True, 4), (True, 5)])
def test_the_fit_is_that_of_scipy(with_floor: bool, points: int) -> None:
    n, rng = N[:points], np.random.default_rng(points)
    errors = (0.5 * n**-0.6 + 0.08 * with_floor) * np.exp(rng.normal(0, 0.02, (20, points)))
    laws, squares = fit_power_laws(n, errors, with_floor)

    def curve(x: np.ndarray, a: float, b: float, c: float = 0.0) -> np.ndarray:
        return np.asarray(a * x**-b + c)

    bounds = ([0, 0.02, 0], [np.inf, 3.97, 1]) if with_floor else ([0, -2], [np.inf, 4])
    start = (0.5, 0.6, 0.05)[: 2 + with_floor]
    for k, e in enumerate(errors):
        best, _ = curve_fit(curve, n, e, start, sigma=e, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        theirs = float((((curve(n, *best) - e) / e) ** 2).sum())
        assert squares[k] <= theirs * (1 + 1e-6) + 1e-15
        ours = (laws.scale[k], laws.exponent[k], laws.floor[k])[: 2 + with_floor]
        assert curve(n, *ours) == pytest.approx(curve(n, *best), rel=1e-4)
    assert laws.floor.any() == with_floor and (laws.floor >= 0).all()


def test_a_curve_without_a_floor_may_rise_and_one_with_a_floor_is_then_flat() -> None:
    rising = 0.1 * N[None] ** 0.2
    free, _ = fit_power_laws(N, rising, False)
    assert (free.scale[0], free.exponent[0]) == pytest.approx((0.1, -0.2), rel=1e-6)
    flat, _ = fit_power_laws(N, rising, True)
    expected = (1 / rising).sum() / (1 / rising**2).sum()  # the constant with the least relative squares
    assert flat.scale[0] == 0 and flat.floor[0] == pytest.approx(expected)
    for law in (free, flat):  # better than a curve that does not fall: never reached; worse: reached without labels
        assert law.labels(np.array([0.01])).tolist() == [math.inf] and law.labels(np.array([0.9])).tolist() == [0.0]


def test_a_floor_is_never_negative() -> None:
    steeper = 0.6 * N[None] ** -0.4 - 0.03  # bent the other way than a floor bends it
    (with_floor, first), (without, second) = (fit_power_laws(N, steeper, floor) for floor in (True, False))
    assert with_floor.floor[0] == 0.0 and first == pytest.approx(second)
    assert with_floor.exponent[0] == pytest.approx(without.exponent[0], rel=1e-6)


def simulated(rng: np.random.Generator, counts: dict[float, int], floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors of 36 subjects about two laws, and the true numbers of labels gained."""
    n = np.array(list(counts.values()), dtype=np.float64)
    laws = np.stack([0.6 * n**-0.4 + floor, 0.42 * n**-0.36 + floor])
    subjects, noise = rng.lognormal(0, 0.3, (36, 1, 1)), rng.lognormal(0, 0.2, (36, *laws.shape))
    return laws * subjects * noise, (0.6 / (laws[1] - floor)) ** 2.5 - n


@pytest.mark.parametrize(("fractions", "floor"), [((0.05, 0.1, 0.25, 0.5, 1.0), 0.06), ((0.05, 0.25, 1.0), 0.0)])
def test_intervals_cover_the_truth(fractions: tuple[float, ...], floor: float) -> None:
    rng, counts = np.random.default_rng(0), {f: COUNTS[f] for f in fractions}
    covered, missed_below, studies = np.zeros(len(counts)), np.zeros(len(counts)), 40
    for _ in range(studies):
        errors, truth = simulated(rng, counts, floor)
        found = curves(errors, counts, Bootstrap(300, 0))
        lower, upper = np.array([e.more_interval for e in found.equivalents]).T
        covered += (lower <= truth) & (truth <= upper)
        missed_below += truth < lower
    assert (covered >= 32).all(), covered  # of 40 at 95 %: fewer in 1 of 7,700
    assert (covered < studies).any() and (missed_below <= 7).all()


def test_arms_and_fractions_are_resampled_together() -> None:
    """A subject's errors rise and fall in all cells alike, so that ratios do not spread; drawn apart they would."""
    rng = np.random.default_rng(5)
    errors = rng.lognormal(0, 0.8, (12, 1, 1)) * np.stack([0.6 * N**-0.4, 0.4 * N**-0.4])
    found = curves(errors)
    for e in found.equivalents:
        assert e.more_interval == pytest.approx((e.more, e.more), rel=1e-4)
    lower, upper = (band[0] for band in found.curves[0].band)
    assert upper / lower > 1.5


def test_the_bootstrap_is_that_of_plain_resampling_and_follows_the_seed() -> None:
    rng = np.random.default_rng(6)
    errors = rng.uniform(0.5, 1.5, (9, 1, 1)) * rng.uniform(0.8, 1.2, (9, 2, 5)) * np.stack([0.6 * N**-0.4] * 2)
    found = curves(errors, bootstrap=Bootstrap(4000, 1))
    means = np.array([errors[rng.integers(0, 9, 9), 0].mean(axis=0) for _ in range(4000)])
    laws, _ = fit_power_laws(N, means, True)
    expected = np.quantile(laws.mean_exponent(6.0, 120.0), [0.025, 0.975])
    assert found.curves[0].mean_exponent_interval == pytest.approx(expected, abs=0.012)
    again, other = curves(errors, bootstrap=Bootstrap(4000, 1)), curves(errors, bootstrap=Bootstrap(4000, 2))
    assert again.equivalents == found.equivalents and other.equivalents != found.equivalents
    wide = label_curves(rows_of(errors), COUNTS, 0.4, Bootstrap(4000, 1)).curves[0].exponent_interval
    full = found.curves[0].exponent_interval
    assert full[0] < wide[0] < wide[1] < full[1]


def test_seeds_scans_and_classes_are_averaged_in_that_order() -> None:
    errors = planted(0.6 * N**-0.4, 0.5 * N**-0.5)
    rows = rows_of(errors)
    # a second run, 2 % worse; a second class, half as bad; a second scan of one subject, twice as bad
    for row in list(rows):
        error = 1 - float(row["value"])
        rows.append(row | {"seed": "1", "value": repr(1 - 1.02 * error)})
    rows += [r | {"class": "b", "value": repr(1 - (1 - float(r["value"])) / 2)} for r in rows]
    rows += [r | {"scan": "second", "value": repr(2 * float(r["value"]) - 1)} for r in rows if r["subject"] == "s0"]
    expected = errors.copy() * 1.01 * 0.75
    expected[0] *= 1.5
    found = label_curves(rows, COUNTS, 0.05, FEW)
    measured = [[e.measured[arm] for e in found.equivalents] for arm in (FROM_SCRATCH, PRETRAINED)]
    np.testing.assert_allclose(measured, expected.mean(axis=0), rtol=1e-12)
    assert found.n_subjects == 7 and found.n_excluded == 0


def test_a_class_without_a_value_in_one_run_is_left_out_of_all() -> None:
    errors = planted(0.6 * N**-0.4, 0.5 * N**-0.5)
    rows = rows_of(errors) + rows_of(errors / 2, **{"class": "b"})
    hole = next(r for r in rows if r["class"] == "b" and r["subject"] == "s1" and r["label_fraction"] == "0.25")
    hole["value"] = "nan"
    found = label_curves(rows, COUNTS, 0.05, FEW)
    expected = errors * 0.75
    expected[1] = errors[1]
    assert found.n_excluded == 1
    assert [e.measured[PRETRAINED] for e in found.equivalents] == pytest.approx(expected.mean(axis=0)[1])
    # a run that one arm lacks, other arms, splits and metrics do not count
    more = [r | {"seed": "7", "value": "0.1"} for r in rows if r["arm"] == PRETRAINED]
    more += [r | changed | {"value": "0.1"} for r in rows for changed in ({"split": "train"}, {"metric": "voe"})]
    more += [r | {"arm": "another"} for r in rows]
    assert label_curves(rows + more, COUNTS, 0.05, FEW).equivalents == found.equivalents
    with pytest.raises(InputError, match=r"could not convert string to float: 'x'"):
        label_curves([rows[0] | {"value": "x"}], COUNTS, 0.05)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("one arm", "no label fraction has a run in both arms"),
        ("unknown counts", "the number of labelled subjects is not known at every label fraction"),
        ("two fractions", "3 or more different numbers of labelled subjects in both arms, and this study has 2"),
        ("equal counts", "3 or more different numbers of labelled subjects in both arms, and this study has 2"),
        ("four subjects", "needs 5 or more with a value in every run, and this study has 4"),
        ("no common value", "needs 5 or more with a value in every run, and this study has 0"),
        ("perfect", "the mean Dice is 1 at a label fraction"),
    ],
)
def test_without_a_curve_it_says_why(case: str, words: str) -> None:
    errors, counts = planted(0.6 * N**-0.4, 0.5 * N**-0.5), dict(COUNTS)
    if case == "perfect":
        errors[:, 1, 4] = 0.0
    rows = rows_of(errors[:4] if case == "four subjects" else errors)
    if case == "one arm":
        rows = [r for r in rows if r["arm"] == PRETRAINED]
    elif case == "unknown counts":
        del counts[0.25]
    elif case == "two fractions":
        rows = [r for r in rows if r["label_fraction"] in ("0.05", "1.0")]
    elif case == "equal counts":
        counts = dict.fromkeys(counts, 6) | {1.0: 7}
    elif case == "no common value":
        rows = [r | ({"value": "nan"} if r["label_fraction"] == "0.5" else {}) for r in rows]
    found = label_curves(rows, counts, 0.05, FEW)
    assert words in found.reason and found.curves == () and found.equivalents == ()


def noisy(scratch: np.ndarray, pretrained: np.ndarray, spread: float = 0.3) -> np.ndarray:
    """Means are the curves given, but every cell has noise of its own."""
    noise = np.random.default_rng(8).lognormal(0, spread, (24, 2, len(scratch)))
    return np.stack([scratch, pretrained]) * noise / noise.mean(axis=0)


LAW = 0.6 * N**-0.4


@pytest.mark.parametrize(
    ("scratch", "pretrained", "spread", "words"),
    [
        (0.2 * N**0.0, 0.15 * N**0.0, 0.3, "more labels may not help from scratch at all (mean exponent 0.00, 95 %"),
        (LAW * (1, 1.3, 0.8, 1.3, 1), LAW * 0.7, 0.1, "no power law fits (the errors from scratch scatter around"),
        (LAW, LAW * (0.7, 1, 0.6, 1, 0.7), 0.1, "no power law fits (the errors pretrained scatter around theirs by"),
        (LAW, LAW * 1.05, 0.01, "pretraining is not better (Dice of the curves 0.692 pretrained, 0.707 from scratch)"),
        (LAW, LAW * 0.98, 0.3, "pretraining may be worth nothing (95 % interval of the labels gained \N{MINUS SIGN}"),
        (
            LAW,
            LAW * (1.02, 0.88, 0.93, 0.9, 0.9),
            0.01,
            "the curves miss the gain (Dice \N{MINUS SIGN}0.006 measured, +",
        ),
        (LAW, LAW * 0.2, 0.05, "from scratch the curve comes to the pretrained Dice only beyond 240 labelled subjects"),
        (LAW + 0.2, LAW * 0.4, 0.01, "from scratch the curve never comes to the pretrained Dice"),
    ],
)
def test_no_number_is_stated_that_the_curves_do_not_support(
    scratch: np.ndarray, pretrained: np.ndarray, spread: float, words: str
) -> None:
    first = curves(noisy(scratch, pretrained, spread)).equivalents[0]
    assert words in first.unsupported and first.statement == f"No number of labels: {first.unsupported}."


def test_statements_are_the_numbers_in_words() -> None:
    found = curves(noisy(LAW, 0.42 * N**-0.4, 0.2)).equivalents
    e = found[1]
    assert e.unsupported == "" and e.more == pytest.approx(12 * (0.6 / 0.42) ** 2.5 - 12, rel=1e-4)
    assert e.statement == (
        "Pretrained, 12 labelled subjects do as well as 29 from scratch: pretraining is worth 17 more labelled "
        f"subjects (95 % interval {e.more_interval[0]:.0f} to {e.more_interval[1]:.0f})."
    )
    beyond = found[3]
    assert beyond.extrapolated and beyond.statement.endswith(" Extrapolated: no more than 120 were trained with.")
    upper = curves(noisy(LAW, 0.46 * N**-0.4, 0.3)).equivalents[3]
    assert not upper.extrapolated and upper.n_labels + upper.more_interval[1] > 120
    assert " The upper end is extrapolated: no more than 120 were trained with." in upper.statement
    assert [labels_amount(x) for x in (0.02, 9.94, 9.96, -3.21, -0.01, 1234.5)] == [
        "0.0", "9.9", "10", "\N{MINUS SIGN}3.2", "0.0", "1,234",
    ]  # fmt: skip


def test_the_ends_of_intervals_stop_where_statements_do() -> None:
    same = {FROM_SCRATCH: 0.2, PRETRAINED: 0.1}
    scatter = {FROM_SCRATCH: 0.01, PRETRAINED: 0.01}
    facts = Facts(1, 120, same, same, 99.0, (80.0, math.inf), 0.4, (0.3, 0.5), scatter, 0.9)
    assert unsupported(facts) == "" and interval_words(facts) == "80 to more than 239"
    assert statement(facts).startswith("Pretrained, 1 labelled subject does as well as 100 from scratch: ")
    assert "(90 % interval 80 to more than 239). The upper end is extrapolated" in statement(facts)
