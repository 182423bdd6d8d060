"""One of every problem, planted, and found: severity, file, and what to do; nothing is found where nothing is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import broken_set
import numpy as np
import pytest
from rich.console import Console

from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.data.splits import SplitSettings
from inpaint_ssl.doctor import examine as examine_module
from inpaint_ssl.doctor.checks_splits import draw, name_findings
from inpaint_ssl.doctor.examine import Diagnosis, examine
from inpaint_ssl.doctor.findings import SEVERITIES, Finding, exit_code
from inpaint_ssl.doctor.scans import ScanSet

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    root, split = broken_set.broken_mri(tmp_path_factory.mktemp("broken"))
    return examine(broken_set.settings(root, split__file=str(split)), QUIET)


def lines(finding: Finding) -> str:
    return "\n".join(f"{item.path} {item.detail}" for item in finding.items)


FILES = {
    # kind: (severity, what its lines name, word of the remedy)
    "listing": ("error", ["labelsTr/no_label_file.nii.gz"], "remove"),
    "unreadable": ("error", ["imagesTr/truncated.nii.gz", "imagesTr/wrong_magic.nii.gz"], "copy"),
    "geometry": ("error", ["other_shape.nii.gz", "(10, 32, 35)", "turned.nii.gz", " mm", "5 degrees"], "resample"),
    "labels": ("error", ["labelsTr/label_255.nii.gz", "255"], "'255=2'"),
    "intensities": ("error", ["imagesTr/not_a_number.nii.gz", "slices 3-4", "imagesTr/all_equal.nii.gz"], "remove"),
    "duplicate_scan": ("error", ["imagesTr/copy.nii.gz (test)", "imagesTr/original.nii.gz (train)"], "remove"),
    "equal_slices": ("error", ["imagesTr/borrower.nii.gz", "imagesTr/lender.nii.gz", "slice 5"], "one subject"),
    "nearly_equal_slices": ("warning", ["before_change.nii.gz (train)", "after_change.nii.gz (validation)"], "look"),
    "same_origin": ("warning", ["left_half.nii.gz (train)", "right_half.nii.gz (validation)"], "one part"),
    "empty_label": ("warning", ["labelsTr/empty_label.nii.gz"], "unlabelled"),
    "constant_slices": ("warning", ["imagesTr/blank_slices.nii.gz", "slices 4-5 of 10"], "lost"),
    "intensity_outlier": ("warning", ["imagesTr/strange.nii.gz"], "acquisition"),
    "spacing_varies": ("warning", ["wide_pixels.nii.gz", "3 x 3 mm"], "target_spacing_mm"),
    "geometry_outlier": ("warning", ["imagesTr/wide_pixels.nii.gz"], "headers"),
    "rare_class": ("warning", ["labelsTr/good_0.nii.gz"], "label more"),
    "class_missing_in_split": ("warning", ["inner no subject of validation and test has it"], "split_seed"),
}


@pytest.mark.parametrize("kind", FILES)
def test_planted_problem_is_found(broken: Diagnosis, kind: str) -> None:
    severity, named, word = FILES[kind]
    finding = next(f for f in broken.findings if f.kind == kind and f.severity == severity)
    for part in named:
        assert part in lines(finding)
    assert word in finding.remedy


def test_nothing_else_is_accused(broken: Diagnosis) -> None:
    """The good scans, apart from the pictures' neighbours, are named by none but the class and copy findings."""
    for finding in broken.findings:
        if finding.severity != "info" and finding.kind not in ("rare_class", "duplicate_scan", "spacing_varies"):
            assert "good_" not in lines(finding), finding
    assert [f.severity for f in broken.findings] == sorted((f.severity for f in broken.findings), key=SEVERITIES.index)
    assert exit_code(broken.findings) == 2


def test_an_unlabelled_copy_of_a_test_scan(broken: Diagnosis) -> None:
    warning = next(f for f in broken.findings if f.kind == "duplicate_scan" and f.severity == "warning")
    assert "imagesTr/good_7.nii.gz (test)" in lines(warning) and "imagesUl/twin_of_test" in lines(warning)


def test_no_path_of_this_machine_is_written(broken: Diagnosis, tmp_path: Path) -> None:
    for finding in broken.findings:
        assert "/tmp" not in f"{finding.message} {finding.remedy} {lines(finding)}"
        assert str(broken.found.root) not in lines(finding)


