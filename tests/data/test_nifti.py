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
    random_image,
    random_label,
    save,
    write_description,
)

from inpaint_ssl.data import Scan, open_msd, open_nnunet
from inpaint_ssl.data.nifti import read_nifti

ORIENTATIONS = [
    "".join(codes)
    for axes in [(a, b, c) for a in range(3) for b in range(3) for c in range(3) if len({a, b, c}) == 3]
    for signs in np.ndindex(2, 2, 2)
    for codes in [[("RL", "AP", "SI")[axis][sign] for axis, sign in zip(axes, signs, strict=True)]]
]


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    return make_msd(tmp_path)


def read_msd(root: Path, number: int = 0, tolerance_mm: float = 0.1) -> Scan:
    dataset = open_msd(str(root), tolerance_mm)
    return dataset.read(dataset.entries[number])


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
        scan = read_msd(msd)
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
    scan = read_msd(msd)
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


def test_slope_and_intercept_are_applied(msd: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (*SHAPE, 2)).astype(np.int16)
    image = nib.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(0.5, -1024)
    path = msd / "imagesTr" / "knee_001.nii.gz"
    # Saving an image rescales it, so the header goes to the file by hand.
    header = image.header.copy()
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + stored.tobytes(order="F")))
    scan = read_msd(msd)
    assert np.array_equal(scan.image, (0.5 * stored - 1024).astype(np.float32))
    assert scan.image.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.float32, np.int16])
def test_labels_may_be_stored_in_any_type(msd: Path, dtype: Any) -> None:
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(7).astype(dtype), dtype=dtype)
    scan = read_msd(msd)
    assert scan.label is not None
    assert scan.label.dtype == np.uint8
    assert np.array_equal(scan.label, random_label(7))


def test_nnunet_channels_come_from_their_files_in_order(tmp_path: Path) -> None:
    dataset = open_nnunet(str(make_nnunet(tmp_path)))
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
        assert np.array_equal(read_msd(msd).label, random_label(1))


def test_a_label_on_another_grid_names_both_files_and_the_distance(msd: Path) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += (0.3, 0, 0.4)
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1), affine)
    text = message(read_msd, msd)
    assert "labelsTr/knee_001.nii.gz and " in text
    assert "imagesTr/knee_001.nii.gz do not lie" in text
    assert "0.5 mm apart, allowed are 0.1 mm" in text
    assert np.array_equal(read_msd(msd, tolerance_mm=0.51).label, random_label(1))
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1), np.diag([-1, 1, 1, 1.0]) @ AFFINE)
    assert "mm apart" in message(read_msd, msd)


def test_a_label_of_another_shape_names_both_files_and_shapes(msd: Path) -> None:
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1, (5, 4, 4)))
    text = message(read_msd, msd)
    assert "labelsTr/knee_001.nii.gz has shape (5, 4, 4), but" in text
    assert "imagesTr/knee_001.nii.gz has (5, 4, 3)" in text


def test_channels_on_other_grids_are_refused(tmp_path: Path) -> None:
    root = make_nnunet(tmp_path)
    save(root / "imagesTr" / "a_0001.nii.gz", random_image(1), AFFINE @ np.diag([1, 1, 1.1, 1]))
    dataset = open_nnunet(str(root))
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
    text = message(read_msd, msd)
    assert said in text
    assert "labelsTr/knee_001.nii.gz" in text


def test_a_mask_of_0_and_255_gets_a_proposal(msd: Path) -> None:
    write_description(msd, labels={"0": "background", "1": "cartilage"})
    save(msd / "labelsTr" / "knee_001.nii.gz", (random_label(1) > 0).astype(np.uint8) * 255)
    assert "(perhaps 255 to 1)" in message(read_msd, msd)


def test_members_of_regions_are_declared_and_ignored_voxels_refused(tmp_path: Path) -> None:
    root = make_nnunet(tmp_path)
    write_description(root, labels={"background": 0, "whole": [1, 2], "ignore": 3})
    dataset = open_nnunet(str(root))
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
        assert f"{path} has 1 voxels that are NaN or infinite" in message(read_msd, msd)
    save(path, image.astype(np.float64) * 1e300)  # more than float32 can hold
    assert "NaN or infinite" in message(read_msd, msd)
    constant = image.copy()
    constant[..., 1] = 7
    save(path, constant)
    assert f"{path}: channel 1 is 7 everywhere" in message(read_msd, msd)


def test_the_number_of_channels_must_be_that_of_dataset_json(msd: Path) -> None:
    save(msd / "imagesTr" / "knee_001.nii.gz", random_image(1))
    assert "has 1 channels, but dataset.json names 2 (echo1, echo2)" in message(read_msd, msd)
    save(msd / "imagesTr" / "knee_001.nii.gz", random_image(1, (*SHAPE, 3)))
    assert "has 3 channels" in message(read_msd, msd)
    save(msd / "imagesTr" / "knee_001.nii.gz", random_image(1, (*SHAPE, 1, 2)))
    assert read_msd(msd).image.shape == (*SHAPE, 2)
    save(msd / "labelsTr" / "knee_001.nii.gz", random_label(1, (*SHAPE, 2)))
    assert "has 2 values per voxel" in message(read_msd, msd)
