"""RESULTS.md: the same text from the same files, its numbers against SciPy, and what is said of what is missing."""

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence_runs import EXTENT, PRIMARY, Runs
from scipy import stats

from inpaint_ssl.errors import InputError
from inpaint_ssl.report.evidence import figures, files
from inpaint_ssl.report.evidence.collect import collect
from inpaint_ssl.report.evidence.plain_words import MOST, plain_words
from inpaint_ssl.report.evidence.read import Evidence, read_evidence
from inpaint_ssl.report.evidence.write import results_text, write
from inpaint_ssl.report.text import p_text, ratio, signed

ROOT = Path(__file__).resolve().parents[3]
GAINS = {"k8": 0.02, "k16": 0.03, "k4": -0.02, "k8_frozen": 0.02, "k8_both": -0.01, "scratch_low": -0.05}
RECIPE = ("flips: start=fresh evaluate.flips=('left_right',)", "light: start=fresh finetune.augmentation=light")
BEST = ("best: start=fresh finetune.augmentation=light",)


def studies(root: Path) -> list[Runs]:
    rate = {"finetune.learning_rate": 0.01}
    test: dict[str, Any] = {"split": "test", "subjects": 9, "seeds": [0]}
    some, head = [0.05, 0.1, 1.0], {"parotid_left": 0.6, "parotid_right": 0.7, "cord": 0.8, "mandible": 0.9}
    fall = lambda arm, f, cls: 0.0 if arm == "from_scratch" else 0.04 * (1 - f)  # noqa: E731
    return [
        Runs(root, gains=GAINS, settings=rate, missing=[("k4", 0.05, 1)], failed={("k16", 0.05, 1): "out of memory"}),
        Runs(root, "hippocampus_primary", arms=PRIMARY, fractions=some, distances=True, gain_of=fall, **test),
        Runs(root, "headneck_ct_primary", arms=PRIMARY, fractions=[0.05, 1.0], base=head, gain_of=fall, **test),
        Runs(root, "headneck_ct_extent", arms=EXTENT, gains={"unlabelled": 0.02}, base=head, **test),
        Runs(root, "hippocampus_recipe", arms=RECIPE, gains={"light": 0.03}, seeds=[0]),
        Runs(root, "hippocampus_best", arms=BEST, gains={"best": 0.15}, fractions=[1.0], **test),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/, evidence/ and RESULTS.md of six studies."""
    folder = tmp_path_factory.mktemp("whole")
    for one in studies(folder / "runs"):
        one.write()
    collect(folder / "runs", folder / "evidence", {"processor": "A processor", "cores": 2})
    (folder / "evidence" / "notes.md").write_text("- The middle fractions were left out: *time*.\n")
    write(folder / "evidence", folder / "RESULTS.md")
    return folder


@pytest.fixture(scope="module")
def found(whole: Path) -> Evidence:
    return read_evidence(whole / "evidence")


@pytest.fixture(scope="module")
def text(whole: Path) -> str:
    return (whole / "RESULTS.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return re.split(r"^## ", text.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_same_files_give_the_same_bytes(whole: Path, text: str, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (whole / "evidence" / "figures").iterdir()}
    assert sorted(before) == [f"{name}.png" for name in sorted(
        ("headneck_ct_extent", "headneck_ct_primary", "hippocampus_best", "hippocampus_primary", "hippocampus_tuning")
    )]  # fmt: skip
    write(whole / "evidence", whole / "RESULTS.md")
    assert (whole / "RESULTS.md").read_text(encoding="utf-8") == text
    assert {path.name: path.read_bytes() for path in (whole / "evidence" / "figures").iterdir()} == before


def test_sections_and_figures_are_there(whole: Path, text: str) -> None:
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
        "In plain words", "Protocol", "What makes pretraining pay", "Primary comparison", "Extent of unlabelled data",
        "The paper's claims", "Best Dice, beyond the paper", "How to repeat it",
    ]  # fmt: skip
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
    assert len(shown) == 5
    for alt, path in shown:
        assert (whole / path).is_file() and (whole / path).stat().st_size <= figures.LIMIT and len(alt) > 40
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > 12
    for table in tables:  # rows have as many cells as the head
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def gray_levels(path: Path) -> int:
    """Number of different grey values of a PNG as matplotlib writes it: 8 bits, RGBA."""
    data, place, pixels = path.read_bytes(), 8, b""
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        pixels += data[place + 8 : place + 8 + length] if data[place + 4 : place + 8] == b"IDAT" else b""
        place += 12 + length
    return len(set(zlib.decompress(pixels)))


def test_figures_are_no_blank(whole: Path) -> None:
    assert gray_levels(whole / "evidence" / "figures" / "hippocampus_primary.png") > 30


def subject_means(run: Runs, metric: str = "dice", absolute: bool = False) -> Callable[[str, float], np.ndarray]:
    """(arm, fraction) -> class averages by subject, NumPy on the rows alone."""
    table: dict[tuple[str, float, str], list[float]] = {}
    for row in run.rows():
        if row["metric"] == metric:
            value = abs(row["value"]) if absolute else row["value"]
            table.setdefault((row["arm"], row["label_fraction"], row["subject"]), []).append(value)
    return lambda arm, f: np.array([np.mean(v) for (a, g, _), v in sorted(table.items()) if (a, g) == (arm, f)])


def test_primary_numbers_are_those_of_scipy(whole: Path, text: str) -> None:
    run = studies(whole / "runs")[1]
    values = subject_means(run)
    pairs = [(arm, f) for arm in ("paper", "tuned") for f in run.fractions]
    p, holm, largest = {}, {}, 0.0
    for arm, f in pairs:
        p[arm, f] = stats.wilcoxon(values(arm, f), values("from_scratch", f), alternative="greater").pvalue
    for rank, key in enumerate(sorted(p, key=lambda k: p[k])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[key]))
        holm[key] = largest
    part = section(text, "Primary comparison").split("### ")[1]
    for (arm, fraction), p_value in p.items():
        gain = values(arm, fraction) - values("from_scratch", fraction)
        row = next(
            line for line in part.splitlines()
            if re.match(rf"\| \**{100 * fraction:g} %\** \| \**{arm}\** \|", line)
        ).replace("*", "")  # fmt: skip
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2] == ratio(values(arm, fraction).mean()) and signed(gain.mean()) in cells
        shown = [p_text(p_value), p_text(holm[arm, fraction])]
        assert [c.replace("&lt;", "<").replace("&gt;", ">") for c in cells[10:12]] == shown, row
    errors = subject_means(run, "volume_mm3", absolute=True)
    assert f"{errors('tuned', 0.05).mean():.1f} ±" in part and "HD95 (mm)" in part and "**Labels saved**" in part


def test_validation_numbers_and_missing_runs(whole: Path, text: str) -> None:
    part = section(text, "What makes pretraining pay")
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
    rows = {cells[1]: cells for cells in table if len(cells) > 1}
    run = studies(whole / "runs")[0]
    gain = subject_means(run)("k8", 0.05) - subject_means(run)("from_scratch", 0.05)
    assert rows["k8"][5] == signed(gain.mean()) and rows["k8"][8:] == ["2 of 2", "2 of 2", "0 of 2", "10.0"]
    assert rows["k16"][9] == "1 of 2, 1 failed" and rows["k4"][9] == "1 of 2" and rows["scratch low"][11] == "–"
    assert "**Missing: 2 runs of 19** (1 failed and 1 without results)." in part
    assert "finetune k4 5 % labels seed 1" in part and "finetune k16 5 % labels seed 1 (out of memory)" in part
    assert "not evidence" in part and "**Patch size**" in part


def test_protocol_and_record(text: str) -> None:
    part = section(text, "Protocol")
    assert "Settings tried on validation scans: 5 from scratch and 6 pretrained" in part and "favours it" in part
    assert "hippocampus recipe: other augmentation than the rest: light" in part
    assert "`" + "ab" * 32 + "`" in part and "`" + "cd" * 32 + "`" in part and "5 %: 4; 10 %: 8" in part
    assert "hippocampus (MRI): best, primary, recipe and tuning" in part
    assert "parotid_left, parotid_right, cord, mandible" in part and "On test scans were measured: " in part
    record = section(text, "How to repeat it")
    assert "configs/evidence.py:headneck_ct,extent" in record and "A processor" in record and "*time*" in record
    assert "| 17 of 19 |" in record and "| 17 min |" in record


def test_published_figures_stand_beside_ours(whole: Path, text: str) -> None:
    part = section(text, "Best Dice, beyond the paper")
    run = studies(whole / "runs")[-1]
    wanted = ("dice", "best", "anterior")
    dice = [row["value"] for row in run.rows() if (row["metric"], row["arm"], row["class"]) == wanted]
    assert "anterior 0.8975 and posterior 0.8807" in part and "5-fold" in part and "all 260 volumes" in part
    assert f"Ours (best): anterior {ratio(float(np.mean(dice)))} and posterior" in part and "on 9 held-out test" in part


def test_plain_words(whole: Path, found: Evidence, text: str) -> None:
    said = plain_words(found)
    assert len(said) <= MOST and " ".join(said) in section(text, "In plain words")
    run = studies(whole / "runs")[1]
    values = subject_means(run)
    scratch, paper = values("from_scratch", 0.05), values("paper", 0.05)
    (few,) = [s for s in said if s.startswith("Hippocampus, learning from the drawings of 4 people")]
    assert f"was {ratio(scratch.mean())} without pretraining" in few
    assert f'with it {ratio(paper.mean())} ("paper": {signed((paper - scratch).mean())}, plausibly ' in few
    assert few.count(", better)") == 2
    assert "a number rests on 1 training of each kind" in said[-1]
    (many,) = [s for s in said if s.startswith("Hippocampus, learning from the drawings of 80 people")]
    assert "better" not in many


@pytest.mark.parametrize(("gain", "words"), [(0.03, "better"), (-0.03, "worse"), (0.0, "no difference that matters")])
def test_the_words_follow_the_numbers(tmp_path: Path, gain: float, words: str) -> None:
    options: dict[str, Any] = {"arms": PRIMARY[:1], "gains": {"paper": gain}, "split": "test", "seeds": [0]}
    Runs(tmp_path / "runs", "hippocampus_primary", noise=0.002, **options).write()
    collect(tmp_path / "runs", tmp_path / "evidence", {})
    (answer,) = [s for s in plain_words(read_evidence(tmp_path / "evidence")) if "agreement" in s]
    assert answer.endswith(f", {words}).")


def test_trainings_that_disagree_and_lost_structures_are_said(tmp_path: Path) -> None:
    """The first training without pretraining finds nothing, in the second pretraining is worse: better in the mean."""
    run = Runs(tmp_path / "runs", "hippocampus_primary", arms=PRIMARY[:1], split="test", gains={"paper": -0.03})
    dice = run.dice
    run.dice = lambda *of: 0.02 if (of[0], of[3]) == ("from_scratch", 0) else dice(*of)  # type: ignore[method-assign]
    run.write()
    collect(tmp_path / "runs", tmp_path / "evidence", {})
    evidence = read_evidence(tmp_path / "evidence")
    said = plain_words(evidence)
    (answer,) = [s for s in said if "agreement" in s]
    assert answer.endswith(", not decided by these scans: higher in 1 of 2 trainings).")
    lost = "in 1 of 2 trainings without pretraining and 0 of 2 trainings with pretraining a structure was missed"
    assert any(s.startswith(f"Hippocampus: {lost}") for s in said)
    text = results_text(evidence, "evidence")
    assert (
        "In 1 of 4 runs a class was missed in most scans (median Dice below 0.1): from scratch at 5 %, seed 0 (" in text
    )


@pytest.mark.parametrize(("train", "differ"), [(["a"], False), (["b"], True)])
def test_studies_that_divide_their_subjects_differently_are_named(
    tmp_path: Path, train: list[str], differ: bool
) -> None:
    """Another hash alone, as other label fractions give, is no other division."""
    for folder in ("hippocampus_tuning", "hippocampus_recipe"):
        Runs(tmp_path / "runs", folder, seeds=[0], arms=PRIMARY[:1]).write()
    path = tmp_path / "runs" / "hippocampus_recipe" / "splits.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train": train, "sha256": "ef" * 32}))
    collect(tmp_path / "runs", tmp_path / "evidence", {})
    text = results_text(read_evidence(tmp_path / "evidence"), "evidence")
    assert ("The studies of hippocampus divide their subjects differently." in text) is differ


def test_without_files_everything_is_not_run(tmp_path: Path) -> None:
    text = results_text(read_evidence(tmp_path / "none"), "none")
    assert text.count("**Not run: ") == 6 and "Nothing has been measured yet, so there is no answer." in text
    for data, part in (("hippocampus", "tuning"), ("headneck_ct", "primary"), ("headneck_ct", "extent")):
        assert f"configs/evidence.py:{data},{part}" in text and f"runs/evidence/{data}_{part}" in text
    assert "No claim could be tested." in text


def test_a_study_before_its_first_result(tmp_path: Path) -> None:
    run = Runs(tmp_path / "runs")
    run.missing = list(run.runs())
    run.write()
    collect(tmp_path / "runs", tmp_path / "evidence", {})
    write(tmp_path / "evidence", tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "**Missing: 16 runs of 19** (16 without results)." in text and "No arm has been measured yet." in text
    assert "Nothing has been measured yet" in text and not list((tmp_path / "evidence" / "figures").glob("*"))


def test_only_validation_is_no_answer(tmp_path: Path) -> None:
    Runs(tmp_path / "runs", gains=GAINS, seeds=[0], missing=[("k8", 0.05, 0)]).write()
    collect(tmp_path / "runs", tmp_path / "evidence", {})
    said = " ".join(plain_words(read_evidence(tmp_path / "evidence")))
    assert "There is no answer yet" in said and "of 5 ways of pretraining we count " in said
    assert "Of 11 planned trainings 1 is missing" in said


def test_damaged_files_are_named(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a file, expected a folder"):
        write(whole / "RESULTS.md", tmp_path / "x.md")
    Runs(tmp_path / "runs", seeds=[0]).write()
    collect(tmp_path / "runs", tmp_path / "evidence", {})
    path = tmp_path / "evidence" / "hippocampus_tuning" / files.SCANS
    content = path.read_bytes()
    for damaged in (content[:-20], b"no gzip", content[:30] + b"\0\0\0" + content[33:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"per_scan\.csv\.gz cannot be read"):
            read_evidence(tmp_path / "evidence")


def test_a_figure_too_large_is_refused(found: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = figures.figure_of(found.studies[0])
    assert drawing is not None and len(figures.png(drawing)) > 1000
    monkeypatch.setattr(figures, "LIMIT", 1000)
    with pytest.raises(InputError, match="larger than 1,000 bytes"):
        figures.png(drawing)


def test_results_of_the_repository_are_what_its_files_give() -> None:
    evidence, output = ROOT / "experiments" / "evidence", ROOT / "RESULTS.md"
    if not output.is_file():
        pytest.skip("RESULTS.md is not written yet: python -m experiments.results write")
    assert output.read_text(encoding="utf-8") == results_text(read_evidence(evidence), "experiments/evidence")
    assert files.size_of(evidence) < files.LIMIT
