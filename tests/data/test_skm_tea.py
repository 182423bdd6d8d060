"""The SKM-TEA reader against h5py, the JSON files of the release, and damaged folders."""

import itertools
import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
from nifti_sets import message
from skm_tea_sets import (
    COLUMNS,
    SHAPE,
    SPACING,
    arrays,
    edit,
    image,
    make_release,
    one_hot,
    opened,
    read_first,
    replace,
    write_file,
    write_list,
)

from inpaint_ssl.data.classes import class_map
from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.data.readers.skm_tea import looks_like_skm_tea, open_skm_tea
from inpaint_ssl.errors import InputError, Problems
from inpaint_ssl.qdess import QdessSequence


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path / "v1-release")


def kind_of(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return caught.value.kind


def test_listing(release: Path) -> None:
    for dataset in (opened(release), open_dataset(ReaderSettings(root=str(release)))):
        assert [(e.scan_id, e.subject_id, e.split, e.has_label) for e in dataset.entries] == [
            ("MTR_001", "11", "train", True),
            ("MTR_002", "12", "train", True),
            ("MTR_003", "13", "validation", True),
            ("MTR_004", "14", "test", True),
        ]
        assert dataset.name == "skm_tea" and dataset.channel_names == ("echo1", "echo2") and dataset.notes == ()
        assert dataset.labels == {
            "patellar_cartilage": 1,
            "femoral_cartilage": 2,
            "tibial_cartilage": (3, 4),
            "meniscus": (5, 6),
        }


def test_the_folder_above_the_release_will_do(release: Path) -> None:
    assert looks_like_skm_tea(release) and looks_like_skm_tea(release.parent)
    assert not looks_like_skm_tea(release / "annotations") and not looks_like_skm_tea(release / "nowhere")
    for format in ("auto", "skm_tea"):
        dataset = open_dataset(ReaderSettings(format=format, root=str(release.parent)))
        assert len(dataset) == 4
        path = dataset.entries[0].image_paths[0]
        assert dataset.shown_path(path) == "image_files/MTR_001.h5"
        assert [dataset.shown_path(p) for p in dataset.sources(dataset.entries[3])] == [
            "image_files/MTR_004.h5",
            "annotations/v1.0.0/test.json",
            "all_metadata.csv",
        ]


def test_medial_and_lateral_can_be_told_apart(release: Path) -> None:
    labels = opened(release).labels
    classes = class_map(("tibial_medial=3", "tibial_lateral=4", "menisci=meniscus"), labels)
    assert classes.members == ((3,), (4,), (5, 6))


@pytest.mark.parametrize("side", ["LR", "RL"])
def test_voxels_lie_where_h5py_and_the_orientation_say(release: Path, side: str) -> None:
    """Index by index: from superior to inferior, anterior to posterior, and from left to right or right to left."""
    write_list(release, "train", [image("MTR_001", 11, orientation=["SI", "AP", side])])
    scan = read_first(release)
    with h5py.File(release / "image_files" / "MTR_001.h5") as file:
        stored = {name: file[name][()] for name in ("echo1", "echo2", "seg")}
    nx, ny, nz = SHAPE[2], SHAPE[1], SHAPE[0]
    assert scan.image.shape == (nx, ny, nz, 2) and scan.image.dtype == np.float32 and scan.image.flags.c_contiguous
    assert scan.label.shape == (nx, ny, nz) and scan.label.dtype == np.uint8
    for i, j, k in itertools.product(*map(range, SHAPE)):
        x = k if side == "LR" else nx - 1 - k
        place = (x, ny - 1 - j, nz - 1 - i)
        assert scan.image[place].tolist() == [stored["echo1"][i, j, k], stored["echo2"][i, j, k]]
        channels = np.flatnonzero(stored["seg"][i, j, k])
        assert scan.label[place] == (channels[0] + 1 if len(channels) else 0)
    assert scan.spacing_mm == (SPACING[2], SPACING[1], SPACING[0])
    assert scan.original_shape == SHAPE and scan.original_orientation == ("IPR" if side == "LR" else "IPL")
    assert "".join(nib.aff2axcodes(scan.affine)) == "RAS"
    # The centre of the volume is the origin of both grids.
    for affine, shape in ((scan.affine, scan.image.shape), (scan.original_affine, SHAPE)):
        centre = [(n - 1) / 2 for n in shape[:3]]
        np.testing.assert_allclose(affine @ [*centre, 1.0], [0, 0, 0, 1], atol=1e-12)


ORIENTATIONS = [
    list(axes)
    for pairs in itertools.permutations((("SI", "IS"), ("AP", "PA"), ("LR", "RL")))
    for axes in itertools.product(*pairs)
]


def test_every_orientation(release: Path) -> None:
    """All 48, compared with nibabel's own way to RAS."""
    content = arrays(1)
    codes = {"SI": "I", "IS": "S", "AP": "P", "PA": "A", "LR": "R", "RL": "L"}
    seen = set()
    for axes in ORIENTATIONS:
        write_list(release, "train", [image("MTR_001", 11, orientation=axes)])
        scan = read_first(release)
        expected = nib.as_closest_canonical(nib.Nifti1Image(content["echo1"], scan.original_affine))
        np.testing.assert_array_equal(scan.image[..., 0], expected.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(scan.affine, expected.affine)
        assert scan.original_orientation == "".join(codes[text] for text in axes)
        assert scan.spacing_mm == pytest.approx(expected.header.get_zooms())
        seen.add(scan.original_orientation)
    assert len(seen) == 48


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("<i2", "<i2", "int16"),
        (">i2", ">u2", "int32"),
        ("u1", "u1", "uint8"),
        ("<i4", "<i4", "int32"),
        ("<u4", "<u4", "float32"),
        ("<i8", "<i8", "float32"),
        ("<f8", "<f8", "float32"),
        ("<f2", "<f2", "float32"),
        ("<i4", "<f4", "float32"),
    ],
)
def test_types(release: Path, first: str, second: str, expected: str) -> None:
    values = {name: np.rint(arrays(1)[name]).astype(dtype) for name, dtype in (("echo1", first), ("echo2", second))}
    edit(release, lambda file: [replace(file, name, value) for name, value in values.items()])
    dataset = opened(release)
    scan = dataset.read(dataset.entries[0])
    assert scan.image.dtype == dataset.stored_dtype(dataset.entries[0]) == np.dtype(expected)
    for channel, name in enumerate(("echo1", "echo2")):
        np.testing.assert_array_equal(scan.image[..., channel].transpose(2, 1, 0)[::-1, ::-1], values[name])


