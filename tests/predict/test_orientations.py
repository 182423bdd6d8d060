"""One scan stored in all 48 orders and directions of its axes is segmented alike in space, voxel by voxel."""

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import small_model
from nibabel import orientations
from scipy.spatial.transform import Rotation

from inpaint_ssl.data.nifti_output import write_nifti
from inpaint_ssl.errors import Problems
from inpaint_ssl.predict.inputs import open_inputs
from inpaint_ssl.trained.segmenter import Segmenter

ALL = tuple(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
SOME = ALL[1::7]  # every order of axes, with different ones turned round


def oblique_affine() -> np.ndarray:
    """Axes far from those of the body, of three spacings."""
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", (14, -9, 21), degrees=True).as_matrix()
    affine[:3, :3] = turned * (0.8, 1.1, 2.7)
    affine[:3, 3] = (-31.5, 12.25, 77)
    return affine


def synthetic() -> nib.Nifti1Image:
    """(18, 13, 5) even whole numbers without any symmetry; longer than the network's images along x."""
    rng = np.random.default_rng(3)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (18, 13, 5)), indexing="ij")
    blobs = 400 * np.exp(-6 * ((x - 0.4) ** 2 + (y + 0.3) ** 2)) + 150 * (x + 2 * y + z > 0.8)
    return nib.Nifti1Image((2 * np.rint(blobs + rng.normal(60, 15, blobs.shape))).astype(np.int16), oblique_affine())


def stored(image: nib.Nifti1Image, order: tuple[int, ...], turned: tuple[int, ...]) -> nib.Nifti1Image:
    """The same voxels at the same places, stored in another order: stored axis order[i] is axis i."""
    how = np.array(list(zip(order, turned, strict=True)), float)
    data = orientations.apply_orientation(np.asarray(image.dataobj), how)
    return nib.Nifti1Image(data, image.affine @ orientations.inv_ornt_aff(how, image.shape))


def segmented(path: Path, segmenter: Segmenter, output: Path) -> nib.Nifti1Image:
    """The mask of a file, by the way that a prediction takes."""
    (one,) = open_inputs(str(path), segmenter.record, True, Problems()).scans
    scan = one.read()
    labels = segmenter.segment(scan.image, scan.spacing_mm, name=one.scan_id).labels
    write_nifti(output, segmenter.record.stored(labels), scan)
    return nib.load(output)


def value_at(image: nib.Nifti1Image, world: np.ndarray) -> np.ndarray:
    """The voxels nearest to places (n, 3) in mm."""
    index = np.rint((np.linalg.inv(image.affine) @ np.c_[world, np.ones(len(world))].T)[:3]).astype(int)
    return np.asarray(image.dataobj)[tuple(index)]


def check_orientations(image: nib.Nifti1Image, segmenter: Segmenter, choices: tuple, folder: Path) -> None:
    nib.save(image, folder / "first.nii")
    first = segmented(folder / "first.nii", segmenter, folder / "first_mask.nii")
    expected = nib.as_closest_canonical(first)
    mask = np.asarray(expected.dataobj)
    assert set(np.unique(mask)) <= {0, 1, 4} and 0.02 < (mask > 0).mean() < 0.98
    index = np.argwhere(np.ones(image.shape))
    world = (image.affine @ np.c_[index, np.ones(len(index))].T)[:3].T
    codes = set()
    for number, (order, turned) in enumerate(choices):
        given = stored(image, order, turned)
        path, output = folder / f"scan_{number}.nii", folder / f"mask_{number}.nii.gz"
        nib.save(given, path)
        found = segmented(path, segmenter, output)
        assert found.shape == given.shape and found.get_data_dtype() == np.uint8
        assert nib.aff2axcodes(found.affine) == nib.aff2axcodes(given.affine)
        np.testing.assert_allclose(found.affine, nib.load(path).affine, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.get_qform(), given.affine, rtol=0, atol=1e-3)
        canonical = nib.as_closest_canonical(found)
        np.testing.assert_allclose(canonical.affine, expected.affine, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(canonical.dataobj), mask)
        np.testing.assert_array_equal(value_at(found, world), value_at(first, world))
        codes.add(nib.aff2axcodes(given.affine))
    assert len(codes) == len(choices)


@pytest.fixture(scope="module")
def segmenter() -> Iterator[Segmenter]:
    how = small_model.preprocessing(slice_axis="axial", image_size=(16, 16))
    yield Segmenter([small_model.model(small_model.record(how))], batch_size=8)


def test_all_48_orientations_of_an_oblique_scan(tmp_path: Path, segmenter: Segmenter) -> None:
    check_orientations(synthetic(), segmenter, ALL, tmp_path)


@pytest.mark.parametrize("slice_axis", ["sagittal", "coronal"])
def test_other_slice_axes_and_resampling(tmp_path: Path, slice_axis: str) -> None:
    how = small_model.preprocessing(slice_axis=slice_axis, image_size=(16, 24), target_spacing_mm=(2.0, 1.0))
    check_orientations(synthetic(), Segmenter([small_model.model(small_model.record(how))]), SOME, tmp_path)


def test_kinds_of_files_do_not_matter(tmp_path: Path, segmenter: Segmenter) -> None:
    """Packed or not, integers, floats, and integers that a slope and an intercept make the same values."""
    image = synthetic()
    kinds = {
        "integers.nii": image,
        "packed.nii.gz": image,
        "floats.nii.gz": nib.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine),
        "doubles.nii": nib.Nifti2Image(image.get_fdata(), image.affine),
    }
    for name, given in kinds.items():
        nib.save(given, tmp_path / name)
    halves = (np.asarray(image.dataobj) - 10) // 2
    nib.save(nib.Nifti1Image(halves.astype(np.int16), image.affine), tmp_path / "scaled.nii")
    with open(tmp_path / "scaled.nii", "r+b") as stream:
        stream.seek(112)  # scl_slope and scl_inter
        stream.write(struct.pack("<2f", 2, 10))
    np.testing.assert_array_equal(nib.load(tmp_path / "scaled.nii").get_fdata(), image.get_fdata())
    masks = []
    for name in (*kinds, "scaled.nii"):
        (one,) = open_inputs(str(tmp_path / name), segmenter.record, True, Problems()).scans
        canonical = nib.as_closest_canonical(image)
        np.testing.assert_array_equal(one.read().image[..., 0], np.asarray(canonical.dataobj))
        masks.append(segmented(tmp_path / name, segmenter, tmp_path / f"mask_{name}"))
    for mask in masks[1:]:
        np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(masks[0].dataobj))
        np.testing.assert_array_equal(mask.affine, masks[0].affine)


@pytest.mark.slow
def test_all_48_orientations_of_a_hippocampus(tmp_path: Path, real_data: Path) -> None:
    path = real_data / "hippocampus" / "imagesTr" / "hippocampus_007.nii.gz"
    how = small_model.preprocessing(slice_axis="sagittal", image_size=(64, 64))
    segmenter = Segmenter([small_model.model(small_model.record(how))])
    check_orientations(nib.load(path), segmenter, ALL, tmp_path)
