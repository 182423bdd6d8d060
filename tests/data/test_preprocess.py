"""From a scan to slices: statistics before padding, the margin, crops, and the record of it all."""

import json

import numpy as np
import pytest

from inpaint_ssl.data import Preprocessing, Scan, ScanEntry, preprocess, to_volume
from inpaint_ssl.errors import InputError

WINDOWS = ((400.0, 50.0), (1800.0, 40.0))


def scan_of(image: np.ndarray, label: np.ndarray | None = None) -> Scan:
    if image.ndim == 3:
        image = image[..., None]
    entry = ScanEntry("scan_7", "scan_7", label is not None)
    eye = np.eye(4)
    return Scan(entry, image.astype(np.float32), label, (1.0, 1.0, 1.0), eye, eye, "RAS", image.shape[:3])


def settings(
    modality: str = "mri", axis: str = "sagittal", size: tuple = (8, 8), channels: str = "all"
) -> Preprocessing:
    return Preprocessing(modality, axis, size, channels, WINDOWS)


def test_mri_statistics_ignore_the_padding_and_the_margin_is_the_minimum() -> None:
    rng = np.random.default_rng(1)
    image = rng.gamma(2, 50, (3, 5, 4, 2))
    label = rng.integers(0, 4, (3, 5, 4)).astype(np.uint8)
    result = preprocess(scan_of(image, label), settings())
    image = image.astype(np.float32).astype(float)
    scored = (image - image.mean(axis=(0, 1, 2))) / image.std(axis=(0, 1, 2))
    expected = np.empty((3, 8, 8, 2))
    expected[:] = scored.min(axis=(0, 1, 2))
    truth = np.zeros((3, 8, 8), np.uint8)
    for x in range(3):
        for y in range(5):
            for z in range(4):  # 4 rows from superior after a margin of 2, 5 columns from anterior after a margin of 1
                expected[x, 2 + 3 - z, 1 + 4 - y] = scored[x, y, z]
                truth[x, 2 + 3 - z, 1 + 4 - y] = label[x, y, z]
    assert result.images == pytest.approx(expected, abs=1e-5)
    assert result.images.dtype == np.float32
    assert np.array_equal(result.targets, truth)
    assert result.targets.dtype == np.uint8


def test_ct_margin_is_air_in_the_same_window_and_score() -> None:
    hu = np.random.default_rng(2).integers(-1000, 1500, (4, 3, 2)).astype(float)
    result = preprocess(scan_of(hu), settings("ct", "axial"))
    assert result.images.shape == (2, 8, 8, 2)
    assert not result.targets.any()
    for z in range(2):
        for channel, (width, level) in enumerate(WINDOWS):
            clipped = np.clip(hu[:, :, z], level - width / 2, level + width / 2)
            shown = ((clipped - clipped.mean()) / clipped.std())[::-1, ::-1].T  # rows from anterior, columns from right
            air = (max(-1024.0, level - width / 2) - clipped.mean()) / clipped.std()
            expected = np.full((8, 8), air)
            expected[2:5, 2:6] = shown
            assert result.images[z, :, :, channel] == pytest.approx(expected, abs=1e-5)


def test_channels_are_combined_before_the_z_score() -> None:
    image = np.random.default_rng(3).gamma(2, 5, (3, 8, 8, 2)).astype(np.float32)
    result = preprocess(scan_of(image), settings(channels="root_sum_of_squares"))
    combined = np.sqrt(image[..., 0].astype(float) ** 2 + image[..., 1].astype(float) ** 2)
    expected = (combined - combined.mean()) / combined.std()
    assert to_volume(result.images[..., 0], result.placement) == pytest.approx(expected, abs=1e-5)
    assert result.images.shape[3] == settings(channels="root_sum_of_squares").channels_out(2) == 1


def test_a_crop_that_cuts_labels_names_the_scan_and_the_size_it_needs() -> None:
    image = np.random.default_rng(4).normal(size=(2, 11, 12))
    label = np.zeros((2, 11, 12), np.uint8)
    label[1, 5, 6] = 1
    assert preprocess(scan_of(image, label), settings()).targets.sum() == 1
    label[0, 5, 11] = 2  # most superior: displayed row 0 of 12, where a crop to 11 starts
    with pytest.raises(InputError, match=r"scan_7.*\(11, 8\)"):
        preprocess(scan_of(image, label), settings())
    label[0, 5, 11], label[0, 9, 6] = 0, 2  # displayed column 1 of 11: a crop to 9 starts at 1, one to 8 too
    assert preprocess(scan_of(image, label), settings()).targets.sum() == 3
    label[0, 1, 6] = 2  # displayed column 9 of 11
    with pytest.raises(InputError, match=r"scan_7.*\(8, 9\)") as caught:
        preprocess(scan_of(image, label), settings())
    assert "\n" not in str(caught.value)
    assert preprocess(scan_of(image, label), settings(size=(8, 9))).targets.sum() == 5


def test_an_unlabelled_scan_is_cropped_about_its_centre() -> None:
    image = np.random.default_rng(5).normal(size=(2, 12, 12))
    result = preprocess(scan_of(image), settings())
    expected = (image - image.mean()) / image.std()  # statistics of the whole volume, not of what is visible
    assert to_volume(result.images[..., 0], result.placement)[:, 2:10, 2:10] == pytest.approx(
        expected[:, 2:10, 2:10], abs=1e-5
    )


def test_the_record_survives_json_and_other_versions_are_refused() -> None:
    record = settings("ct", "coronal", (64, 32))
    assert Preprocessing.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    with pytest.raises(InputError, match=r"version is 2"):
        Preprocessing.from_dict({**record.to_dict(), "version": 2})
    with pytest.raises(InputError, match=r"hu_windows"):
        Preprocessing.from_dict({"modality": "ct"})
    with pytest.raises(InputError, match=r"another version.*gamma"):
        Preprocessing.from_dict({**record.to_dict(), "gamma": 1})
    with pytest.raises(InputError, match=r"slice_axis is 'oblique'"):
        settings(axis="oblique")


def test_ct_of_two_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"scan_7 has 2 channels"):
        preprocess(scan_of(np.random.default_rng(6).normal(size=(2, 4, 4, 2))), settings("ct"))


def test_channels_of_the_network_input() -> None:
    assert settings("ct").channels_out(1) == 2
    assert settings("mri").channels_out(3) == 3
