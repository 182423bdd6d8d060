"""Holm's correction against the closure of Bonferroni tests, and the family that a study corrects."""

import gc
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from inpaint_ssl.statistics import AVERAGE, StudyStatistics, holm, summarise


def _closed(p: list[float]) -> list[float]:
    """The largest Bonferroni p-value over all sets of hypotheses that hold the one in question."""
    sets = [s for k in range(len(p)) for s in itertools.combinations(range(len(p)), k + 1)]
    return [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(len(p))]


def test_worked_example() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and the last may not be below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1 / 32, 0.5, 1.0])), min_size=1, max_size=6))
def test_equals_the_closed_test_procedure(p: list[float]) -> None:
    assert holm(p) == pytest.approx(_closed(p), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=20))
def test_equals_statsmodels(p: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda: 0)  # statsmodels calls it every time, which takes a third of a second here
        expected = multipletests(p, method="holm")[1]
    assert holm(p) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("p", [float("nan"), -0.1, 1.1])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="give 1 for a test that is missing"):
        holm([0.1, p])


def study(gains: dict[float, list[float]], planned: tuple[float, ...] = (), arms: int = 2) -> StudyStatistics:
    """Statistics of a study with these gains of the test subjects in class A; class B gains twice as much."""
    base = {"subset_draw": "0", "seed": "0", "split": "test", "metric": "dice"}
    rows = [
        base | {"label_fraction": repr(fraction), "arm": arm, "class": c, "subject": f"s{i:02d}", "scan": f"s{i:02d}",
                "value": repr(0.5 + (arm == "pretrained") * gain * times)}
        for fraction, of_subjects in gains.items()
        for arm in ("from_scratch", "pretrained")[:arms]
        for i, gain in enumerate(of_subjects)
        for c, times in (("A", 1), ("B", 2))
    ]  # fmt: skip
    return summarise(rows, 0.05, planned=planned)


def p_values(found: StudyStatistics, adjusted: bool) -> list[float | None]:
    comparisons = [e.comparison for e in found.entries if e.class_name == AVERAGE and e.comparison]
    return [c.p_holm if adjusted else c.wilcoxon.p_value for c in comparisons]


GAINS = {
    0.05: [0.01 * i for i in range(1, 9)],
    0.1: [0.01 * i * (-1 if i == 3 else 1) for i in range(1, 9)],
    0.5: [0.01 * i * (-1 if i in (2, 4, 7) else 1) for i in range(1, 9)],
}


def test_the_family_is_the_class_average_over_label_fractions() -> None:
    found = study(GAINS)
    raw = p_values(found, adjusted=False)
    # 8 gains: of 256 sign patterns those whose losses sum to <= 0, <= 3 (1 2 3 12 and none) and <= 13
    assert raw[:2] == pytest.approx([1 / 256, 5 / 256]) and found.n_planned == 3
    assert p_values(found, adjusted=True) == pytest.approx([3 / 256, 10 / 256, raw[2]])
    classes = [e.comparison for e in found.entries if e.class_name != AVERAGE]
    assert len(classes) == 6
    assert all(c and c.p_holm is None and c.p_holm_in_reach is None for c in classes)


def test_planned_tests_that_are_missing_count_as_one() -> None:
    part = {fraction: GAINS[fraction] for fraction in (0.05, 0.1)}
    found = study(part, planned=(0.05, 0.1, 0.25, 0.5))
    assert found.n_planned == 4
    assert p_values(found, adjusted=True) == pytest.approx([4 / 256, 15 / 256])
    whole = p_values(study(GAINS, planned=(0.05, 0.1, 0.5)), adjusted=True)
    interim = p_values(study(part, planned=(0.05, 0.1, 0.5)), adjusted=True)
    assert all(later <= early for early, later in zip(interim, whole[:2], strict=True) if early and later)
    assert study(GAINS, planned=(0.05,)).n_planned == 3  # what the rows hold is in the family


def test_one_label_fraction_is_not_adjusted() -> None:
    found = study({0.1: GAINS[0.1]}, planned=(0.1,))
    assert p_values(found, adjusted=True) == p_values(found, adjusted=False) == pytest.approx([5 / 256])


@pytest.mark.parametrize(
    ("subjects", "warning"),
    [
        ((4, 4), "4 test subjects with a difference cannot reach p < 0.05; at least 5 are needed"),
        (
            (5, 5),
            "5 test subjects with a difference cannot reach p < 0.05 once adjusted for 2 label fractions; 6 would",
        ),
        ((6, 6), ""),
        ((5, 12), ""),  # the other test comes first, then this one is adjusted no more
    ],
)
def test_too_few_subjects_for_the_adjusted_p_are_warned_about(subjects: tuple[int, int], warning: str) -> None:
    gains = {f: [0.01 * (i + 1) for i in range(n)] for f, n in zip((0.1, 1.0), subjects, strict=True)}
    found = study(gains)
    assert bool(found.warnings) == bool(warning) and all(warning in text for text in found.warnings)
    smallest = [c.p_holm_in_reach for e in found.entries if e.class_name == AVERAGE and (c := e.comparison)]
    assert smallest == pytest.approx(p_values(found, adjusted=True))  # as every subject gains
    assert (max(p for p in smallest if p is not None) >= 0.05) == bool(warning)


def test_an_arm_alone_has_no_test_but_is_planned() -> None:
    found = study(GAINS, arms=1)
    assert found.n_planned == 3 and p_values(found, adjusted=True) == [] and found.warnings == ()
