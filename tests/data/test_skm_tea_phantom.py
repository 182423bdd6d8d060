"""Generated knees in the layout of SKM-TEA, compared with the real JSON files and with the knees that they show."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from nifti_sets import message

from experiments import phantom as command
from inpaint_ssl.data.phantom import PhantomDataset
from inpaint_ssl.data.phantom.anatomy import Tissue
from inpaint_ssl.data.phantom.knee import SEQUENCE
from inpaint_ssl.data.phantom.skm_tea import _lists, write_skm_tea
from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.qdess import QdessSequence, t2_ms_from_ratio

ROOT = Path(__file__).resolve().parent.parent.parent
SUBJECTS, UNLABELLED = 9, 2
SETTINGS: dict[str, Any] = {"size": (48, 40), "slices": 16, "seed": 3}
LISTS = {"train": "train", "val": "validation", "test": "test"}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("knees") / "skm_tea"
    counted: list[int] = []
    write_skm_tea(root, SUBJECTS, unlabelled=UNLABELLED, on_scan=counted.append, **SETTINGS)
    assert counted == list(range(1, SUBJECTS + UNLABELLED + 1))
    return root


@pytest.fixture(scope="module")
def knees() -> PhantomDataset:
    return PhantomDataset(subjects=SUBJECTS, unlabelled_subjects=UNLABELLED, **SETTINGS)


def listed(folder: Path) -> dict[str, Any]:
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in LISTS}


def types_of(values: dict[str, Any]) -> dict[str, str]:
    return {key: type(value).__name__ for key, value in values.items()}


def test_the_layout_is_that_of_the_real_files(release: Path, real_data: Path) -> None:
    ours, real = listed(release / "annotations" / "v1.0.0"), listed(real_data / "skm_tea_annotations")
    for name in LISTS:
        assert list(ours[name]) == list(real[name])
        assert types_of(ours[name]["info"]) == types_of(real[name]["info"])
        assert ours[name]["info"]["version"] == real[name]["info"]["version"]
        assert ours[name]["categories"] == real[name]["categories"]
        assert ours[name]["tissues"] == real[name]["tissues"]
        for image in ours[name]["images"]:
            assert types_of(image) == types_of(real[name]["images"][0])
            assert image["orientation"][:2] == ["SI", "AP"]
            assert len(image["voxel_spacing"]) == len(image["matrix_shape"]) == 3
    found = sorted(path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file())
    files = [f"image_files/MTR_{n:03d}.h5" for n in range(1, SUBJECTS + UNLABELLED + 1)]
    assert found == ["all_metadata.csv", *(f"annotations/v1.0.0/{n}.json" for n in ("test", "train", "val")), *files]


def test_shares_and_sides(release: Path) -> None:
    """Real shares of 9 are 5, 2 and 2; one scan of eight in each list, and one at least, runs from right to left."""
    lists = listed(release / "annotations" / "v1.0.0")
    assert [len(lists[name]["images"]) for name in LISTS] == [5 + UNLABELLED, 2, 2]
    for content in lists.values():
        assert [image["orientation"][2] for image in content["images"]].count("RL") == 1
    subjects = [image["subject_id"] for content in lists.values() for image in content["images"]]
    assert sorted(subjects) == list(range(1, SUBJECTS + UNLABELLED + 1))


def test_hdf5(release: Path) -> None:
    images = [image for content in listed(release / "annotations" / "v1.0.0").values() for image in content["images"]]
    for image in images:
        with h5py.File(release / "image_files" / image["file_name"]) as file:
            labelled = image["subject_id"] <= SUBJECTS
            assert set(file) == {"echo1", "echo2", "stats", *(["seg"] if labelled else [])}
            echoes = {name: file[name][()].astype(np.float64) for name in ("echo1", "echo2")}
            assert echoes["echo1"].shape == echoes["echo2"].shape == tuple(image["matrix_shape"]) == (48, 40, 16)
            if labelled:
                seg = file["seg"][()]
                assert seg.dtype == np.uint8 and seg.shape == (48, 40, 16, 6)
                assert set(np.unique(seg.sum(axis=3))) == {0, 1} and (seg.sum(axis=(0, 1, 2)) > 0).all()
            volumes = echoes | {"rss": np.hypot(echoes["echo1"], echoes["echo2"])}
            assert set(file["stats"]) == set(volumes)
            for name, volume in volumes.items():
                stats = {key: float(value[()]) for key, value in file["stats"][name].items()}
                assert stats == pytest.approx(
                    {"mean": volume.mean(), "std": volume.std(), "min": volume.min(), "max": volume.max()}
                )


def test_they_are_read_as_the_knees_they_show(release: Path, knees: PhantomDataset) -> None:
    """From either side, and medial and lateral where the knee has them."""
    dataset = open_dataset(ReaderSettings(root=str(release)))
    assert dataset.name == "skm_tea" and len(dataset) == len(knees)
    codes = []
    for entry, generated in zip(dataset.entries, knees.entries, strict=True):
        scan, (expected, truth) = dataset.read(entry), knees.read_with_truth(generated)
        assert scan.image.dtype == expected.image.dtype == np.int32
        np.testing.assert_array_equal(scan.image, expected.image)
        np.testing.assert_allclose(scan.affine, expected.affine, atol=1e-9)
        assert scan.spacing_mm == pytest.approx(expected.spacing_mm)
        assert scan.acquisition.items() <= expected.acquisition.items()
        assert QdessSequence.from_acquisition(scan.acquisition) == SEQUENCE
        codes.append(scan.original_orientation)
        assert entry.has_label == generated.has_label
        if not entry.has_label:
            assert scan.label is None
            continue
        np.testing.assert_array_equal(np.array([0, 1, 2, 3, 3, 4, 4])[scan.label], expected.label)
        centre = {value: np.argwhere(scan.label == value)[:, 0].mean() for value in range(1, 7)}
        towards_lateral = 1 if truth.medial_direction == "L" else -1  # along X, which grows to the right
        assert towards_lateral * (centre[4] - centre[3]) > 3 and towards_lateral * (centre[6] - centre[5]) > 3
        for medial, lateral in ((3, 4), (5, 6)):
            assert not truth.lateral[np.flatnonzero((scan.label == medial).any(axis=(1, 2))), 0, 0].any()
            assert truth.lateral[np.flatnonzero((scan.label == lateral).any(axis=(1, 2))), 0, 0].all()
    assert codes.count("IPL") == 3 and codes.count("IPR") == len(codes) - 3


def test_metadata(release: Path, knees: PhantomDataset) -> None:
    with open(release / "all_metadata.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["MTR_ID"] for row in rows] == [f"MTR_{n:03d}" for n in range(1, SUBJECTS + UNLABELLED + 1)]
    for row, entry in zip(rows, knees.entries, strict=True):
        assert row["MedialDirection"] == knees.truth(entry).medial_direction
        numbers = [float(row[column]) for column in list(row)[2:]]
        assert numbers == [3132.0, 1560.0, 25.0, 8.0, 30.0]
        assert list(row)[2:] == [
            *("SpoilerGradientArea", "SpoilerGradientTime", "RepetitionTime", "EchoTime1", "FlipAngle")
        ]


def test_noise_free_knees_keep_their_t2(tmp_path: Path) -> None:
    """Real-valued echoes and the sequence in the tables give back the T2 that the knee was made of."""
    settings = {"size": (48, 48), "slices": 12, "snr": math.inf}
    write_skm_tea(tmp_path / "out", 3, **settings)
    dataset = open_dataset(ReaderSettings(root=str(tmp_path / "out")))
    knees = PhantomDataset(subjects=3, unlabelled_subjects=0, **settings)
    scan, truth = dataset.read(dataset.entries[2]), knees.truth(knees.entries[2])
    inside = truth.pure & (truth.tissue != Tissue.AIR)
    echoes = scan.image[inside].astype(np.float64)
    found = t2_ms_from_ratio(echoes[:, 1] / echoes[:, 0], QdessSequence.from_acquisition(scan.acquisition))
    assert inside.sum() > 1000
    np.testing.assert_allclose(found, truth.t2_ms[inside], atol=0.1)


def test_the_paper_has_the_paper_s_shares() -> None:
    assert [len(numbers) for numbers in _lists(155, 0).values()] == [86, 33, 36]
    assert [len(numbers) for numbers in _lists(3, 2).values()] == [3, 1, 1]


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_skm_tea(tmp_path / name, 3, size=(32, 32), slices=8)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_nothing_is_overwritten_or_left_half(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for place in ("full", "full/file"):
        assert "exists already" in message(write_skm_tea, tmp_path / place, 3, size=(32, 32), slices=8)

    def stop(n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_skm_tea(tmp_path / "new" / "deep", 3, size=(32, 32), slices=8, on_scan=stop)
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "empty").mkdir()
    write_skm_tea(tmp_path / "empty", 3, size=(32, 32), slices=8)
    assert (tmp_path / "empty" / "all_metadata.csv").is_file()
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "new"]


@pytest.mark.parametrize(
    ("subjects", "changes", "word"),
    [
        (2, {}, "at least 3"),
        (3, {"size": (8, 8)}, "phantom.size"),
        (3, {"slices": 0}, "phantom.slices"),
        (3, {"unlabelled": -1}, "phantom.unlabelled_subjects"),
    ],
)
def test_bad_settings(tmp_path: Path, subjects: int, changes: dict[str, Any], word: str) -> None:
    assert word in message(write_skm_tea, tmp_path / "out", subjects, **changes)
    assert list(tmp_path.iterdir()) == []


def run(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "experiments.phantom", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)


def test_command_line(tmp_path: Path) -> None:
    words = ["--subjects=3", "--unlabelled=1", "--size=32,40", "--slices=8", "--seed=5", "--snr=inf"]
    done = run("--layout=skm_tea", f"--output={tmp_path / 'out'}", *words)
    assert done.returncode == 0 and done.stderr == "" and "scan 4/4" in done.stdout
    dataset = open_dataset(ReaderSettings(root=str(tmp_path / "out")))
    knee = PhantomDataset(subjects=4, unlabelled_subjects=0, size=(32, 40), slices=8, seed=5, snr=math.inf)
    np.testing.assert_array_equal(dataset.read(dataset.entries[3]).image, knee.read(knee.entries[3]).image)
    again = run("--layout=skm_tea", f"--output={tmp_path / 'out'}", *words)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "exists already" in again.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "--layout, --output"),
        (["--layout=msd"], "skm_tea"),
        (["--size=96"], "'96', expected two whole numbers"),
        (["--size=a,b"], "'a,b'"),
        (["--subjects=x"], "--subjects"),
        (["--subjects=1"], "at least 3"),
        (["--snr=0"], "phantom.snr"),
        (["--sub=3"], "--sub=3"),
    ],
)
def test_errors_of_the_command_line(
    words: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--layout=skm_tea", f"--output={tmp_path / 'out'}"] if words else []
    assert command.main(["phantom", *given, *words]) == 2
    output = capsys.readouterr()
    assert complaint in output.err and output.err.startswith("error: ") and output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