def test_parts_of_a_file_do_not_matter(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_first(release)
    for how in ({"chunks": (4, 2, 4)}, {"chunks": (1, 5, 4), "compression": "gzip", "shuffle": True}, {}):
        content = arrays(1)
        edit(release, lambda file: [replace(file, name, content[name], **how) for name in ("echo1", "echo2")])  # noqa: B023
        seg = how | ({"chunks": (*how["chunks"], 2)} if how else {})
        edit(release, lambda file: replace(file, "seg", content["seg"], **seg))  # noqa: B023
        monkeypatch.setattr("inpaint_ssl.data.readers.hdf5._SLAB_BYTES", 200)
        parts = read_first(release)
        np.testing.assert_array_equal(parts.image, whole.image)
        np.testing.assert_array_equal(parts.label, whole.label)


@pytest.mark.parametrize("dtype", [bool, np.float32, np.int64])
def test_types_of_seg(release: Path, dtype: Any) -> None:
    before = read_first(release).label
    edit(release, lambda file: replace(file, "seg", one_hot(1).astype(dtype)))
    np.testing.assert_array_equal(read_first(release).label, before)


def test_label_map(release: Path) -> None:
    before = read_first(release).label
    dataset = opened(release, label_map=("4=3", "6=5"))
    after = dataset.read(dataset.entries[0]).label
    np.testing.assert_array_equal(after, np.array([0, 1, 2, 3, 3, 5, 5])[before])
    assert dataset.settings() != opened(release).settings()
    assert kind_of(lambda: (d := opened(release, label_map=("4=9",))).read(d.entries[0])) == "labels"


def test_a_scan_without_seg_is_unlabelled(release: Path) -> None:
    edit(release, lambda file: replace(file, "seg", None), "MTR_002")
    dataset = opened(release)
    assert [entry.has_label for entry in dataset.entries] == [True, False, True, True]
    assert dataset.read(dataset.entries[1]).label is None
    assert dataset.notes == ("1 scans have no 'seg' and count as unlabelled (the first is MTR_002)",)


def test_it_can_be_sent_to_another_process(release: Path) -> None:
    dataset = opened(release)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again.read(again.entries[1]).image, dataset.read(dataset.entries[1]).image)