def test_nor_of_a_further_folder(tmp_path: Path) -> None:
    further = broken_set.save(tmp_path / "more" / "scan_1.nii.gz", broken_set.tissue(50))
    further.write_bytes(further.read_bytes()[:-2000])
    root = broken_set.clean(tmp_path, 4)
    config = broken_set.settings(root, data__unlabelled_roots=(str(tmp_path / "more"),), data__prepare_processes=1)
    finding = next(f for f in examine(config, QUIET).findings if f.kind == "unreadable")
    assert "more/scan_1.nii.gz" in lines(finding) and str(tmp_path) not in lines(finding)


def test_clean_data_have_no_warning(tmp_path: Path) -> None:
    diagnosis = examine(broken_set.settings(broken_set.clean(tmp_path)), QUIET)
    assert {f.severity for f in diagnosis.findings} == {"info"}
    assert exit_code(diagnosis.findings) == 0
    assert len(diagnosis.found.summaries) == 11


def test_ct_values_that_are_no_hu(tmp_path: Path) -> None:
    root = broken_set.broken_ct(tmp_path)
    diagnosis = examine(broken_set.settings(root, data__modality="ct"), QUIET)
    by_file = {
        item.path.removeprefix("imagesTr/").removesuffix(".nii.gz"): finding
        for finding in diagnosis.findings
        if finding.kind in ("wrong_intercept", "not_hu", "no_air", "padding")
        for item in finding.items
    }
    assert {name: f.kind for name, f in by_file.items()} == {
        "no_intercept": "wrong_intercept",
        "intercept_twice": "wrong_intercept",
        "windowed": "not_hu",
        "no_air": "no_air",
        "padded": "padding",
    }
    assert {f.severity for f in by_file.values()} == {"warning"}
    assert "subtract 1024" in by_file["no_intercept"].remedy and "add 1024" in by_file["intercept_twice"].remedy
    assert "-1024" in by_file["padded"].remedy and "modality" in by_file["windowed"].remedy


def test_hu_declared_as_mri(tmp_path: Path) -> None:
    made = broken_set.MsdSet(tmp_path / "Task04")
    for seed in range(6):
        made.add(f"scan_{seed}", broken_set.body(seed))
    diagnosis = examine(broken_set.settings(made.write()), QUIET)
    finding = next(f for f in diagnosis.findings if f.kind == "looks_like_ct")
    assert len(finding.items) == 6 and "--config.data.modality=ct" in finding.remedy


def test_a_decoder_that_dies_or_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = broken_set.settings(broken_set.clean(tmp_path, 6))
    opened = examine_module.open_dataset

    def failing(settings, problems):
        reader = opened(settings, problems)
        reader.__class__ = broken_set.FailingReader
        return reader

    monkeypatch.setattr(examine_module, "open_dataset", failing)
    diagnosis = examine(config, QUIET, seconds_per_scan=1.5)
    crashed = next(f for f in diagnosis.findings if f.kind == "crashed")
    hung = next(f for f in diagnosis.findings if f.kind == "hung")
    assert [item.path for item in crashed.items] == ["imagesTr/case_02.nii.gz"] and "SIGABRT" in lines(crashed)
    assert [item.path for item in hung.items] == ["imagesTr/case_03.nii.gz"]
    assert crashed.severity == hung.severity == "error"
    assert len(diagnosis.found.summaries) == 5


@pytest.mark.parametrize(
    ("parts", "severity", "words"),
    [
        ({"train": ["case_00", "case_01"], "validation": ["case_01"], "test": ["case_02"]}, "error", ["in 'train'"]),
        ({"train": ["case_00"], "validation": ["case_01"], "test": ["nobody"]}, "error", ["nobody in 'test'"]),
        (
            {"train": ["case_00"], "validation": ["case_01"], "test": ["case_02"], "unlabelled": ["case_02"]},
            "warning",
            ["subject case_02", "'test' and case_02 in 'unlabelled'"],
        ),
    ],
)  # fmt: skip
def test_split_files(tmp_path: Path, parts: dict, severity: str, words: list[str]) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps(parts))
    reader = open_dataset(ReaderSettings(root=str(broken_set.clean(tmp_path, 4))))
    splits, findings = draw(reader.entries, SplitSettings(file=str(split), label_fractions=(1.0,)))
    (finding,) = findings
    text = f"{finding.message} {lines(finding)}"
    assert finding.severity == severity and all(word in text for word in words) and str(tmp_path) not in text
    assert (splits is None) == (severity == "error")


