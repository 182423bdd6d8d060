"""The words of the verdict for studies that come out better, worse, unclear, too small or unfinished."""

from pathlib import Path
from typing import Any

import pytest
from example_study import ExampleStudy

from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.report.load import read_study
from inpaint_ssl.report.text import (
    Verdict,
    duration,
    enumeration,
    interval,
    is_significant,
    p_text,
    percent,
    ratio,
    signed,
    verdict,
)


def words(root: Path, **options: Any) -> Verdict:
    return verdict(read_study(ExampleStudy(root, **options).write()))


def outcomes(found: Verdict) -> list[str]:
    return [finding.outcome for finding in found.findings]


def test_better_everywhere(tmp_path: Path) -> None:
    found = words(tmp_path, fractions=[0.05], gain=0.2, noise=0.01)
    assert found.headline == "Pretraining improved segmentation at 5 % of the labels."
    assert found.findings[0].labels == "5 % of the labels (6 subjects)"
    assert found.findings[0].remark == "significantly better with pretraining"
    assert found.findings[0].comparison.mean_difference == pytest.approx(0.2, abs=0.02)
    both = words(tmp_path / "both", gain=0.2, noise=0.001)
    assert both.headline == "Pretraining improved segmentation at every label fraction tested."


def test_better_at_some_fractions(tmp_path: Path) -> None:
    found = words(tmp_path, fractions=[0.05, 0.5, 1.0], gain=0.1, share=-0.5, noise=0.01)
    assert outcomes(found) == ["better", "worse", "worse"]
    assert found.headline.startswith("Pretraining improved segmentation at 5 % of the labels; no significant gain at")
    assert found.headline.endswith("at 50 % and 100 % of the labels.")
    assert (
        "3 label fractions are tested: p-values are adjusted for that (Holm), the 95 % intervals are not."
        in found.cautions
    )


def test_worse(tmp_path: Path) -> None:
    found = words(tmp_path, gain=-0.2, noise=0.001)
    assert outcomes(found) == ["worse", "worse"]
    assert found.headline == "Pretraining did not help: Dice was lower with it at every label fraction."
    assert all(finding.comparison.wilcoxon.p_value > 0.99 for finding in found.findings)
    assert {finding.remark for finding in found.findings} == {"lower with pretraining, and so is the whole interval"}


class FixedGains(ExampleStudy):
    """The gain of every test scan at each label fraction, in thousandths."""

    gains: tuple[tuple[int, ...], ...] = ()

    def dice(self, arm: str, fraction: float, cls: str, seed: int, scan: str) -> float:
        gain = self.gains[self.fractions.index(fraction)][int(scan[-3:])]
        return round(0.5 + (arm == "pretrained") * gain / 1000, 6)


def fixed(root: Path, *gains: tuple[int, ...], planned: int = 0) -> Verdict:
    fractions = [0.1, 0.2, 0.3, 0.4, 0.5][: len(gains)]
    study = FixedGains(root, fractions=fractions, subjects=len(gains[0]), bare=True)
    study.gains = gains
    info = read_json(study.write() / "study.json", "study")
    info["label_fractions"] += [0.7, 0.8, 0.9][:planned]
    write_json_atomic(root / "study.json", info)
    return verdict(read_study(root))


UP = (1, 2, 3, 4, 5, 6, 7, 8, 9)
MOSTLY_UP = (1, 2, 3, 4, 5, -6, 7, 8, 9)  # p = 14 / 512 = 0.027
MIXED = (-1, 2, -3, 4, -5, 6, -7, 8, -8)


def test_the_adjusted_p_value_decides(tmp_path: Path) -> None:
    alone = fixed(tmp_path / "alone", MOSTLY_UP)
    assert outcomes(alone) == ["better"] and not any("adjusted" in caution for caution in alone.cautions)
    two = fixed(tmp_path / "two", MOSTLY_UP, MIXED)
    assert [f.comparison.wilcoxon.p_value < 0.05 for f in two.findings] == [True, False]
    assert two.findings[0].comparison.p_holm == pytest.approx(28 / 512)
    assert (two.findings[0].outcome, two.findings[0].remark) == ("unclear", "not significant")
    assert two.headline == "No significant benefit of pretraining was found."
    assert two.findings[1].remark == "lower with pretraining, but the interval includes 0"
    assert outcomes(fixed(tmp_path / "second", UP, MOSTLY_UP)) == ["better", "better"]  # the larger p is kept as it is


def test_a_single_class_is_never_called_significant(tmp_path: Path) -> None:
    study = read_study(ExampleStudy(tmp_path, gain=0.2, noise=0.001).write())
    for entry in study.statistics.entries:
        assert entry.comparison is not None and entry.comparison.wilcoxon.p_value < 0.001
        assert is_significant(study, entry.comparison) == (entry.class_name == "average")


def test_tests_to_come_are_counted(tmp_path: Path) -> None:
    found = fixed(tmp_path, MOSTLY_UP, planned=2)
    assert found.findings[0].comparison.p_holm == pytest.approx(3 * 14 / 512) and outcomes(found) == ["unclear"]
    assert "2 of the 3 planned tests are still to come; each counts as p = 1 until then." in found.cautions
    assert not any("to come" in caution for caution in fixed(tmp_path / "all", UP, UP).cautions)


