"""The record of how scans become input, where slices are placed, and what the host knows of a scan's intensities."""

import json

import numpy as np
import pytest

from inpaint_ssl.data import Preprocessing, Scan, ScanEntry, describe, source_of, to_volume
from inpaint_ssl.errors import InputError

WINDOWS = ((400.0, 50.0), (1800.0, 40.0))


def scan_of(image: np.ndarray, label: np.ndarray | None = None, spacing: tuple = (1.0, 1.0, 1.0)) -> Scan:
    if image.ndim == 3:
        image = image[..., None]
    entry = ScanEntry("scan_7", "scan_7", label is not None)
    affine = np.diag([*spacing, 1.0])
    return Scan(entry, image.astype(np.float32), label, spacing, affine, affine, "RAS", image.shape[:3])


def settings(
    modality: str = "mri", axis: str = "sagittal", size: tuple = (8, 8), channels: str = "all", spacing: tuple = ()
) -> Preprocessing:
    return Preprocessing(modality, axis, size, channels, WINDOWS, spacing)


def test_slices_lie_in_the_middle_and_the_rest_is_outside_the_box() -> None:
    rng = np.random.default_rng(1)
    image = rng.gamma(2, 50, (3, 5, 4, 2))
    label = rng.integers(0, 4, (3, 5, 4)).astype(np.uint8)
    result = source_of(scan_of(image, label), settings())
    expected, truth = np.zeros((3, 8, 8, 2), np.float32), np.zeros((3, 8, 8), np.uint8)
    for x in range(3):
        for y in range(5):
            for z in range(4):  # 4 rows from superior after a margin of 2, 5 columns from anterior after a margin of 1
                expected[x, 2 + 3 - z, 1 + 4 - y] = image[x, y, z]
                truth[x, 2 + 3 - z, 1 + 4 - y] = label[x, y, z]
    assert np.array_equal(result.images, expected)
    assert np.array_equal(result.targets, truth)
    assert result.targets.dtype == np.uint8
    assert result.boxes.tolist() == [[2, 1, 6, 6]] * 3


def test_a_crop_that_cuts_labels_names_the_scan_and_the_size_it_needs() -> None:
    image = np.random.default_rng(4).normal(size=(2, 11, 12))
    label = np.zeros((2, 11, 12), np.uint8)
    label[1, 5, 6] = 1
    assert source_of(scan_of(image, label), settings()).targets.sum() == 1
    label[0, 5, 11] = 2  # most superior: displayed row 0 of 12, where a crop to 11 starts
    with pytest.raises(InputError, match=r"scan_7.*\(11, 8\)"):
        source_of(scan_of(image, label), settings())
    label[0, 5, 11], label[0, 9, 6] = 0, 2  # displayed column 1 of 11: a crop to 9 starts at 1, one to 8 too
    assert source_of(scan_of(image, label), settings()).targets.sum() == 3
    label[0, 1, 6] = 2  # displayed column 9 of 11
    with pytest.raises(InputError, match=r"scan_7.*\(8, 9\)") as caught:
        source_of(scan_of(image, label), settings())
    assert "\n" not in str(caught.value)
    assert source_of(scan_of(image, label), settings(size=(8, 9))).targets.sum() == 5


def test_an_unlabelled_scan_is_cropped_about_its_centre() -> None:
    image = np.random.default_rng(5).normal(size=(2, 12, 12)).astype(np.float32)
    result = source_of(scan_of(image), settings())
    shown = to_volume(result.images[..., 0], result.scans[0].placement)
    assert np.array_equal(shown[:, 2:10, 2:10], image[:, 2:10, 2:10])
    whole = image.astype(float)  # statistics are of the whole volume, not of what is visible
    mean, scale = result.statistics[0, 0, 0] + result.statistics[0, 1, 0], result.statistics[0, 2, 0]
    assert (mean, 1 / scale) == pytest.approx((whole.mean(), whole.std()), rel=1e-6)


def test_resampling_gives_the_field_of_view_in_the_wanted_pixels() -> None:
    """Axial pixels of 2 mm (columns, X) and 0.5 mm (rows, Y) become 1 mm: a ramp stays the same ramp."""
    x, y = np.arange(10) * 2.0 + 1.0, np.arange(40) * 0.5 + 0.25  # mm from the edge of the volume, pixel centres
    image = np.broadcast_to((3 * x[:, None] + 5 * y[None, :])[..., None], (10, 40, 2))
    label = np.zeros((10, 40, 2), np.uint8)
    label[4:6, 10:20] = 1  # 8 to 12 mm, 5 to 10 mm
    result = source_of(scan_of(image, label, (2.0, 0.5, 1.0)), settings(axis="axial", size=(20, 20), spacing=(1, 1)))
    assert result.scans[0].placement.resampled == (20, 20)
    ramp = 3 * (np.arange(20) + 0.5)[None, :] + 5 * (np.arange(20) + 0.5)[:, None]  # rows y, columns x
    inner = (slice(None), slice(2, -2), slice(2, -2), 0)
    np.testing.assert_allclose(result.images[inner], ramp[::-1, ::-1][None][inner[:3]].repeat(2, 0), atol=1e-3)
    truth = np.zeros((20, 20), np.uint8)
    truth[5:10, 8:12] = 1
    assert np.array_equal(result.targets[0], truth[::-1, ::-1])
    # ... and back on the scan's own grid.
    back = to_volume(result.images[..., 0], result.scans[0].placement)
    np.testing.assert_allclose(back[2:-2, 4:-4], image[2:-2, 4:-4], atol=1e-3)
    assert np.array_equal(result.volumes(result.scans[0]).label, label)


