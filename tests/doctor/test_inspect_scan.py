"""What is kept of one scan, against NumPy and plain loops."""

from pathlib import Path

import broken_set
import nibabel as nib
import numpy as np
import pytest

from inpaint_ssl.data.classes import ClassMap
from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.doctor.checks_geometry import smallest_image_size, whole_image_size
from inpaint_ssl.doctor.checks_labels import class_counts
from inpaint_ssl.doctor.inspect import QUANTILES, Examination, ScanSummary, inspect_scan


def summary_of(
    root: Path, image: np.ndarray, label: np.ndarray, size=(48, 48), axis="sagittal", spacing=()
) -> ScanSummary:
    made = broken_set.MsdSet(root)
    made.add("scan", image, label)
    reader = open_dataset(ReaderSettings(root=str(made.write())))
    how = Preprocessing("mri", axis, size, "all", (), spacing)
    summary = inspect_scan(Examination(reader, how), reader.entries[0]).summary
    assert summary is not None
    return summary


def test_intensities(tmp_path: Path) -> None:
    image = broken_set.body(0)
    summary = summary_of(tmp_path / "Task", image, np.zeros(image.shape, np.uint8))
    (levels,) = summary.levels
    np.testing.assert_allclose(levels.quantiles, np.quantile(image, QUANTILES))
    assert levels.shares.sum() == pytest.approx(1.0)
    h = summary.hounsfield
    assert h.air == pytest.approx(np.mean((image >= -1100) & (image <= -900)))
    assert h.soft == pytest.approx(np.mean(np.abs(image) <= 150))
    assert (h.lowest, h.highest, h.lowest_share) == (-1000, image.max(), pytest.approx(np.mean(image == -1000)))


@pytest.mark.parametrize("axis", ["sagittal", "coronal", "axial"])
def test_slices(tmp_path: Path, axis: str) -> None:
    image, label = broken_set.tissue(1), broken_set.organs()
    number = ["sagittal", "coronal", "axial"].index(axis)
    index = [slice(None)] * 3
    index[number] = 3
    image[tuple(index)] = 5
    summary = summary_of(tmp_path / "Task", image, label, axis=axis)
    others = tuple(a for a in range(3) if a != number)
    assert np.flatnonzero(summary.constant).tolist() == [3]
    assert summary.slice_hashes[3] == 0 and len(set(summary.slice_hashes.tolist())) == image.shape[number]
    np.testing.assert_array_equal(summary.label_slices[2], (label == 2).any(axis=others))
    np.testing.assert_allclose(summary.content, (image > image.mean()).mean(axis=others))


def test_a_scan_in_another_orientation_and_type_is_the_same_scan(tmp_path: Path) -> None:
    image = broken_set.tissue(2)
    first = summary_of(tmp_path / "A", image, broken_set.organs())
    made = broken_set.MsdSet(tmp_path / "B")
    flipped = broken_set.AFFINE @ np.diag([-1.0, 1, 1, 1])
    made.add("scan", np.ascontiguousarray(image[::-1]).astype(np.float32), broken_set.organs()[::-1], flipped)
    reader = open_dataset(ReaderSettings(root=str(made.write())))
    second = inspect_scan(Examination(reader, Preprocessing("mri", "sagittal", (48, 48), "all", ())), reader.entries[0])
    assert second.summary is not None
    assert second.summary.record.image_sha256 == first.record.image_sha256
    np.testing.assert_array_equal(second.summary.slice_hashes, first.slice_hashes)


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (24, 20), (64, 64)])
def test_what_a_crop_keeps(tmp_path: Path, size: tuple[int, int]) -> None:
    label = np.zeros((4, 20, 26), np.uint8)
    label[1, 3:9, 15:24], label[2, 10:17, 4] = 1, 2
    summary = summary_of(tmp_path / "Task", broken_set.tissue(3, label.shape), label, size)
    # Sagittal: rows run from the last Z down, columns from the last Y down; about the centre.
    shown = label[:, ::-1, ::-1].transpose(0, 2, 1)
    top, left = (max(0, (n - m) // 2) for n, m in zip((26, 20), size, strict=True))
    kept = shown[:, top : top + min(size[0], 26), left : left + min(size[1], 20)]
    assert (summary.kept, summary.labelled) == (np.count_nonzero(kept), np.count_nonzero(label))
    how = Preprocessing("mri", "sagittal", size, "all", ())
    smallest = smallest_image_size([summary], how, 4)
    fits = {
        (h, w): np.count_nonzero(
            shown[:, max(0, (26 - h) // 2) :][:, : min(h, 26), max(0, (20 - w) // 2) :][:, :, : min(w, 20)]
        )
        for h in range(4, 33, 4)
        for w in range(4, 33, 4)
    }
    whole = [pair for pair, n in fits.items() if n == np.count_nonzero(label)]
    assert smallest == (min(h for h, _ in whole), min(w for _, w in whole))
    assert whole_image_size([summary], how, 8) == (32, 24)


def test_what_is_kept_after_resampling(tmp_path: Path) -> None:
    """Pixels of 1 mm become pixels of 2 mm: the images hold twice the field of view."""
    label = broken_set.organs()
    summary = summary_of(tmp_path / "Task", broken_set.tissue(4), label, (4, 4), spacing=(2.0, 2.0))
    assert 0 < summary.kept < summary.labelled < np.count_nonzero(label)
    assert whole_image_size([summary], Preprocessing("mri", "sagittal", (8, 8), "all", (), (2.0, 2.0)), 2) == (18, 16)


def test_class_counts(tmp_path: Path) -> None:
    label = broken_set.organs()
    summary = summary_of(tmp_path / "Task", broken_set.tissue(5), label)
    inner, both = class_counts([summary], ClassMap(("inner", "both"), ((1,), (1, 2))))
    assert (inner.voxels, inner.scans, inner.slices) == (np.count_nonzero(label == 1), 1, 2)
    assert (both.voxels, both.slices) == (np.count_nonzero(label), 6)
    assert both.share == pytest.approx(np.mean(label > 0))
    voxel = np.prod(nib.load(tmp_path / "Task" / "imagesTr" / "scan.nii.gz").header.get_zooms())
    assert both.volume_ml == pytest.approx(np.count_nonzero(label) * voxel / 1000)