def test_absent_and_unlisted_files_are_noted(release: Path) -> None:
    (release / "image_files" / "MTR_001.h5").unlink()
    write_file(release / "image_files" / "MTR_900.h5", arrays(1))
    (release / "image_files" / "._MTR_002.h5").write_bytes(b"macOS")
    dataset = opened(release)
    assert [entry.scan_id for entry in dataset.entries] == ["MTR_002", "MTR_003", "MTR_004"]
    assert dataset.notes[0] == "1 of 4 listed scans are not in image_files"
    assert "MTR_900.h5" in dataset.notes[1] and "not used" in dataset.notes[1] and len(dataset.notes) == 2
    for file in (release / "image_files").glob("MTR_00?.h5"):
        file.unlink()
    text = message(opened, release)
    assert "none of the 4 scans" in text and "complete the download" in text


def test_a_missing_list_is_noted_and_all_missing_is_an_error(release: Path) -> None:
    (release / "annotations" / "v1.0.0" / "val.json").unlink()
    dataset = opened(release)
    assert [entry.scan_id for entry in dataset.entries] == ["MTR_001", "MTR_002", "MTR_004"]
    assert any("val.json is missing" in note for note in dataset.notes)
    for name in ("train", "test"):
        (release / "annotations" / "v1.0.0" / f"{name}.json").unlink()
    assert "train.json" in message(opened, release)


def test_no_release(tmp_path: Path) -> None:
    assert "image_files" in message(opened, tmp_path)
    assert "no such folder" in message(open_dataset, ReaderSettings(format="skm_tea", root=str(tmp_path / "no")))


def test_a_subject_in_two_splits(release: Path) -> None:
    write_list(release, "test", [image("MTR_004", 11), image("MTR_005", 15)])
    text = message(opened, release)
    assert "subject 11" in text and "'train'" in text and "'test'" in text
    assert kind_of(opened, release) == "listing"


def test_a_second_scan_of_a_subject_in_the_same_split(release: Path) -> None:
    write_list(release, "test", [image("MTR_004", 14), image("MTR_005", 14, timepoint=1)])
    write_file(release / "image_files" / "MTR_005.h5", arrays(5))
    assert [e.subject_id for e in opened(release).entries] == ["11", "12", "13", "14", "14"]


def test_problems_are_collected_and_their_scans_left_out(release: Path) -> None:
    write_list(release, "val", [image("MTR_003", 13, orientation=["SI", "AP", "AP"])])
    edit(release, lambda file: replace(file, "echo2", None))
    write_list(release, "test", [image("MTR_004", 14), image("MTR_002", 12)])
    problems = Problems(collect=True)
    dataset = open_skm_tea(release, ReaderSettings(), problems)
    assert [entry.scan_id for entry in dataset.entries] == ["MTR_002", "MTR_004"]
    assert sorted(error.kind for error in problems.found) == ["geometry", "listing", "unreadable"]
    for name in ("MTR_002", "MTR_004"):
        edit(release, lambda file: replace(file, "echo2", None), name)
    with pytest.raises(InputError, match="no scan can be used"):
        open_skm_tea(release, ReaderSettings(), Problems(collect=True))


