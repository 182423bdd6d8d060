"""The words of the verdict for studies that come out better, worse, unclear, too small or unfinished."""

from pathlib import Path
from typing import Any

import pytest
from example_study import ExampleStudy

from inpaint_ssl.report.load import read_study
from inpaint_ssl.report.text import Verdict, duration, enumeration, p_text, percent, ratio, signed, verdict


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
    assert any("3 label fractions are tested" in caution for caution in found.cautions)


def test_worse(tmp_path: Path) -> None:
    found = words(tmp_path, gain=-0.2, noise=0.001)
    assert outcomes(found) == ["worse", "worse"]
    assert found.headline == "Pretraining did not help: Dice was lower with it at every label fraction."
    assert all(finding.comparison.wilcoxon.p_value > 0.99 for finding in found.findings)


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
    assert (ratio(0.8125), ratio(float("nan"))) == ("0.812", "–")
    assert [percent(f) for f in (0.05, 0.125, 1.0, 0.001)] == ["5 %", "12.5 %", "100 %", "0.1 %"]
    assert [duration(s) for s in (4.2, 90, 3599, 7260, None)] == ["4 s", "2 min", "1 h 00 min", "2 h 01 min", "–"]
    assert [enumeration(list(x)) for x in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
