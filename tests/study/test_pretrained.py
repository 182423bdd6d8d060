"""Weights from elsewhere: what may differ, whose scans they must not have seen, and that they stay the same."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from small_source import make_source

from configs import base, quickstart
from inpaint_ssl.config import resolve
from inpaint_ssl.data import ClassMap, Preprocessing, ScanInfo
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import file_sha256, write_json_atomic
from inpaint_ssl.study import pretrained
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.designs import cells_of
from inpaint_ssl.study.pretrained import (
    check_pretraining,
    check_unchanged,
    pretrained_from,
    trained_on_both,
    trained_on_elsewhere,
)
from inpaint_ssl.trained.record import ModelRecord, TrainedOn
from inpaint_ssl.trained.run import TrainedModel

MRI = Preprocessing("mri", "sagittal", (64, 64), "all", ((400.0, 50.0),))
CT = Preprocessing("ct", "axial", (64, 64), "all", ((400.0, 50.0), (1800.0, 40.0)))
CHANNELS = ("echo 1", "echo 2")
WINDOWS = ("window 400/50 HU", "window 1800/40 HU")
SCANS = TrainedOn(2, 2, {}, ("a" * 64, "b" * 64))
BUNDLE = ModelRecord(
    task="inpainting", filters=(16, 32, 64, 128), groups=16, outputs=2, compute_dtype="float32", preprocessing=MRI,
    input_channels=CHANNELS, scan_channels=CHANNELS, classes=ClassMap((), ()), threshold=0.5, clinical={},
    trained_on=SCANS, study="knees", dataset="first", arm="", label_fraction=0.0, seed=0, subset_draw=0,
    data_sha256="", splits_sha256="", config_sha256="", versions={},
)  # fmt: skip
TUNED = replace(BUNDLE, task="segmentation", outputs=2, classes=ClassMap(("bone", "fat"), ((1,), (2,))))


def config_of(**transfer: object) -> ConfigDict:
    config = quickstart.get_config()
    config.transfer.update(transfer)
    return resolve(config, base.get_config())


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes `record` what the bundle model.zip holds; the settings of a study that starts from it."""

    def give(record: ModelRecord, **transfer: object) -> ConfigDict:
        path = tmp_path / "model.zip"
        path.write_bytes(b"weights")
        params = {"encoder": {"kernel": np.ones(3, np.float32)}}
        monkeypatch.setattr(pretrained, "_load", lambda path, sha256: TrainedModel(record, params, path))
        return config_of(pretrained=str(path), **transfer)

    return give


def held_out(*voxels: str) -> list[ScanInfo]:
    scans = make_source((2,) * max(1, len(voxels))).scans
    return [replace(scan, image_sha256=sha256) for scan, sha256 in zip(scans, voxels or ("",), strict=True)]


def checked(
    config: ConfigDict,
    ours: Preprocessing = MRI,
    channels: tuple[str, ...] = CHANNELS,
    classes: tuple[str, ...] = ("bone", "fat"),
    dataset: str = "second",
    scans: list[ScanInfo] | None = None,
) -> list[str]:
    return check_pretraining(config, ours, channels, dataset, classes, scans or held_out())


def test_no_run_of_its_own_pretrains(given) -> None:
    config = given(BUNDLE)
    cells = cells_of(config)
    assert cells and all(cell.phase == "finetune" for cell in cells)
    assert {cell.start for cell in cells if cell.start} == {Cell("pretrain", seed) for seed in config.seeds}


def test_what_fits_is_taken_as_it_is(given) -> None:
    config = given(BUNDLE)
    assert checked(config) == []
    weights = pretrained.start_weights(config, Path("nowhere"), Cell("pretrain", 7))
    np.testing.assert_array_equal(weights["encoder"]["kernel"], np.ones(3))
    assert trained_on_elsewhere(config, Cell("pretrain", 7), CHANNELS) == SCANS
    assert trained_on_elsewhere(config, Cell("finetune", 7), CHANNELS) is None
    assert trained_on_elsewhere(config_of(), Cell("pretrain", 7), CHANNELS) is None
    assert checked(config_of()) == [], "nothing is asked of a study that pretrains itself"