@pytest.mark.parametrize(
    ("changes", "key", "kind"),
    [
        ({"orientation": ["SI", "AP"]}, "orientation", "geometry"),
        ({"orientation": ["SI", "AP", "XX"]}, "orientation", "geometry"),
        ({"orientation": ["SI", "IS", "LR"]}, "orientation", "geometry"),
        ({"orientation": "SIAPLR"}, "orientation", "geometry"),
        ({"orientation": [["SI"], "AP", "LR"]}, "orientation", "geometry"),
        ({"orientation": None}, "orientation", "geometry"),
        ({"voxel_spacing": [0.5, 0.5]}, "voxel_spacing", "geometry"),
        ({"voxel_spacing": [0.5, 0.5, 0.0]}, "voxel_spacing", "geometry"),
        ({"voxel_spacing": [0.5, 0.5, -1]}, "voxel_spacing", "geometry"),
        ({"voxel_spacing": [0.5, 0.5, float("nan")]}, "voxel_spacing", "geometry"),
        ({"voxel_spacing": [0.5, 0.5, 10**400]}, "voxel_spacing", "geometry"),
        ({"voxel_spacing": [0.5, 0.5, True]}, "voxel_spacing", "geometry"),
        ({"voxel_spacing": ["0.5", 0.5, 1]}, "voxel_spacing", "geometry"),
        ({"matrix_shape": [6, 5, 0]}, "matrix_shape", "geometry"),
        ({"matrix_shape": [6, 5, 4.0]}, "matrix_shape", "geometry"),
        ({"matrix_shape": {}}, "matrix_shape", "geometry"),
        ({"matrix_shape": [6, 5, 5]}, "echo1", "geometry"),
        ({"matrix_shape": [4, 5, 6]}, "echo1", "geometry"),
        ({"matrix_shape": [10**30, 5, 6]}, "echo1", "geometry"),
        ({"subject_id": None}, "subject_id", "listing"),
        ({"subject_id": ""}, "subject_id", "listing"),
        ({"subject_id": [1]}, "subject_id", "listing"),
        ({"file_name": "../MTR_001.h5"}, "file_name", "listing"),
        ({"file_name": 7}, "file_name", "listing"),
    ],
)
def test_bad_entries(release: Path, changes: dict[str, Any], key: str, kind: str) -> None:
    path = write_list(release, "train", [image("MTR_001", 11, **changes)])
    text = message(opened, release)
    assert key in text and "MTR_001" in text and str(path) in text
    assert kind_of(opened, release) == kind


@pytest.mark.parametrize("content", ["", "[]", '{"images": {}}', '{"images": [7]}', '{"images": [{}]}', "{", "\0"])
def test_bad_lists(release: Path, content: str) -> None:
    path = release / "annotations" / "v1.0.0" / "val.json"
    path.write_text(content)
    assert str(path) in message(opened, release)


@pytest.mark.parametrize("scan_id", ["", "../x", "a\\b", "a\nb", 7, None])
def test_bad_scan_ids(release: Path, scan_id: Any) -> None:
    write_list(release, "val", [image("MTR_003", 13) | {"scan_id": scan_id}])
    assert "scan_id" in message(opened, release)


def test_a_scan_listed_twice(release: Path) -> None:
    write_list(release, "val", [image("MTR_003", 13), image("MTR_003", 13)])
    assert "listed twice" in message(opened, release)


# all_metadata.csv


def with_table(release: Path, text: str) -> Any:
    (release / "all_metadata.csv").write_text(text, encoding="utf-8")
    return opened(release)


def test_metadata(release: Path) -> None:
    dataset = opened(release)
    scan = dataset.read(dataset.entries[2])
    assert scan.acquisition == {
        "tr_ms": 23.0,
        "te_ms": 8.5,
        "flip_angle_deg": 20.0,
        "spoiler_area": 3132.0,
        "spoiler_duration_us": 1560.0,
        "medial_direction": "R",
    }
    assert QdessSequence.from_acquisition(scan.acquisition).te_ms == 8.5


