"""A folder of NIfTI files: which file is what, and what is said of those that do not fit."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nifti_sets import SHAPE, message, open_root, random_image, random_label, read_scan, save

from inpaint_ssl.errors import InputError, Problems

LABELS = ("inner=1", "outer=2")


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """Two labelled scans and one without label, labels beside images."""
    root = tmp_path / "knees"
    save(root / "a.nii.gz", random_image(1))
    save(root / "a_label.nii", random_label(1))
    save(root / "site 2" / "deep" / "a.nii", random_image(2))
    save(root / "site 2" / "deep" / "a_seg.nii.gz", random_label(2))
    save(root / "c.nii.gz", random_image(3))
    return root


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """The same scans with images/ and labels/."""
    root = tmp_path / "knees"
    save(root / "images" / "a.nii.gz", random_image(1))
    save(root / "labels" / "a.nii", random_label(1))
    save(root / "images" / "site 2" / "deep" / "a.nii", random_image(2))
    save(root / "labels" / "site 2" / "deep" / "a_mask.nii.gz", random_label(2))
    save(root / "images" / "c.nii.gz", random_image(3))
    return root


def found(root: Path, **settings: object) -> dict[str, str]:
    """Scan id -> name of the label file."""
    return {entry.scan_id: Path(entry.label_path).name for entry in open_root(root, **settings).entries}


def test_labels_beside_images(beside: Path) -> None:
    assert found(beside, labels=LABELS) == {"a": "a_label.nii", "c": "", "site 2_deep_a": "a_seg.nii.gz"}
    reader = open_root(beside, labels=LABELS)
    assert reader.name == "knees"
    assert reader.channel_names == ("channel 0",)
    assert reader.labels == {"inner": 1, "outer": 2}
    assert [entry.has_label for entry in reader.entries] == [True, False, True]
    assert reader.shown_path(reader.entries[2].image_paths[0]) == "site 2/deep/a.nii"
    assert reader.sources(reader.entries[1]) == (str(beside / "c.nii.gz"),)
    scan = reader.read(reader.entries[2])
    assert np.array_equal(scan.image[..., 0], random_image(2))
    assert np.array_equal(scan.label, random_label(2))


def test_labels_in_a_folder_of_their_own(apart: Path) -> None:
    assert found(apart, labels=LABELS) == {"a": "a.nii", "c": "", "site 2_deep_a": "a_mask.nii.gz"}
    (apart / "notes.nii.gz").write_bytes(b"beside the two folders nothing counts")
    save(apart / "images" / "a_mask.nii.gz", random_label(1))
    assert "named as a label; move it to" in message(open_root, apart, labels=LABELS)


def test_labels_must_be_declared(beside: Path, apart: Path) -> None:
    for root in (beside, apart):
        text = message(open_root, root)
        assert f"{root} has 2 label files, but data.labels is empty;" in text
        assert "holds the values 0, 1, 2;" in text
        assert "data.labels=('label_1=1', 'label_2=2',)" in text
    label = random_label(1)
    label[label == 2] = 255
    save(apart / "labels" / "a.nii", label)
    assert "holds the values 0, 1, 255;" in message(open_root, apart)
    (apart / "labels" / "a.nii").write_bytes(b"damaged")
    assert "holds the values 0, 1, 2;" in message(open_root, apart)  # of the other one
    (apart / "labels" / "site 2" / "deep" / "a_mask.nii.gz").write_bytes(b"damaged")
    assert "cannot be read, it is damaged" in message(open_root, apart)


def test_label_values_may_be_mapped_and_others_are_refused(apart: Path) -> None:
    label = random_label(1)
    save(apart / "labels" / "a.nii", np.where(label == 2, 255, label).astype(np.uint8))
    assert "data.labels declares only 0, 1, 2" in message(read_scan, apart, labels=LABELS)
    assert np.array_equal(read_scan(apart, labels=LABELS, label_map=("255=2",)).label, label)
    assert "holds the values 0, 1, 2;" in message(open_root, apart, label_map=("255=2",))


def test_no_labels_at_all(tmp_path: Path) -> None:
    save(tmp_path / "x.nii.gz", random_image(1))
    reader = open_root(tmp_path)
    assert not reader.labels and not reader.notes and not reader.entries[0].has_label
    assert open_root(tmp_path, labels=LABELS).notes == ("data.labels declares labels, but no scan has a label file",)


@pytest.mark.parametrize("label", ["case{}_label.nii.gz", "case{}.nii.gz"])
def test_files_named_as_channels_are_one_scan(tmp_path: Path, label: str) -> None:
    apart = label == "case{}.nii.gz"
    images, labels = (tmp_path / "images", tmp_path / "labels") if apart else (tmp_path, tmp_path)
    for case in range(3):
        for channel in range(2):
            save(images / f"case{case}_{channel:04d}.nii.gz", random_image(10 * case + channel))
    save(labels / label.format(1), random_label(1))
    reader = open_root(tmp_path, labels=LABELS)
    assert [(entry.scan_id, entry.has_label) for entry in reader.entries] == [
        ("case0", False),
        ("case1", True),
        ("case2", False),
    ]
    assert reader.channel_names == ("channel 0", "channel 1")
    scan = reader.read(reader.entries[1])
    assert np.array_equal(scan.image[..., 1], random_image(11))
    assert np.array_equal(scan.label, random_label(1))
    (images / "case2_0000.nii.gz").unlink()
    assert "case2_0001.nii.gz: scan case2 lacks channel 0000" in message(open_root, tmp_path, labels=LABELS)
    save(images / "plain.nii.gz", random_image(5))  # now not every image is named so
    (labels / label.format(1)).unlink()
    assert len(open_root(tmp_path).entries) == 6


def test_numbers_of_scans_are_no_channels(tmp_path: Path) -> None:
    for number in range(1, 4):
        save(tmp_path / "from one" / f"scan_{number:04d}.nii.gz", random_image(number))
        for name in ("from zero", "labelled", "channels"):
            save(tmp_path / name / f"scan_{number - 1:04d}.nii.gz", random_image(number))
    assert len(open_root(tmp_path / "from one").entries) == 3
    assert "may be 3 scans or the channels of one" in message(open_root, tmp_path / "from zero")
    save(tmp_path / "labelled" / "scan_0001_label.nii.gz", random_label(1))
    assert found(tmp_path / "labelled", labels=LABELS)["scan_0001"] == "scan_0001_label.nii.gz"
    save(tmp_path / "channels" / "scan_label.nii.gz", random_label(1))
    assert len(open_root(tmp_path / "channels", labels=LABELS).channel_names) == 3


def test_channels_inside_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"damaged")
    save(tmp_path / "b.nii.gz", random_image(1, (*SHAPE, 3)))
    save(tmp_path / "c.nii.gz", random_image(2))
    reader = open_root(tmp_path)
    assert reader.channel_names == ("channel 0", "channel 1", "channel 2")
    assert reader.read(reader.entries[1]).image.shape == (*SHAPE, 3)
    assert "scan c has 1 channels, expected 3" in message(reader.read, reader.entries[2])
    (tmp_path / "b.nii.gz").write_bytes(b"damaged")
    (tmp_path / "c.nii.gz").unlink()
    assert "b.nii.gz cannot be read" in message(open_root, tmp_path)


def orphan(root: Path) -> None:
    save(root / "labels" / "z_label.nii.gz", random_label(1))


def second_label(root: Path) -> None:
    save(root / "labels" / "a_seg.nii.gz", random_label(1))


def same_name(root: Path) -> None:
    save(root / "images" / "c.nii", random_image(1))


def same_id(root: Path) -> None:
    save(root / "images" / "site 2_deep_a.nii", random_image(1))


def broken_link(root: Path) -> None:
    (root / "images" / "b.nii.gz").symlink_to(root / "nowhere.nii.gz")


def pipe(root: Path) -> None:
    os.mkfifo(root / "images" / "b.nii.gz")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (orphan, "labels/z_label.nii.gz has no image of its name"),
        (second_label, "labels/a.nii are both labels of scan a;"),
        (same_name, "images/c.nii.gz have the same name;"),
        (same_id, "are both named site 2_deep_a"),
        (broken_link, "images/b.nii.gz is no file"),
        (pipe, "images/b.nii.gz is no file"),
    ],
)
def test_single_files_that_do_not_fit(apart: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(apart)
    assert said in message(open_root, apart, labels=LABELS)
    problems = Problems(collect=True)
    reader = open_root(apart, problems, labels=LABELS)
    assert [entry.scan_id for entry in reader.entries] == ["a", "c", "site 2_deep_a"]
    assert [error.kind for error in problems.found] == ["listing"]
    assert said in str(problems.found[0])


def test_links_are_followed_and_loops_end(beside: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "d.nii.gz", random_image(4))
    (beside / "far").symlink_to(tmp_path / "elsewhere")
    (beside / "e.nii.gz").symlink_to(tmp_path / "elsewhere" / "d.nii.gz")
    (beside / "site 2" / "loop").symlink_to(beside)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (beside / "itself").symlink_to(beside / "itself")
    (beside / ".hidden").mkdir()
    save(beside / ".hidden" / "f.nii.gz", random_image(5))
    (beside / "._a.nii.gz").write_bytes(b"Mac OS X")
    assert set(found(beside, labels=LABELS)) == {"a", "c", "e", "far_d", "site 2_deep_a"}


def test_folders_that_do_not_fit(tmp_path: Path, apart: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert f"no NIfTI image (.nii.gz, .nii) in {tmp_path / 'empty'}" in message(
        open_root, tmp_path / "empty", format="nifti"
    )
    shutil.move(apart / "images", apart / "scans")
    text = message(open_root, apart, labels=LABELS)
    assert f"{apart / 'labels'} looks like a folder of labels, but there is no folder {apart / 'images'}" in text
    shutil.move(apart / "labels", apart / "labelsTr")
    assert "labelsTr looks like a folder of labels" in message(open_root, apart, labels=LABELS)


def test_every_scan_may_be_unusable(tmp_path: Path) -> None:
    for case in ("a", "b"):
        save(tmp_path / f"{case}.nii.gz", random_image(1))
    problems = Problems(collect=True)
    with pytest.raises(InputError, match="no scan can be used"):
        open_root(tmp_path, problems, subject_pattern=r"\d+")
    assert len(problems.found) == 2
