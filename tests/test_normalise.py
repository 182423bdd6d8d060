"""Normalisation on the device against a float64 computation in NumPy."""

import jax
import numpy as np
import pytest

from inpaint_ssl.data import ArraySliceSource, Preprocessing, Scan, ScanEntry, source_of
from inpaint_ssl.normalise import jitted_normaliser

WINDOWS = ((400.0, 50.0), (1800.0, 40.0), (500.0, 50.0), (1800.0, 400.0))


def scan_of(image: np.ndarray) -> Scan:
    eye = np.eye(4)
    return Scan(ScanEntry("scan", "scan", False), image, None, (1.0, 1.0, 1.0), eye, eye, "RAS", image.shape[:3])


def how(modality: str, size: tuple[int, int], channels: str = "all") -> Preprocessing:
    return Preprocessing(modality, "axial", size, channels, WINDOWS if modality == "ct" else ())


def normalised(source: ArraySliceSource) -> np.ndarray:
    function = jitted_normaliser(source.preprocessing)
    return np.asarray(function(source.images, source.boxes, source.statistics))


def shown(image: np.ndarray) -> np.ndarray:
    """Axial slices of (X, Y, Z, C) as displayed: rows from anterior, columns from the patient's right."""
    return image.transpose(2, 1, 0, 3)[:, ::-1, ::-1].astype(np.float64)


def padded(slices: np.ndarray, size: tuple[int, int], margin: np.ndarray) -> np.ndarray:
    """(S, h, w, C) in the middle of (S, *size, C), the smaller half of an odd margin before; cropped where larger."""
    result = np.broadcast_to(margin, (len(slices), *size, slices.shape[3])).copy()
    target, origin = [], []
    for side, n in zip(size, slices.shape[1:3], strict=True):
        before = (side - n) // 2 if side >= n else 0
        cut = (n - side) // 2 if n > side else 0
        target.append(slice(before, before + min(n, side)))
        origin.append(slice(cut, cut + min(n, side)))
    result[:, target[0], target[1]] = slices[:, origin[0], origin[1]]
    return result


@pytest.mark.parametrize("kind", ["int16 of large mean", "uint8", "float32", "int32"])
@pytest.mark.parametrize("size", [(24, 24), (8, 32)])
def test_mri_is_the_z_score_of_the_whole_volume(kind: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = {
        "int16 of large mean": rng.integers(30000, 30040, (17, 14, 5, 2)).astype(np.int16),
        "uint8": rng.integers(0, 255, (17, 14, 5, 2)).astype(np.uint8),
        "float32": rng.gamma(2, 300, (17, 14, 5, 2)).astype(np.float32),
        "int32": rng.integers(0, 2**22, (17, 14, 5, 2)).astype(np.int32),
    }[kind]
    slices = shown(image)
    mean, std = slices.mean(axis=(0, 1, 2)), slices.std(axis=(0, 1, 2))
    expected = padded((slices - mean) / std, size, (slices.min(axis=(0, 1, 2)) - mean) / std)
    result = normalised(source_of(scan_of(image), how("mri", size)))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_echoes_are_combined_on_the_device() -> None:
    image = np.random.default_rng(1).integers(0, 5000, (20, 16, 4, 2)).astype(np.int16)
    combined = np.sqrt((shown(image) ** 2).sum(axis=-1, keepdims=True))
    expected = padded(
        (combined - combined.mean()) / combined.std(), (24, 24), (combined.min() - combined.mean()) / combined.std()
    )
    result = normalised(source_of(scan_of(image), how("mri", (24, 24), "root_sum_of_squares")))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def reference_ct(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Windowed, z-scored over what the image shows of the slice, air (-1024 HU) in the margin."""
    inside = padded(np.ones((*slices.shape[:3], 1)), size, np.zeros(1))[..., 0] > 0
    hu = np.where(inside, padded(slices, size, np.zeros(1))[..., 0], -1024)
    result = np.zeros((*hu.shape, len(WINDOWS)))
    for channel, (width, level) in enumerate(WINDOWS):
        clipped = np.clip(hu, level - width / 2, level + width / 2)
        for index in range(len(hu)):
            values = clipped[index][inside[index]]
            if values.min() < values.max():
                result[index, ..., channel] = (clipped[index] - values.mean()) / values.std()
    return result


@pytest.mark.parametrize("size", [(64, 48), (32, 20)])  # padded; cropped
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_ct_windows_are_scored_from_the_image_itself(size: tuple[int, int], dtype: type) -> None:
    image = np.random.default_rng(2).integers(-1024, 3071, (40, 50, 6, 1)).astype(dtype)
    result = normalised(source_of(scan_of(image), how("ct", size)))
    np.testing.assert_allclose(result, reference_ct(shown(image), size), rtol=0, atol=1e-5)


def test_the_paper_s_size_keeps_its_digits() -> None:
    """512 x 512: a sum of a quarter of a million float32 must not drift; almost all of the image is air."""
    rng = np.random.default_rng(3)
    image = np.full((512, 512, 2, 1), -1000, np.int16)
    image[100:200, 150:300] = rng.normal(40, 30, (100, 150, 2, 1)).astype(np.int16)
    image[120:140, 160:180] = 3071
    result = normalised(source_of(scan_of(image), how("ct", (512, 512))))
    expected = reference_ct(shown(image), (512, 512))
    assert np.abs(expected).max() > 5
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-5)


def test_an_image_that_is_nearly_constant_keeps_its_digits() -> None:
    """One pixel of soft tissue in air, one of air in bone: the deviation is below the rounding of a plain mean."""
    image = np.full((60, 100, 3, 1), -1000, np.int16)
    image[30, 40, 0] = -149
    image[..., 1, 0], image[30, 40, 1] = 3000, -1000
    image[..., 2, 0], image[30, 40, 2] = 251, 249
    result = normalised(source_of(scan_of(image), how("ct", (128, 64))))
    expected = reference_ct(shown(image), (128, 64))
    assert np.abs(expected).max() > 70
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_a_constant_image_never_divides_by_zero() -> None:
    image = np.full((8, 8, 3, 1), -1000, np.int16)
    image[..., 1, 0] = np.arange(64).reshape(8, 8) + 300  # constant in the narrow windows only
    image[0, 0, 2] = 5
    source = source_of(scan_of(image), how("ct", (16, 16)))
    with jax.debug_nans(True):
        result = normalised(source)
    assert np.isfinite(result).all()
    assert not result[0].any() and not result[1, ..., 0].any()
    assert result[1, ..., 1].std() > 0.3
    gradient = jax.grad(lambda hu: jitted_normaliser(source.preprocessing)(hu, source.boxes, source.statistics).sum())
    assert np.isfinite(np.asarray(gradient(source.images.astype(np.float32)))).all()


def test_images_that_are_normalised_already_only_become_float32() -> None:
    images = np.random.default_rng(4).normal(size=(2, 4, 4, 1)).astype(np.float16)
    result = jitted_normaliser(None)(images, np.zeros((2, 4), np.int32), np.zeros((2, 4, 0), np.float32))
    assert result.dtype == np.float32
    assert np.array_equal(np.asarray(result), images.astype(np.float32))