def test_ranges_of_other_channels_say_nothing_of_ours(given) -> None:
    ranges = {"spacing_x_mm": (1.0, 2.0), "channel_0_z_max": (3.0, 4.0), "channel_1_z_max": (3.0, 4.0)}
    config = given(replace(BUNDLE, trained_on=replace(SCANS, ranges=ranges)))
    assert trained_on_elsewhere(config, Cell("pretrain", 0), CHANNELS) == replace(SCANS, ranges=ranges)
    found = trained_on_elsewhere(config, Cell("pretrain", 0), CHANNELS[1:])
    assert found == replace(SCANS, ranges={"spacing_x_mm": (1.0, 2.0)})


def test_scans_that_were_pretrained_on_elsewhere_count_once() -> None:
    scans = held_out("a" * 64, "b" * 64, "c" * 64, "d" * 64)
    scans = [replace(scan, subject_id=f"subject_{number // 2}") for number, scan in enumerate(scans)]
    own, before = TrainedOn.of(scans, "mri"), TrainedOn(3, 2, {}, ("a" * 64, "b" * 64, "e" * 64))
    assert (own.scans, own.subjects) == (4, 2)
    both = trained_on_both(own, scans, before)  # a and b are of one subject, which `before` had too
    assert (both.scans, both.subjects, len(both.image_sha256)) == (5, 3, 5)
    assert trained_on_both(own, scans, TrainedOn(1, 1, {}, ("f" * 64,))).scans == 5


@pytest.mark.parametrize(
    ("record", "ours", "message"),
    [
        (BUNDLE, CT, "modality was 'mri' in pretraining and is 'ct' here"),
        (BUNDLE, replace(MRI, slice_axis="axial"), "slice_axis was 'sagittal' in pretraining and is 'axial' here"),
        (BUNDLE, replace(MRI, target_spacing_mm=(1.0, 2.0)), r"target_spacing_mm was \[\] .* is \[1.0, 2.0\] here"),
        (BUNDLE, replace(MRI, channels="root_sum_of_squares"), "channels was 'all' .* set config.transfer.adapt_input"),
        (
            replace(BUNDLE, preprocessing=CT),
            replace(CT, hu_windows=((400.0, 40.0),)),
            r"hu_windows was \[\[400.0, 50.0",
        ),
        (
            replace(BUNDLE, input_channels=("T1", "T2")),
            MRI,
            r"input_channels was \['T1', 'T2'\] .*; .* set config.transfer.adapt_input to",
        ),
        (
            replace(BUNDLE, filters=(16, 32)),
            MRI,
            r"the network had the filters \(16, 32\) .* use config.model.filters=\(16, 32\)",
        ),
        (replace(BUNDLE, groups=8), MRI, "GroupNorm had 8 groups in pretraining and has 16 here; use config.model.gro"),
    ],
)
def test_other_input_is_refused_with_both_values(given, record: ModelRecord, ours: Preprocessing, message: str) -> None:
    with pytest.raises(InputError, match=rf"model\.zip: {message}"):
        checked(given(record), ours)


@pytest.mark.parametrize("ours", [replace(MRI, image_size=(32, 128)), replace(MRI, hu_windows=((1.0, 2.0),))])
def test_images_may_have_another_size_and_mri_has_no_windows(given, ours: Preprocessing) -> None:
    assert checked(given(BUNDLE), ours) == []


@pytest.mark.parametrize("how", ["mean", "repeat"])
def test_channels_may_differ_where_they_are_adapted(given, how: str) -> None:
    config = given(BUNDLE, adapt_input=how)
    one = replace(MRI, channels="root_sum_of_squares")
    (note,) = checked(config, one, ("root_sum_of_squares",))
    assert note == "the input channels of the pretrained weights were echo 1, echo 2; here they are root_sum_of_squares"
    assert checked(config) == []
    with pytest.raises(InputError, match="modality was 'mri'"):  # three windows are no other channels of an MRI scan
        checked(config, CT, WINDOWS)


