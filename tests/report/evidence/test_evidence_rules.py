"""Verdicts from intervals, and factors in which arms differ, compared with means taken by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from evidence_runs import TUNING, Runs

from inpaint_ssl.report.evidence.collect import collect
from inpaint_ssl.report.evidence.factors import factor_sentences, series_of, step
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy, read_evidence
from inpaint_ssl.report.evidence.rules import (
    ALIKE,
    HIGHER,
    NOT_LOWER,
    NOT_SEEN,
    NOT_TESTED,
    SEEN,
    UNDECIDED,
    Difference,
    change,
    in_order,
    together,
    verdict,
)
from inpaint_ssl.report.text import signed


def evidence_of(tmp_path: Path, *runs: Runs) -> Evidence:
    for one in runs:
        one.write()
    collect(runs[0].root, tmp_path / "evidence", {})
    return read_evidence(tmp_path / "evidence")


@pytest.fixture(scope="module")
def tuning(tmp_path_factory: pytest.TempPathFactory) -> EvidenceStudy:
    folder = tmp_path_factory.mktemp("tuning")
    gains = {"k8": 0.02, "k16": 0.03, "k4": -0.01, "k8_frozen": 0.021, "k8_both": -0.02, "scratch_low": -0.05}
    norms = {"k4": 8.0, "k8": 10.0, "k16": 12.5}
    options = {"gains": gains | {"k8_low": 0.05}, "norms": norms, "settings": {"finetune.learning_rate": 0.01}}
    (study,) = evidence_of(folder, Runs(folder / "runs", **options)).studies
    return study


@pytest.mark.parametrize(
    ("lower", "upper", "higher", "not_lower", "alike"),
    [
        (0.02, 0.03, SEEN, SEEN, NOT_SEEN),
        (0.001, 0.008, SEEN, SEEN, SEEN),
        (-0.005, 0.008, NOT_SEEN, SEEN, SEEN),
        (-0.005, 0.02, UNDECIDED, SEEN, UNDECIDED),
        (-0.02, 0.02, UNDECIDED, UNDECIDED, UNDECIDED),
        (-0.02, -0.001, NOT_SEEN, NOT_SEEN, NOT_SEEN),
        (-0.009, -0.001, NOT_SEEN, SEEN, SEEN),
        (-0.03, -0.02, NOT_SEEN, NOT_SEEN, NOT_SEEN),
        (math.nan, math.nan, UNDECIDED, UNDECIDED, UNDECIDED),
    ],
)
def test_verdicts(lower: float, upper: float, higher: str, not_lower: str, alike: str) -> None:
    found = Difference((lower + upper) / 2, lower, upper, 12)
    assert [verdict(found, rule) for rule in (HIGHER, NOT_LOWER, ALIKE)] == [higher, not_lower, alike]
    scaled = Difference(0.0, 100 * lower, 100 * upper, 12, " percentage points")
    assert [verdict(scaled, rule) for rule in (HIGHER, NOT_LOWER, ALIKE)] == [higher, not_lower, alike]


def test_verdicts_of_several() -> None:
    assert verdict(None, HIGHER) == NOT_TESTED == together([]) == in_order([])
    assert together([SEEN, SEEN]) == SEEN and together([SEEN, UNDECIDED]) == UNDECIDED
    assert together([SEEN, UNDECIDED, NOT_SEEN]) == NOT_SEEN
    assert in_order([True, True]) == SEEN and in_order([True, False]) == UNDECIDED and in_order([False]) == NOT_SEEN


def test_changes_in_words() -> None:
    shown = [change(Difference(0.0, *ends, 9)) for ends in ((0.001, 0.1), (-0.1, -0.001), (-0.01, 0.01), (-0.1, 0.1))]
    assert shown == ["higher", "lower", "no difference that matters", "undecided"] and change(None) == "not compared"


def by_hand(study: EvidenceStudy, first: str, second: str) -> np.ndarray:
    """Differences by subject of class-averaged Dice, seeds averaged first: NumPy on the rows alone."""
    table: dict[tuple[str, str], list[float]] = {}
    for row in study.rows:
        if row["metric"] == "dice":
            table.setdefault((row["arm"], row["subject"]), []).append(float(row["value"]))
    subjects = sorted({subject for _, subject in table})
    return np.array([np.mean(table[first, s]) - np.mean(table[second, s]) for s in subjects])


def test_factors_are_found_from_settings_not_names(tuning: EvidenceStudy) -> None:
    found = {(s.factor.name, tuple(arm.name for arm in s.arms)) for s in series_of(tuning)}
    assert found == {
        ("Patch size", ("k4", "k8", "k16")),
        ("Parts transferred", ("k8_both", "k8")),
        ("Freezing first", ("k8", "k8_frozen")),
        ("Learning rate of fine-tuning", ("scratch_low", "from_scratch")),
        ("Learning rate of fine-tuning", ("k8_low", "k8")),
    }


def test_renaming_arms_changes_no_factor(tuning: EvidenceStudy, tmp_path: Path) -> None:
    renamed = tuple(f"arm{k}:{text.partition(':')[2]}" for k, text in enumerate(TUNING))
    (study,) = evidence_of(
        tmp_path, Runs(tmp_path / "runs", arms=renamed, settings={"finetune.learning_rate": 0.01})
    ).studies
    shown, own = ({(s.factor.name, len(s.arms)) for s in series_of(of)} for of in (study, tuning))
    assert shown == own


def test_differences_are_those_by_hand(tuning: EvidenceStudy) -> None:
    arms = {arm.name: arm for arm in tuning.results.arms}
    found = step(tuning, arms["k16"], arms["k8"], 0.05)
    differences = by_hand(tuning, "k16", "k8")
    assert found is not None and found.n_subjects == 12 and found.mean == pytest.approx(differences.mean(), abs=1e-12)
    rng = np.random.default_rng(0)  # a percentile interval of the same mean lies near the study's BCa interval
    means = rng.choice(differences, (4000, 12)).mean(axis=1)
    assert np.allclose([found.lower, found.upper], np.quantile(means, [0.025, 0.975]), atol=0.1 * np.ptp(means))


def test_sentences_on_factors(tuning: EvidenceStudy) -> None:
    sentences = {s.partition("**:")[0].partition("** ")[0].strip("*"): s for s in factor_sentences(tuning)}
    size = sentences["Patch size"]
    gain = by_hand(tuning, "k16", "k8").mean()
    assert "16\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}16 patches" in size and f", {signed(gain)} (" in size
    assert "(L2 norm 12.5)" in size and "(L2 norm 8.0)" in size and "higher (L2 norm 12.5)" in size
    assert "lower" in sentences["Parts transferred"] and "L2 norm" not in sentences["Parts transferred"]
    assert "no difference that matters" in sentences["Freezing first"]


def test_norms_belong_to_pretrainings(tuning: EvidenceStudy) -> None:
    """Arms that differ in the transfer alone begin with one pretraining, which the first of them names."""
    shown = {arm: norm.mean for arm in tuning.pretraining if (norm := tuning.norm(arm)) is not None}
    assert shown == {"k8": 10.0, "k16": 12.5, "k4": 8.0, "k8_frozen": 10.0, "k8_both": 10.0, "k8_low": 10.0}
    assert tuning.norm("from_scratch") is None