def entries(*scans: tuple[str, str, str]) -> list[ScanEntry]:
    return [
        ScanEntry(scan, subject, True, (f"{scan}.nii.gz",), "label.nii.gz", split) for scan, subject, split in scans
    ]


def test_a_subject_in_two_parts_of_the_official_split() -> None:
    scans = entries(("a1", "a", "train"), ("a2", "a", "test"), ("b", "b", "validation"), ("c", "c", "train"))
    _, findings = draw(scans, SplitSettings(method="fractions", label_fractions=(1.0,)))
    (finding,) = findings
    assert finding.severity == "error" and lines(finding) == "subject a a1 in 'train' and a2 in 'test'"


@pytest.mark.parametrize(
    ("names", "suspicious"),
    [
        (("p01_visit1", "p01_visit2"), True),
        (("p01-L", "p01-R"), True),
        (("sub-7_ses-01", "sub-7_ses-02"), True),
        (("case_001", "case_002"), False),
        (("hippocampus_041", "hippocampus_042"), False),
        (("p01_visit1", "p02_visit2"), False),
    ],
)
def test_names_of_one_subject(names: tuple[str, str], suspicious: bool, tmp_path: Path) -> None:
    scans = entries((names[0], names[0], ""), (names[1], names[1], ""))
    reader = open_dataset(ReaderSettings(root=str(broken_set.clean(tmp_path, 3))))
    found = ScanSet(reader, "", {}, (), dict(zip(names, ("train", "test"), strict=True)))
    findings = name_findings(found, scans)
    assert bool(findings) == suspicious
    if suspicious:
        assert findings[0].severity == "warning" and all(name in lines(findings[0]) for name in names)
    same = ScanSet(reader, "", {}, (), dict.fromkeys(names, "train"))
    assert name_findings(same, scans) == []


def test_a_crop_that_cuts_labels(tmp_path: Path) -> None:
    config = broken_set.settings(broken_set.clean(tmp_path, 4), data__image_size=(8, 8), data__prepare_processes=1)
    diagnosis = examine(config, QUIET)
    crop = next(f for f in diagnosis.findings if f.kind == "crop")
    assert crop.severity == "error" and len(crop.items) == 4
    # The labels of broken_set.organs lie in Y 10..19 of 32 and Z 12..23 of 36: rows count down from the top.
    label = broken_set.organs()
    for side, axis, n in ((0, 2, 36), (1, 1, 32)):
        used = np.flatnonzero((label > 0).any(axis=tuple(a for a in range(3) if a != axis)))
        shown = sorted(n - 1 - used)
        needed = next(m for m in range(2, 200, 2) if (n - m) // 2 <= shown[0] and (n - m) // 2 + m > shown[-1])
        assert eval(crop.remedy.split('"')[1])[side] == needed


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    diagnosis = examine(broken_set.settings(tmp_path / "nothing"), QUIET)
    (finding,) = diagnosis.findings
    assert finding.kind == "listing" and finding.severity == "error" and diagnosis.found is None


def test_remaps_that_fit_no_file_alone_are_not_proposed(tmp_path: Path) -> None:
    """255 stands for 2 in one file and for 1 in another: the values are named, and nothing is guessed."""
    made = broken_set.MsdSet(tmp_path / "Task")
    label = broken_set.organs()
    for name, old in (("one", 1), ("two", 2)):
        made.add(name, broken_set.tissue(old), np.where(label == old, 255, label).astype(np.uint8))
    diagnosis = examine(broken_set.settings(made.write(), data__prepare_processes=1), QUIET)
    finding = next(f for f in diagnosis.findings if f.kind == "labels")
    assert "'<value>=<declared value>'" in finding.remedy and "the values are 255" in finding.remedy


def test_the_examination_runs_without_jax() -> None:
    """So that its workers start quickly, and a data set can be checked where jax is not installed, up to the time."""
    modules = "examine, findings, likeness, page, plan, terminal, tiles"
    code = f"import sys; from inpaint_ssl.doctor import {modules}; print({{'jax', 'flax'}} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