def test_a_spacing_that_fits_already_changes_nothing() -> None:
    image = np.random.default_rng(6).normal(size=(9, 8, 3)).astype(np.float32)
    same = source_of(scan_of(image, None, (0.7, 0.7, 2.0)), settings(axis="axial", spacing=(0.7, 0.7)))
    assert same.scans[0].placement.resampled == ()
    assert np.array_equal(same.images, source_of(scan_of(image), settings(axis="axial")).images)


def test_labels_that_a_crop_after_resampling_cuts_are_noticed() -> None:
    image, label = np.random.default_rng(7).normal(size=(2, 16, 16)), np.zeros((2, 16, 16), np.uint8)
    label[0, 8, 15] = 1  # displayed row 0 of 16, then 0 and 1 of 32: a crop to 31 starts at 0
    with pytest.raises(InputError, match=r"32 x 32 sagittal slices.*\(31, 8\)"):
        source_of(scan_of(image, label), settings(size=(8, 8), spacing=(0.5, 0.5)))
    label[0, 8:10, 14:] = 1
    assert source_of(scan_of(image, label), settings(spacing=(2.0, 2.0))).targets.sum() == 1


def test_the_record_survives_json_and_other_versions_are_refused() -> None:
    record = settings("ct", "coronal", (64, 32), spacing=(0.5, 1.0))
    assert Preprocessing.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    with pytest.raises(InputError, match=r"version is 1"):
        Preprocessing.from_dict({**record.to_dict(), "version": 1})
    with pytest.raises(InputError, match=r"hu_windows"):
        Preprocessing.from_dict({"modality": "ct"})
    with pytest.raises(InputError, match=r"another version.*gamma"):
        Preprocessing.from_dict({**record.to_dict(), "gamma": 1})
    with pytest.raises(InputError, match=r"slice_axis is 'oblique'"):
        settings(axis="oblique")


def test_scans_that_cannot_be_normalised_are_refused() -> None:
    with pytest.raises(InputError, match=r"scan_7 has 2 channels"):
        source_of(scan_of(np.random.default_rng(6).normal(size=(2, 4, 4, 2))), settings("ct"))
    image = np.random.default_rng(6).normal(size=(2, 4, 4, 2))
    image[..., 1] = 3
    with pytest.raises(InputError, match=r"scan_7: channel 1 has the same value everywhere"):
        source_of(scan_of(image), settings())
    image = np.random.default_rng(6).normal(size=(2, 4, 4, 1)).astype(np.float32) * np.float32(1e-42)
    with pytest.raises(InputError, match=r"scan_7: its values are too large or vary too little"):
        source_of(scan_of(image), settings())


def test_channels_of_the_network_input() -> None:
    assert settings("ct").channels_out(1) == 2
    assert settings("mri").channels_out(3) == 3
    assert settings("mri", channels="root_sum_of_squares").channels_out(3) == 1


def test_the_record_of_a_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inpaint_ssl.data.intensity._SLAB_VOXELS", 7)  # several slabs
    rng = np.random.default_rng(8)
    image, label = rng.gamma(2, 50, (5, 4, 3, 2)).astype(np.float32), np.zeros((5, 4, 3), np.uint8)
    label[1:3, 2, 0:2], label[4, 3, 1] = 7, 2
    record = describe(scan_of(image, label))
    for channel, one in enumerate(record.intensity):
        values = image[..., channel].astype(np.float64)
        assert (one.mean, one.std) == pytest.approx((values.mean(), values.std()), rel=1e-12)
        assert (one.min, one.max) == (values.min(), values.max())
    combined = np.sqrt((image.astype(np.float64) ** 2).sum(axis=-1))
    both = record.root_sum_of_squares
    assert (both.mean, both.std) == pytest.approx((combined.mean(), combined.std()), rel=1e-12)
    assert record.label_voxels == {2: 1, 7: 4}
    assert record.label_box == ((1, 4), (2, 3), (0, 1))
    assert record.labelled_box("sagittal") == ((1, 2), (0, 1))  # rows: Z from above, columns: Y from the front
    assert type(record).from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_equal_voxels_have_equal_hashes_in_any_type() -> None:
    whole = np.random.default_rng(9).integers(0, 200, (3, 4, 5))
    hashes = {describe(scan_of(whole.astype(kind))).image_sha256 for kind in (np.uint8, np.int16, np.float32)}
    assert len(hashes) == 1
    changed = whole.copy()
    changed[2, 3, 4] += 1
    assert describe(scan_of(changed)).image_sha256 not in hashes
    assert describe(scan_of(whole.reshape(4, 3, 5))).image_sha256 not in hashes
    huge = (whole * 2.0**80).astype(np.float32)  # whole numbers that no integer type holds
    assert describe(scan_of(huge)).image_sha256 != describe(scan_of(2 * huge)).image_sha256
