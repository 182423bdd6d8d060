"""Folder trees of DICOM files: series, echoes, single slices, what is skipped, and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_sets import (
    CT,
    MR,
    SLICES,
    UID_ROOT,
    as_read,
    image,
    open_at,
    positions,
    save,
    volume,
    write_series,
)
from nifti_sets import message
from nifti_sets import save as save_nifti
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from inpaint_ssl.data.readers import open_dataset
from inpaint_ssl.data.readers.dicom.files import looks_like_dicom
from inpaint_ssl.errors import Problems

NO_UIDS = {"SeriesInstanceUID": "", "StudyInstanceUID": "", "SOPInstanceUID": "", "PatientID": "", "PatientName": ""}
SKIPPED_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT Structure Set Storage",
    "1.2.840.10008.5.1.4.1.1.88.67": "X-Ray Radiation Dose SR Storage",
    "1.2.840.10008.5.1.4.1.1.11.1": "Grayscale Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF Storage",
}


def label_affine(spacing: float = 2.5) -> np.ndarray:
    """RAS affine of the axial series of `write_series`, as (columns, rows, slices)."""
    return np.array([[-0.5, 0, 0, 20], [0, -0.75, 0, 30], [0, 0, spacing, 40], [0, 0, 0, 1.0]])


def test_a_tree_is_sorted_into_series(tmp_path: Path) -> None:
    """Any depth, any names; files of one series may lie in several folders."""
    root = tmp_path / "set"
    pixels = volume(0)
    write_series(root / "a" / "deep" / "down", pixels[:2], places=positions(4)[:2], name="IM{}")
    write_series(root / "b", pixels[2:], places=positions(4)[2:], name="IM{}.bin")
    write_series(root / "b", volume(1), SeriesInstanceUID="1.2.3.4.5", name="other{}")
    write_series(root / "c", volume(2), SeriesInstanceUID="1.2.3.4.6", PatientID="second")
    (root / "LICENSE.txt").write_text("text " * 100)
    (root / "empty").write_bytes(b"")
    (root / "b" / "._IM1.bin").write_bytes(b"\0" * 4096)
    dataset = open_at(root)
    assert len(dataset) == 3
    assert len({entry.subject_id for entry in dataset.entries}) == 2
    assert any(np.array_equal(scan.image, as_read(pixels - 1024)) for scan in dataset)
    assert [note for note in dataset.notes if "no DICOM" in note] == [
        "2 files are no DICOM files and not used: LICENSE.txt, empty"
    ]
    assert [entry.scan_id for entry in dataset.entries] == sorted(entry.scan_id for entry in dataset.entries)


def test_series_without_uids_are_told_apart_by_folder_and_description(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number, name in enumerate("ab"):
        write_series(root / name, volume(number), **NO_UIDS)
    write_series(root / "b", volume(2), name="other{}", SeriesDescription="thin", **NO_UIDS)
    write_series(root / "b", volume(3, shape=(4, 7, 5)), name="large{}", **NO_UIDS)
    dataset = open_at(root)
    assert len(dataset) == 4
    assert len({entry.scan_id for entry in dataset.entries}) == 4
    assert len({entry.subject_id for entry in dataset.entries}) == 2  # one for each folder
    assert any("4 series name no patient" in note for note in dataset.notes)


def test_one_uid_for_two_patients_is_two_series(tmp_path: Path) -> None:
    for patient in ("one", "two"):
        write_series(tmp_path / "set" / patient, volume(0), PatientID=patient)
    dataset = open_at(tmp_path / "set")
    assert len({entry.scan_id for entry in dataset.entries}) == 2
    assert len({entry.subject_id for entry in dataset.entries}) == 2


@pytest.mark.parametrize(
    ("tags", "n_subjects"),
    [
        ({"PatientID": "7", "IssuerOfPatientID": "here"}, 1),
        ({"PatientID": "", "PatientName": "A^B"}, 1),
        ({"PatientID": "", "PatientName": ""}, 1),  # one study
        ({"PatientID": "", "PatientName": "", "StudyInstanceUID": ""}, 2),  # two folders
    ],
)
def test_subjects(tmp_path: Path, tags: dict[str, str], n_subjects: int) -> None:
    for name in "ab":
        write_series(tmp_path / "set" / name, volume(0), SeriesInstanceUID=f"1.2.3.{ord(name)}", **tags)
    dataset = open_at(tmp_path / "set")
    assert len({entry.subject_id for entry in dataset.entries}) == n_subjects


def test_issuers_tell_equal_ids_apart(tmp_path: Path) -> None:
    for name in "ab":
        tags = {"SeriesInstanceUID": f"1.2.3.{ord(name)}", "IssuerOfPatientID": name}
        write_series(tmp_path / "set" / name, volume(0), **tags)
    assert len({entry.subject_id for entry in open_at(tmp_path / "set").entries}) == 2


def test_what_is_no_series_is_skipped_by_name(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_series(root / "ct", volume(0))
    for number, kind in enumerate(SKIPPED_CLASSES):
        save(image(volume(1)[0], UID(kind), SeriesNumber=number), root / "more" / f"{number}.dcm")
    scout = {"SeriesInstanceUID": "1.2.3.4.7", "SeriesNumber": 80}
    write_series(root / "scout", volume(2)[:1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **scout)
    planes = ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])
    for number, plane in enumerate(planes):
        tags = {"SeriesInstanceUID": "1.2.3.4.8", "SeriesNumber": 81}
        write_series(root / "planes", volume(3), orientation=plane, name=f"{number}-{{}}", **tags)
    protocol = {"SeriesInstanceUID": "1.2.3.4.9", "SeriesNumber": 501}
    write_series(root / "p", volume(4)[:1], ImageType=["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"], **protocol)
    write_series(root / "mr", volume(5), MR, SeriesInstanceUID="1.2.3.4.10")
    save(image(volume(1)[0], UID("1.2.840.10008.1.3.10")), root / "DICOMDIR")
    dataset = open_at(root)
    assert len(dataset) == 1
    notes = "\n".join(dataset.notes)
    for number, name in enumerate(SKIPPED_CLASSES.values()):
        assert f"skipped 1 file of series {number} in more: {name}" in notes
    assert "skipped 1 file of series 80 in scout: localizer" in notes
    assert "skipped series 81 in planes (12 images): localizer in three planes" in notes
    assert "series 501 in p: patient protocol or picture of a screen" in notes
    assert "skipped 4 files of series 3 in mr: MR series, not wanted with data.modality='ct'" in notes
    assert "DICOMDIR" not in notes


def test_a_folder_without_series_says_what_it_holds(tmp_path: Path) -> None:
    write_series(tmp_path / "set" / "ct", volume(0))
    text = message(open_at, tmp_path / "set", modality="mri")
    assert "no DICOM series of data.modality='mri' below data.root=" in text
    assert "CT series, not wanted with data.modality='mri'" in text
    (tmp_path / "none").mkdir()
    assert "no DICOM series" in message(open_at, tmp_path / "none")


@pytest.mark.parametrize("by", ["numbers", "times"])
def test_echoes_become_channels(tmp_path: Path, by: str) -> None:
    first, second = volume(0), volume(1)
    root = tmp_path / "set"
    tags = [{"EchoTime": 5.5, "EchoNumbers": 1}, {"EchoTime": 30.5, "EchoNumbers": 2}]
    if by == "times":
        tags = [{"EchoTime": one["EchoTime"]} for one in tags]
    write_series(root, second, MR, name="a{}", **tags[1])
    write_series(root, first, MR, name="b{}", **tags[0])
    dataset = open_at(root, modality="mri")
    (scan,) = dataset
    assert dataset.channel_names == ("echo1", "echo2")
    assert np.array_equal(scan.image, np.concatenate([as_read(first), as_read(second)], axis=3))
    assert scan.acquisition["te_ms"] == 5.5
    names = [Path(path).name for path in scan.entry.image_paths]
    assert names == ["b4", "b3", "b2", "b1", "a4", "a3", "a2", "a1"]


def test_echo_times_that_vary_over_the_slices_are_no_echoes(tmp_path: Path) -> None:
    for k in range(SLICES):
        places = positions(SLICES)[k : k + 1]
        write_series(tmp_path / "set", volume(k)[:1], MR, places=places, name=f"{k}", EchoTime=20 + k / 10)
    assert open_at(tmp_path / "set", modality="mri").channel_names == ("MR",)


BYTES_AS_TEXT = ("UN", b"3132.000", b"1560")
BYTES_AS_FLOATS = ("UN", np.float32(3132).tobytes(), np.float64(1560).tobytes())
BYTES_AS_INTEGERS = ("UN", np.int32(3132).tobytes(), np.int16(1560).tobytes())


@pytest.mark.parametrize(
    ("syntax", "vr", "area", "duration"),
    [
        (ExplicitVRLittleEndian, "DS", "3132", "1560"),
        (ExplicitVRLittleEndian, "IS", "3132", "1560"),
        (ExplicitVRLittleEndian, "SL", 3132, 1560),
        (ExplicitVRLittleEndian, "FL", 3132.0, 1560.0),
        (ExplicitVRLittleEndian, "FD", 3132.0, 1560.0),
        (ExplicitVRLittleEndian, *BYTES_AS_TEXT),
        (ExplicitVRLittleEndian, *BYTES_AS_FLOATS),
        (ExplicitVRLittleEndian, *BYTES_AS_INTEGERS),
        (ImplicitVRLittleEndian, "DS", "3132", "1560"),
        (ImplicitVRLittleEndian, *BYTES_AS_FLOATS),
    ],
)
@pytest.mark.parametrize("creator", ["GEMS_ACQU_01", ""])
def test_qdess_tags(tmp_path: Path, syntax: UID, vr: str, area: Any, duration: Any, creator: str) -> None:
    tags = {"RepetitionTime": 25, "FlipAngle": 30, "MagneticFieldStrength": 3, "PatientAge": "018M", "PatientSex": "M"}
    paths = write_series(tmp_path / "set", volume(0), MR, EchoTime=8, EchoNumbers=1, name="a{}", **tags)
    paths += write_series(tmp_path / "set", volume(1), MR, EchoTime=42, EchoNumbers=2, name="b{}", **tags)
    for path in paths:
        ds = pydicom.dcmread(path)
        if creator:
            ds.add_new(0x00190010, "LO", creator)
        ds.add_new(0x001910B6, vr, area)
        ds.add_new(0x001910B7, vr, duration)
        save(ds, path, syntax)
    (scan,) = open_at(tmp_path / "set", modality="mri")
    assert scan.acquisition == {
        "tr_ms": 25, "te_ms": 8, "flip_angle_deg": 30, "field_strength_t": 3, "slice_thickness_mm": 9, "age_years": 1.5,
        "sex": "M", "spoiler_area": 3132, "spoiler_duration_us": 1560,
    }  # fmt: skip


def test_the_same_tags_of_another_maker_are_passed_over(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "set", volume(0), MR):
        ds = pydicom.dcmread(path)
        ds.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
        ds.add_new(0x001910B6, "DS", "1")
        ds.save_as(path)
    (scan,) = open_at(tmp_path / "set", modality="mri")
    assert "spoiler_area" not in scan.acquisition


@pytest.mark.parametrize(
    ("age", "years"), [("028Y", 28), ("018M", 1.5), ("026W", 0.498), ("010D", 0.0274), ("", None), ("old", None)]
)
def test_ages(tmp_path: Path, age: str, years: float | None) -> None:
    path = write_series(tmp_path / "set", volume(0)[:1], PatientAge=age if age != "old" else "")[0]
    if age == "old":
        path.write_bytes(path.read_bytes().replace(b"AS\0\0", b"AS\x04\0 old", 1))
    (scan,) = open_at(tmp_path / "set")
    assert scan.acquisition.get("age_years") == (None if years is None else pytest.approx(years, rel=1e-2))


def test_scans_with_other_channels_are_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(3):
        write_series(root / f"{number}", volume(number), MR, SeriesInstanceUID=f"1.2.3.{number}")
    write_series(root / "two", volume(8), MR, SeriesInstanceUID="1.2.3.9", name="a{}", EchoNumbers=1)
    write_series(root / "two", volume(9), MR, SeriesInstanceUID="1.2.3.9", name="b{}", EchoNumbers=2)
    problems = Problems(collect=True)
    dataset = open_at(root, problems, modality="mri")
    assert len(dataset) == 3
    (error,) = problems.found
    assert "series 3 in two has the channels echo1, echo2, but most scans of the data set have MR" in str(error)


@pytest.mark.parametrize(("tags", "depth"), [({"SpacingBetweenSlices": 4}, 4), ({}, 9), ({"SliceThickness": None}, 1)])
def test_single_slices_of_many_patients_in_one_folder(tmp_path: Path, tags: dict[str, Any], depth: float) -> None:
    root = tmp_path / "set"
    pixels = volume(0, shape=(3, 6, 5))
    for number in range(3):
        own = {"SeriesInstanceUID": f"1.2.3.{number}", "PatientID": f"patient{number}"}
        write_series(root, pixels[number : number + 1], name=f"slice{number}.dcm", **own, **tags)
    label = np.arange(30).reshape(5, 6, 1) % 3
    save_nifti(root / "labels" / "slice1.nii.gz", label.astype(np.uint8), label_affine(1.0))
    save_nifti(root / "slice2_mask.nii", label.astype(np.uint8), label_affine(1.0))
    dataset = open_at(root, labels=("muscle=1", "fat=2"))
    assert len({entry.subject_id for entry in dataset.entries}) == 3
    labelled = 0
    for scan in dataset:
        assert scan.image.shape == (5, 6, 1, 1)
        assert scan.spacing_mm == pytest.approx((0.5, 0.75, depth))
        (number,) = (k for k in range(3) if np.array_equal(scan.image, as_read(pixels[k : k + 1] - 1024)))
        assert scan.entry.has_label == (number > 0)
        if scan.label is not None:
            labelled += 1
            assert np.array_equal(scan.label, label[::-1, ::-1])
    assert labelled == 2


def test_slices_that_lost_ids_and_places_are_scans_of_their_own(tmp_path: Path) -> None:
    bare = NO_UIDS | {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    write_series(tmp_path / "set", volume(0)[:3], places=positions(3), **bare)
    dataset = open_at(tmp_path / "set")
    assert len(dataset) == 3
    assert len({entry.subject_id for entry in dataset.entries}) == 3
    assert {scan.image.shape for scan in dataset} == {(5, 6, 1, 1)}
    assert any("does not say where it lies; taken for an axial slice" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "name", ["ct1_labels.nii.gz", "ct1_label.nii", "ct1_seg.nii.gz", "ct1_mask.nii.gz", "labels/ct1.nii.gz"]
)
def test_label_files_are_found_by_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / "set"
    write_series(root / "ct1", volume(0))
    write_series(root / "ct2", volume(1), SeriesInstanceUID="1.2.3.4.5")
    label = np.random.default_rng(0).integers(0, 4, (5, 6, SLICES)).astype(np.uint8)
    path = save_nifti(root / name, label, label_affine())
    save_nifti(root / "remarks.nii", label, label_affine())
    dataset = open_at(root, labels=("a=1", "b=2+3"), label_map=("3=2",))
    (entry,) = (entry for entry in dataset.entries if entry.has_label)
    assert entry.label_path == str(path)
    assert dataset.sources(entry) == (*entry.image_paths, str(path))
    scan = dataset.read(entry)
    assert scan.label is not None
    assert np.array_equal(scan.label, np.where(label == 3, 2, label)[::-1, ::-1])
    assert dataset.labels == {"a": 1, "b": (2, 3)}
    assert dataset.settings()["labels"] == {"declared": [0, 1, 2, 3], "ignore": -1, "mapping": {"3": 2}}
    assert any("1 NIfTI files are no label of a series by their name: remarks.nii" in note for note in dataset.notes)


def test_the_label_of_a_series_right_in_the_root(tmp_path: Path) -> None:
    """Beside the root it is looked for only when labels are declared."""
    root = tmp_path / "set"
    write_series(root, volume(0))
    path = save_nifti(tmp_path / "set_seg.nii.gz", np.ones((5, 6, SLICES), np.uint8), label_affine())
    assert [entry.has_label for entry in open_at(root).entries] == [False]
    dataset = open_at(root, labels=("liver=1",))
    assert [entry.label_path for entry in dataset.entries] == [str(path)]
    assert dataset.shown_path(str(path)) == "set_seg.nii.gz"


def test_files_without_uids_that_make_up_no_volume_get_a_hint(tmp_path: Path) -> None:
    for number, height in enumerate((0.0, 3.0, 50.0, 77.0)):
        places = positions(1, origin=(0, 0, height))
        write_series(tmp_path / "set", volume(number)[:1], places=places, name=f"{number}", **NO_UIDS)
    text = message(open_at, tmp_path / "set")
    assert "unevenly spaced" in text
    assert "without a SeriesInstanceUID the files of one folder are one series" in text


def test_labels_must_be_declared(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_series(root / "ct1", volume(0))
    label = np.zeros((5, 6, SLICES), np.uint8)
    label[0], label[1] = 5, 17
    save_nifti(root / "ct1_seg.nii.gz", label, label_affine())
    text = message(open_at, root)
    assert "data.labels is empty, but there are label files; ct1_seg.nii.gz holds the values 5, 17" in text
    assert "data.labels=('name5=5', 'name17=17', ...)" in text
    dataset = open_at(root, labels=("liver=5",))
    assert "ct1_seg.nii.gz holds the label values 17, but data.labels declares only 0, 5" in message(
        dataset.read, dataset.entries[0]
    )


def test_a_label_must_lie_on_the_grid(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_series(root / "ct1", volume(0))
    affine = label_affine()
    affine[0, 3] += 0.5
    save_nifti(root / "ct1_seg.nii.gz", np.ones((5, 6, SLICES), np.uint8), affine)
    dataset = open_at(root, labels=("liver=1",))
    text = message(dataset.read, dataset.entries[0])
    assert text.startswith("ct1_seg.nii.gz and series 3 in ct1 do not lie on the same grid")
    assert "up to 0.5 mm apart" in text


def test_labels_that_cannot_be_assigned_are_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    label = np.ones((5, 6, SLICES), np.uint8)
    write_series(root / "ct1", volume(0))
    save_nifti(root / "ct1_seg.nii.gz", label, label_affine())
    save_nifti(root / "ct1_mask.nii.gz", label, label_affine())
    assert "cannot be told apart: ct1_seg.nii.gz and ct1_mask.nii.gz" in message(open_at, root, labels=("a=1",))
    (root / "ct1_mask.nii.gz").rename(root / "ct9_mask.nii.gz")
    assert "no series belongs to the label ct9_mask.nii.gz" in message(open_at, root, labels=("a=1",))
    (root / "ct9_mask.nii.gz").unlink()
    write_series(root / "ct1", volume(1), SeriesInstanceUID="1.2.3.4.5", name="second{}")
    assert "cannot be told apart: ct1_seg.nii.gz" in message(open_at, root, labels=("a=1",))


def test_it_is_a_format(tmp_path: Path) -> None:
    from dicom_sets import settings

    write_series(tmp_path / "set", volume(0))
    (tmp_path / "text").mkdir()
    assert looks_like_dicom(tmp_path / "set")
    assert not looks_like_dicom(tmp_path / "text")
    for name in ("dicom", "auto"):
        dataset = open_dataset(settings(tmp_path / "salt", format=name, root=str(tmp_path / "set")))
        assert type(dataset).__name__ == "DicomDataset"
        assert dataset.settings()["reader"] == "dicom"
    assert UID_ROOT not in repr(dataset.entries[0].scan_id)


def test_labels_of_unlabelled_roots_are_passed_over(tmp_path: Path) -> None:
    from dicom_sets import settings

    write_series(tmp_path / "set", volume(0))
    write_series(tmp_path / "more" / "ct1", volume(1), CT, SeriesInstanceUID="1.2.3.4.5")
    save_nifti(tmp_path / "more" / "ct1_seg.nii.gz", np.ones((5, 6, SLICES), np.uint8), label_affine())
    own = settings(tmp_path / "salt", root=str(tmp_path / "set"), unlabelled_roots=(f"dicom:{tmp_path / 'more'}",))
    dataset = open_dataset(own)
    assert [entry.has_label for entry in dataset.entries] == [False, False]
    assert len({entry.subject_id for entry in dataset.entries}) == 1  # the same patient in both