@pytest.mark.parametrize("name", ["MTR_001", "MTR_1", "001", "1", "1.0", " 1 "])
def test_names_of_rows(release: Path, name: str) -> None:
    dataset = with_table(release, f"\ufeff,MTR_ID,RepetitionTime,Extra\n0,{name},18.5\n1,2,19,x,y\n")
    assert dataset.read(dataset.entries[0]).acquisition == {"tr_ms": 18.5}
    assert dataset.read(dataset.entries[1]).acquisition == {"tr_ms": 19.0}
    assert len(dataset.notes) == 2
    assert "no column MedialDirection, SpoilerGradientArea" in dataset.notes[0]
    assert "no row for 2 scans (the first is MTR_003)" in dataset.notes[1]


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        ("PatientAge,PatientSex", "045Y,M", {"age_years": 45.0, "sex": "M"}),
        ("age,SEX", "45.5,female", {"age_years": 45.5, "sex": "F"}),
        ("Age,Gender", "006M,O", {"age_years": 0.5, "sex": "O"}),
        ("age,sex", "nan,", {}),
        ("age,MagneticFieldStrength", "N/A,3.0", {"field_strength_t": 3.0}),
    ],
)
def test_age_and_sex(release: Path, columns: str, values: str, expected: dict[str, Any]) -> None:
    dataset = with_table(release, f"MTR_ID,{columns}\nMTR_001,{values}\n")
    assert dataset.read(dataset.entries[0]).acquisition == expected


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("RepetitionTime", "20 ms"),
        ("RepetitionTime", "-20"),
        ("EchoTime1", "0"),
        ("FlipAngle", "inf"),
        ("SpoilerGradientTime", "1e999"),
        ("MedialDirection", "M"),
        ("PatientAge", "-3Y"),
        ("PatientAge", "Y"),
        ("PatientSex", "X"),
    ],
)
def test_bad_values(release: Path, column: str, value: str) -> None:
    (release / "all_metadata.csv").write_text(f"MTR_ID,{column}\nMTR_004,\nMTR_002,{value}\n")
    text = message(opened, release)
    assert "all_metadata.csv, line 3" in text and "MTR_002" in text
    assert f"column {column.lower()}" in text and repr(value) in text
    problems = Problems(collect=True)
    dataset = open_skm_tea(release, ReaderSettings(), problems)
    assert [entry.scan_id for entry in dataset.entries] == ["MTR_001", "MTR_003", "MTR_004"]
    assert [error.kind for error in problems.found] == ["listing"]


def test_rows_of_scans_that_are_not_there_are_passed_over(release: Path) -> None:
    assert len(with_table(release, f"{COLUMNS}\nMTR_777,M,x,x,x,x,x\n")) == 4


def test_bad_tables(release: Path) -> None:
    path = release / "all_metadata.csv"
    for content in (b"", b"a,b\n1,2\n", b"\xff\xfe\0", b"MTR_ID\n\xff\n"):
        path.write_bytes(content)
        assert str(path) in message(opened, release)
    text = f"{COLUMNS}\nMTR_001,L,1,1,1,1,1\n1,L,1,1,1,1,1\n"
    path.write_text(text)
    assert "lines 2, 3 are all of scan MTR_001" in message(opened, release)
    path.unlink()
    dataset = opened(release)
    assert dataset.read(dataset.entries[0]).acquisition == {}
    assert dataset.notes == ("all_metadata.csv is missing, so TR, TE and the other settings of the scans are unknown",)
    assert len(dataset.sources(dataset.entries[0])) == 2


# The content of the files.


def filled(value: Any, place: Any = (1, 2, 3), dtype: Any = np.float32) -> np.ndarray:
    echo = arrays(1)["echo2"].astype(dtype)
    echo[place] = value
    return echo


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (filled(np.nan), "1 voxels that are NaN"),
        (filled(np.inf), "1 voxels that are NaN or infinite"),
        (filled(1e300, dtype=np.float64), "1 voxels that are NaN or infinite"),
        (filled(7, ...), "7 everywhere"),
        (filled(7, ..., np.int16), "7 everywhere"),
    ],
)
def test_bad_intensities(release: Path, value: np.ndarray, word: str) -> None:
    path = edit(release, lambda file: replace(file, "echo2", value))
    text = message(read_first, release)
    assert f"{path}: echo2" in text and word in text
    assert kind_of(read_first, release) == "intensities"


