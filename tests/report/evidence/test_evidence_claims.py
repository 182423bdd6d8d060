"""Each of the paper's claims: seen, not seen, undecided and not tested in studies whose numbers are made to be so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence_runs import EXTENT, PRIMARY, Runs

from inpaint_ssl.report.evidence.claims import Claim, claims, verdicts
from inpaint_ssl.report.evidence.claims_table import claims_table
from inpaint_ssl.report.evidence.collect import collect
from inpaint_ssl.report.evidence.outcome import Outcome
from inpaint_ssl.report.evidence.read import Evidence, read_evidence
from inpaint_ssl.report.evidence.tuning import tuning as tuning_text
from inpaint_ssl.report.text import signed

_POISSON = (
    "poisson: corruption.sampling=poisson_disc",
    "random: corruption.sampling=random",
)
_CLASSES = {"hard": 0.6, "easy": 0.9}


def evidence_of(tmp_path: Path, *runs: Runs) -> Evidence:
    for one in runs:
        one.write()
    if runs:
        collect(runs[0].root, tmp_path / "evidence", {})
    return read_evidence(tmp_path / "evidence")


def claim(evidence: Evidence, number: str) -> Claim:
    (found,) = claims(evidence, number)
    return found


def tuning(root: Path, **options: Any) -> Runs:
    return Runs(root / "runs", settings={"finetune.learning_rate": 0.01}, subjects=6, **({"seeds": [0]} | options))


def primary(root: Path, **options: Any) -> Runs:
    shared = {"arms": PRIMARY, "fractions": [0.05, 0.25, 1.0], "split": "test", "subjects": 4, "seeds": [0]}
    return Runs(root / "runs", "hippocampus_primary", **(shared | options))


def outcomes(root: Path, number: str, run: Runs) -> tuple[Outcome, ...]:
    return claim(evidence_of(root, run), number).outcomes


def test_without_files_nothing_is_tested(tmp_path: Path) -> None:
    found = claims(evidence_of(tmp_path))
    assert [c.number for c in found] == ["1", "2", "3", "4", "5a", "5b", "6a", "6b", "7", "8", "9", "10", "11"]
    assert {v for c in found for v in verdicts(c)} == {"not tested"}
    text = claims_table(evidence_of(tmp_path))
    assert text.startswith("No claim could be tested.") and text.count("| not tested |") == 13


@pytest.mark.parametrize(
    ("norms", "expected"),
    [((8, 10, 12), "seen"), ((8, 12, 10), "undecided"), ((12, 10, 8), "not seen")],
)
def test_norm_and_patch_size(tmp_path: Path, norms: tuple[int, ...], expected: str) -> None:
    of = dict(zip(("k4", "k8", "k16"), map(float, norms), strict=True))
    (found,) = outcomes(tmp_path, "1", tuning(tmp_path, norms=of))
    assert found.verdict == expected and f"K = 4: {norms[0]}.0; K = 8: {norms[1]}.0" in found.figure
    assert "validation scans" in found.setting and "context restoration" in found.setting


def test_norms_count_before_anything_is_fine_tuned(tmp_path: Path) -> None:
    run = tuning(tmp_path, norms={"k4": 8.0, "k8": 10.0, "k16": 12.0})
    run.missing = list(run.runs())
    (found,) = outcomes(tmp_path, "1", run)
    assert found.verdict == "seen"


@pytest.mark.parametrize(("random", "expected"), [(12.0, "seen"), (8.0, "not seen")])
def test_sampling(tmp_path: Path, random: float, expected: str) -> None:
    run = tuning(tmp_path, arms=_POISSON, norms={"poisson": 10.0, "random": random})
    (found,) = outcomes(tmp_path, "2", run)
    assert (found.verdict, found.figure) == (expected, f"L2 norm 10.0 against {random:.1f}")


@pytest.mark.parametrize(("k16", "expected"), [(0.03, "seen"), (-0.03, "not seen"), (-0.04, "undecided")])
def test_a_lower_norm_and_dice(tmp_path: Path, k16: float, expected: str) -> None:
    """k16 has the highest norm, k4 the lowest; arms of other transfer do not count."""
    norms = {"k4": 8.0, "k8": 10.0, "k16": 12.0}
    run = tuning(tmp_path, gains={"k16": k16}, norms=norms, noise=0.06 if expected == "undecided" else 0.004)
    (found,) = outcomes(tmp_path, "3", run)
    assert found.verdict == expected and "highest L2 norm (k16, 12.0) − lowest (k4, 8.0) of 3" in found.setting


@pytest.mark.parametrize(
    ("at_few", "expected"), [((0.0, 0.02), "seen"), ((0.02, -0.03), "not seen"), ((0.06, -0.011), "undecided")]
)
def test_at_least_equal(tmp_path: Path, at_few: tuple[float, float], expected: str) -> None:
    """At 5 and 25 %; what happens with all labels does not count."""
    gains = {0.05: at_few[0], 0.25: at_few[1], 1.0: -0.5}
    noise = 0.03 if expected == "undecided" else 0.004
    run = primary(tmp_path, gain_of=lambda arm, f, cls: gains[f] if arm == "tuned" else 0.0, noise=noise)
    found = outcomes(tmp_path, "4", run)
    assert len(found) == 2 and found[1].verdict == expected and "tuned − from scratch" in found[1].setting
    assert "5 %: " in found[1].figure and "25 %: " in found[1].figure and "100 %" not in found[1].figure


@pytest.mark.parametrize(("few", "many", "expected"), [(0.05, 0.0, "seen"), (0.0, 0.05, "not seen")])
def test_the_gain_grows(tmp_path: Path, few: float, many: float, expected: str) -> None:
    run = primary(tmp_path, gain_of=lambda arm, f, cls: 0 if arm == "from_scratch" else few if f < 0.1 else many)
    paper, tuned = outcomes(tmp_path, "5a", run)
    assert paper.verdict == tuned.verdict == expected and "gain at 5 % − gain at 100 %" in paper.setting
    rows: dict[tuple[str, str, str], list[float]] = {}
    for row in run.rows():
        if row["metric"] == "dice":
            key = (str(row["arm"]), str(row["label_fraction"]), str(row["subject"]))
            rows.setdefault(key, []).append(float(row["value"]))
    mean = {key: np.mean(values) for key, values in rows.items()}
    subjects = sorted({subject for _, _, subject in mean})
    change = {
        f: np.array([mean["paper", f, s] - mean["from_scratch", f, s] for s in subjects]) for f in ("0.05", "1.0")
    }
    assert paper.figure.startswith(signed(float(np.mean(change["0.05"] - change["1.0"]))) + " (")


@pytest.mark.parametrize(("hard", "expected"), [(0.05, "seen"), (0.0, "not seen")])
def test_the_gain_is_largest_where_dice_is_low(tmp_path: Path, hard: float, expected: str) -> None:
    run = primary(
        tmp_path,
        base=_CLASSES,
        gain_of=lambda arm, f, cls: 0 if arm == "from_scratch" else hard if cls == "hard" else 0.01,
    )
    paper, _ = outcomes(tmp_path, "5b", run)
    assert paper.verdict == expected and "at most 0.8 (3 of 6 classes at label fractions)" in paper.setting
    easy = primary(tmp_path / "easy", base={"easy": 0.9, "other": 0.93})
    assert outcomes(tmp_path / "easy", "5b", easy) == ()


@pytest.mark.parametrize(
    ("steps", "helps", "saturates"),
    [((0.04, 0.02), "seen", "seen"), ((-0.02, -0.01), "not seen", "not seen"), ((0.02, 0.04), "seen", "not seen")],
)
def test_extent(tmp_path: Path, steps: tuple[float, float], helps: str, saturates: str) -> None:
    gains = {"subset": 0.0, "training": steps[0], "unlabelled": sum(steps)}
    run = Runs(tmp_path / "runs", "headneck_ct_extent", arms=EXTENT, gains=gains, split="test", subjects=8)
    evidence = evidence_of(tmp_path, run)
    (first,), (second,) = claim(evidence, "6a").outcomes, claim(evidence, "6b").outcomes
    assert (first.verdict, second.verdict) == (helps, saturates)
    assert "unlabelled − training" in first.setting and "subset to training" in second.setting


@pytest.mark.parametrize(
    ("folder", "large", "expected"),
    [
        ("hippocampus_tuning", 0.0, "seen"),
        ("hippocampus_tuning", 0.03, "not seen"),
        ("headneck_ct_tuning", -0.02, "not seen"),
        ("headneck_ct_tuning", 0.03, "seen"),
    ],
)
def test_large_patches(tmp_path: Path, folder: str, large: float, expected: str) -> None:
    settings = {"finetune.learning_rate": 0.01}
    run = Runs(tmp_path / "runs", folder, gains={"k16": large}, settings=settings, subjects=8)
    (found,) = outcomes(tmp_path, "7", run)
    assert found.verdict == expected and ("CT:" in found.setting) == (folder[0:4] == "head")


@pytest.mark.parametrize(("both", "expected"), [(-0.02, "seen"), (0.0, "seen"), (0.03, "not seen")])
def test_encoder_only(tmp_path: Path, both: float, expected: str) -> None:
    (found,) = outcomes(tmp_path, "8", tuning(tmp_path, gains={"k8_both": both}))
    assert found.verdict == expected and "encoder transferred − encoder and decoder transferred" in found.setting


@pytest.mark.parametrize(("frozen", "expected"), [(0.0, "seen"), (0.03, "not seen"), (-0.03, "not seen")])
def test_frozen_first(tmp_path: Path, frozen: float, expected: str) -> None:
    (found,) = outcomes(tmp_path, "9", tuning(tmp_path, gains={"k8_frozen": frozen}))
    assert found.verdict == expected and "frozen for 250 steps − all tensors trained at once" in found.setting


@pytest.mark.parametrize(("low", "expected"), [(0.03, "seen"), (-0.03, "not seen")])
def test_a_high_rate(tmp_path: Path, low: float, expected: str) -> None:
    (found,) = outcomes(tmp_path, "10", tuning(tmp_path, gains={"k8_low": low, "scratch_low": -0.205}))
    assert found.verdict == expected and "fine-tuning rate 0.001 − fine-tuning rate 0.01" in found.setting
    assert "the same from scratch: 5 %: −0.20" in found.setting


@pytest.mark.parametrize(("hard", "expected"), [(0.06, "seen"), (0.0, "not seen")])
def test_errors_of_hard_classes(tmp_path: Path, hard: float, expected: str) -> None:
    """Volume errors are 100 (1 - Dice) of either sign: a gain of 0.06 is a fall of 6 percentage points."""
    run = primary(
        tmp_path, base=_CLASSES, distances=True, noise=0.001,
        gain_of=lambda arm, f, cls: 0 if arm == "from_scratch" else hard if cls == "hard" else 0.01,
    )  # fmt: skip
    paper, _ = outcomes(tmp_path, "11", run)
    assert paper.verdict == expected and "volume error of hard (Dice 0." in paper.setting
    expected_points = 100 * (hard - 0.01)
    shown = float(paper.figure.split(" ")[0].replace("\N{MINUS SIGN}", "-"))
    assert abs(shown - expected_points) < 0.15 and paper.figure.endswith("percentage points")


@pytest.mark.parametrize(("seeds", "caution"), [([0], ("from one run",)), ([0, 1], ())])
def test_a_verdict_from_one_run_is_marked(tmp_path: Path, seeds: list[int], caution: tuple[str, ...]) -> None:
    evidence = evidence_of(tmp_path, tuning(tmp_path, seeds=seeds, gains={"k8_both": -0.02}))
    assert claim(evidence, "8").outcomes[0].cautions == caution
    assert (", from one run" in claims_table(evidence)) is bool(caution)


def test_a_verdict_from_runs_that_disagree_is_marked(tmp_path: Path) -> None:
    """Encoder alone: higher with one seed, and with the other lower as it found nothing at all."""
    run = tuning(tmp_path, seeds=[0, 1])
    dice = run.dice

    def by_seed(arm: str, fraction: float, cls: str, seed: int, scan: str) -> float:
        value = dice(arm, fraction, cls, seed, scan)
        return value + 0.05 if (arm, seed) == ("k8", 0) else 0.01 if (arm, seed) == ("k8", 1) else value

    run.dice = by_seed  # type: ignore[method-assign]
    evidence = evidence_of(tmp_path, run)
    assert claim(evidence, "8").outcomes[0].cautions == ("runs disagree", "a class was lost")
    text = claims_table(evidence)
    assert '"runs disagree" 5' in text and "**not seen**, runs disagree, a class was lost" in text
    assert "k8 at 5 %, seed 1 (anterior, posterior)" in tuning_text(evidence, "figures")


def test_the_table_shows_every_outcome(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, tuning(tmp_path), primary(tmp_path))
    text = claims_table(evidence)
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    found = claims(evidence)
    assert len(rows) == sum(max(1, len(c.outcomes)) for c in found)
    tested = [o.verdict for c in found for o in c.outcomes]
    counts = [tested.count(v) for v in ("seen", "not seen", "undecided")]
    assert text.startswith(f"Verdicts of {len(tested)} tests: {counts[0]} seen, {counts[1]} not seen and {counts[2]}")
    assert "Not tested: 2, 6a, 6b and 11." in text
