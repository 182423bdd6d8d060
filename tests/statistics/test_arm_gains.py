"""Gains of arms over their controls against SciPy and by hand: runs that differ, Holm's family, what is worse."""

import math
from typing import Any

import numpy as np
import pytest
from arm_rows import rows_of
from scipy import stats

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics import Bootstrap, mean_interval
from inpaint_ssl.statistics.arm_gains import ArmGains, arm_gains, disagree, mean_differences
from inpaint_ssl.statistics.label_curve import label_curves, labels_of_arm

HOW = Bootstrap(1000, 3)
PAIRS = [("paper", "from_scratch"), ("tuned", "paper")]
SHIFT = {"from_scratch": 0.0, "paper": 0.03, "tuned": 0.01}


def values(arm: str, fraction: float, seeds: int, subjects: int = 9) -> np.ndarray:
    """Dice (seeds, scans, classes): scans and classes differ alike in all arms."""
    rng = np.random.default_rng([len(arm), round(1000 * fraction)])
    scans = np.random.default_rng(7).normal(0.7, 0.05, (1, subjects, 2))
    return scans + SHIFT[arm] + rng.normal(0, 0.015, (seeds, subjects, 2))


SEEDS = {("from_scratch", 0.05): 3, ("paper", 0.05): 2, ("tuned", 0.05): 3, ("from_scratch", 0.25): 1,
         ("paper", 0.25): 1, ("from_scratch", 1.0): 1}  # fmt: skip
VALUES = {key: values(*key, seeds) for key, seeds in SEEDS.items()}


def rows(split: str = "test") -> list[dict[str, str]]:
    return [row for (arm, fraction), v in VALUES.items() for row in rows_of(arm, v, fraction, split)]


def gains(found: list[dict[str, str]], **options: Any) -> ArmGains:
    return arm_gains(found, PAIRS, **({"split": "test", "alpha": 0.05, "bootstrap": HOW} | options))


def test_each_gain_is_that_of_the_runs_that_both_have() -> None:
    found = gains(rows(), planned=(0.05, 0.1, 0.25))
    assert [(g.arm, g.control, g.label_fraction) for g in found.gains] == [
        ("paper", "from_scratch", 0.05), ("paper", "from_scratch", 0.25), ("tuned", "paper", 0.05),
    ]  # fmt: skip
    expected = []
    for gain, runs in zip(found.gains, (2, 1, 2), strict=True):
        first, second = (
            VALUES[name, gain.label_fraction][:runs].mean(axis=(0, 2)) for name in (gain.arm, gain.control)
        )
        test = stats.wilcoxon(first, second, alternative="greater", method="exact")
        p, d = gain.paired, first - second
        assert p.wilcoxon.p_value == pytest.approx(test.pvalue, rel=1e-12) and p.wilcoxon.statistic == test.statistic
        assert gain.rank_biserial == pytest.approx(2 * test.statistic / 45 - 1)  # 45 = 1 + ... + 9
        assert (p.first_mean, p.second_mean) == pytest.approx((first.mean(), second.mean()))
        assert (p.mean_difference, p.lower, p.upper) == pytest.approx((d.mean(), *mean_interval(d, 0.05, HOW)))
        assert gain.n_runs == runs and p.n_subjects == 9
        each = [
            VALUES[gain.arm, gain.label_fraction][k] - VALUES[gain.control, gain.label_fraction][k] for k in range(runs)
        ]
        assert gain.by_run == pytest.approx([one.mean() for one in each])
        assert gain.n_higher == sum(one.mean() > 0 for one in each)
        expected.append(test.pvalue)
    assert [g.n_unpaired for g in found.gains] == [9, 0, 9]  # the third seed of one of the two
    assert found.label_fractions == (0.05, 0.25, 1.0) and found.at(1.0) == () and found.of("tuned", 0.25) is None
    # two arms at the planned 5, 10 and 25 %: six tests, of which three are missing; from scratch at 100 % plans none
    assert found.n_planned == 6
    adjusted, largest = {}, 0.0
    for place, p_value in enumerate(sorted(expected)):
        largest = max(largest, (6 - place) * p_value)
        adjusted[p_value] = min(largest, 1.0)
    assert [g.p_holm for g in found.gains] == pytest.approx([adjusted[p] for p in expected])