def test_stats(release: Path) -> None:
    """They may be missing, strange or rounded; a mean that is far off shows that the pixels were changed."""
    mean = float(arrays(1)["echo2"].mean(dtype=np.float64))
    for stored in (mean, mean * 1.04, np.float32(mean), np.array([mean]), np.nan, b"text", np.zeros(3)):
        edit(release, lambda file: replace(file, "stats/echo2/mean", stored))  # noqa: B023
        read_first(release)
    path = edit(release, lambda file: replace(file, "stats/echo2/mean", mean * 1.07))
    text = message(read_first, release)
    assert f"{path}: echo2 has the mean {mean:g}" in text and f"{mean * 1.07:g}" in text
    assert kind_of(read_first, release) == "intensities"


def overlapping() -> np.ndarray:
    seg = one_hot(1)
    seg[1, 2, 3] = (0, 0, 1, 0, 1, 0)
    return seg


@pytest.mark.parametrize(
    ("seg", "word"),
    [
        (overlapping(), "tibial_cartilage_medial (2) and meniscus_medial (4)"),
        (one_hot(1) * 255, "255 in channel 0 (patellar_cartilage)"),
        (np.where(one_hot(1), np.nan, 0).astype(np.float32), "nan in channel 0"),
        (one_hot(1)[..., :4], "(6, 5, 4, 4), expected (6, 5, 4, 6)"),
        (one_hot(1).argmax(axis=3), "(6, 5, 4)"),
        (one_hot(1).transpose(2, 1, 0, 3), "(4, 5, 6, 6)"),
    ],
)
def test_bad_seg(release: Path, seg: np.ndarray, word: str) -> None:
    path = edit(release, lambda file: replace(file, "seg", seg))
    text = message(read_first, release)
    assert str(path) in text and word in text
    assert kind_of(read_first, release) == "labels"


def test_rss_without_echoes(release: Path) -> None:
    def only_rss(file: h5py.File) -> None:
        file["rss"] = np.hypot(file["echo1"][()], file["echo2"][()])
        del file["echo1"], file["echo2"]

    path = edit(release, only_rss)
    text = message(opened, release)
    assert str(path) in text and "no 'echo1'" in text and "holds 'rss', 'seg'" in text and "root sum of squares" in text
    assert kind_of(opened, release) == "unreadable"


def test_the_official_split_of_the_release(real_data: Path, tmp_path: Path) -> None:
    """The real JSON files: 86, 33 and 36 scans, 18 of them from right to left; read with files of a hundredth the size.

    Only the shapes in the JSON files are made smaller, by the same factor for all.
    """
    factor = 64
    expected: dict[str, str] = {}
    sides, slices = Counter(), Counter()
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        content = json.loads((real_data / "skm_tea_annotations" / f"{name}.json").read_text())
        for item in content["images"]:
            expected[item["scan_id"]] = split
            sides[item["orientation"][2]] += 1
            slices[split] += item["matrix_shape"][2]
            item["matrix_shape"] = [n // factor for n in item["matrix_shape"]]
            assert item["matrix_shape"] == [8, 8, 2]
        write_list(tmp_path, name, content["images"])
    content = arrays(1, (8, 8, 2))
    for scan_id in expected:
        write_file(tmp_path / "image_files" / f"{scan_id}.h5", {name: content[name] for name in ("echo1", "echo2")})
    dataset = opened(tmp_path)
    assert {entry.scan_id: entry.split for entry in dataset.entries} == expected
    assert Counter(entry.split for entry in dataset.entries) == {"train": 86, "validation": 33, "test": 36}
    assert slices == {"train": 13760, "validation": 5280, "test": 5740}
    assert len({entry.subject_id for entry in dataset.entries}) == 155
    assert sides == {"LR": 137, "RL": 18}
    read = Counter()
    for scan in dataset:
        flipped = scan.original_orientation == "IPL"
        read[scan.original_orientation] += 1
        echo = content["echo1"].transpose(2, 1, 0)[:: -1 if flipped else 1, ::-1, ::-1]
        np.testing.assert_array_equal(scan.image[..., 0], echo)
        assert scan.spacing_mm == (0.8, 0.3125, 0.3125)
    assert read == {"IPR": 137, "IPL": 18}


def test_listing_needs_no_jax(release: Path) -> None:
    code = (
        "import sys; from inpaint_ssl.data.readers import ReaderSettings, open_dataset; "
        f"d = open_dataset(ReaderSettings(root={str(release)!r})); d.read(d.entries[0]); "
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
