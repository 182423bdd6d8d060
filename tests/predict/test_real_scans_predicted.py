"""Real scans through a network: hippocampus in several orientations and types, one CT series in three forms."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import small_model
from nibabel import orientations

from inpaint_ssl.data import Scan
from inpaint_ssl.data.intensity import channel_statistics
from inpaint_ssl.data.nifti_output import write_nifti
from inpaint_ssl.errors import Problems
from inpaint_ssl.predict.inputs import Inputs, open_inputs
from inpaint_ssl.trained.ranges import outside, quantities
from inpaint_ssl.trained.segmenter import Segmenter


@pytest.fixture(autouse=True)
def own_salt(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("salt")))


@pytest.fixture(scope="module")
def on_mri() -> Segmenter:
    how = small_model.preprocessing(slice_axis="coronal", image_size=(64, 64))
    return Segmenter([small_model.model(small_model.record(how, scan_channels=("MRI",)))])


@pytest.fixture(scope="module")
def on_ct() -> Segmenter:
    """512 x 512 pixels of 1 mm become 64 x 64 of 8 mm, so that 20 slices take a second."""
    how = small_model.preprocessing(modality="ct", image_size=(64, 64), target_spacing_mm=(8.0, 8.0))
    return Segmenter([small_model.model(small_model.record(how, scan_channels=("CT",)))])


def listed(path: Path, segmenter: Segmenter) -> Inputs:
    return open_inputs(str(path), segmenter.record, True, Problems())


def mask_of(scan: Scan, segmenter: Segmenter, path: Path) -> nib.Nifti1Image:
    labels = segmenter.segment(scan.image, scan.spacing_mm).labels
    write_nifti(path, segmenter.record.stored(labels), scan)
    return nib.load(path)


def canonical(mask: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(mask).dataobj)


@pytest.mark.parametrize("codes", ["LPS", "SAL"])
def test_hippocampus_in_original_and_turned_form(
    tmp_path: Path, real_data: Path, on_mri: Segmenter, codes: str
) -> None:
    """Of each volume a copy in another orientation and, where its values are whole, of another type."""
    names, folder = ("hippocampus_001", "hippocampus_007"), tmp_path / "in"
    folder.mkdir()
    for name in names:
        image = nib.load(real_data / "hippocampus" / "imagesTr" / f"{name}.nii.gz")
        change = orientations.ornt_transform(
            orientations.io_orientation(image.affine), orientations.axcodes2ornt(codes)
        )
        turned = image.as_reoriented(change)
        values = np.asarray(turned.dataobj)
        if (values == np.rint(values)).all() and values.max() < 2**15:
            values = values.astype(np.int16)
        nib.save(nib.Nifti1Image(values, turned.affine), folder / f"{name}.nii")
    originals = {one.scan_id: one for one in listed(real_data / "hippocampus", on_mri).scans}
    inputs = listed(folder, on_mri).scans
    assert [one.scan_id for one in inputs] == list(names)
    for one in inputs:
        given = nib.load(folder / f"{one.scan_id}.nii")
        assert nib.aff2axcodes(given.affine) == tuple(codes)
        found = mask_of(one.read(), on_mri, tmp_path / "out" / f"{one.scan_id}.nii.gz")
        assert found.shape == given.shape and nib.aff2axcodes(found.affine) == tuple(codes)
        np.testing.assert_allclose(found.affine, given.affine, atol=1e-5)
        original = mask_of(originals[one.scan_id].read(), on_mri, tmp_path / "out" / "original.nii.gz")
        np.testing.assert_array_equal(canonical(found), canonical(original))
        assert 0.02 < (canonical(found) > 0).mean() < 0.98


def by_hand(folder: Path) -> nib.Nifti1Image:
    """A CT series as NIfTI by pydicom and NumPy alone: HU, and the affine from the positions of its slices."""
    files = sorted(map(pydicom.dcmread, folder.glob("*.dcm")), key=lambda file: file.ImagePositionPatient[2])
    stored = np.stack([file.pixel_array.T.astype(int) for file in files], axis=-1)  # (columns, rows, slices)
    hu = stored * int(files[0].RescaleSlope) + int(files[0].RescaleIntercept)
    affine = np.eye(4)
    between_rows, between_columns = files[0].PixelSpacing
    affine[:3, 0] = np.array(files[0].ImageOrientationPatient[:3]) * between_columns
    affine[:3, 1] = np.array(files[0].ImageOrientationPatient[3:]) * between_rows
    first, last = (np.array(files[k].ImagePositionPatient, float) for k in (0, -1))
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(files) - 1), first
    return nib.Nifti1Image(hu.astype(np.int16), np.diag([-1, -1, 1, 1]) @ affine)  # from LPS to RAS


@pytest.mark.slow
def test_one_ct_series_plain_compressed_and_as_nifti(tmp_path: Path, real_data: Path, on_ct: Segmenter) -> None:
    folder = real_data / "dicom"
    expected = by_hand(folder / "ct_abdomen")
    nib.save(expected, tmp_path / "converted.nii.gz")
    masks = []
    for place in (folder / "ct_abdomen", folder / "ct_abdomen_jpeg2000", tmp_path / "converted.nii.gz"):
        (one,) = listed(place, on_ct).scans
        masks.append(mask_of(one.read(), on_ct, tmp_path / f"mask_{len(masks)}.nii.gz"))
        np.testing.assert_allclose(masks[-1].affine, expected.affine, atol=1e-3)
        assert masks[-1].shape == expected.shape == (512, 512, 20)
    for mask in masks[1:]:
        np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(masks[0].dataobj))
    assert 0.02 < (np.asarray(masks[0].dataobj) > 0).mean() < 0.98


def test_a_folder_with_ct_and_mr_and_what_is_unlike_the_training_scans(real_data: Path, on_ct: Segmenter) -> None:
    inputs = listed(real_data / "dicom", on_ct)
    assert len(inputs.scans) == 2
    assert any("20 files of series 2 in mr_brain: MR series" in note for note in inputs.notes)
    scan = inputs.scans[0].read()
    about = quantities(scan.image.shape[:3], scan.spacing_mm, channel_statistics(scan.image), "ct")
    trained_on = on_ct.record.trained_on  # five scans of 16 x 16 x 8 voxels of noise about 100
    told = outside(trained_on.ranges, about, trained_on.scans)
    assert "field of view along x is 500 mm, training scans had 16.0 mm (5 scans)" in told
    assert any(text.startswith("lowest intensity is -1024 HU, training scans had ") for text in told)
