"""Reading NIfTI: numbers, orientations, and files that cannot be used."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations
from nifti_sets import (
    AFFINE,
    SHAPE,
    make_msd,
    make_nnunet,
    message,
    open_root,
    random_image,
    random_label,
    read_scan,
    save,
    write_description,
)

from inpaint_ssl.data.readers.nifti import checked_image, nifti_dtype, read_nifti

ORIENTATIONS = [
    "".join(codes)
    for axes in [(a, b, c) for a in range(3) for b in range(3) for c in range(3) if len({a, b, c}) == 3]
    for signs in np.ndindex(2, 2, 2)
    for codes in [[("RL", "AP", "SI")[axis][sign] for axis, sign in zip(axes, signs, strict=True)]]
]


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    return make_msd(tmp_path)


def stored_as(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    change = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(codes))
    )
    return image.as_reoriented(change)


def test_the_same_scan_in_every_orientation_reads_the_same(msd: Path) -> None:
    assert len(set(ORIENTATIONS)) == 48
    image = nib.Nifti1Image(random_image(5, (*SHAPE, 2)), AFFINE)
    label = nib.Nifti1Image(random_label(5), AFFINE)
    for number, codes in enumerate(ORIENTATIONS):
        nib.save(stored_as(image, codes), msd / "imagesTr" / "knee_001.nii.gz")
        # Some labels are stored in another order than their image, on the same grid in space.
        nib.save(stored_as(label, codes if number % 2 else "LPS"), msd / "labelsTr" / "knee_001.nii.gz")
        scan = read_scan(msd)
        assert np.array_equal(scan.image, image.get_fdata(dtype=np.float32)), codes
        assert np.array_equal(scan.label, np.asarray(label.dataobj)), codes
        assert scan.affine == pytest.approx(AFFINE)
        assert scan.spacing_mm == pytest.approx((1.5, 0.5, 2))
        assert scan.original_orientation == codes
        stored = nib.load(msd / "imagesTr" / "knee_001.nii.gz")
        assert scan.original_shape == stored.shape[:3]
        assert scan.original_affine == pytest.approx(stored.affine)


def test_an_oblique_grid_keeps_its_voxels_and_its_position(msd: Path) -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = AFFINE.copy()
    affine[:3, :3] = turn @ np.diag([-1.5, 0.5, -2])
    image = random_image(5, (*SHAPE, 2))
    save(msd / "imagesTr" / "knee_001.nii.gz", image, affine)
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(5), affine)
    scan = read_scan(msd)
    assert scan.original_orientation == "LAI"
    assert scan.spacing_mm == pytest.approx((1.5, 0.5, 2), rel=1e-5)
    assert np.array_equal(scan.image, image[::-1, :, ::-1])
    # The voxel that was first in the file lies where the file says.
    assert (scan.affine @ [4, 0, 2, 1])[:3] == pytest.approx((affine @ [0, 0, 0, 1])[:3], abs=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.int32, np.float32, np.float64, np.uint16, np.int64])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_every_dtype_gives_its_values(tmp_path: Path, dtype: Any, ending: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    image = nib.Nifti1Image(values, AFFINE, dtype=dtype)
    nib.save(image, tmp_path / f"x{ending}")
    volume = read_nifti(str(tmp_path / f"x{ending}"))
    assert volume.data.shape == (*SHAPE, 1)
    assert np.array_equal(volume.data[..., 0], values)
    # Integers stay what they are, as far as float32 does not hold them as well.
    small = np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize <= 4
    kept = np.dtype(dtype).newbyteorder("=") if small else np.dtype(np.float32)
    assert nifti_dtype(str(tmp_path / f"x{ending}")) == kept == checked_image(volume.data, "x").dtype


def save_with_header(path: Path, stored: np.ndarray, affine: np.ndarray = AFFINE, **fields: Any) -> None:
    """Voxels as they are: saving an image with nibabel would rescale it, and mend its header."""
    header = nib.Nifti1Image(stored, affine).header.copy()
    for key, value in {"vox_offset": 352, "magic": b"n+1", **fields}.items():
        header[key] = value
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + stored.tobytes(order="F")))


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "expected"),
    [
        (np.int16, 1, -1024, np.int32),  # CT as scanners store it
        (np.uint8, 3, 0, np.int32),
        (np.uint16, 1, 0, np.uint16),
        (np.int16, 0, 7, np.int16),  # a slope of 0 says: no scaling
        (np.int16, 0.5, -1024, np.float32),
        (np.int16, 1, 0.25, np.float32),
        (np.int16, 1e6, 0, np.float32),
        (np.int32, 2, 0, np.float32),
        (np.uint32, 1, 0, np.float32),
        (np.float32, 2, 1, np.float32),
    ],
)
def test_slope_and_intercept_are_applied(msd: Path, stored: Any, slope: float, intercept: float, expected: Any) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(np.uint8).max, (*SHAPE, 2)).astype(stored)
    save_with_header(msd / "imagesTr" / "knee_001.nii.gz", values, scl_slope=slope, scl_inter=intercept)
    reader = open_root(msd)
    scan = reader.read(reader.entries[0])
    wanted = slope * values.astype(np.float64) + intercept if slope else values
    assert np.array_equal(scan.image, wanted.astype(np.float32))
    assert scan.image.dtype == reader.stored_dtype(reader.entries[0]) == expected


@pytest.mark.parametrize("kinds", [(np.int16, np.uint16), (np.int32, np.float32), (np.uint8, np.uint8)])
def test_channels_of_several_types_have_one(tmp_path: Path, kinds: tuple[Any, Any]) -> None:
    root = make_nnunet(tmp_path)
    for channel, kind in enumerate(kinds):
        save(root / "imagesTr" / f"a_{channel:04d}.nii.gz", random_image(channel).clip(0, 255).astype(kind))
    reader = open_root(root)
    scan = reader.read(reader.entries[0])
    assert scan.image.dtype == reader.stored_dtype(reader.entries[0])
    assert scan.image.dtype == {np.int16: np.int32, np.int32: np.float32, np.uint8: np.uint8}[kinds[0]]
    for channel, kind in enumerate(kinds):
        assert np.array_equal(scan.image[..., channel], random_image(channel).clip(0, 255).astype(kind))


FLAT = {"none": np.zeros(3), "not a number": np.full(3, np.nan), "in the plane": np.array([1.0, 2.0, 0.0])}


@pytest.mark.parametrize("across", [*FLAT, "missing", "stored"])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 1, 2)])
def test_single_slices(tmp_path: Path, shape: tuple[int, ...], across: str) -> None:
    """Slices of two axes, or of three with one voxel, whatever the header knows of the third."""
    affine, rows = AFFINE.copy(), {}
    affine[2, 2] = 5.0
    if across in FLAT:
        affine[:3, 2] = FLAT[across]
        rows = {f"srow_{axis}": affine[number] for number, axis in enumerate("xyz")} | {"sform_code": 1}
        rows |= {"qform_code": 0}
    elif across == "missing":
        rows = {"sform_code": 0, "qform_code": 0, "pixdim": [1, 1.5, 0.5, 1, 1, 1, 1, 1]}
    image, label = random_image(1, shape).astype(np.int16), random_label(1, shape[:3])
    for name, data in (("images", image), ("labels", label)):
        (tmp_path / name).mkdir()
        save_with_header(tmp_path / name / "slice.nii.gz", data, affine if across == "stored" else AFFINE, **rows)
    scan = read_scan(tmp_path, labels=("muscle=1", "fat=2"))
    flip = slice(None, None, -1) if across == "missing" else slice(None)  # without a form NIfTI's X goes to the left
    assert scan.original_shape == (5, 4, 1)
    assert np.array_equal(scan.image, image.reshape(5, 4, 1, -1)[flip])
    assert np.array_equal(scan.label, label.reshape(5, 4, 1)[flip])
    assert scan.spacing_mm == pytest.approx((1.5, 0.5, 5.0 if across == "stored" else 1.0))
    if across != "missing":
        assert scan.affine[:, [0, 1, 3]] == pytest.approx(AFFINE[:, [0, 1, 3]])


def test_a_volume_without_a_third_axis_is_still_refused(msd: Path) -> None:
    image = random_image(1, (*SHAPE, 2))
    save_with_header(msd / "imagesTr" / "knee_001.nii.gz", image, srow_x=[1, 0, 0, 0], srow_z=[0, 0, 0, 0])
    assert "not invertible" in message(read_scan, msd)
    # Of a single slice too, when its own axes are none.
    save_with_header(msd / "imagesTr" / "knee_001.nii.gz", image[:, :, :1], srow_x=[0, 0, 0, 0], srow_z=[0, 0, 0, 0])
    assert "not invertible" in message(read_scan, msd)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.float32, np.int16])
def test_labels_may_be_stored_in_any_type(msd: Path, dtype: Any) -> None:
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(7).astype(dtype), dtype=dtype)
    scan = read_scan(msd)
    assert scan.label is not None
    assert scan.label.dtype == np.uint8
    assert np.array_equal(scan.label, random_label(7))


def test_nnunet_channels_come_from_their_files_in_order(tmp_path: Path) -> None:
    dataset = open_root(make_nnunet(tmp_path))
    scan = dataset.read(dataset.entries[0])
    assert np.array_equal(scan.image[..., 0], random_image(10))
    assert np.array_equal(scan.image[..., 1], random_image(11))
    assert np.array_equal(scan.label, random_label(1))
    assert dataset.read(dataset.entries[2]).label is None


def test_a_difference_within_the_tolerance_is_accepted(msd: Path) -> None:
    for shift in (1e-8, 0.09):
        affine = AFFINE.copy()
        affine[0, 3] += shift
        save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1), affine)
        assert np.array_equal(read_scan(msd).label, random_label(1))


def test_a_label_on_another_grid_names_both_files_and_the_distance(msd: Path) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += (0.3, 0, 0.4)
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1), affine)
    text = message(read_scan, msd)
    assert "labelsTr/knee_001.nii.gz and " in text
    assert "imagesTr/knee_001.nii.gz do not lie" in text
    assert "0.5 mm apart, allowed are 0.1 mm (centres are 0.5 mm apart);" in text
    assert np.array_equal(read_scan(msd, geometry_tolerance_mm=0.51).label, random_label(1))
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1), np.diag([-1, 1, 1, 1.0]) @ AFFINE)
    assert "mm apart" in message(read_scan, msd)


def turned(degrees: float) -> np.ndarray:
    """AFFINE turned about the centre of the volume and the third axis of space."""
    angle, turn = np.deg2rad(degrees), np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = AFFINE @ [*((n - 1) / 2 for n in SHAPE), 1]
    turn[:3, 3] = centre[:3] - turn[:3, :3] @ centre[:3]
    return turn @ AFFINE


def test_what_differs_most_is_named_first(msd: Path) -> None:
    """The corners are (5 * 1.5, 4 * 0.5, 3 * 2) / 2 mm from the centre."""

    def said(affine: np.ndarray) -> str:
        save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1), affine)
        text = message(read_scan, msd)
        assert "labelsTr/knee_001.nii.gz and " in text and "imagesTr/knee_001.nii.gz do not lie" in text
        return text[text.index("up to") : text.index("; correct the headers")]

    across = 2 * np.hypot(3.75, 1) * np.sin(np.deg2rad(10) / 2)
    assert said(turned(10)) == f"up to {across:.4g} mm apart, allowed are 0.1 mm (directions differ by 10 degrees)"
    thick = AFFINE.copy()
    thick[2, 2] = 2.2  # the far corners lie 2.5 * 0.2 mm off, the centre 0.2 mm
    assert said(thick) == (
        "up to 0.5 mm apart, allowed are 0.1 mm (spacing is 1.5 x 0.5 x 2.2 and 1.5 x 0.5 x 2 mm, "
        "centres are 0.2 mm apart)"
    )
    moved = turned(1)
    moved[1, 3] += 30
    assert "(centres are 30 mm apart, directions differ by 1 degrees)" in said(moved)
    moved = turned(20)
    moved[1, 3] += 1.2  # the corners turn by 2 * sin(10 degrees) * 3.88 mm = 1.35 mm
    assert "(directions differ by 20 degrees, centres are 1.2 mm apart)" in said(moved)
    # Turned so far that the axes would be sorted differently, though both files have the same shape.
    assert "(directions differ by 80 degrees)" in said(turned(80))


@pytest.mark.parametrize("size", [1e-5, 2e3, 1e30])
def test_voxels_of_no_sensible_size_are_refused(tmp_path: Path, size: float) -> None:
    path = save(tmp_path / "x.nii.gz", random_image(1), np.diag([1, size, 1, 1.0]))
    assert f"{path}: voxels of 1 x {size:.3g} x 1 mm, expected 0.001 to 1000 mm" in message(read_scan, tmp_path)


def test_a_label_of_another_shape_names_both_files_and_shapes(msd: Path) -> None:
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1, (5, 4, 4)))
    text = message(read_scan, msd)
    assert "labelsTr/knee_001.nii.gz has shape (5, 4, 4), but" in text
    assert "imagesTr/knee_001.nii.gz has (5, 4, 3)" in text


def test_channels_on_other_grids_are_refused(tmp_path: Path) -> None:
    root = make_nnunet(tmp_path)
    save(root / "imagesTr" / "a_0001.nii.gz", random_image(1), AFFINE @ np.diag([1, 1, 1.1, 1]))
    dataset = open_root(root)
    text = message(dataset.read, dataset.entries[0])
    assert "a_0001.nii.gz and" in text
    assert "a_0000.nii.gz do not lie on the same grid" in text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "holds the label values 3, but dataset.json declares only 0, 1, 2;"),
        (255, "holds the label values 255"),
        (256, "whole numbers from 0 to 255"),
        (-1, "whole numbers from 0 to 255"),
        (0.5, "a label value is 0.5"),
        (np.nan, "whole numbers from 0 to 255"),
        (np.inf, "whole numbers from 0 to 255"),
    ],
)
def test_label_values_that_are_not_declared(msd: Path, value: float, said: str) -> None:
    label = random_label(1).astype(np.float32)
    label[0, 0, 0] = value
    save(msd / "labelsTr" / "knee_001.nii.gz", label)
    text = message(read_scan, msd)
    assert said in text
    assert "labelsTr/knee_001.nii.gz" in text


def test_a_mask_of_0_and_255_gets_a_proposal(msd: Path) -> None:
    write_description(msd, labels={"0": "background", "1": "cartilage"})
    save(msd / "labelsTr" / "knee_001.nii.gz", (random_label(1) > 0).astype(np.uint8) * 255)
    assert "perhaps ('255=1',)" in message(read_scan, msd)


def test_members_of_regions_are_declared_and_ignored_voxels_refused(tmp_path: Path) -> None:
    root = make_nnunet(tmp_path)
    write_description(root, labels={"background": 0, "whole": [1, 2], "ignore": 3})
    dataset = open_root(root)
    assert np.array_equal(dataset.read(dataset.entries[0]).label, random_label(1))
    label = random_label(1)
    label[0, 0, 0] = 3
    save(root / "labelsTr" / "a.nii.gz", label)
    assert "label 'ignore' (3)" in message(dataset.read, dataset.entries[0])


def test_images_without_information_are_refused(msd: Path) -> None:
    image = random_image(1, (*SHAPE, 2))
    path = msd / "imagesTr" / "knee_001.nii.gz"
    for value in (np.nan, np.inf, -np.inf):
        damaged = image.copy()
        damaged[2, 1, 1, 0] = value
        save(path, damaged)
        assert f"{path} has 1 voxels that are NaN or infinite" in message(read_scan, msd)
    save(path, image.astype(np.float64) * 1e300)  # more than float32 can hold
    assert "NaN or infinite" in message(read_scan, msd)
    constant = image.copy()
    constant[..., 1] = 7
    save(path, constant)
    assert f"{path}: channel 1 is 7 everywhere" in message(read_scan, msd)


def test_the_number_of_channels_must_be_that_of_dataset_json(msd: Path) -> None:
    save(msd / "imagesTr" / "knee_001.nii.gz", random_image(1))
    assert "has 1 channels, expected 2 (echo1, echo2)" in message(read_scan, msd)
    save(msd / "imagesTr" / "knee_001.nii.gz", random_image(1, (*SHAPE, 3)))
    assert "has 3 channels" in message(read_scan, msd)
    save(msd / "imagesTr" / "knee_001.nii.gz", random_image(1, (*SHAPE, 1, 2)))
    assert read_scan(msd).image.shape == (*SHAPE, 2)
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1, (*SHAPE, 2)))
    assert "has 2 values per voxel" in message(read_scan, msd)
