"""Generated abdomens in the layout of nnU-Net v2, read as any CT data set is."""

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_sets import message

from experiments import phantom as command
from inpaint_ssl.data.geometry import display
from inpaint_ssl.data.phantom import AbdomenPhantom, AbdomenTissue
from inpaint_ssl.data.phantom.nnunet import write_nnunet
from inpaint_ssl.data.readers import NiftiDataset, ReaderSettings, open_dataset
from inpaint_ssl.metrics import area_mm2, mean_hu

ROOT = Path(__file__).resolve().parent.parent.parent
SUBJECTS, UNLABELLED = 4, 3
SETTINGS: dict[str, Any] = {"size": (64, 80), "seed": 3, "snr": 12.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("abdomens") / "Dataset007_Abdomen"
    counted: list[int] = []
    write_nnunet(root, SUBJECTS, unlabelled=UNLABELLED, on_scan=counted.append, **SETTINGS)
    assert counted == list(range(1, SUBJECTS + UNLABELLED + 1))
    return root


@pytest.fixture(scope="module")
def abdomens() -> AbdomenPhantom:
    return AbdomenPhantom(subjects=SUBJECTS, unlabelled_subjects=UNLABELLED, **SETTINGS)


def test_the_layout(folder: Path) -> None:
    labelled = [f"abdomen_{n:04d}" for n in range(SUBJECTS)]
    unlabelled = [f"abdomen_{n:04d}" for n in range(SUBJECTS, SUBJECTS + UNLABELLED)]
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    images = [f"imagesTr/{name}_0000.nii.gz" for name in labelled] + [f"imagesUl/{n}_0000.nii.gz" for n in unlabelled]
    assert found == ["dataset.json", *images, *(f"labelsTr/{name}.nii.gz" for name in labelled)]
    classes = {"muscle": 1, "subcutaneous_fat": 2, "visceral_fat": 3, "intramuscular_fat": 4}
    assert json.loads((folder / "dataset.json").read_text()) == {
        "name": "abdomen_phantom",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **classes},
        "numTraining": SUBJECTS,
        "file_ending": ".nii.gz",
    }


def test_the_files_as_nibabel_reads_them(folder: Path, abdomens: AbdomenPhantom) -> None:
    """LPS with its geometry in both places of the header, HU and labels without scaling."""
    scan, truth = abdomens.read_with_truth(abdomens.entries[1])
    for path, ras in (("imagesTr/abdomen_0001_0000", scan.image[..., 0]), ("labelsTr/abdomen_0001", scan.label)):
        file: Any = nib.load(folder / f"{path}.nii.gz")
        assert nib.aff2axcodes(file.affine) == ("L", "P", "S") and file.header.get_xyzt_units()[0] == "mm"
        assert file.header.get_zooms() == pytest.approx((*(truth.field_of_view_mm[0] / 80,) * 2, 5.0))
        np.testing.assert_allclose(file.header.get_qform(), file.affine, atol=1e-4)
        assert file.header.get_sform(coded=True)[1] == 1 == file.header.get_qform(coded=True)[1]
        assert file.dataobj.slope == 1.0 and file.dataobj.inter == 0.0
        canonical = nib.as_closest_canonical(file)
        np.testing.assert_array_equal(np.asarray(canonical.dataobj), ras)
        np.testing.assert_allclose(canonical.affine, scan.affine, atol=1e-4)
        assert file.get_data_dtype() == ras.dtype


def test_they_are_read_as_the_slices_they_hold(folder: Path, abdomens: AbdomenPhantom) -> None:
    for name in ("auto", "nnunet"):
        dataset = open_dataset(ReaderSettings(root=str(folder), format=name, modality="ct"))
        assert isinstance(dataset, NiftiDataset)
    assert dataset.name == "abdomen_phantom" and dataset.labels == abdomens.labels and dataset.notes == ()
    assert dataset.channel_names == abdomens.channel_names
    for entry, generated in zip(dataset.entries, abdomens.entries, strict=True):
        scan, expected = dataset.read(entry), abdomens.read(generated)
        assert (entry.scan_id, entry.subject_id, entry.has_label) == (
            *(generated.scan_id, generated.subject_id, generated.has_label),
        )
        assert scan.image.dtype == dataset.stored_dtype(entry) == np.int16 and scan.original_orientation == "LPS"
        np.testing.assert_array_equal(scan.image, expected.image)
        np.testing.assert_allclose(scan.affine, expected.affine, atol=1e-4)
        assert scan.spacing_mm == pytest.approx(expected.spacing_mm, rel=1e-6)
        if expected.label is None:
            assert scan.label is None
        else:
            np.testing.assert_array_equal(scan.label, expected.label)


