"""The transfer grid's means, tests and choice against SciPy, hand-made averages and the paper's own argument."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arm_rows import RATES, Row, grid_entries, rows_of
from scipy import stats

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics import Bootstrap, mean_interval
from inpaint_ssl.statistics.arms import arm_mean, compare, restricted, values_by_arm
from inpaint_ssl.statistics.transfer_grid import (
    GridStatistics,
    arm_words,
    effect,
    grid_arms,
    rate_text,
    reason,
    select_transfer,
    transfer_statistics,
)

FEW = Bootstrap(resamples=1000, seed=3)
N = 16
SUBJECTS = np.random.default_rng(1).normal(0, 0.05, (1, N, 1))


def study(
    dice: Callable[[dict[str, Any]], float | None], splits: tuple[str, ...] = ("validation",), **options: Any
) -> list[Row]:
    """Every arm's mean Dice by a function of its entry (None: not there), with differences between subjects."""
    rng, rows = np.random.default_rng(0), []
    for split, entry in itertools.product(splits, grid_entries(**options)):
        if (mean := dice(entry)) is not None:
            rows += rows_of(entry["arm"], mean + SUBJECTS + rng.normal(0, 0.005, (1, N, 1)), split=split)
    return rows


@functools.cache
def papers() -> tuple[list[Row], GridStatistics]:
    rows = study(paper)
    return rows, transfer_statistics(rows, grid_entries(), "validation", 0.05, FEW)


