"""Ranking of pretraining strategies against SciPy, brute force and the paper's Table 3; what is selected from it."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics import Bootstrap, WilcoxonResult, holm, mean_interval, summarise
from inpaint_ssl.statistics.strategies import RankedStrategy, Ranking, Strategy, rank_strategies, select_strategy
from inpaint_ssl.statistics.strategy_gains import strategy_gains

HOW = Bootstrap(1000, 3)
FRACTIONS = (0.05, 0.25, 1.0)
KEYS = (
    ("context_prediction", 64, "random"),
    ("context_restoration", 32, "poisson_disc"),
    ("context_prediction", 8, "random"),
)


def arms(keys: Sequence[tuple[str, int, str]] = KEYS, divisor: int = 4) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"arm": "from_scratch", "label": "from scratch"}]
    for task, paper, sampling in keys:
        name = f"{task}_k-{paper // divisor}_{sampling}"
        found.append({"arm": name, "label": name, "task": task, "sampling": sampling,
                      "patch_size": paper // divisor, "paper_patch_size": paper})  # fmt: skip
    return found


def rows_of(values: np.ndarray, names: Sequence[str], split: str = "test") -> list[dict[str, str]]:
    """Rows of values (arm, label fraction, seed, subject, scan, class)."""
    found = []
    for a, f, seed, subject, scan, c in itertools.product(*map(range, values.shape)):
        found.append({
            "arm": names[a], "label_fraction": str(FRACTIONS[f]), "subset_draw": "0", "seed": str(seed), "split": split,
            "subject": f"s{subject:03d}", "scan": f"s{subject:03d}-{scan}", "class": f"c{c}", "metric": "dice",
            "value": repr(float(values[a, f, seed, subject, scan, c])),
        })  # fmt: skip
    return found


NAMES = [arm["arm"] for arm in arms()]


def example(subjects: int = 9, gains: Sequence[float] = (0.0, 0.02, 0.05, 0.0)) -> np.ndarray:
    """Dice of from scratch and three strategies, two seeds, two scans a subject, two classes."""
    rng = np.random.default_rng(5)
    values = rng.normal(0.7, 0.05, (1, 3, 2, subjects, 2, 2)) + rng.normal(0, 0.03, (4, 3, 2, subjects, 2, 2))
    return values + np.array(gains).reshape(-1, 1, 1, 1, 1, 1)


def ranking(rows: list[dict[str, str]], split: str = "test", **options: Any) -> Ranking:
    return rank_strategies(
        "knees", rows, options.pop("arms", arms()), split=split, alpha=0.05, bootstrap=HOW, **options
    )


def by_arm(found: Ranking) -> dict[str, RankedStrategy]:
    return {s.strategy.arm: s for s in found.strategies}


@pytest.mark.parametrize(("subjects", "method"), [(9, "exact"), (20, "asymptotic")])
def test_both_tests_equal_scipy(subjects: int, method: str) -> None:
    values = example(subjects)
    found = ranking(rows_of(values, NAMES))
    assert found.label_fractions == (0.05, 0.25) and found.warnings == () and found.n_planned == 3
    of_scan = values.mean(axis=(2, 5))[:, :2]  # seeds and classes; the subsets below 100 %
    of_subject = of_scan.mean(axis=(1, 3))
    for k, name in enumerate(NAMES[1:], 1):
        one = by_arm(found)[name]
        pooled = (of_scan[k] - of_scan[0]).ravel()
        expected = stats.wilcoxon(pooled, alternative="greater", method=method, correction=False)
        assert one.pooled.n == 4 * subjects and one.pooled.method == method
        assert one.pooled.p_value == pytest.approx(expected.pvalue, rel=1e-9)
        assert one.pooled.statistic == expected.statistic
        differences = of_subject[k] - of_subject[0]
        by_subject = stats.wilcoxon(differences, alternative="greater", method="exact")
        assert one.by_subject.p_value == pytest.approx(by_subject.pvalue, rel=1e-9)
        assert one.by_subject.n == one.n_subjects == subjects and one.n_scans == 2 * subjects
        assert one.mean_difference == pytest.approx(differences.mean())
        assert (one.lower, one.upper) == pytest.approx(mean_interval(differences, 0.05, HOW))
    p = {s.strategy.arm: s.by_subject.p_value for s in found.strategies}
    assert [by_arm(found)[name].p_holm for name in p] == pytest.approx(holm(p.values()))
    pooled_p = [s.pooled.p_value for s in found.strategies]
    assert pooled_p == sorted(pooled_p) and [s.rank for s in found.strategies] == [1, 2, 3]
    assert found.strategies[0].strategy.key == KEYS[1]


def test_the_pooled_test_counts_every_sign_pattern() -> None:
    """Four scans of two subjects at two subsets, and a tie: all 256 ways to swap strategy and from scratch."""
    values = np.round(example(2)[:, :, :1, :, :, :1], 2)
    found = by_arm(ranking(rows_of(values, NAMES)))
    for k, name in enumerate(NAMES[1:], 1):
        d = np.round((values[k] - values[0])[:2].ravel(), 12)
        d = d[d != 0]
        ranks = stats.rankdata(np.abs(d))
        sums = [ranks @ np.array(signs) for signs in itertools.product((0, 1), repeat=d.size)]
        assert found[name].pooled.p_value == pytest.approx(np.mean(np.array(sums) >= ranks[d > 0].sum() - 1e-9))


def test_only_the_split_and_the_subsets_below_all_labels_count() -> None:
    values = example()
    validation = rows_of(values, NAMES, "validation")
    other = values + np.random.default_rng(0).normal(0, 0.1, values.shape)
    all_labels = values.copy()
    all_labels[:, 2] = other[:, 2]
    rows = rows_of(all_labels, NAMES, "validation") + rows_of(other, NAMES, "test")
    assert ranking(rows, "validation") == ranking(validation, "validation")
    assert ranking(rows, "test") != replace(ranking(validation, "validation"), split="test")


def test_a_class_undefined_in_one_arm_is_left_out_of_both() -> None:
    values = example()
    values[2, 0, 0, 3, 1, 0] = values[0, 1, 1, 4, 0, 1] = np.nan
    found = by_arm(ranking(rows_of(values, NAMES)))
    both = values[[2, 0]].copy()
    both[:, 0, 0, 3, 1, 0] = both[:, 1, 1, 4, 0, 1] = np.nan
    means = np.nanmean(both, axis=5).mean(axis=2)[:, :2].mean(axis=(1, 3))
    assert found[NAMES[2]].mean_difference == pytest.approx((means[0] - means[1]).mean())
    assert found[NAMES[2]].n_excluded == 2 and found[NAMES[1]].n_excluded == 1


def test_p_values_too_small_for_a_float_are_ordered_by_effect_then_by_gain() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, (3, 1, 1100, 1, 1))
    gains = np.round(rng.uniform(0.01, 0.02, base.shape), 6)
    larger = 3 * gains
    larger[0, 0, 0] = -0.001  # smallest of all, so one loss; the mean gain is still three times as large
    values = np.stack([base, base + larger, base + gains, base + 2 * gains])
    found = ranking(rows_of(values, NAMES))
    assert [s.pooled.p_value for s in found.strategies] == [0.0] * 3
    assert [s.strategy.arm for s in found.strategies] == [NAMES[3], NAMES[2], NAMES[1]]
    assert found.strategies[1].mean_difference < found.strategies[2].mean_difference


def test_a_strategy_with_missing_runs_gets_no_rank() -> None:
    rows = rows_of(example(), NAMES)
    part = [r for r in rows if (r["arm"], r["label_fraction"], r["seed"]) != (NAMES[2], "0.25", "1")]
    found, whole = ranking(part), ranking(rows)
    assert [(s.strategy.arm, s.rank) for s in found.strategies][-1] == (NAMES[2], None)
    assert by_arm(found)[NAMES[2]].n_missing == 18
    assert [s.strategy.arm for s in found.ranked] == [
        s.strategy.arm for s in whole.ranked if s.strategy.arm != NAMES[2]
    ]
    assert found.warnings == ("knees: of 3 strategies 1 lacks runs and cannot be ranked",)
    assert KEYS[1] not in [s.strategy.key for s in found.ranked]


def test_what_is_not_there_yet_is_said_and_counts_as_p_1() -> None:
    rows = rows_of(example(), NAMES)
    found = ranking([r for r in rows if r["arm"] != NAMES[1]], planned=(0.05, 0.1, 0.25, 1.0))
    assert [s.arm for s in found.not_evaluated] == [NAMES[1]] and found.n_planned == 3
    p = [s.by_subject.p_value for s in found.strategies]
    assert [s.p_holm for s in found.strategies] == pytest.approx(holm([*p, 1.0])[:2])
    assert found.warnings == (
        "knees: from scratch is missing at 10 % of the labels, which the ranking leaves out",
        "knees: of 3 strategies 1 lacks any results on test scans",
    )
    (warning,) = ranking([r for r in rows if r["arm"] != "from_scratch"]).warnings
    assert warning == "knees: no model from scratch has been evaluated on test scans, so nothing can be compared"
    nothing = ranking([r for r in rows if r["label_fraction"] == "1.0"])
    assert "no label subset below 100 %" in nothing.warnings[0] and nothing.strategies == ()
    assert select_strategy([nothing]).selected == {}
    few = ranking(rows_of(example(5), NAMES)).warnings
    assert few == ("knees: 5 subjects cannot reach p < 0.05 once adjusted for 3 strategies; 6 would do",)


def test_damaged_arms_are_refused() -> None:
    twice = [*arms(), {**arms()[1], "arm": "again"}]
    with pytest.raises(InputError, match="'again' are both context prediction"):
        ranking([], arms=twice)
    with pytest.raises(InputError, match="lacks 'paper_patch_size'"):
        ranking([], arms=[{k: v for k, v in arms()[1].items() if k != "paper_patch_size"}])
    rows = rows_of(example(2), NAMES)
    with pytest.raises(InputError, match="appears twice"):
        ranking([*rows, rows[0]])


def ranked(name: str, of: Sequence[tuple[str, int, str, float]], divisor: int = 1, **options: Any) -> Ranking:
    """A ranking with these (task, paper's patch size, sampling, pooled p), in this order."""
    found = []
    for place, (task, paper, sampling, p) in enumerate(of, 1):
        strategy = Strategy(f"{task}{paper}{sampling}", task, sampling, paper // divisor, paper)
        effect = options.get("effects", [0.5] * len(of))[place - 1]
        test = WilcoxonResult((effect + 1) * 48 * 49 / 4, p, 48, 0, 0, "asymptotic")
        one = RankedStrategy(strategy, place, test, test, options.get("p_holm", p), 0.02, 0.01, 0.03, 48, 48, 0, 0)
        found.append(one)
    return Ranking(name, "test", 0.05, (0.05, 0.1, 0.25, 0.5), tuple(found), (), ())


R, P = "context_restoration", "context_prediction"
MRI = [(R, 64, "random", 1.64e-18), (R, 8, "random", 1.89e-18), (R, 32, "poisson_disc", 1.05e-17),
       (R, 8, "poisson_disc", 4.03e-17), (R, 32, "random", 9.38e-16)]  # fmt: skip
CT = [(R, 32, "poisson_disc", 6.29e-17), (R, 64, "poisson_disc", 1.88e-9), (R, 32, "random", 4.12e-7),
      (P, 64, "poisson_disc", 0.1), (P, 64, "random", 0.66)]  # fmt: skip


def test_table_3_of_the_paper_selects_what_the_paper_selected() -> None:
    found = select_strategy([ranked("MRI", MRI), ranked("CT", CT, divisor=8)])
    assert found.selected == {
        "corruption.task": R, "corruption.sampling": "poisson_disc", "grid.selected_patch_size": 32,
    }  # fmt: skip
    assert "rank 3 of 5 on MRI (pooled p = 1.05e-17, mean gain +0.020 Dice)" in found.reason
    assert "rank 1 of 5 on CT (pooled p = 6.29e-17" in found.reason and "no other is among the first 3" in found.reason
    assert found.warnings == ()


def test_none_qualifies() -> None:
    found = select_strategy([ranked("MRI", [MRI[0], MRI[1], MRI[3], MRI[2]]), ranked("CT", CT)])
    assert found.selected == {} and found.reason.startswith("No strategy was selected: none is among the first 3 of")
    assert "context restoration, 64 × 64, random has rank 1 of 4 on MRI" in found.reason.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    fourth = [(R, k, "random", 1e-9) for k in (1, 2, 4)] + [CT[0]]  # better than from scratch, but not in the top three
    assert select_strategy([ranked("MRI", MRI), ranked("CT", fourth)]).selected == {}
    worse = [(t, k, s, max(p, 0.05)) for t, k, s, p in CT]
    assert select_strategy([ranked("MRI", MRI), ranked("CT", worse)]).selected == {}
    assert select_strategy([ranked("CT", worse)]).selected == {}
    assert select_strategy([]).selected == {} and "in any data set" in select_strategy([]).reason


def test_one_data_set_takes_its_first_rank() -> None:
    found = select_strategy([ranked("MRI", MRI)])
    assert found.selected["grid.selected_patch_size"] == 64 and "smallest p of the 3" in found.reason


def test_among_several_the_sum_of_ranks_decides_then_the_smallest_effect() -> None:
    a, b, c = MRI[:3]
    assert select_strategy([ranked("one", [a, b, c]), ranked("two", [b, c, a])]).selected == {
        "corruption.task": R, "corruption.sampling": "random", "grid.selected_patch_size": 8,
    }  # fmt: skip
    # a: ranks 1 and 2, effects .5 and .4; b: 2 and 1, .45 and .45
    first, second = ranked("one", [a, b], effects=[0.5, 0.45]), ranked("two", [b, a], effects=[0.45, 0.4])
    assert select_strategy([first, second]).selected["grid.selected_patch_size"] == 8
    second = ranked("two", [b, a], effects=[0.45, 0.48])
    assert select_strategy([first, second]).selected["grid.selected_patch_size"] == 64


def test_a_gain_that_subjects_do_not_confirm_is_warned_about() -> None:
    (warning,) = select_strategy([ranked("MRI", MRI), ranked("CT", CT, p_holm=0.2)]).warnings
    assert warning.startswith("CT: with subjects as the unit the gain of the selected strategy is not significant")


def test_gains_equal_those_of_a_study_of_two_arms() -> None:
    values = example()
    values[1, 1, 0, 2, 0, 1] = np.nan
    rows = rows_of(values, NAMES)
    found = strategy_gains(rows, arms(), split="test", alpha=0.05, bootstrap=HOW, planned=(0.05, 0.5))
    assert found.n_planned == 3 * 4 and found.n_runs == 2 and found.n_unpaired == 0 and found.too_few == 0
    assert [(g.strategy.arm, g.label_fraction) for g in found.gains] == list(itertools.product(NAMES[1:], FRACTIONS))
    for name in NAMES[1:]:
        two = [{**r, "arm": "pretrained" if r["arm"] == name else r["arm"]} for r in rows]
        two = [r for r in two if r["arm"] in ("pretrained", "from_scratch")]
        study = summarise(two, 0.05, bootstrap=HOW)
        for gain in found.gains:
            if gain.strategy.arm == name:
                entry = study.entry(gain.label_fraction)
                assert entry is not None and entry.comparison is not None
                c, p = entry.comparison, gain.paired
                assert (p.first_mean, p.second_mean) == pytest.approx((c.pretrained_mean, c.from_scratch_mean))
                assert (p.lower, p.upper) == pytest.approx((c.difference_lower, c.difference_upper))
                assert p.wilcoxon == c.wilcoxon and p.n_excluded == c.n_excluded
    raw = [g.paired.wilcoxon.p_value for g in found.gains]
    assert [g.p_holm for g in found.gains] == pytest.approx(holm([*raw, 1.0, 1.0, 1.0])[:9])
    assert [found.is_better(g) for g in found.gains] == [g.p_holm < 0.05 for g in found.gains]
    assert any(map(found.is_better, found.gains)) and not all(map(found.is_better, found.gains))


def test_many_small_gains_with_a_lower_mean_are_not_better() -> None:
    values = np.full((2, 3, 1, 12, 1, 1), 0.7)
    values[1] += 0.01
    values[1, :, :, 0] = 0.4
    found = strategy_gains(rows_of(values, NAMES), arms()[:2], split="test", alpha=0.05, bootstrap=HOW)
    assert all(math.isclose(g.paired.wilcoxon.p_value, 0.0085, rel_tol=0.9) for g in found.gains)
    assert all(g.paired.mean_difference < 0 and not found.is_better(g) for g in found.gains)


def test_too_few_subjects_and_partners() -> None:
    rows = rows_of(example(6), NAMES)
    few = strategy_gains(rows, arms(), split="test", alpha=0.05, bootstrap=HOW)
    assert few.too_few == 8  # 0.5**8 < 0.05 / 9 <= 0.5**7
    alone = [r for r in rows if (r["arm"], r["scan"]) != (NAMES[1], "s000-1")]
    assert strategy_gains(alone, arms(), split="test", alpha=0.05, bootstrap=HOW).n_unpaired == 2 * 3
    assert strategy_gains([], arms(), split="test", alpha=0.05).gains == ()