def test_too_few_subjects_for_the_adjusted_p_value(tmp_path: Path) -> None:
    found = fixed(tmp_path, UP[:5], UP[:5], UP[:5])
    assert outcomes(found) == ["too_few"] * 3
    assert found.findings[0].remark == "too few for p < 0.05 adjusted for 3 tests; 6 would do"
    assert outcomes(fixed(tmp_path / "enough", UP[:6], UP[:6], UP[:6])) == ["better"] * 3


@pytest.mark.parametrize(("subjects", "warned"), [(1, False), (9, True), (10, False)])
def test_intervals_of_few_subjects_are_cautioned_against(tmp_path: Path, subjects: int, warned: bool) -> None:
    found = words(tmp_path, fractions=[0.5], subjects=subjects, bare=True)
    assert (f"With {subjects} test subjects the intervals are somewhat too narrow." in found.cautions) == warned


def test_not_significant(tmp_path: Path) -> None:
    found = words(tmp_path, fractions=[0.5], gain=0.0, noise=0.0)  # equal arms: every difference is zero
    assert outcomes(found) == ["unclear"]
    assert found.headline == "No significant benefit of pretraining was found."
    assert (found.findings[0].comparison.wilcoxon.n, found.findings[0].comparison.wilcoxon.p_value) == (0, 1.0)


def test_too_few_subjects_give_no_verdict_however_large_the_gain(tmp_path: Path) -> None:
    found = words(tmp_path, subjects=4, fractions=[0.5], gain=0.2, noise=0.001)
    assert outcomes(found) == ["too_few"]
    assert found.headline == "No verdict yet: too few test subjects to reach p < 0.05."
    assert "at least 5" in found.findings[0].remark


def test_networks_that_learnt_nothing_are_pointed_out(tmp_path: Path) -> None:
    study = ExampleStudy(tmp_path, fractions=[0.5])
    study.dice = lambda arm, *rest: 0.01 + 0.001 * (arm == "pretrained")
    found = verdict(read_study(study.write()))
    assert any("Neither arm learnt to segment with 50 % of the labels" in caution for caution in found.cautions)
    assert not any("learnt" in caution for caution in words(tmp_path / "good").cautions)


def test_gain_of_most_with_a_loss_of_the_mean_is_called_conflicting(tmp_path: Path) -> None:
    class OneDisaster(ExampleStudy):
        def dice(self, arm: str, fraction: float, cls: str, seed: int, scan: str) -> float:
            lost = arm == "pretrained" and scan == "case_000"
            return (
                0.01
                if lost
                else round(super().dice("from_scratch", fraction, cls, seed, scan), 3)
                + 0.001 * ((arm == "pretrained") * (1 + int(scan[-2:])))
            )

    found = verdict(read_study(OneDisaster(tmp_path, fractions=[0.5], noise=0.0).write()))
    assert found.findings[0].comparison.mean_difference < 0
    assert found.findings[0].comparison.wilcoxon.p_value < 0.05
    assert outcomes(found) == ["conflicting"]
    assert found.headline == "No significant benefit of pretraining was found."


def test_unfinished_studies_are_called_so(tmp_path: Path) -> None:
    assert words(tmp_path / "a", arms=["from_scratch"]).headline == (
        "No comparison yet: only the models from scratch have been evaluated."
    )
    assert words(tmp_path / "b", finetuned=False).headline == "No segmentation results yet."


def test_a_single_run_is_cautioned_against_and_several_are_not(tmp_path: Path) -> None:
    assert any("One run per arm" in c for c in words(tmp_path / "one").cautions)
    assert not any("One run" in c for c in words(tmp_path / "two", seeds=[0, 1]).cautions)


def test_numbers_as_text() -> None:
    assert [p_text(p) for p in (1.0, 0.9999, 0.0625, 0.0049, 0.00049, 1e-17)] == [
        "1.000", "> 0.999", "0.062", "0.005", "< 0.001", "< 0.001",
    ]  # fmt: skip
    assert [signed(x) for x in (0.0504, -0.0504, 0.0001, -0.0001, float("nan"))] == [
        "+0.050", "\N{MINUS SIGN}0.050", "0.000", "0.000", "–",
    ]  # fmt: skip
    assert interval(-0.012, 0.0344).split() == ["\N{MINUS SIGN}0.012", "to", "+0.034"]
    assert interval(float("nan"), float("nan")) == "–"
    assert (ratio(0.8125), ratio(float("nan"))) == ("0.812", "–")
    assert [percent(f) for f in (0.05, 0.125, 1.0, 0.001)] == ["5 %", "12.5 %", "100 %", "0.1 %"]
    assert [duration(s) for s in (4.2, 90, 3599, 7260, None)] == ["4 s", "2 min", "1 h 00 min", "2 h 01 min", "–"]
    assert [enumeration(list(x)) for x in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
