"""Listing a data set: what is found, and a one-line message for everything that does not fit."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nifti_sets import make_msd, make_nnunet, message, open_root, random_image, save, write_description

from inpaint_ssl.errors import Problems


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    return make_msd(tmp_path)


@pytest.fixture
def nnunet(tmp_path: Path) -> Path:
    return make_nnunet(tmp_path)


def test_msd_lists_training_pairs_and_test_images(msd: Path) -> None:
    dataset = open_root(msd)
    assert dataset.name == "Knee"
    assert dataset.channel_names == ("echo1", "echo2")
    assert dataset.labels == {"cartilage": 1, "meniscus": 2}
    assert [entry.scan_id for entry in dataset.entries] == ["knee_001", "knee_002", "knee_003", "knee_009"]
    assert [entry.has_label for entry in dataset.entries] == [True, True, True, False]
    first, last = dataset.entries[0], dataset.entries[-1]
    assert [Path(path).resolve() for path in first.image_paths] == [msd / "imagesTr" / "knee_001.nii.gz"]
    assert Path(first.label_path).resolve() == msd / "labelsTr" / "knee_001.nii.gz"
    assert last.label_path == ""
    assert {entry.subject_id for entry in dataset.entries} == {entry.scan_id for entry in dataset.entries}
    assert dataset.notes == ()


def test_nnunet_lists_cases_with_a_file_per_channel(nnunet: Path) -> None:
    dataset = open_root(nnunet)
    assert dataset.name == "Dataset042_Knee"  # dataset.json gives no name
    assert dataset.channel_names == ("T2", "ADC")
    assert dataset.labels == {"inner": 1, "outer": 2}
    assert [(entry.scan_id, entry.has_label) for entry in dataset.entries] == [
        ("a", True),
        ("b", True),
        ("c", False),
        ("d", False),
    ]
    assert [Path(path).name for path in dataset.entries[0].image_paths] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_hidden_and_foreign_files_are_passed_over(msd: Path, nnunet: Path) -> None:
    for root in (msd, nnunet):
        before = open_root(root).entries
        for folder in ("imagesTr", "labelsTr", "imagesTs"):
            (root / folder / "._x_0000.nii.gz").write_bytes(b"Mac OS X")
            (root / folder / ".DS_Store").write_bytes(b"")
            (root / folder / "notes.txt").write_text("seen")
        assert open_root(root).entries == before


def test_unlabelled_folders_are_found_in_both_layouts(msd: Path) -> None:
    save(msd / "imagesUl" / "extra.nii", random_image(1))
    write_description(msd, test=["./imagesTs/knee_009.nii.gz", "./imagesTs/knee_010.nii.gz"], numTraining=260)
    dataset = open_root(msd)
    assert [entry.scan_id for entry in dataset.entries if not entry.has_label] == ["extra", "knee_009"]
    assert len(dataset.notes) == 2
    assert "knee_010.nii.gz" in dataset.notes[0]
    assert "numTraining 260, the folder holds 3" in dataset.notes[1]


def test_training_images_that_are_not_listed_are_noted(msd: Path) -> None:
    save(msd / "imagesTr" / "knee_777.nii.gz", random_image(1))
    dataset = open_root(msd)
    assert len(dataset.entries) == 4
    assert [note for note in dataset.notes if "knee_777.nii.gz is not listed" in note]


@pytest.mark.parametrize("ending", [".nii", "nii", None])
def test_uncompressed_files(nnunet: Path, ending: str | None) -> None:
    for path in sorted(nnunet.rglob("*.nii.gz")):
        image = random_image(0) if "images" in path.parent.name else random_image(0).round() * 0
        save(path.with_name(path.name.removesuffix(".gz")), image)
        path.unlink()
    write_description(nnunet, file_ending=ending)
    assert [entry.scan_id for entry in open_root(nnunet).entries] == ["a", "b", "c", "d"]


def test_regions_and_the_ignore_label(nnunet: Path) -> None:
    write_description(nnunet, labels={"background": 0, "whole": [1, 2, 3], "core": [2], "edge": 3, "ignore": 4})
    assert open_root(nnunet).labels == {"whole": (1, 2, 3), "core": 2, "edge": 3}


def test_the_layout_is_told_by_the_keys(msd: Path, nnunet: Path) -> None:
    write_description(nnunet, training=[])  # converted data sets may keep this key
    assert len(open_root(nnunet).entries) == 4
    write_description(nnunet, channel_names=None, training=None, modality={"0": "T2", "1": "ADC"})
    assert len(open_root(nnunet).entries) == 4
    assert open_root(msd, format="msd").entries == open_root(msd).entries
    assert open_root(nnunet, format="nnunet").entries == open_root(nnunet).entries
    write_description(msd, training=None)
    assert "has the keys" in message(open_root, msd)
    assert "'training'" in message(open_root, msd, format="msd")
    assert "data.format is 'analyze'" in message(open_root, msd, format="analyze")


def test_an_unusable_root(tmp_path: Path) -> None:
    assert "data.root is empty" in message(open_root, "")
    assert f"no such folder: {tmp_path / 'none'}" in message(open_root, tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'} is a file" in message(open_root, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "an empty folder" in message(open_root, tmp_path / "empty")
    assert f"no data set in {tmp_path} (other files)" in message(open_root, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"text"', "\x80"])
def test_dataset_json_that_is_none(msd: Path, text: str) -> None:
    (msd / "dataset.json").write_bytes(text.encode("latin-1"))
    assert str(msd / "dataset.json") in message(open_root, msd)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modality": None}, "'modality' is None"),
        ({"modality": {"1": "MRI"}}, "'modality' is"),
        ({"modality": "MRI"}, "'modality' is 'MRI'"),
        ({"labels": None}, "'labels' is missing"),
        ({"labels": {"0": "background"}}, "nothing but background"),
        ({"labels": {"one": "cartilage"}}, "'cartilage' has the value 'one'"),
        ({"labels": {"300": "cartilage"}}, "'cartilage' has the value '300'"),
        ({"labels": {"1": "cartilage", "2": "cartilage"}}, "two entries"),
        ({"labels": {"cartilage": 1.5}}, "has the value 1.5"),
        ({"labels": {"cartilage": [0, 1]}}, "contains 0"),
        ({"labels": {"cartilage": []}}, "has the value []"),
        ({"training": "all"}, "'training' is no list"),
        ({"training": ["./imagesTr/knee_001.nii.gz"]}, "./imagesTr/knee_001.nii.gz"),
        ({"training": [{"image": "./imagesTr/knee_001.nii.gz"}]}, "an entry of 'training'"),
        ({"training": [{"image": "imagesTr/no.nii.gz", "label": "labelsTr/no.nii.gz"}]}, "imagesTr/no.nii.gz"),
        ({"test": [3]}, "an entry of 'test' is 3"),
        ({"test": ["imagesTr/knee_001.nii.gz"]}, "both named knee_001"),
    ],
)
def test_msd_descriptions_that_do_not_fit(msd: Path, changes: dict, said: str) -> None:
    write_description(msd, **changes)
    text = message(open_root, msd, format="msd")
    assert said in text
    assert str(msd) in text


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: os.rename(root / old, root / new)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "labelsTr/a.nii.gz").unlink(), "labelsTr/a.nii.gz (label of image"),
        (lambda root: (root / "imagesTr/a_0001.nii.gz").unlink(), "imagesTr/a_0001.nii.gz (channel 1 of scan a)"),
        (lambda root: (root / "imagesUl/d_0000.nii.gz").unlink(), "imagesUl/d_0000.nii.gz (channel 0 of scan d)"),
        (lambda root: [path.unlink() for path in (root / "imagesTr").glob("a_*")], "a.nii.gz has no image in"),
        (
            rename("imagesTr/a_0001.nii.gz", "imagesTr/a.nii.gz"),
            "imagesTr/a.nii.gz: expected a name like case_0000.nii.gz",
        ),
        (rename("imagesTr/a_0001.nii.gz", "imagesTr/a_0002.nii.gz"), "dataset.json names 2 channels"),
        (lambda root: write_description(root, file_ending=".nrrd"), "file_ending is '.nrrd'"),
        (lambda root: write_description(root, file_ending=".nii"), "does not end in .nii;"),
        (lambda root: write_description(root, channel_names=["T2", "ADC"]), "'channel_names' is ['T2', 'ADC']"),
        (lambda root: write_description(root, channel_names={"0": "T2"}), "dataset.json names 1 channels"),
        (
            lambda root: rename("imagesUl", "imagesTx")(root) or shutil.copytree(root / "imagesTs", root / "imagesUl"),
            "named c;",
        ),
        (lambda root: [shutil.rmtree(path) for path in root.iterdir() if path.is_dir()], "no scans in"),
    ],
)
def test_nnunet_folders_that_do_not_fit(nnunet: Path, damage: Callable, said: str) -> None:
    damage(nnunet)
    text = message(open_root, nnunet)
    assert said in text
    assert str(nnunet) in text


def test_a_missing_label_is_found_before_any_scan_is_read(msd: Path) -> None:
    (msd / "labelsTr" / "knee_002.nii.gz").unlink()
    (msd / "imagesTr" / "knee_001.nii.gz").write_bytes(b"damaged")
    assert "labelsTr/knee_002.nii.gz (label of image" in message(open_root, msd)


def test_what_is_wrong_with_single_scans_is_collected(msd: Path, nnunet: Path) -> None:
    (msd / "labelsTr" / "knee_002.nii.gz").unlink()
    (msd / "imagesTr" / "knee_003.nii.gz").unlink()
    listed = json.loads((msd / "dataset.json").read_text())["training"]
    write_description(msd, training=[*listed, "knee_7", listed[1]], test=[3, "./imagesTs/knee_009.nii.gz"])
    problems = Problems(collect=True)
    reader = open_root(msd, problems)
    assert [entry.scan_id for entry in reader.entries] == ["knee_001", "knee_009"]
    said = " | ".join(map(str, problems.found))
    for part in (
        "knee_003.nii.gz (image listed",
        "knee_002.nii.gz (label of",
        "is 'knee_7'",
        "'test' is 3",
        "both named",
    ):
        assert part in said
    assert {error.kind for error in problems.found} == {"listing"} and len(problems.found) == 5
    assert not [note for note in reader.notes if "not listed" in note]  # knee_002 is listed

    for name in ("imagesTr/e_0000", "imagesTr/odd", "labelsTr/z", *(f"imagesUl/f_{i:04d}" for i in range(3))):
        save(nnunet / f"{name}.nii.gz", random_image(1))
    (nnunet / "labelsTr" / "b.nii.gz").unlink()
    (nnunet / "imagesUl" / "d_0001.nii.gz").unlink()
    problems = Problems(collect=True)
    assert [entry.scan_id for entry in open_root(nnunet, problems).entries] == ["a", "c"]
    said = " | ".join(map(str, problems.found))
    for part in ("e_0001.nii.gz (channel 1", "names 2 channels", "odd.nii.gz: expected", "z.nii.gz has no image"):
        assert part in said
    assert {error.kind for error in problems.found} == {"listing"} and len(problems.found) == 6
    (nnunet / "labelsTr" / "a.nii.gz").unlink()
    shutil.rmtree(nnunet / "imagesTs")
    assert "no scan can be used in" in message(open_root, nnunet, Problems(collect=True))


def test_notes_hold_no_place(msd: Path, nnunet: Path) -> None:
    save(msd / "imagesTr" / "knee_777.nii.gz", random_image(1))
    write_description(msd, test=["./imagesTs/none.nii.gz"], numTraining=7)
    save(nnunet / "imagesUl" / "x_0000.nii", random_image(1))
    notes = [*open_root(msd).notes, *open_root(nnunet).notes]
    assert len(notes) == 4
    assert not [note for note in notes if str(msd.parent) in note]
    assert "imagesUl/x_0000.nii does not end in .nii.gz" in notes[-1]


@pytest.mark.parametrize("name", ["x" * 5000, "\0", "..", ""])
def test_names_that_no_file_can_have(msd: Path, name: str) -> None:
    write_description(msd, training=[{"image": name, "label": name}], test=[name])
    assert "missing file" in message(open_root, msd)


def test_scans_whose_numbers_follow_each_other_are_one_subject(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for number in (1, 2, 3, 10, 11, 12):
        save(folder / f"hippocampus_{number:03d}.nii.gz", random_image(number))
    entries = open_root(folder, scans_per_subject=2).entries
    assert [entry.subject_id for entry in entries] == ["1-2", "1-2", "3-4", "9-10", "11-12", "11-12"]
    assert [entry.subject_id for entry in open_root(folder).entries] == [entry.scan_id for entry in entries]
    by_pattern = open_root(folder, scans_per_subject=3, subject_pattern=r"_0(\d+)").entries
    assert [entry.subject_id for entry in by_pattern] == ["1-3", "1-3", "1-3", "10-12", "10-12", "10-12"]
    save(folder / "x0.nii.gz", random_image(1))
    assert open_root(folder, scans_per_subject=2).entries[-1].subject_id == "0-0"
    for text, number in (("left", ""), ("left_\u0663", "\u0663")):
        save(folder / f"{text}.nii.gz", random_image(1))
        said = message(open_root, folder, scans_per_subject=2)
        assert f"{text}.nii.gz" in said and (f"gives {number!r} and no number" in said or "finds no subject" in said)
        (folder / f"{text}.nii.gz").unlink()


def test_subjects_are_found_by_a_pattern(msd: Path, nnunet: Path, tmp_path: Path) -> None:
    for old, new in (("a", "knee7_1"), ("b", "knee7_2"), ("c", "knee8_1"), ("d", "knee8_2")):
        for path in [path for path in sorted(nnunet.rglob("*.nii.gz")) if path.name[0] == old]:
            path.rename(path.with_name(new + path.name[1:]))
    for pattern, subject in ((r"knee(\d)", "7"), (r"knee\d", "knee7"), (r"^(.*)_\d$", "knee7")):
        entries = open_root(nnunet, subject_pattern=pattern).entries
        assert [entry.scan_id for entry in entries] == ["knee7_1", "knee7_2", "knee8_1", "knee8_2"]
        assert [entry.subject_id for entry in entries[:2]] == [subject] * 2 != [entries[2].subject_id] * 2
    assert [e.subject_id for e in open_root(msd, subject_pattern=r"(\d)$").entries] == ["1", "2", "3", "9"]
    folder = tmp_path / "folder"
    save(folder / "s1" / "day1.nii.gz", random_image(1))
    save(folder / "s1" / "day2.nii.gz", random_image(2))
    assert [e.subject_id for e in open_root(folder, subject_pattern="^[^_]+").entries] == ["s1", "s1"]
    for pattern in (r"knee(7)", r"knee(7)?"):  # the second one matches, but its group does not
        text = message(open_root, nnunet, subject_pattern=pattern)
        assert "finds no subject in the scan id 'knee8_2'" in text and "knee8_2_0000.nii.gz" in text
        problems = Problems(collect=True)
        assert len(open_root(nnunet, problems, subject_pattern=pattern).entries) == 2
        assert [error.kind for error in problems.found] == ["listing"] * 2