def test_held_out_scans_that_the_weights_saw_are_found_by_their_voxels(given) -> None:
    config = given(BUNDLE)
    assert checked(config, scans=held_out("c" * 64, "")) == []
    with pytest.raises(
        InputError, match=r"were trained on 2 of the 3 scans that we validate or test on, such as scan_1"
    ):
        checked(config, scans=held_out("c" * 64, "b" * 64, "a" * 64))


def test_weights_that_were_trained_on_labels_are_marked(given) -> None:
    (note,) = checked(given(TUNED))
    assert "trained on labels (knees, first)" in note


def test_the_output_serves_the_same_classes_alone(given) -> None:
    parts = ("encoder", "decoder", "post_processing")
    assert len(checked(given(TUNED, parts=parts))) == 1
    with pytest.raises(
        InputError, match="that network segments bone, fat and ours segments fat, bone; leave 'post_pro"
    ):
        checked(given(TUNED, parts=parts), classes=("fat", "bone"))
    with pytest.raises(InputError, match="that network restores images and ours segments bone, fat"):
        checked(given(BUNDLE, parts=parts))


def test_what_the_manifest_says(given, tmp_path: Path) -> None:
    found = pretrained_from(given(BUNDLE))
    assert found == {
        "kind": "bundle", "name": "model.zip", "sha256": file_sha256(tmp_path / "model.zip"), "study": "knees",
        "dataset": "first", "task": "inpainting",
    }  # fmt: skip
    assert str(tmp_path) not in json.dumps(found)
    assert pretrained_from(config_of()) == {}


def test_a_study_goes_on_with_the_weights_that_it_began_with_alone(given, tmp_path: Path) -> None:
    config, workdir = given(BUNDLE), tmp_path / "study"
    check_unchanged(config, workdir)  # nothing there yet
    write_json_atomic(workdir / "manifest.json", {pretrained.RECORD: pretrained_from(config)})
    os.utime(tmp_path / "model.zip", (0, 0))
    check_unchanged(config, workdir)
    (tmp_path / "model.zip").write_bytes(b"Weights")
    for act in (check_unchanged, lambda *args: pretrained.start_weights(*args, Cell("pretrain", 0))):
        with pytest.raises(InputError, match=r"model.zip holds other weights than those .*study was started with"):
            act(config, workdir)
    write_json_atomic(workdir / "manifest.json", {})  # of a version that did not say
    check_unchanged(config, workdir)


def test_an_earlier_study_must_stay_as_it_was_too(tmp_path: Path) -> None:
    config, run = config_of(pretrained_study=str(tmp_path / "first")), tmp_path / "first/pretrain/seed-0"
    write_json_atomic(run / "result.json", {"best_crc32": 1})
    identity = pretrained._identity(config)
    assert (identity["kind"], identity["name"]) == ("study", "first")
    write_json_atomic(tmp_path / "study/manifest.json", {pretrained.RECORD: identity})
    check_unchanged(config, tmp_path / "study")
    write_json_atomic(run / "result.json", {"best_crc32": 2})
    with pytest.raises(InputError, match="first holds other weights than those"):
        check_unchanged(config, tmp_path / "study")


def test_a_bundle_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"config.transfer.pretrained: gone/model.zip cannot be read \(No such file"):
        check_unchanged(config_of(pretrained="gone/model.zip"), tmp_path)
    with pytest.raises(InputError, match="is a folder, expected a bundle"):
        check_unchanged(config_of(pretrained="."), tmp_path)
    Path("broken.zip").write_bytes(b"PK\x03\x04 and no more")
    check_unchanged(config_of(pretrained="broken.zip"), tmp_path)
    with pytest.raises(InputError, match=r"^config\.transfer\.pretrained: .*broken\.zip"):
        pretrained_from(config_of(pretrained="broken.zip"))