def test_better_needs_the_adjusted_test_and_worse_the_whole_interval() -> None:
    found = gains(rows(), planned=(0.05, 0.25))
    paper, tuned = found.of("paper", 0.05), found.of("tuned", 0.05)
    assert paper is not None and tuned is not None
    assert found.is_better(paper) and not paper.is_worse and paper.p_holm < 0.05
    assert tuned.is_worse and not found.is_better(tuned) and tuned.paired.upper < 0 and tuned.p_holm == 1.0
    noisy = [r | {"value": "0.99"} if (r["arm"], r["scan"]) == ("tuned", "test-scan-0") else r for r in rows()]
    unsure = gains(noisy).of("tuned", 0.05)
    assert unsure is not None and not unsure.is_worse and unsure.paired.lower < 0 < unsure.paired.upper
    wide = gains(rows(), planned=[k / 40 + 0.001 for k in range(40)])  # a large family takes the first away
    assert wide.n_planned == 2 * 42 and not any(map(wide.is_better, wide.gains)) and wide.too_few == 11


def test_runs_that_disagree_are_told_apart_from_a_mean_that_hides_them() -> None:
    scratch = np.full((3, 9, 2), 0.6)
    paper = scratch + np.array([0.2, -0.05, 0.0])[:, None, None]
    found = gains(rows_of("from_scratch", scratch) + rows_of("paper", paper)).of("paper", 0.05)
    assert found is not None and found.by_run == pytest.approx((0.2, -0.05, 0.0))
    assert found.runs_disagree and (found.n_higher, found.n_runs) == (1, 3) and found.paired.lower > 0
    agreed = gains(rows_of("from_scratch", scratch) + rows_of("paper", paper[[0, 2]])).of("paper", 0.05)
    assert agreed is not None and not agreed.runs_disagree and agreed.n_higher == 1
    assert not disagree([0.1] * 9 + [-0.1]) and disagree([0.1] * 8 + [-0.1]) and not disagree([])


def test_the_split_decides_and_nothing_gives_nothing() -> None:
    mixed = rows("validation") + [r | {"value": "0.5"} for r in rows("test")]
    assert gains(mixed, split="validation").gains == gains(rows("validation"), split="validation").gains
    assert {g.paired.mean_difference for g in gains(mixed).gains} == {0.0}
    nothing = gains([])
    assert (nothing.gains, nothing.n_planned, nothing.too_few) == ((), 0, 0)
    few = gains([r for r in rows() if int(r["scan"].rsplit("-", 1)[1]) < 5], planned=(0.05, 0.25))
    assert few.too_few == 7  # 0.5**7 < 0.05 / 4 <= 0.5**6


@pytest.mark.parametrize("pairs", [[("a", "a")], [("a", "b"), ("a", "c")]])
def test_an_arm_has_one_control_that_is_another_arm(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InputError, match=r'a against .*expected each arm once, against another one; look at "arms"'):
        arm_gains([], pairs, split="test", alpha=0.05)


def test_mean_differences_leave_out_what_one_of_both_lacks() -> None:
    nan = math.nan
    scratch = np.array([[[4.0, 8.0], [6.0, nan]]])  # one seed, two scans, two classes
    paper = np.array([[[1.0, nan], [2.0, 5.0]], [[9.0, 9.0], [9.0, 9.0]]])
    made = rows_of("from_scratch", scratch) + rows_of("paper", paper)
    found = mean_differences([r | {"metric": "hd95_mm"} for r in made], PAIRS, split="test", metric="hd95_mm")
    assert found == {("paper", 0.05, "average"): -3.5, ("paper", 0.05, "class-0"): -3.5}
    assert mean_differences(made, PAIRS, split="test", metric="hd95_mm") == {}


def test_labels_of_any_arm_are_those_of_two_arms_on_the_split_asked_for() -> None:
    counts = {0.05: 6, 0.1: 12, 0.25: 30}
    scans = np.random.default_rng(1).uniform(0.8, 1.2, (1, 7, 1))
    made = {name: [rows_of(name, 1 - k * n**-0.4 * scans, f, "validation") for f, n in counts.items()]
            for name, k in (("control", 0.6), ("mine", 0.5), ("other", 0.9))}  # fmt: skip
    every = [r for of in made.values() for some in of for r in some]
    found = labels_of_arm(every, "mine", "control", counts, 0.05, HOW, "validation")
    names = {"control": "from_scratch", "mine": "pretrained"}
    two = [r | {"arm": new, "split": "test"} for old, new in names.items() for some in made[old] for r in some]
    expected = label_curves(two, counts, 0.05, HOW)
    assert found.equivalents == expected.equivalents and len(found.equivalents) == 3
    assert found.equivalents[0].n_equivalent == pytest.approx(6 * (0.6 / 0.5) ** (1 / 0.4), rel=1e-5)
