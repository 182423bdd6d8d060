"""The folder of predictions: whose it may be, what is skipped when a command goes on, and what is kept of a scan."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from example_prediction import model_record
from nifti_sets import message, random_image, save

from inpaint_ssl.data import Preprocessing
from inpaint_ssl.errors import Problems
from inpaint_ssl.predict.folder import OutputFolder
from inpaint_ssl.predict.inputs import Input, open_inputs

MODEL = model_record(preprocessing=Preprocessing("mri", "axial", (64, 64), "all", ()), scan_channels=("MRI",))
ABOUT = {"models": [{"sha256": "ab"}], "settings": {"flips": ("rows",), "overlap": 0.5, "probabilities": False}}


def scans(folder: Path, *names: str) -> list[Input]:
    for number, name in enumerate(names):
        save(folder / f"{name}.nii.gz", random_image(number))
    return list(open_inputs(str(folder), MODEL, True, Problems()).scans)


def opened(tmp_path: Path, **settings: Any) -> OutputFolder:
    about = {**ABOUT, "settings": {**ABOUT["settings"], **settings}}
    (tmp_path / "in").mkdir(exist_ok=True)
    return OutputFolder(tmp_path / "out", about, tmp_path / "in")


def predict(output: OutputFolder, one: Input, **changes: Any) -> dict[str, Any]:
    """What a prediction does, with files of a few bytes."""
    record = {"scan": one.scan_id, "status": "done", "sources": one.stamps()}
    for key, kind, ending in (("mask", "masks", ".nii.gz"), ("overlay", "overlays", ".png")):
        record[key] = output.file(kind, one.scan_id, ending)
    record["probabilities"] = [output.file("probabilities", one.scan_id, ".nii.gz", part) for part in ("a", "b")]
    record |= {"dicom_seg": "", "uncertainty": ""} | changes
    for name in (record["mask"], record["overlay"], *record["probabilities"]):
        if name:
            (output.path / name).write_bytes(b"x")
    output.keep(one, record)
    return record


def stored(output: OutputFolder) -> dict[str, Any]:
    return json.loads((output.path / "predictions.json").read_text())


def test_a_folder_is_begun_at_once_and_opened_again(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_text("of a file manager")
    assert stored(opened(tmp_path)) == {
        "format": "inpaint_ssl predictions, version 1",
        "models": [{"sha256": "ab"}],
        "settings": {"flips": ["rows"], "overlap": 0.5, "probabilities": False},
        "scans": {},
    }
    opened(tmp_path)


def test_folders_that_would_mix_masks_and_scans(tmp_path: Path) -> None:
    given = tmp_path / "in"
    (scan,) = scans(given, "a")
    (tmp_path / "link").symlink_to(given)
    for output in (given, given / "masks", given / "x" / "y", tmp_path / "link" / "out"):
        assert "masks would be read as scans" in message(OutputFolder, output, ABOUT, given)
    assert "masks would be read as scans" in message(OutputFolder, tmp_path, ABOUT, given)
    assert sorted(os.listdir(given)) == ["a.nii.gz"]
    path = given / "a.nii.gz"
    assert f"{path} is a file" in message(OutputFolder, path, ABOUT, path)
    assert "holds 'a.nii.gz' but no predictions.json" in message(OutputFolder, given, ABOUT, path)
    beside = OutputFolder(given / "out", ABOUT, path)  # of a single file the folder is not read
    assert beside.done(scan) is None


def test_folders_of_something_else_are_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "masks").mkdir(parents=True)
    assert "holds 'masks' but no predictions.json" in message(opened, tmp_path)
    for content in ("[]", "{}", '{"format": "inpaint_ssl predictions, version 0"}'):
        (output / "predictions.json").write_text(content)
        assert "is no record of predictions of this version" in message(opened, tmp_path)
    (output / "predictions.json").write_text("{")
    assert "is not valid JSON" in message(opened, tmp_path)
    assert (output / "predictions.json").read_text() == "{"


def test_other_models_and_settings_are_named(tmp_path: Path) -> None:
    opened(tmp_path)
    text = message(opened, tmp_path, flips=(), overlap=0.25)
    assert 'settings.flips was ["rows"], now []; settings.overlap was 0.5, now 0.25; choose another folder' in text
    assert "probabilities" not in text
    other = {**ABOUT, "models": [{"sha256": "cd"}, {"sha256": "x" * 100}]}
    text = message(OutputFolder, tmp_path / "out", other, tmp_path / "in")
    assert 'models was [{"sha256": "ab"}], now [{"sha256": "cd"}, {"sha256": "xxx' in text and "x..." in text
    assert "settings.uncertainty was null, now true" in message(opened, tmp_path, uncertainty=True)


def test_what_is_done_is_skipped_and_what_has_changed_is_not(tmp_path: Path) -> None:
    one, two = scans(tmp_path / "in", "a", "b")
    output = opened(tmp_path)
    assert output.done(one) is None
    record = predict(output, one)
    predict(output, two, status="failed", mask="")
    for again in (output, opened(tmp_path)):
        assert again.done(one) == {**record, "place": again.records()["a"]["place"]}
        assert again.done(two) is None
    path = tmp_path / "in" / "a.nii.gz"
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert opened(tmp_path).done(one) is None
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert opened(tmp_path).done(one) is not None
    for name in (record["mask"], record["overlay"], record["probabilities"][1]):
        (output.path / name).rename(tmp_path / "away")
        assert opened(tmp_path).done(one) is None
        (tmp_path / "away").rename(output.path / name)
    assert opened(tmp_path).done(one) is not None
    (output.path / "records" / "a.json").write_text('{"scan": "a"')
    assert opened(tmp_path).done(one) is None
    path.unlink()
    assert "a.nii.gz cannot be read" in message(output.done, one)


def test_a_scan_of_the_same_name_from_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    (one,) = scans(tmp_path / "in", "a")
    output = opened(tmp_path)
    predict(output, one)
    (other,) = scans(tmp_path / "other", "a")
    for refused in (lambda: output.done(other), lambda: output.check_names([other])):
        assert "holds a scan of this name from another folder" in message(refused)
    output.keep(other, {"scan": "a", "status": "failed", "sources": {}})
    assert opened(tmp_path).done(one) is not None
    output.check_names([one])
    (tmp_path / "in").rename(tmp_path / "moved")
    (moved,) = open_inputs(str(tmp_path / "moved"), MODEL, True, Problems()).scans
    assert output.done(moved) is not None  # the same file
    records = "".join(path.read_text() for path in output.path.rglob("*.json"))
    assert str(tmp_path) not in records


def test_files_that_are_no_longer_true_are_removed(tmp_path: Path) -> None:
    (one,) = scans(tmp_path / "in", "a")
    output = opened(tmp_path)
    record = predict(output, one)
    safe = tmp_path / "safe.nii.gz"
    safe.write_bytes(b"x")
    path = output.path / "records" / "a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "uncertainty": "../safe.nii.gz"}))
    (output.path / "predictions.json").touch()
    output = opened(tmp_path)
    output.keep(one, {"scan": "a", "status": "failed", "error": "broken", "sources": {}, "overlay": record["overlay"]})
    left = sorted(file.relative_to(output.path).as_posix() for file in output.path.rglob("*") if file.is_file())
    assert left == ["overlays/a.png", "predictions.json", "records/a.json"]
    assert safe.exists()


def test_names_of_files(tmp_path: Path) -> None:
    output = opened(tmp_path)
    assert output.file("masks", "knee/1 é", ".dcm") == "masks/knee%2F1%20%C3%A9.dcm"
    assert output.file("probabilities", "a", ".nii.gz", "left/right") == "probabilities/a_left%2Fright.nii.gz"
    assert (output.path / "masks").is_dir() and not (output.path / "overlays").exists()
    long = [output.file("overlays", "é" * 200 + end, ".png") for end in "ab"]
    assert long[0] != long[1] and all(len(Path(name).name) < 200 for name in long)
    with pytest.raises(ValueError, match="expected one of masks"):
        output.file("..", "a", ".nii")


def test_records_are_small_files_and_come_together_at_the_end(tmp_path: Path) -> None:
    first = scans(tmp_path / "in", "b", "a")
    output = opened(tmp_path)
    begun = (output.path / "predictions.json").stat()
    for one in first:
        predict(output, one)
    assert (output.path / "predictions.json").stat() == begun
    (later,) = [one for one in scans(tmp_path / "in", "b", "a", "c") if one.scan_id == "c"]
    output = opened(tmp_path)
    predict(output, later, status="failed")
    assert list(output.records()) == ["a", "b", "c"]
    output.finish({"seconds": 3.5, "models": "not replaced"})
    kept = stored(output)
    assert kept["seconds"] == 3.5 and kept["models"] == [{"sha256": "ab"}]
    assert kept["scans"] == output.records() and kept["scans"]["c"]["status"] == "failed"
    assert opened(tmp_path).records() == output.records()
