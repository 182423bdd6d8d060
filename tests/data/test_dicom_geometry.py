"""Where DICOM voxels lie in the patient, and series that make up no volume."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_sets import AXIAL, CT, ENHANCED_MR, MR, SLICES, as_read, enhanced, item, open_at, positions, save, volume
from dicom_sets import write_series as write
from nifti_sets import message

from inpaint_ssl.data.readers.dicom.reader import DicomDataset
from inpaint_ssl.data.scan import Scan
from inpaint_ssl.errors import InputError, Problems

SAGITTAL, CORONAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0), (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
FEET_FIRST_PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def oblique(*degrees: float) -> tuple[float, ...]:
    """Rows and columns of an axial plane turned about z, then x."""
    a, b = np.radians(degrees)
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return tuple(round(float(x), 6) for x in (about_x @ about_z)[:, :2].T.ravel())


def read_only(dataset: DicomDataset) -> Scan:
    (entry,) = dataset.entries
    return dataset.read(entry)


@pytest.mark.parametrize("is_enhanced", [False, True])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, FEET_FIRST_PRONE, oblique(20, 35), oblique(70, -50)])
def test_every_voxel_lies_where_dicom_says(tmp_path: Path, orientation: tuple[float, ...], is_enhanced: bool) -> None:
    """LPS position of pixel (row, column) after PS3.3 C.7.6.2: position + row vector * column spacing * column + ..."""
    pixels = np.arange(SLICES * 6 * 5).reshape(SLICES, 6, 5)  # each value once
    places = positions(SLICES, orientation)
    if is_enhanced:
        save(enhanced(pixels, ENHANCED_MR, places, orientation), tmp_path / "set" / "multi")
    else:
        write(tmp_path / "set", pixels, MR, orientation, places)
    scan = read_only(open_at(tmp_path / "set", modality="mri"))
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    for value in (0, 7, 60, 101, 119):
        k, row, column = np.unravel_index(value, pixels.shape)
        lps = places[k] + along_row * 0.5 * column + along_column * 0.75 * row
        (index,) = np.argwhere(scan.image[..., 0] == value)
        assert (scan.affine @ [*index, 1])[:3] == pytest.approx(lps * [-1, -1, 1], abs=1e-4)
    assert np.all(np.abs(scan.affine[:3, :3]).argmax(axis=0) == [0, 1, 2])
    assert np.all(np.diag(scan.affine)[:3] > 0)
    assert sorted(scan.spacing_mm) == pytest.approx([0.5, 0.75, 2.5], abs=1e-5)
    assert scan.original_shape == (5, 6, SLICES)


def test_slices_are_ordered_by_position_alone(tmp_path: Path) -> None:
    """Names, instance numbers and SliceLocation all run the other way."""
    pixels = volume(0)
    paths = write(tmp_path / "set", pixels[::-1], places=positions(SLICES)[::-1], SliceLocation=7, name="z{}.dcm")
    dataset = open_at(tmp_path / "set")
    assert np.array_equal(read_only(dataset).image, as_read(pixels - 1024))
    assert dataset.entries[0].image_paths == tuple(str(path) for path in reversed(paths))


def test_spacing_comes_from_positions(tmp_path: Path) -> None:
    write(tmp_path / "set", volume(0), places=positions(SLICES, spacing=1.25), SpacingBetweenSlices=7)
    assert read_only(open_at(tmp_path / "set")).spacing_mm == pytest.approx((0.5, 0.75, 1.25))


def test_rounded_positions_are_accepted(tmp_path: Path) -> None:
    orientation = oblique(10, 8)
    places = positions(12, orientation, spacing=5.0)
    write(tmp_path / "set", volume(0, shape=(12, 6, 5)), orientation=orientation, places=places.round(1))
    scan = read_only(open_at(tmp_path / "set"))
    assert scan.spacing_mm[2] == pytest.approx(5, abs=0.01)
    for k in (0, 5, 11):
        assert (scan.original_affine @ [0, 0, k, 1])[:3] * [-1, -1, 1] == pytest.approx(places[k], abs=0.1)


def shifted(places: np.ndarray, k: int, by: Sequence[float]) -> np.ndarray:
    places = places.copy()
    places[k] += by
    return places


LONG = positions(10)
UNEVEN = positions(10) + np.cumsum([0, 0, 0, 0, 1.3, 0, 0, 0, 0, 0])[:, None] * [0, 0, 1]
TILTED = positions(10) + 0.4 * np.arange(10)[:, None] * [0, 1, 0]


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (np.delete(LONG, [4, 5], axis=0), ("missing slices: about 2 of 10", "are 7.5 mm apart, slices 2.5 mm")),
        (LONG[[0, 1, 3]], ("missing slices: about 1 of 4", "are 5 mm apart")),
        (LONG[[0, 1, 2, 2, 3]], ("duplicate slices", "lie in the same place", "nothing tells them apart")),
        (
            UNEVEN,
            ("unevenly spaced slices: gaps of 2.5 to 3.8 mm", "image007.dcm and image006.dcm", "allowed are 0.1 mm"),
        ),
        (shifted(LONG, 5, [0, 0, 0.8]), ("unevenly spaced slices: gaps of 1.7 to 3.3 mm",)),
        (TILTED, ("gantry tilt: slices are stacked at 9.1 degrees", "(GantryDetectorTilt -9.1)")),
        (shifted(LONG, 5, [1.5, 0, 0]), ("shifted against each other: ", "image005.dcm", "1.35 mm off")),
    ],
)
def test_slices_that_make_up_no_volume_are_named(tmp_path: Path, places: np.ndarray, words: tuple[str, ...]) -> None:
    write(tmp_path / "set", volume(0, shape=(len(places), 6, 5)), places=places, GantryDetectorTilt=-9.1)
    problems = Problems(collect=True)
    dataset = open_at(tmp_path / "set", problems)
    assert dataset.entries == ()
    (error,) = problems.found
    assert error.kind == "geometry"
    assert str(error).startswith("series 3 in .: ")
    assert [word for word in words if word not in str(error)] == []
    with pytest.raises(InputError, match="series 3 in"):
        open_at(tmp_path / "set")


def test_the_tolerance_is_a_setting(tmp_path: Path) -> None:
    write(tmp_path / "set", volume(0, shape=(10, 6, 5)), places=shifted(LONG, 5, [0, 0, 0.3]))
    assert "unevenly spaced" in message(open_at, tmp_path / "set")
    assert len(open_at(tmp_path / "set", geometry_tolerance_mm=0.5).entries) == 1


def test_a_tilt_in_the_header_alone_is_none(tmp_path: Path) -> None:
    """A resampled series may keep the tag; its slices lie straight above each other."""
    write(tmp_path / "set", volume(0), GantryDetectorTilt=12)
    assert len(open_at(tmp_path / "set").entries) == 1


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ImageOrientationPatient": list(SAGITTAL)}, "mixed orientations"),
        ({"PixelSpacing": [0.75, 0.51]}, "mixed pixel spacings: "),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "mixed orientations"),
        ({"ImagePositionPatient": None}, "1 of 5 images have no ImagePositionPatient"),
        ({"PixelSpacing": None}, "1 of 5 images have no PixelSpacing"),
    ],
)
def test_mixed_planes_are_named(tmp_path: Path, tags: dict[str, Any], words: str) -> None:
    write(tmp_path / "set", volume(0))
    write(tmp_path / "set", volume(1)[:1], places=positions(5)[4:], name="odd.dcm", **tags)
    text = message(open_at, tmp_path / "set")
    assert words in text
    if "mixed" in words:
        assert "odd.dcm has " in text


def test_mixed_sizes_are_named(tmp_path: Path) -> None:
    write(tmp_path / "set", volume(0))
    write(tmp_path / "set", volume(1, shape=(1, 6, 4)), places=positions(5)[4:], name="odd.dcm")
    assert "mixed sizes: image001.dcm has 5 x 6 and odd.dcm has 4 x 6" in message(open_at, tmp_path / "set")


def test_directions_that_are_none_are_named(tmp_path: Path) -> None:
    write(tmp_path / "set", volume(0), orientation=AXIAL, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    assert "expected two orthogonal unit vectors" in message(open_at, tmp_path / "set")
    for path in (tmp_path / "set").iterdir():
        ds = pydicom.dcmread(path)
        ds.ImageOrientationPatient, ds.PixelSpacing = list(AXIAL), [0, 1]
        ds.save_as(path)
    assert "PixelSpacing is 0\\1, expected 0.001 to 1000 mm" in message(open_at, tmp_path / "set")
    write(tmp_path / "set", volume(0), places=positions(4) * 1e300)
    assert "is -2e+301\\-3e+301\\4.75e+301, expected mm up to 1e+06" in message(open_at, tmp_path / "set")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}, "b-value (0.0 and 1000.0)"),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, "temporal position (1 and 2)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "image type"),
    ],
)
def test_repeats_say_what_differs(tmp_path: Path, first: dict, second: dict, words: str) -> None:
    write(tmp_path / "set", volume(0), MR, name="a{}", **first)
    write(tmp_path / "set", volume(1), MR, name="b{}", **second)
    text = message(open_at, tmp_path / "set", modality="mri")
    assert f"they differ in {words}" in text
    assert "4 pairs of 8 images" in text


def test_an_enhanced_object_with_repeats_says_so(tmp_path: Path) -> None:
    ds = enhanced(volume(0, shape=(4, 6, 5)), ENHANCED_MR, np.concatenate([positions(2)] * 2))
    for k, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence = [item(TemporalPositionIndex=k // 2)]
    save(ds, tmp_path / "set" / "multi.dcm")
    text = message(open_at, tmp_path / "set", modality="mri")
    assert "frame 1 of multi.dcm and frame 3 of multi.dcm lie in the same place" in text
    assert "temporal position (0 and 1)" in text


def test_echoes_must_cover_the_same_slices(tmp_path: Path) -> None:
    write(tmp_path / "set", volume(0), MR, name="a{}", EchoNumbers=1)
    write(tmp_path / "set", volume(1)[:3], MR, name="b{}", EchoNumbers=2)
    assert "echo1 has 4 slices and echo2 has 3" in message(open_at, tmp_path / "set", modality="mri")
    for k in (1, 2):
        (tmp_path / "set" / f"b{k}").unlink()
    assert "echo1 has 4 slices and echo2 has 1" in message(open_at, tmp_path / "set", modality="mri")
    write(tmp_path / "set", volume(1), MR, name="b{}", EchoNumbers=2, places=positions(4) + np.array([0, 0, 1]))
    text = message(open_at, tmp_path / "set", modality="mri")
    assert "echo1 and echo2 do not lie in the same places, they are up to 1 mm apart" in text


def test_one_bad_series_does_not_hide_the_others(tmp_path: Path) -> None:
    for number in range(3):
        places = positions(10) if number != 1 else UNEVEN
        uid = f"1.2.3.4.{number}"
        write(
            tmp_path / "set" / f"s{number}", volume(number, shape=(10, 6, 5)), CT, places=places, SeriesInstanceUID=uid
        )
    problems = Problems(collect=True)
    dataset = open_at(tmp_path / "set", problems)
    assert len(dataset.entries) == 2
    assert [str(error).partition(":")[0] for error in problems.found] == ["series 3 in s1"]
