"""The command that writes T2 maps, from files in the layout of SKM-TEA to NIfTI on their grid."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
from nifti_sets import make_msd

from experiments.t2_maps import main
from inpaint_ssl.data import ReaderSettings, open_dataset
from inpaint_ssl.data.nifti_output import write_nifti
from inpaint_ssl.data.phantom.knee import SEQUENCE
from inpaint_ssl.data.phantom.skm_tea import write_skm_tea
from inpaint_ssl.metrics import qdess_t2_ms

ROOT = Path(__file__).resolve().parent.parent
SEQUENCE_SETTINGS: dict[str, Any] = {**SEQUENCE.as_acquisition(), "suppress_fat": True, "suppress_fluid": True}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Four scans, two of them from right to left, and one without labels."""
    root = tmp_path / "skm_tea"
    write_skm_tea(root, 4, unlabelled=1, size=(40, 36), slices=12, seed=3)
    return root


def arguments(root: Path, output: Path, *more: str) -> list[str]:
    flags = (f"--config.data.root={root}", f"--output={output}", *more)
    return ["t2_maps", "--config=configs/paper_mri.py", *flags]


def record(output: Path) -> dict[str, Any]:
    return json.loads((output / "t2_maps.json").read_text())


def stored(root: Path, scan_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    with h5py.File(root / "image_files" / f"{scan_id}.h5") as file:
        seg = file["seg"][()].astype(bool) if "seg" in file else None
        return file["echo1"][()], file["echo2"][()], seg


def test_a_release_from_file_to_map(release: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "maps"
    command = [sys.executable, "-m", "experiments.t2_maps", *arguments(release, output)[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "T2 maps  scan 5/5" in done.stdout and "1 scans have no label, their T1 is 1200 ms" in done.stdout
    assert done.stdout.splitlines()[-1] == f"T2 maps: {output}"
    names = [f"MTR_{n:03d}" for n in range(1, 6)]
    assert sorted(path.name for path in output.iterdir()) == [*(f"{n}_t2_ms.nii.gz" for n in names), "t2_maps.json"]
    written = record(output)
    assert written["t2"]["convention"] == "skm_tea" and written["t2"]["t1_ms"]["meniscus"] == 1000.0
    reader = open_dataset(ReaderSettings(root=str(release)))
    for entry in reader.entries:
        echo1, echo2, seg = stored(release, entry.scan_id)
        image: Any = nib.load(output / f"{entry.scan_id}_t2_ms.nii.gz")
        found, one = np.asarray(image.dataobj), written["scans"][entry.scan_id]
        expected = qdess_t2_ms(echo1, echo2, **SEQUENCE_SETTINGS)
        if seg is not None:
            meniscus = seg[..., 4] | seg[..., 5]
            expected[meniscus] = qdess_t2_ms(echo1, echo2, t1_ms=1000.0, **SEQUENCE_SETTINGS)[meniscus]
            tissues = [seg[..., 0], seg[..., 1], seg[..., 2] | seg[..., 3], meniscus]
            for name, mask in zip(reader.labels, tissues, strict=True):
                values = expected[mask]
                assert one["classes"][name]["mean_t2_ms"] == pytest.approx(np.nanmean(values), rel=1e-12)
                assert one["classes"][name]["voxels"] == mask.sum()
                assert one["classes"][name]["invalid"] == np.isnan(values).sum()
        # The file holds the voxels in the order of the HDF5 file: from left to right or from right to left.
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.astype(np.float32))
        np.testing.assert_allclose(image.affine, reader.read(entry).original_affine, atol=1e-4)
        assert one["invalid_share"] == np.isnan(expected).mean() and 0.05 < one["invalid_share"] < 0.95
        assert ("no label" in one["note"]) == (seg is None) and bool(one["classes"]) == (seg is not None)
    assert str(tmp_path) not in (output / "t2_maps.json").read_text()


def test_settings_of_the_study(release: Path, tmp_path: Path) -> None:
    more = ("--config.clinical.t2_convention=original_code", "--config.clinical.t1_ms=('femoral_cartilage=900',)",
            "--config.clinical.t2_suppress_fat=false", "--config.clinical.t2_suppress_fluid=false",
            "--config.clinical.t2_bounds_ms=(10., 60.)")  # fmt: skip
    assert main(arguments(release, tmp_path / "maps", *more)) == 0
    echo1, echo2, seg = stored(release, "MTR_001")
    given = {**SEQUENCE.as_acquisition(), "bounds_ms": (10.0, 60.0)}
    expected = qdess_t2_ms(echo1, echo2, **given)
    expected[seg[..., 1]] = qdess_t2_ms(echo1, echo2, t1_ms=900.0, **given)[seg[..., 1]]
    found = np.asarray(nib.load(tmp_path / "maps" / "MTR_001_t2_ms.nii.gz").dataobj)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    one = record(tmp_path / "maps")["scans"]["MTR_001"]["classes"]["femoral_cartilage"]
    values = expected[seg[..., 1]]
    assert one["invalid"] == np.isnan(values).sum() > 0
    assert one["mean_t2_ms"] == pytest.approx(np.nansum(values) / len(values), rel=1e-12)


def test_the_same_command_does_what_is_missing(release: Path, tmp_path: Path) -> None:
    output = tmp_path / "maps"
    assert main(arguments(release, output)) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    (output / "MTR_002_t2_ms.nii.gz").unlink()
    (output / "MTR_003_t2_ms.nii.gz").write_bytes(b"from a run that was stopped before it could list this")
    unlisted = record(output)
    del unlisted["scans"]["MTR_003"]
    (output / "t2_maps.json").write_text(json.dumps(unlisted))
    kept = (output / "MTR_001_t2_ms.nii.gz").stat().st_mtime_ns
    changed = release / "image_files" / "MTR_004.h5"
    with h5py.File(changed, "r+") as file:
        file["echo1"][...] = file["echo1"][...] * 1.001
    assert main(arguments(release, output)) == 0
    after = {path.name: path.read_bytes() for path in output.iterdir()}
    assert (output / "MTR_001_t2_ms.nii.gz").stat().st_mtime_ns == kept
    assert {name for name in before if before[name] != after[name]} == {"MTR_004_t2_ms.nii.gz", "t2_maps.json"}


def test_a_run_that_was_stopped_goes_on(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path, *given: Any) -> None:
        write_nifti(path, *given)
        raise KeyboardInterrupt  # after the map, before it is listed

    with monkeypatch.context() as patch:
        patch.setattr("experiments.t2_maps.write_nifti", stopped)
        assert main(arguments(release, tmp_path / "maps")) == 130
    assert "the same command goes on with what is missing" in capsys.readouterr().err
    assert len(list((tmp_path / "maps").glob("*.nii.gz"))) == 1 and record(tmp_path / "maps")["scans"] == {}
    assert main(arguments(release, tmp_path / "maps")) == 0
    assert len(record(tmp_path / "maps")["scans"]) == 5


def test_other_maps_are_not_overwritten(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "maps"
    assert main(arguments(release, output)) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    for more in ("--config.clinical.t2_convention=original_code", "--config.data.classes=('meniscus',)"):
        capsys.readouterr()
        assert main(arguments(release, output, more)) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "t2_maps.json is of other settings or another data set; choose another folder" in line
    (output / "t2_maps.json").unlink()
    assert main(arguments(release, output)) == 2
    assert "MTR_001_t2_ms.nii.gz is there without a t2_maps.json" in capsys.readouterr().err
    before.pop("t2_maps.json")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_scan_without_a_sequence_is_refused_by_name(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(arguments(release, tmp_path / "maps")) == 0
    capsys.readouterr()
    table = release / "all_metadata.csv"
    lines = table.read_text().splitlines()
    column = lines[0].split(",").index("SpoilerGradientArea")
    cells = lines[3].split(",")
    cells[column] = ""
    table.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    assert main(arguments(release, tmp_path / "maps")) == 2
    out, err = capsys.readouterr()
    (line,) = err.strip().splitlines()
    assert line.startswith(f"error: scan {cells[0]}: acquisition lacks spoiler_area")
    assert "note: 1 of 5 scans have no T2; t2_maps.json says why" in out
    scans = record(tmp_path / "maps")["scans"]
    assert [name for name, one in scans.items() if "refused" in one] == [cells[0]]
    assert len(list((tmp_path / "maps").glob("*.nii.gz"))) == 4  # the map that it had before is gone


def test_generated_knees(tmp_path: Path) -> None:
    flags = (
        "--config.data.phantom.subjects=3",
        "--config.data.phantom.slices=8",
        "--config.data.phantom.size=(32, 32)",
    )
    words = ["t2_maps", "--config=configs/quickstart.py", f"--output={tmp_path}", *flags]
    assert main(words) == 0
    assert len(list(tmp_path.glob("phantom_*_t2_ms.nii.gz"))) == 3
    assert nib.load(tmp_path / "phantom_0000_t2_ms.nii.gz").shape == (8, 32, 32)


def test_other_data_and_wrong_words_are_one_line(tmp_path: Path, release: Path, capsys: pytest.CaptureFixture) -> None:
    def complaint(words: list[str]) -> str:
        assert main(words) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    hippocampus = ["t2_maps", "--config=configs/hippocampus.py", f"--output={tmp_path / 'maps'}"]
    two_channels = make_msd(tmp_path)
    assert main([*hippocampus, f"--config.data.root={two_channels}"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4 and lines[0].startswith("error: scan knee_001: acquisition lacks tr_ms, te_ms")
    described = json.loads((two_channels / "dataset.json").read_text())
    described["modality"] = {"0": "MRI"}
    (two_channels / "dataset.json").write_text(json.dumps(described))
    line = complaint([*hippocampus, f"--config.data.root={two_channels}"])
    assert "scan knee_001 and all others of Knee have the channels MRI, expected two qDESS echoes" in line
    assert "no --output given" in complaint(arguments(release, tmp_path)[:-1])
    assert "is a file, expected a folder" in complaint(arguments(release, two_channels / "dataset.json"))
    assert "no class 'knee'" in complaint(arguments(release, tmp_path / "a", "--config.clinical.t1_ms=('knee=1',)"))
    assert not (tmp_path / "a").exists()
    assert main(["t2_maps", "--help"]) == 0
    assert "python -m experiments.t2_maps --config" in capsys.readouterr().out
