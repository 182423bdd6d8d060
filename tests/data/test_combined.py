"""Scans of further folders beside a data set, and telling formats apart."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_sets import settings as dicom_settings
from dicom_sets import volume, write_series
from nifti_sets import make_msd, make_nnunet, message, open_root, random_image, random_label, save, write_description

from inpaint_ssl.data.readers import CombinedDataset, open_dataset
from inpaint_ssl.data.readers.combined import parse_root
from inpaint_ssl.data.readers.detect import detect_format
from inpaint_ssl.data.splits import SplitSettings, make_splits
from inpaint_ssl.errors import Problems


@pytest.fixture
def main(tmp_path: Path) -> Path:
    return make_nnunet(tmp_path / "main")


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """Two scans of two channels, one with a label, and one that is a subject of the data set too."""
    root = tmp_path / "more" / "clinic"
    for seed, name in enumerate(("a", "x/y")):
        for channel in range(2):
            save(root / f"{name}_{channel:04d}.nii.gz", random_image(100 * seed + channel).astype(np.int16))
    save(root / "a_label.nii.gz", np.full((5, 4, 3), 200, np.uint8))
    return root


def test_further_scans_are_unlabelled_and_named_after_their_folder(main: Path, more: Path) -> None:
    alone, reader = open_root(main), open_root(main, unlabelled_roots=(str(more),))
    assert isinstance(reader, CombinedDataset)
    assert [entry.scan_id for entry in reader.entries] == ["a", "b", "c", "clinic__a", "clinic__x_y", "d"]
    assert [entry for entry in reader.entries if "__" not in entry.scan_id] == list(alone.entries)
    assert (reader.name, reader.channel_names, reader.labels) == (alone.name, alone.channel_names, alone.labels)
    entry = reader.entries[3]
    assert (entry.subject_id, entry.has_label, entry.label_path, entry.split) == ("a", False, "", "")
    assert reader.notes == (
        "clinic: 1 of its subjects are in the data set too; scans of those that validate or test are not pretrained on",
    )
    again = pickle.loads(pickle.dumps(reader))
    for one in (reader, again):
        scan = one.read(entry)
        assert scan.entry == entry and scan.label is None
        assert np.array_equal(scan.image[..., 1], random_image(1).astype(np.int16))
        assert one.stored_dtype(entry) == np.int16 == scan.image.dtype
        assert np.array_equal(one.read(reader.entries[1]).label, random_label(0))
        assert one.stored_dtype(reader.entries[1]) == np.float32
        assert one.sources(entry) == (str(more / "a_0000.nii.gz"), str(more / "a_0001.nii.gz"))
        assert [one.shown_path(path) for path in one.sources(entry)] == ["clinic/a_0000.nii.gz", "clinic/a_0001.nii.gz"]
        assert one.shown_path(reader.entries[1].label_path) == "labelsTr/b.nii.gz"
    settings = reader.settings()
    assert settings["main"] == alone.settings() and list(settings["unlabelled"]) == ["clinic"]


def test_a_dicom_folder_named_after_its_patient_is_not_named(tmp_path: Path) -> None:
    clinic = tmp_path / "Miller_Anna"
    write_series(clinic / "series", volume(0))
    save(tmp_path / "main" / "x.nii.gz", random_image(0).astype(np.int16))
    given = dicom_settings(tmp_path / "salt", root=str(tmp_path / "main"), format="nifti")
    reader = open_dataset(replace(given, unlabelled_roots=(f"dicom:{clinic}",)))
    (entry,) = (entry for entry in reader.entries if "__" in entry.scan_id)
    assert reader.read(entry).entry == entry
    shown = [entry.scan_id, entry.subject_id, *map(reader.shown_path, reader.sources(entry)), str(reader.settings())]
    assert entry.scan_id.startswith("hash-") and not [text for text in shown if "miller" in text.lower()]


def test_labels_and_official_splits_of_further_scans_are_passed_over(main: Path, more: Path) -> None:
    reader = open_root(more, labels=("bone=200",))
    reader.entries = tuple(replace(entry, split="test") for entry in reader.entries)
    assert reader.entries[0].label_path
    for entry in CombinedDataset(open_root(main), [(str(more), reader)]).entries:
        if entry.scan_id.startswith("clinic__"):
            assert (entry.has_label, entry.label_path, entry.split) == (False, "", "")


def test_a_subject_that_tests_is_not_pretrained_on(main: Path, more: Path) -> None:
    for seed, name in enumerate("efgh"):
        for channel in range(2):
            save(main / "imagesTr" / f"{name}_{channel:04d}.nii.gz", random_image(50 + seed))
        save(main / "labelsTr" / f"{name}.nii.gz", random_label(seed))
    entries = open_root(main, unlabelled_roots=(str(more),)).entries
    seen = set()
    for seed in range(20):
        splits = make_splits(entries, SplitSettings(split_seed=seed, label_fractions=(1.0,)))
        assert ("a" in splits.unlabelled) == ("a" in splits.train) == ("a" in splits.pretraining)
        assert {"c", "d", "x_y"} <= set(splits.unlabelled)
        seen.add("a" in splits.train)
    assert seen == {True, False}


def test_several_roots_of_several_formats(main: Path, more: Path, tmp_path: Path) -> None:
    msd = make_msd(tmp_path)
    for file in (msd / "labelsTr").iterdir():  # labels are neither needed nor looked at
        file.unlink()
    reader = open_root(main, unlabelled_roots=(f"nifti:{more}", f"msd:{msd}"))
    assert sum(entry.scan_id.startswith("Task42_Knee__") for entry in reader.entries) == 4
    assert sum(entry.has_label for entry in reader.entries) == 2
    nnunet = make_nnunet(tmp_path / "again")
    (nnunet / "labelsTr" / "a.nii.gz").unlink()
    assert sum(e.has_label for e in open_root(main, unlabelled_roots=(str(nnunet),)).entries) == 2
    phantom = {"subjects": 3, "unlabelled_subjects": 0, "size": (16, 16), "slices": 2}
    with_phantom = open_root("", format="phantom", phantom=phantom, unlabelled_roots=(str(more),))
    assert len(with_phantom) == 5
    assert with_phantom.read(with_phantom.entries[-1]).label is not None


def test_a_dicom_series_joins_real_ct_scans(real_data: Path) -> None:
    roots = (f"dicom:{real_data / 'dicom' / 'ct_abdomen'}",)
    reader = open_root(real_data / "headneck_ct", modality="ct", unlabelled_roots=roots, hash_ids=False)
    (entry,) = (entry for entry in reader.entries if entry.scan_id.startswith("ct_abdomen__"))
    assert len(reader) == 223 and sum(entry.has_label for entry in reader.entries) == 180
    scan = reader.read(entry)
    assert scan.label is None and scan.entry == entry
    assert scan.image.shape == (512, 512, 20, 1) and scan.image.dtype == reader.stored_dtype(entry)
    assert len(reader.sources(entry)) == 20
    assert all(reader.shown_path(path).startswith("ct_abdomen/") for path in reader.sources(entry))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scans", ("auto", "scans")),
        ("dicom:scans", ("dicom", "scans")),
        ("auto:scans", ("auto", "scans")),
        ("C:/scans", ("auto", "C:/scans")),
        ("C:scans", ("auto", "C:scans")),
        ("phantom:scans", ("auto", "phantom:scans")),
        ("nifti:C:/scans", ("nifti", "C:/scans")),
        ("scans:dicom", ("auto", "scans:dicom")),
    ],
)
def test_a_root_may_name_its_format(text: str, expected: tuple[str, str]) -> None:
    assert parse_root(text, ("auto", "msd", "nnunet", "nifti", "skm_tea", "dicom")) == expected


def test_roots_that_do_not_fit(main: Path, more: Path, tmp_path: Path) -> None:
    def said(*roots: object) -> str:
        return message(open_root, main, unlabelled_roots=tuple(map(str, roots)))

    assert f"data.unlabelled_roots: no such folder: {tmp_path / 'none'}" in said(tmp_path / "none")
    assert "share scans" in said(main)
    assert "share scans" in said(main / "imagesTs")
    assert "share scans" in said(main.parent)
    assert "share scans" in said(more, more / "x")
    (tmp_path / "link").symlink_to(main)
    assert "share scans" in said(tmp_path / "link")
    same = tmp_path / "elsewhere" / "clinic"
    save(same / "z.nii.gz", random_image(1))
    assert f"{same} and {more} are both named 'clinic'" in said(more, same)
    assert f"scans of {same} have 1 channels (channel 0), those of data.root 2 (T2, ADC)" in said(same)
    save(main / "imagesTs" / "clinic__a_0000.nii.gz", random_image(1))
    save(main / "imagesTs" / "clinic__a_0001.nii.gz", random_image(2))
    assert "clinic__a is a scan of data.root and of data.unlabelled_roots" in said(more)


def test_what_is_wrong_in_further_folders_is_collected(main: Path, more: Path) -> None:
    (more / "x" / "y_0001.nii.gz").unlink()
    (main / "labelsTr" / "b.nii.gz").unlink()
    problems = Problems(collect=True)
    reader = open_root(main, problems, unlabelled_roots=(str(more),))
    assert [entry.scan_id for entry in reader.entries] == ["a", "c", "clinic__a", "d"]
    assert [error.kind for error in problems.found] == ["listing", "listing"]


def test_formats_are_told_apart(main: Path, more: Path, tmp_path: Path, real_data: Path) -> None:
    assert detect_format(main) == "nnunet"
    assert detect_format(make_msd(tmp_path)) == "msd"
    assert detect_format(more) == "nifti"
    assert detect_format(real_data / "dicom" / "mr_brain") == "dicom"
    assert detect_format(real_data / "dicom") == "dicom"  # the only NIfTI file is a label
    for folder in ("image_files", "annotations"):
        (tmp_path / "knees" / folder).mkdir(parents=True)
    assert detect_format(tmp_path / "knees") == "skm_tea"
    (more / "slice.dcm").symlink_to(next((real_data / "dicom" / "mr_brain").glob("*.dcm")))
    assert detect_format(more) == "nifti"
    for path in more.rglob("*_000*"):
        path.unlink()
    assert detect_format(more) == "dicom"
    other = tmp_path / "other"
    other.mkdir()
    (other / "readme.txt").write_text("nothing here")
    text = message(detect_format, other)
    for word in ("dataset.json", "SKM-TEA", "NIfTI", "DICOM", "(other files)"):
        assert word in text


def test_labels_are_declared_in_one_place(main: Path) -> None:
    assert "dataset.json declares the labels; leave data.labels out" in message(open_root, main, labels=("bone=1",))
    write_description(main, channel_names=None)
    assert "has the keys" in message(open_root, main)
