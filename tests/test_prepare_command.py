"""The command that prepares a data set alone, as a user gives it."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from nifti_sets import make_msd

from experiments.prepare import main

ROOT = Path(__file__).resolve().parent.parent


def arguments(root: Path, workdir: Path, *more: str) -> list[str]:
    flags = (f"--config.data.root={root}", f"--workdir={workdir}", *more)
    return ["prepare", "--config=configs/hippocampus.py", *flags]


def test_it_prepares_once_and_says_where(tmp_path: Path) -> None:
    root, workdir = make_msd(tmp_path), tmp_path / "runs" / "knees"
    command = [sys.executable, "-m", "experiments.prepare", *arguments(root, workdir)[1:]]
    outputs = []
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout.splitlines())
    assert "prepare Knee  scan 4/4" in outputs[0][0]
    assert outputs[1] == outputs[0][1:]
    assert outputs[1][0].startswith("Knee: 4 scans (3 labelled), 20 sagittal slices, voxels (5, 4, 3), float32, ")
    folder = Path(outputs[1][1].removeprefix("Prepared: "))
    assert folder.is_relative_to(tmp_path / "runs" / "prepared") and not workdir.exists()
    assert len(tfds.builder_from_directory(folder).as_data_source(split="slices")) == 20


def test_it_can_be_told_where(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert main(arguments(make_msd(tmp_path), tmp_path / "study", f"--config.data.prepared={elsewhere}")) == 0
    assert f"Prepared: {elsewhere}/knee/sagittal_" in capsys.readouterr().out


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = make_msd(tmp_path)
    (root / "imagesTr" / "knee_002.nii.gz").write_bytes(b"broken")
    assert main(arguments(root, tmp_path / "study")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and "knee_002.nii.gz cannot be read" in line
    assert main(["prepare", "--workdir=x"]) == 2
    assert "no --config given" in capsys.readouterr().err
    assert main([*arguments(root, tmp_path / "study"), "--config.data.slice_axis=oblique"]) == 2
    assert "data.slice_axis: got 'oblique'" in capsys.readouterr().err
    assert main(["prepare", "--help"]) == 0
    assert "python -m experiments.prepare --config" in capsys.readouterr().out
