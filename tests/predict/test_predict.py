"""The command from end to end: files in, masks, maps, measurements and page out."""

import csv
import errno
import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pytest
from small_model import model, preprocessing, record, write_run

from experiments.predict import main
from inpaint_ssl import progress
from inpaint_ssl.bundle import load_bundle, write_bundle
from inpaint_ssl.predict.scan import OneScan
from inpaint_ssl.qdess import QdessSequence, echo_ratio
from inpaint_ssl.trained.segmenter import Segmenter

AFFINE = np.array([[0, 0, 2.5, -10], [-1, 0, 0, 12], [0, -1.25, 0, 30], [0, 0, 0, 1.0]])  # stored as PIR... of RAS

SEQUENCE = QdessSequence(tr_ms=25.0, te_ms=8.0, flip_angle_deg=30.0, spoiler_area=3132.0, spoiler_duration_us=1560.0)


def command(*flags: str) -> int:
    return main(["predict", *flags])


def write_scan(path: Path, seed: int = 0, channels: int = 1) -> np.ndarray:
    """Voxels in the order of the file; 14 x 15 x 5 in RAS once read (axes permuted and flipped by AFFINE)."""
    rng = np.random.default_rng(seed)
    shape = (15, 14, 5) if channels == 1 else (15, 14, 5, channels)
    data = (rng.normal(100, 20, shape) + 80 * (rng.random(shape) > 0.7)).astype(np.int16)
    if channels == 2:  # echoes of a T2 of 30 ms
        data = data.astype(np.float32)
        data[..., 1] = data[..., 0] * echo_ratio(30.0, SEQUENCE)
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return data


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two networks of the same kind."""
    about = record(preprocessing(slice_axis="sagittal"))
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / f"seed-{seed}", model(about, seed)) for seed in (0, 1)]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    for number in range(2):
        write_scan(folder / f"case {number}.nii.gz", number)
    return folder


def as_ras(path: Path) -> nib.Nifti1Image:
    return nib.as_closest_canonical(nib.load(path))


def test_masks_measurements_and_page(runs: list[Path], scans: Path, tmp_path: Path, capsys) -> None:
    (scans / "broken.nii.gz").write_bytes(b"nothing")
    output = tmp_path / "out"
    flags = (f"--model={runs[0]}", f"--input={scans}", f"--output={output}", "--batch_size=4")
    assert command(*flags) == 1
    told = capsys.readouterr()
    assert "2 scans segmented, 1 failed" in told.out and "broken.nii.gz cannot be read" in told.err
    records = json.loads((output / "predictions.json").read_text())["scans"]
    assert [one["status"] for one in records.values()] == ["failed", "done", "done"]
    with open(output / "measurements.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["status"] == "done"]
    assert len(rows) == 4 and "broken" in (output / "index.html").read_text()
    segmenter = Segmenter([model(record(preprocessing(slice_axis="sagittal")), 0)])
    for name in ("case 0", "case 1"):
        given, mask = nib.load(scans / f"{name}.nii.gz"), nib.load(output / records[name]["mask"])
        assert mask.shape == given.shape and nib.aff2axcodes(mask.affine) == nib.aff2axcodes(given.affine)
        np.testing.assert_allclose(mask.affine, given.affine)
        image = as_ras(scans / f"{name}.nii.gz")
        spacing = tuple(map(float, image.header.get_zooms()[:3]))
        expected = segmenter.segment(np.asarray(image.dataobj)[..., None], spacing).labels
        found = np.asarray(as_ras(output / records[name]["mask"]).dataobj)
        np.testing.assert_array_equal(found, np.array([0, 1, 4])[expected])  # label values, not indices
        assert found.any()
        for row in (row for row in rows if row["scan"] == name):
            voxels = (found == {"bright": 1, "dim": 4}[row["class"]]).sum()
            assert float(row["volume_mm3"]) == pytest.approx(voxels * 1 * 1.25 * 2.5)
        assert (output / records[name]["overlay"]).stat().st_size > 500


def test_the_same_command_goes_on_and_another_is_refused(runs: list[Path], scans: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    flags = (f"--model={runs[0]}", f"--input={scans}", f"--output={output}")
    broken = scans / "broken.nii.gz"
    broken.write_bytes(b"nothing")
    assert command(*flags) == 1
    masks = {path: path.stat().st_mtime_ns for path in output.glob("masks/*")}
    write_scan(broken, seed=5)
    next(iter(masks)).unlink()
    assert command(*flags, "--batch_size=2") == 0
    assert len(list(output.glob("masks/*"))) == 3
    again = {path: path.stat().st_mtime_ns for path in masks}
    assert sum(again[path] != masks[path] for path in masks) == 1  # that which was missing
    capsys.readouterr()
    assert command(f"--model={runs[1]}", *flags[1:]) == 2
    assert "of other models or settings: models was" in capsys.readouterr().err.replace("\n", " ")
    assert command(*flags, "--flips=rows") == 2
    assert command(flags[0], f"--input={scans}", f"--output={scans / 'out'}") == 2
    assert "masks would be read as scans" in capsys.readouterr().err


def test_an_ensemble_writes_maps(runs: list[Path], tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii"
    write_scan(scan)
    output = tmp_path / "out"
    models = ",".join(map(str, runs))
    flags = (f"--model={models}", f"--input={scan}", f"--output={output}", "--probabilities", "--uncertainty")
    assert command(*flags, "--flips=columns") == 0
    (one,) = json.loads((output / "predictions.json").read_text())["scans"].values()
    assert 0 < one["disagreement"] < 1 and len(one["probabilities"]) == 2
    given = nib.load(scan)
    probability = [nib.load(output / name) for name in one["probabilities"]]
    for image in (*probability, nib.load(output / one["uncertainty"])):
        assert image.shape == given.shape and image.get_fdata().min() >= 0 and 0 < image.get_fdata().max() <= 1
        np.testing.assert_allclose(image.affine, given.affine)
    values = np.stack([image.get_fdata() for image in probability], axis=-1)
    mask = np.asarray(nib.load(output / one["mask"]).dataobj)
    clear = np.abs(values - 0.5).min(axis=-1) > 2e-3
    clear &= np.abs(values[..., 0] - values[..., 1]) > 2e-3
    expected = np.where(values.max(axis=-1) >= 0.5, np.array([1, 4])[values.argmax(axis=-1)], 0)
    np.testing.assert_array_equal(mask[clear], expected[clear])
    # the volume as probabilities say it, in another folder, from one model: no disagreement to speak of
    assert command(f"--model={runs[0]}", f"--input={scan}", f"--output={tmp_path / 'single'}", "--uncertainty") == 2


def test_a_bundle_gives_the_masks_of_its_run(runs: list[Path], scans: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "model.zip"
    write_bundle(runs[0], bundle)
    for name, given in (("run", runs[0]), ("bundle", bundle)):
        assert command(f"--model={given}", f"--input={scans}", f"--output={tmp_path / name}") == 0
    for mask in (tmp_path / "run" / "masks").iterdir():
        assert mask.read_bytes() == (tmp_path / "bundle" / "masks" / mask.name).read_bytes()
        image = nib.load(scans / unquote(mask.name))
        own = load_bundle(bundle).segment(np.asarray(image.dataobj), affine=image.affine)
        np.testing.assert_array_equal(own, np.asarray(nib.load(mask).dataobj))


def test_scans_unlike_those_of_training_are_named(runs: list[Path], tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    data = write_scan(scan)
    nib.save(nib.Nifti1Image(data, AFFINE * np.array([[3.0], [3.0], [3.0], [1.0]])), scan)
    assert command(f"--model={runs[0]}", f"--input={scan}", f"--output={tmp_path / 'out'}") == 0
    (one,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["scans"].values()
    said = " ".join(one["warnings"])
    assert "spacing along y is 3.00 mm, training scans had 1.00 mm (5 scans)" in said


def test_two_echoes_with_their_parameters_have_t2(tmp_path: Path) -> None:
    about = record(preprocessing(image_size=(16, 16)), channels=2)
    run = write_run(tmp_path / "run", model(about))
    scan = tmp_path / "knee.nii.gz"
    write_scan(scan, channels=2)
    parameters = {"RepetitionTime": 0.025, "EchoTime": 0.008, "FlipAngle": 30}
    spoiler = {"spoiler_area": 3132.0, "spoiler_duration_us": 1560.0}
    values = {}
    for name, sidecar in (("without", parameters), ("with", {**parameters, **spoiler})):
        (tmp_path / "knee.json").write_text(json.dumps(sidecar))
        assert command(f"--model={run}", f"--input={scan}", f"--output={tmp_path / name}") == 0
        (one,) = json.loads((tmp_path / name / "predictions.json").read_text())["scans"].values()
        rows = [row for row in one["measurements"] if row["metric"] == "mean_t2_ms"]
        assert len(rows) == 2
        values[name] = [row["value"] for row in rows if "empty_prediction" not in row["flag"]]
        assert all(("t2_unknown" in row["flag"]) == (name == "without") for row in rows)
    there = len(values["with"])
    assert there and values["without"] == [None] * there and values["with"] == pytest.approx([30.0] * there, abs=1e-3)


def test_what_cannot_be_used_is_told(runs: list[Path], scans: Path, tmp_path: Path, capsys) -> None:
    for flags, said in (
        ((f"--model={runs[0]}",), "no --input given"),
        (("--model=", f"--input={scans}", f"--output={tmp_path / 'o'}"), "no --model given"),
        ((f"--model={tmp_path / 'no'}", f"--input={scans}", f"--output={tmp_path / 'o'}"), "no"),
        ((f"--model={runs[0]}", f"--input={tmp_path / 'no'}", f"--output={tmp_path / 'o'}"), "no such file or folder"),
        ((f"--model={runs[0].parent}", f"--input={scans}", f"--output={tmp_path / 'o'}"), "is no folder of a run"),
        ((f"--model={runs[0]}", f"--input={scans}", f"--output={tmp_path / 'o'}", "--overlap=2"), "overlap"),
        ((f"--model={runs[0]}", f"--input={scans}", f"--output={tmp_path / 'o'}", "--batch_size=0"), "batch_size"),
    ):
        assert command(*flags) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "o").exists()
    assert command("--help") == 0 and "--uncertainty" in capsys.readouterr().out
    shutil.rmtree(scans)


def test_masks_and_maps_lie_in_both_forms_of_the_header_where_the_scan_does(runs: list[Path], tmp_path: Path) -> None:
    """Viewers differ in whether they go by qform or sform, which need not agree."""
    scans, output = tmp_path / "scans", tmp_path / "out"
    moved = AFFINE + np.array([[0, 0, 0, 10.0], *np.zeros((3, 4))])
    for name, (q_code, s_code) in {"both": (2, 4), "q only": (1, 0), "s only": (0, 2), "none": (0, 0)}.items():
        write_scan(scans / f"{name}.nii")
        image = nib.load(scans / f"{name}.nii", mmap=False)
        image.set_qform(moved, q_code)
        image.set_sform(AFFINE, s_code)
        nib.save(image, scans / f"{name}.nii")
    flags = (f"--model={','.join(map(str, runs))}", "--uncertainty", "--probabilities")
    assert command(*flags, f"--input={scans}", f"--output={output}") == 0
    written = [path for kind in ("masks", "uncertainty", "probabilities") for path in output.glob(f"{kind}/*.nii.gz")]
    assert len(written) == 4 * (1 + 1 + 2)
    for path in written:
        (given,) = (one for one in scans.iterdir() if unquote(path.name).startswith(one.stem))
        mine, theirs = nib.load(path), nib.load(given)
        np.testing.assert_array_equal(mine.affine, theirs.affine)
        for form in ("get_qform", "get_sform"):
            one, other = (getattr(header, form)(coded=True) for header in (mine.header, theirs.header))
            assert one[1] == other[1]
            np.testing.assert_array_equal(one[0], other[0])


def test_names_that_are_not_utf_8(runs: list[Path], scans: Path, tmp_path: Path, capsys) -> None:
    write_scan(scans / "case 2.nii.gz")
    try:
        (scans / "case 2.nii.gz").rename(scans / "M\udcfcller.nii.gz")  # as Latin-1 has it
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    output = tmp_path / "out"
    flags = (f"--model={runs[0]}", f"--input={scans}", f"--output={output}")
    assert command(*flags) == 0
    assert "3 scans segmented" in capsys.readouterr().out
    record = json.loads((output / "predictions.json").read_text())["scans"][r"M\udcfcller"]
    assert (output / record["mask"]).is_file() and record["source"] == r"M\udcfcller.nii.gz"
    before = (output / record["mask"]).stat().st_mtime_ns
    assert command(*flags) == 0 and (output / record["mask"]).stat().st_mtime_ns == before


def test_a_full_disk_ends_the_command_alone(runs, scans: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """Space for a memory map is asked for: writing to one that has none ends the process by a signal."""
    flags = (f"--model={runs[0]}", f"--input={scans}", f"--output={tmp_path / 'out'}", "--probabilities")

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        assert command(*flags) == 2
    told = capsys.readouterr().err
    assert "case 0: No space left on device" in told and str(tmp_path / "out") in told and "goes on" in told
    assert not list((tmp_path / "out").glob("records/*")) and command(*flags) == 0


def test_the_progress_line_counts_slices_within_a_scan(runs, scans: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_PLAIN_LINES", 0.0)
    flags = (f"--model={runs[0]}", f"--input={scans}", f"--output={tmp_path / 'out'}", "--batch_size=2")
    assert command(*flags) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "scan 0/2 case 0 2 slices" in shown and "scan 1/2 case 1 5 slices" in shown


def test_what_no_reader_foresees_fails_its_scan_alone(
    runs: list[Path], scans: Path, tmp_path: Path, monkeypatch
) -> None:
    inner, seen = OneScan._write_mask, []

    def failing(self, given, *rest):
        if given.scan_id == "case 0":
            raise ZeroDivisionError("by zero")
        seen.append(given.scan_id)
        return inner(self, given, *rest)

    monkeypatch.setattr(OneScan, "_write_mask", failing)
    flags = (f"--model={runs[0]}", f"--input={scans}", f"--output={tmp_path / 'out'}")
    assert command(*flags) == 1 and seen == ["case 1"]
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())["scans"]
    assert "scan case 0: an unforeseen ZeroDivisionError in test_predict.py, line" in records["case 0"]["error"]
    (scans / "case 0.nii.gz").unlink()  # given up: the page forgets it
    assert command(*flags) == 0
    assert "case 0" not in (tmp_path / "out" / "measurements.csv").read_text()


def test_an_interruption_leaves_tables_of_what_is_done(
    runs: list[Path], scans: Path, tmp_path: Path, monkeypatch
) -> None:
    inner = OneScan._write_mask

    def interrupted(self, given, *rest):
        if given.scan_id == "case 1":
            raise KeyboardInterrupt
        return inner(self, given, *rest)

    flags = (f"--model={runs[0]}", f"--input={scans}", f"--output={tmp_path / 'out'}")
    with monkeypatch.context() as patch:
        patch.setattr(OneScan, "_write_mask", interrupted)
        assert command(*flags) == 130
    table = (tmp_path / "out" / "measurements.csv").read_text()
    assert "case 0" in table and "case 1" not in table and "case 0" in (tmp_path / "out" / "index.html").read_text()
    assert command(*flags) == 0 and "case 1" in (tmp_path / "out" / "measurements.csv").read_text()
