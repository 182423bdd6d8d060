"""What is found to segment at a path, under which name, and what is said of everything else."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_sets import CT, MR, item, volume, write_series
from dicom_sets import image as dicom_image
from dicom_sets import save as save_dicom
from example_prediction import model_record
from nifti_sets import SHAPE, make_msd, make_nnunet, message, random_image, save

from inpaint_ssl.data import Preprocessing
from inpaint_ssl.data.phantom.skm_tea import write_skm_tea
from inpaint_ssl.errors import InputError, Problems
from inpaint_ssl.predict.inputs import Inputs, open_inputs

MRI = Preprocessing("mri", "axial", (64, 64), "all", ())


@pytest.fixture(autouse=True)
def own_salt(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("salt")))


def mri(channels: int = 1):
    names = tuple(f"echo {number}" for number in range(1, channels + 1))
    return model_record(preprocessing=MRI, scan_channels=names, input_channels=names)


def found(path: Path | str, record=None, hash_ids: bool = True) -> Inputs:
    """Without any problem."""
    return open_inputs(str(path), record or mri(), hash_ids, Problems())


def ids(inputs: Inputs) -> list[str]:
    return [one.scan_id for one in inputs.scans]


def refusal(path: Path | str, record=None, hash_ids: bool = True) -> str:
    return message(open_inputs, str(path), record or mri(), hash_ids, Problems(collect=True))


def problems(path: Path | str, record=None) -> tuple[Inputs, list[str]]:
    kept = Problems(collect=True)
    return open_inputs(str(path), record or mri(), True, kept), [str(error) for error in kept.found]


@pytest.mark.parametrize("name", ["left knee.nii.gz", "left knee.nii", "left knee_0000.nii.gz"])
def test_one_file(tmp_path: Path, name: str) -> None:
    image = random_image(0)
    path = save(tmp_path / name, image)
    save(tmp_path / "another.nii.gz", random_image(1))
    (one,) = found(path).scans
    assert one.scan_id == name.partition(".")[0]
    scan = one.read()
    assert scan.label is None and scan.entry.scan_id == one.scan_id
    np.testing.assert_array_equal(scan.image[..., 0], image)
    state = path.stat()
    assert one.stamps() == {name: [state.st_size, state.st_mtime_ns]} and one.shown() == [name]
    assert one.source_images() is None


def test_one_file_brings_the_other_channels(tmp_path: Path) -> None:
    images = [random_image(seed) for seed in range(3)]
    paths = [save(tmp_path / f"knee_{number:04d}.nii.gz", image) for number, image in enumerate(images)]
    (one,) = found(paths[0], mri(2)).scans
    assert one.scan_id == "knee" and one.shown() == ["knee_0000.nii.gz", "knee_0001.nii.gz"]
    np.testing.assert_array_equal(one.read().image, np.stack(images[:2], axis=-1))
    (whole,) = found(save(tmp_path / "both_0000.nii", np.stack(images[:2], axis=-1)), mri(2)).scans
    assert whole.scan_id == "both_0000" and whole.read().image.shape == (*SHAPE, 2)


def test_channels_that_do_not_fit_are_the_scans_own_error(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"scan_{'abc'[number]}.nii.gz", random_image(number, (*SHAPE, 2) if number else SHAPE))
    alone, *others = found(tmp_path, mri(2)).scans
    text = message(alone.read)
    assert "scan_a.nii.gz has 1 channel, the model was trained on 2 (echo 1, echo 2)" in text
    assert [one.read().image.shape[3] for one in others] == [2, 2]
    assert "has 2 channels, the model was trained on 1 (echo 1)" in message(found(tmp_path).scans[1].read)


def test_a_folder_of_files_at_any_depth(tmp_path: Path) -> None:
    for name in (
        "b.nii",
        "a.nii.gz",
        "visit 2/a.nii.gz",
        ".hidden.nii.gz",
        "a_seg.nii.gz",
        "labels/b.nii",
        "x/mask_1.txt",
    ):
        if name.endswith("txt"):
            (tmp_path / "x").mkdir()
            (tmp_path / name).write_text("no scan")
        else:
            save(tmp_path / name, random_image(0))
    inputs = found(tmp_path)
    assert ids(inputs) == ["a", "b", "visit 2_a"]
    assert inputs.scans[2].shown() == ["visit 2/a.nii.gz"]
    (note,) = inputs.notes
    assert note.startswith("2 NIfTI files are named as labels or lie outside the folders of images") and "a_seg" in note


def test_decathlon_and_nnunet_need_no_labels(tmp_path: Path) -> None:
    msd, nnunet = make_msd(tmp_path), make_nnunet(tmp_path)
    shutil.rmtree(msd / "labelsTr")
    (nnunet / "dataset.json").unlink()
    assert ids(found(msd, mri(2))) == ["knee_001", "knee_002", "knee_003", "knee_009"]
    inputs = found(nnunet, mri(2))
    assert ids(inputs) == ["a", "b", "c", "d"]
    assert inputs.scans[2].shown() == ["imagesTs/c_0000.nii.gz", "imagesTs/c_0001.nii.gz"]
    np.testing.assert_array_equal(inputs.scans[2].read().image[..., 1], random_image(21))
    (note,) = inputs.notes
    assert "labelsTr/" in note


def test_a_folder_of_nnunet_images_alone(tmp_path: Path) -> None:
    root = make_nnunet(tmp_path)
    (one,) = found(root / "imagesTs", mri(2)).scans  # a single case, whose files could be two scans
    assert one.scan_id == "c" and one.read().image.shape[3] == 2
    assert ids(found(root / "imagesTr", mri(2))) == ["a", "b"]
    for one in found(root / "imagesTr").scans:
        assert "has 2 channels, the model was trained on 1" in message(one.read)


def test_numbers_of_scans_are_not_taken_for_channels(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "series" / f"volunteer_{number:04d}.nii.gz", random_image(number))
        save(tmp_path / "decathlon" / "imagesTr" / f"liver_{number:04d}.nii.gz", random_image(number))
        save(tmp_path / "one channel" / f"case{number}_0000.nii.gz", random_image(number))
    (tmp_path / "decathlon" / "dataset.json").write_text(json.dumps({"modality": {"0": "MR"}, "training": []}))
    assert ids(found(tmp_path / "series")) == [f"volunteer_{number:04d}" for number in range(4)]
    assert ids(found(tmp_path / "series", mri(2)))[3] == "volunteer_0003"
    assert ids(found(tmp_path / "decathlon", mri(4)))[1] == "liver_0001"
    assert ids(found(tmp_path / "one channel")) == ["case0", "case1", "case2", "case3"]


def test_a_missing_channel_leaves_out_its_scan(tmp_path: Path) -> None:
    root = make_nnunet(tmp_path)
    (root / "imagesTr" / "a_0000.nii.gz").unlink()
    inputs, told = problems(root, mri(2))
    assert ids(inputs) == ["b", "c", "d"]
    assert len(told) == 1 and "scan a lacks channel 0000" in told[0]


def test_damaged_files_cost_themselves_alone(tmp_path: Path) -> None:
    save(tmp_path / "fine.nii.gz", random_image(0))
    path = save(tmp_path / "cut.nii.gz", random_image(1))
    path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no image"))
    (tmp_path / "nowhere.nii").symlink_to(tmp_path / "gone.nii")
    save(tmp_path / "twice.nii", random_image(2))
    save(tmp_path / "twice.nii.gz", random_image(2))
    inputs, told = problems(tmp_path)
    by_id = {one.scan_id: one for one in inputs.scans}
    assert set(by_id) == {"cut", "fine", "text", "twice"}
    assert len(told) == 2 and "link to nowhere" in told[0] and "the same name" in told[1]
    for name in ("cut", "text"):
        assert f"{name}.nii.gz cannot be read" in message(by_id[name].read)
    assert by_id["fine"].read().image.shape == (*SHAPE, 1)
    path.unlink()
    assert "cut.nii.gz cannot be read (No such file" in message(by_id["cut"].stamps)


def test_a_dicom_series(tmp_path: Path) -> None:
    pixels = volume(1)
    paths = write_series(tmp_path / "in" / "Miller_Anna", pixels)
    (one,) = found(tmp_path / "in", model_record()).scans
    scan = one.read()
    np.testing.assert_array_equal(scan.image[..., 0], pixels.transpose(2, 1, 0)[::-1, ::-1] - 1024)
    assert one.source_images() == [(str(path), 0) for path in paths]
    assert one.scan_id.startswith("scan-") and "Miller" not in str(one.shown()) and len(one.stamps()) == len(paths)
    (plain,) = found(tmp_path / "in", model_record(), hash_ids=False).scans
    assert plain.scan_id.startswith("QX-4711") and all(name.startswith("Miller_Anna/") for name in plain.shown())


def test_nifti_and_dicom_together(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", volume(1), PatientID="walk", SeriesNumber=None)
    save(tmp_path / "walk.nii.gz", random_image(0))
    save(tmp_path / "dicom" / "more.nii", random_image(1))
    save(tmp_path / "dicom_label.nii", random_image(1))
    assert ids(found(tmp_path, model_record(), hash_ids=False)) == ["dicom_more", "walk", "walk-2"]
    first, second, third = found(tmp_path, model_record()).scans
    assert (first.scan_id, second.scan_id) == ("dicom_more", "walk")
    assert third.scan_id.startswith("scan-") and third.read().entry.scan_id == third.scan_id


def test_series_of_another_modality_are_skipped_by_name(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", volume(1), MR, SeriesInstanceUID="1.2.3.4", SeriesNumber=8)
    assert "4 files of series 8 in mr: MR series" in refusal(tmp_path, model_record())
    text = refusal(tmp_path, model_record())
    assert "the model's modality 'ct'" in text and "data." not in text
    write_series(tmp_path / "ct", volume(2))
    inputs = found(tmp_path, model_record())
    assert len(inputs.scans) == 1 and any("series 8 in mr: MR series" in note for note in inputs.notes)
    save(tmp_path / "scan.nii", random_image(0))
    shutil.rmtree(tmp_path / "ct")
    inputs = found(tmp_path, model_record())
    assert ids(inputs) == ["scan"] and any("series 8 in mr: MR series" in note for note in inputs.notes)
    assert not any("data.modality" in note for note in inputs.notes)


def test_a_series_with_the_channels_of_the_model_is_taken_though_most_have_others(tmp_path: Path) -> None:
    for number in range(2):
        write_series(
            tmp_path / f"t1_{number}", volume(number), MR, SeriesInstanceUID=f"1.2.3.{number}", SeriesNumber=number
        )
    for series, echo in ((8, 1), (8, 3), (9, 1), (9, 2)):
        about = {"SeriesInstanceUID": f"1.2.3.{series}", "EchoNumbers": echo, "EchoTime": 5.0 * echo}
        name = f"echo{echo}_{{:03d}}.dcm"
        write_series(tmp_path / f"qdess_{series}", volume(echo), MR, name=name, SeriesNumber=series, **about)
    inputs, told = problems(tmp_path, mri(2))
    assert len(inputs.scans) == 2
    for one in inputs.scans:
        assert one.read().image.shape[3] == 2 and len(one.source_images() or ()) == 4
    assert len(told) == 2 and "series 0 in t1_0 has 1 channel (" in told[0]
    assert told[0].endswith("the model was trained on 2 (echo 1, echo 2); leave it out")
    inputs, told = problems(tmp_path)
    assert len(inputs.scans) == 2 and "series 8 in qdess_8 has 2 channels (echo1, echo2)" in told[0]
    assert "no scan of" in refusal(tmp_path, mri(3)) and "(3 more like it)" in refusal(tmp_path, mri(3))


def test_a_damaged_dicom_file_is_a_problem_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_series(tmp_path / "fine", volume(1))
    cut = write_series(tmp_path / "cut", volume(2), SeriesInstanceUID="1.2.3.4", SeriesNumber=4)[1]
    cut.write_bytes(cut.read_bytes()[:-30])
    header = write_series(tmp_path / "header", volume(3), SeriesInstanceUID="1.2.3.5")[1]
    header.write_bytes(header.read_bytes()[:400])
    inputs, told = problems(tmp_path, model_record())
    assert len(inputs.scans) == 2  # of "header" a slice is missing
    assert len(told) == 2 and all("header" in text for text in told) and "data." not in " ".join(told)
    texts = []
    for one in inputs.scans:
        try:
            assert one.read().image.shape == (5, 6, 4, 1)
        except InputError as error:
            texts.append(str(error))
    assert len(texts) == 1 and "cut/" in texts[0]
    with pytest.raises(InputError):
        found(tmp_path, model_record())


def test_what_cannot_be_segmented_is_said(tmp_path: Path) -> None:
    assert "--input: no such file or folder: " in refusal(tmp_path / "gone")
    assert "an empty folder" in refusal(tmp_path)
    (tmp_path / "readme.txt").write_text("x")
    text = refusal(tmp_path)
    assert "(other files alone); looked for NIfTI images (.nii.gz, .nii), DICOM series and an SKM-TEA release" in text
    assert "is no NIfTI file" in refusal(tmp_path / "readme.txt")
    save(tmp_path / "scan_mask.nii", random_image(0))
    assert "1 NIfTI file is named as a label" in refusal(tmp_path)
    path = write_series(tmp_path / "series", volume(1))[0]
    assert "is one file of a DICOM series; give the folder" in refusal(path, model_record())


def test_segmentations_and_earlier_predictions_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "scans" / "a.nii.gz", random_image(0))
    for name in ("masks/a.nii.gz", "probabilities/a_bright.nii.gz"):
        save(tmp_path / "old" / name, random_image(0))
    (tmp_path / "old" / "predictions.json").write_text("{}")
    inputs = found(tmp_path)
    assert ids(inputs) == ["scans_a"] and "passed over what was predicted before: old" in inputs.notes
    segmentation = dicom_image(volume(0), CT, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG")
    segmentation.SegmentSequence = [item(SegmentNumber=1)]
    write_series(tmp_path / "series", volume(1))
    save_dicom(segmentation, tmp_path / "series" / "segmentation.dcm")
    assert len(found(tmp_path, model_record()).scans) == 2


def test_an_skm_tea_release(tmp_path: Path) -> None:
    write_skm_tea(tmp_path / "release", 3, size=(24, 24), slices=4)
    inputs = found(tmp_path / "release", mri(2))
    assert ids(inputs) == ["MTR_001", "MTR_002", "MTR_003"]
    scan = inputs.scans[0].read()
    assert scan.image.shape[3] == 2 and scan.label is None and not scan.entry.has_label
    assert "has 2 channels, the model was trained on 1 (echo 1)" in message(found(tmp_path / "release").scans[0].read)