def test_they_measure_as_generated(tmp_path: Path) -> None:
    """From the files through reader and metrics: area and, without noise, HU of every class."""
    write_nnunet(tmp_path / "out", 4, size=(80, 96), seed=6, snr=math.inf)
    abdomens = AbdomenPhantom(subjects=4, unlabelled_subjects=0, size=(80, 96), seed=6, snr=math.inf)
    dataset = open_dataset(ReaderSettings(root=str(tmp_path / "out"), modality="ct"))
    for entry, generated in zip(dataset.entries, abdomens.entries, strict=True):
        scan, truth = dataset.read(entry), abdomens.truth(generated)
        assert scan.label is not None and set(truth.label_hu) == set(abdomens.labels.values())
        for name, label in dataset.labels.items():
            mask, tissue = scan.label == label, AbdomenTissue[name.upper()]
            assert area_mm2(mask, scan.spacing_mm, 2) == pytest.approx(truth.area_mm2[tissue], rel=1e-5)
            assert mean_hu(mask, scan.image[..., 0]) == pytest.approx(truth.label_hu[tissue], abs=0.3)  # whole HU


def test_they_lie_as_real_ct_does(folder: Path, real_data: Path) -> None:
    """Displayed, the air before the patient is above and the table, or the flat back, below; as in a real series."""
    real = open_dataset(ReaderSettings(root=str(real_data / "dicom" / "ct_abdomen"), format="dicom", modality="ct"))
    ours = open_dataset(ReaderSettings(root=str(folder), modality="ct"))
    shown = [display(reader.read(reader.entries[0]).image[..., 0], "axial")[0] for reader in (real, ours)]
    for image in shown:
        bone = np.argwhere(image > 300)  # most of it is spine, which lies behind the middle of the body
        body = np.argwhere((image > -200) & (image < 300))
        assert np.median(bone[:, 0]) > np.median(body[:, 0]) + 0.03 * len(image)


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_nnunet(tmp_path / name, 2, unlabelled=1, size=(32, 32))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
        if file.suffix == ".gz":  # neither a name nor a time is in it
            assert (tmp_path / "a" / file).read_bytes()[3:8] == bytes(5)
            assert len(gzip.decompress((tmp_path / "a" / file).read_bytes())) >= 352 + 32 * 32


def test_nothing_is_overwritten_or_left_half(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for place in ("full", "full/file"):
        assert "exists already" in message(write_nnunet, tmp_path / place, 3, size=(32, 32))

    def stop(n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_nnunet(tmp_path / "new" / "deep", 3, size=(32, 32), on_scan=stop)
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "empty").mkdir()
    write_nnunet(tmp_path / "empty", 1, size=(32, 32))
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "new"]


def test_unlabelled_slices_alone_serve_as_a_further_root(tmp_path: Path, folder: Path) -> None:
    write_nnunet(tmp_path / "more", 0, unlabelled=2, seed=9, size=(32, 32))
    both = ReaderSettings(root=str(folder), modality="ct", unlabelled_roots=(str(tmp_path / "more"),))
    dataset = open_dataset(both)
    assert [entry.has_label for entry in dataset.entries].count(False) == UNLABELLED + 2


@pytest.mark.parametrize(
    ("subjects", "changes", "word"),
    [
        (0, {}, "phantom.subjects"),
        (3, {"size": (8, 8)}, "phantom.size"),
        (3, {"snr": -1.0}, "phantom.snr"),
        (3, {"unlabelled": -1}, "phantom.unlabelled_subjects"),
    ],
)
def test_bad_settings(tmp_path: Path, subjects: int, changes: dict[str, Any], word: str) -> None:
    assert word in message(write_nnunet, tmp_path / "out", subjects, **changes)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--subjects=2", "--unlabelled=1", "--size=32,40", "--seed=5", "--snr=inf"]
    line = [sys.executable, "-m", "experiments.phantom", "--layout=nnunet", f"--output={out}", *words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and "write abdomens  scan 3/3" in done.stdout
    dataset = open_dataset(ReaderSettings(root=str(out)))
    expected = AbdomenPhantom(subjects=3, unlabelled_subjects=0, size=(32, 40), seed=5, snr=float("inf"))
    np.testing.assert_array_equal(dataset.read(dataset.entries[2]).image, expected.read(expected.entries[2]).image)


def test_options_that_do_not_apply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["phantom", "--layout=nnunet", f"--output={tmp_path / 'out'}"]
    for words, complaint in (
        (["--slices=24"], "--slices does not apply to --layout=nnunet, only to skm_tea"),
        (["--subjects=0"], "phantom.subjects"),
        (["--size=96"], "'96', expected two whole numbers"),
    ):
        assert command.main([*given, *words]) == 2
        output = capsys.readouterr()
        assert complaint in output.err and output.err.startswith("error: ") and output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