def choose(dice: Callable[[dict[str, Any]], float | None], arms: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return dict(select_transfer(study(dice), arms or grid_entries(), "validation", 0.05, FEW).selected)


def paper(entry: dict[str, Any]) -> float:
    """Section 6.2.2: all are best with 1e-3 and then 1e-4, and FEF at 1e-3 comes close to it."""
    once = {1e-2: 0.70, 1e-3: 0.80, 1e-4: 0.6, 1e-5: 0.4}[entry["learning_rates"][0]]
    if entry["design"] in ("FBF", "FFEF"):
        return once - 0.012
    if entry["design"] == "FFBF":
        return once - 0.08
    twice = 0.801 if entry["learning_rates"] == [1e-3, 1e-4] else 0.75
    return once if entry["design"] == "FEF" else twice


def test_seeds_scans_and_classes_become_subjects_and_undefined_values_are_left_out() -> None:
    values = np.random.default_rng(2).uniform(size=(2, 4, 3))
    values[0, 0, 1] = values[1, 3, 2] = np.nan
    values[0, 2] = np.nan  # a whole scan of one seed
    rows = rows_of("a", values, subjects=["s0", "s1", "s1", "s2"])
    found = arm_mean(values_by_arm(rows, "test")[0.05, "a"])
    assert found is not None
    scans = np.array([np.mean([np.nanmean(values[k, s]) for k in range(2) if s != 2 or k]) for s in range(4)])
    expected = {"s0": scans[0], "s1": (scans[1] + scans[2]) / 2, "s2": scans[3]}
    assert found.subjects == pytest.approx(expected)
    assert (found.mean, found.sd) == pytest.approx(
        (np.mean([*expected.values()]), np.std([*expected.values()], ddof=1))
    )
    assert (found.n_subjects, found.n_scans, found.n_runs, found.n_excluded) == (3, 4, 2, 5)
    assert values_by_arm(rows, "validation") == {}
    alone = arm_mean(values_by_arm(rows_of("a", values[:, :1]), "test")[0.05, "a"])
    assert alone is not None and math.isnan(alone.sd) and arm_mean({}) is None


def test_a_comparison_is_that_of_scipy_on_what_both_arms_have() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.uniform(size=(2, 12, 2)), rng.uniform(size=(2, 12, 2))
    first[0, 1, 0] = second[1, 2, 1] = np.nan
    table = values_by_arm(rows_of("a", first) + rows_of("b", second), "test")
    pair = compare(table[0.05, "a"], table[0.05, "b"], 0.05, FEW)
    both = np.where(np.isnan(first) | np.isnan(second), np.nan, 1.0)
    a, b = (np.nanmean(v * both, axis=2).mean(axis=0) for v in (first, second))
    by_name = sorted(range(12), key=str)  # subject-10 comes before subject-2
    assert pair is not None
    assert pair.wilcoxon.p_value == pytest.approx(stats.wilcoxon(a, b, alternative="greater", method="exact").pvalue)
    assert (pair.first_mean, pair.second_mean) == pytest.approx((a.mean(), b.mean()))
    assert pair.mean_difference == pytest.approx((a - b).mean()) and (pair.n_subjects, pair.n_excluded) == (12, 2)
    assert (pair.lower, pair.upper) == pytest.approx(mean_interval((a - b)[by_name], 0.05, FEW), abs=1e-9)
    assert compare(table[0.05, "a"], {}, 0.05, FEW) is None
    kept, left_out = restricted([table[0.05, "a"], table[0.05, "b"]])
    assert left_out == 2 and sum(len(c) for c in kept[0].values()) == sum(len(c) for c in kept[1].values()) == 46
    assert restricted([]) == ([], 0)


def test_the_best_is_tested_against_every_other_arm_with_holm() -> None:
    found = papers()[1]
    assert found.best is not None and found.best.found is not None and found.best.below_best is None
    best = np.array(list(found.best.found.subjects.values()))
    assert found.best.found.mean == max(r.found.mean for r in found.results if r.found)
    p_values = {}
    for r in found.results:
        if r is not found.best and r.found is not None:
            other = np.array(list(r.found.subjects.values()))
            p_values[r.arm.name] = float(stats.wilcoxon(best, other, alternative="greater", method="exact").pvalue)
            assert r.below_best is not None and r.below_best.wilcoxon.p_value == pytest.approx(p_values[r.arm.name])
    for name, p in p_values.items():  # the definition: the largest of (number not smaller than q) * q over q <= p
        smaller = [q for q in p_values.values() if q <= p]
        expected = min(1.0, max(sum(o >= q for o in p_values.values()) * q for q in smaller))
        result = found.of(name)
        assert result is not None and result.p_holm == pytest.approx(expected)
        assert result.worse is (expected < 0.05)
    assert len(p_values) == 79 and any(r.worse for r in found.results) and found.of("none") is None


def test_the_papers_choice_follows_from_its_numbers() -> None:
    assert choose(paper) == {
        "transfer.parts": ("encoder",), "transfer.freeze": False,
        "finetune.learning_rate": 1e-3, "transfer.second_learning_rate": 0.0,
    }  # fmt: skip


def test_a_gain_beyond_the_margin_is_worth_a_second_run() -> None:
    better = choose(lambda e: paper(e) + 0.02 * (e["learning_rates"] == [1e-3, 1e-4] and e["design"] == "FFBS"))
    assert better == {
        "transfer.parts": ("encoder", "decoder"), "transfer.freeze": True,
        "finetune.learning_rate": 1e-3, "transfer.second_learning_rate": 1e-4,
    }  # fmt: skip


def noise_free(means: dict[str, float]) -> list[Row]:
    return [r for arm, m in means.items() for r in rows_of(arm, np.broadcast_to(m + SUBJECTS, (1, N, 1)), split="test")]


def picked(means: dict[str, float], arms: list[dict[str, Any]] | None = None, alpha: float = 1e-9) -> str:
    found = transfer_statistics(noise_free(means), arms or grid_entries(), "test", alpha, FEW)
    assert found.chosen is not None
    return found.chosen.arm.name


def test_one_hundredth_of_dice_is_the_margin_where_no_test_decides() -> None:
    assert picked({"FES_lr-0.01_lr-0.001": 0.81, "FEF_lr-0.001": 0.80}) == "FEF_lr-0.001"
    assert picked({"FES_lr-0.01_lr-0.001": 0.8101, "FEF_lr-0.001": 0.80}) == "FES_lr-0.01_lr-0.001"


def test_an_arm_that_is_surely_worse_is_out_however_little() -> None:
    means = {"FES_lr-0.01_lr-0.001": 0.801, "FEF_lr-0.001": 0.80}
    assert picked(means) == "FEF_lr-0.001" and picked(means, alpha=0.05) == "FES_lr-0.01_lr-0.001"


def test_of_equal_numbers_of_runs_steps_decide_then_parts_then_dice() -> None:
    means = {"FBF_lr-0.01": 0.803, "FEF_lr-0.001": 0.80, "FEF_lr-0.01": 0.801, "FFEF_lr-0.01": 0.805}
    assert picked(means) == "FFEF_lr-0.01"  # a frozen run alone is an arm like others
    arms = [e | {"steps": [100 if e["arm"] == "FBF_lr-0.01" else 200]} for e in grid_entries() if e["arm"] in means]
    assert picked(means, arms) == "FBF_lr-0.01"
    for entry in arms:
        if entry["arm"] == "FFEF_lr-0.01":
            entry["steps"] = [None]  # unknown in one: steps decide nothing
    assert picked(means, arms) == "FFEF_lr-0.01"
    assert picked({k: v for k, v in means.items() if k[:4] != "FFEF"}) == "FEF_lr-0.01"


def test_other_splits_and_arms_take_no_part() -> None:
    rows = papers()[0] + study(lambda e: 0.9 - paper(e), ("test",))
    rows += rows_of("from_scratch", np.full((1, N, 3), 0.99), split="validation")
    arms = [{"arm": "from_scratch", "label": "from scratch"}, *grid_entries()]
    assert select_transfer(rows, arms, "validation", 0.05, FEW).selected["finetune.learning_rate"] == 1e-3
    assert select_transfer(rows, arms, "test", 0.05, FEW).selected["finetune.learning_rate"] == 1e-5


def test_arms_that_are_not_there_yet_are_told_and_count_in_the_family() -> None:
    def some(entry: dict[str, Any]) -> float | None:
        return paper(entry) if 1e-5 not in entry["learning_rates"] else None

    found = select_transfer(study(some), grid_entries(), "validation", 0.05, FEW)
    assert found.selected["finetune.learning_rate"] == 1e-3
    assert any("32 of 80 arms have no values on the validation scans" in text for text in found.warnings)
    full, part = (
        transfer_statistics(study(some), arms, "validation", 0.05, FEW).of("FEF_lr-0.01")
        for arms in (grid_entries(), grid_entries(RATES[:3]))
    )
    assert full and part and full.p_holm and part.p_holm and full.p_holm > part.p_holm
    nothing = select_transfer([], grid_entries(), "validation", 0.05)
    assert nothing.selected == {} and "no arm has values on the validation scans" in nothing.reason


def test_too_few_subjects_are_told() -> None:
    rows = [row for row in papers()[0] if int(row["subject"].rpartition("-")[2]) < 8]
    found = select_transfer(rows, grid_entries(), "validation", 0.05, FEW)
    assert any("8 validation subjects cannot show that an arm is worse" in w and "11" in w for w in found.warnings)
    assert not any("cannot show" in text for text in papers()[1].warnings)


def test_unequal_seeds_and_subjects_are_told() -> None:
    rows = [row for row in papers()[0] if (row["arm"], row["subject"][-2:]) != ("FEF_lr-0.001", "-3")]
    rows += [row | {"seed": "1"} for row in rows if row["arm"] == "FBF_lr-0.01"]
    told = " ".join(select_transfer(rows, grid_entries(), "validation", 0.05, FEW).warnings)
    assert "between 1 and 2 runs" in told and "different validation subjects" in told


def test_the_reason_has_the_numbers() -> None:
    found = papers()[1]
    text = reason(found)
    assert found.best and found.best.found and found.chosen and found.chosen.below_best
    assert text.startswith("FEF (1e-3) takes the least training of the ") and text.count(". ") == 0
    assert (
        f"{found.best.found.mean:.3f}" in text and f"difference {found.chosen.below_best.mean_difference:.3f}" in text
    )
    assert arm_words(found.best.arm) in text and "16 validation subjects" in text
    alone = transfer_statistics(
        noise_free({"FEF_lr-0.001": 0.8, "FBF_lr-0.001": 0.7}), grid_entries(), "test", 0.05, FEW
    )
    assert "no other arm comes within 0.01" in reason(alone) and reason(dataclasses.replace(alone, best=None)) == ""


def test_effects_compare_arms_that_are_otherwise_equal() -> None:
    def dice(entry: dict[str, Any]) -> float | None:
        if entry["arm"] == "FBF_lr-0.001":
            return None
        return 0.6 + 0.03 * (len(entry["parts"]) == 1) - 0.05 * entry["freeze"] + 0.1 * len(entry["learning_rates"])

    found = transfer_statistics(study(dice, rates=RATES[:2]), grid_entries(RATES[:2]), "validation", 0.05, FEW)
    parts, freeze = effect(found, "parts"), effect(found, "freeze")
    assert parts and freeze and (parts.n_pairs, parts.n_better, freeze.n_pairs, freeze.n_better) == (11, 11, 11, 0)
    assert (parts.mean_difference, freeze.mean_difference) == pytest.approx((0.03, -0.05), abs=2e-3)
    assert effect(transfer_statistics([], grid_entries(), "test", 0.05), "parts") is None


@pytest.mark.parametrize(
    ("rate", "text"), [(1e-3, "1e-3"), (5e-4, "5e-4"), (0.02, "2e-2"), (1.0, "1e0"), (2.5e-5, "2.5e-5")]
)
def test_rates_are_written_as_in_the_paper(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    "wrong", [{"learning_rates": []}, {"learning_rates": ["fast"]}, {"parts": []}, {"learning_rates": [1, 2, 3]}]
)
def test_a_wrong_arm_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"FEF_lr-0\.01.*expected a design"):
        grid_arms([grid_entries()[0] | wrong])


def test_wrong_rows_are_refused() -> None:
    rows = rows_of("FEF_lr-0.01", np.full((1, 2, 1), 0.5))
    with pytest.raises(InputError, match="appears twice"):
        transfer_statistics([*rows, rows[0]], grid_entries(), "test", 0.05)
    with pytest.raises(InputError, match="could not convert"):
        transfer_statistics([rows[0] | {"value": "high"}], grid_entries(), "test", 0.05)
    with pytest.raises(InputError, match="expected one"):
        transfer_statistics([*rows, rows[0] | {"label_fraction": "0.1"}], grid_entries(), "test", 0.05)
