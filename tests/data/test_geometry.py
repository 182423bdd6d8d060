"""Slices on screen, placement in images of one size, and the way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inpaint_ssl.data.geometry import Placement, corner_distance_mm, display, fill, place, ras_orientation, to_volume

AXES = ("sagittal", "coronal", "axial")


def landmark(*voxel: int) -> np.ndarray:
    volume = np.zeros((4, 5, 6), np.uint8)
    volume[voxel] = 1
    return volume


@pytest.mark.parametrize(
    ("axis", "voxel", "expected"),
    [
        # Patient right, anterior, superior corner of a volume of 4 x 5 x 6 voxels: (x, y, z) = (3, 4, 5).
        ("sagittal", (3, 4, 5), (3, 0, 0)),  # rows from superior, columns from anterior
        ("coronal", (3, 4, 5), (4, 0, 0)),  # rows from superior, columns from patient right
        ("axial", (3, 4, 5), (5, 0, 0)),  # rows from anterior, columns from patient right
        ("sagittal", (1, 4, 0), (1, 5, 0)),
        ("sagittal", (0, 0, 5), (0, 0, 4)),
        ("coronal", (0, 2, 4), (2, 1, 3)),
        ("coronal", (2, 0, 0), (0, 5, 1)),
        ("axial", (1, 4, 2), (2, 0, 2)),
        ("axial", (3, 1, 0), (0, 3, 0)),
    ],
)
def test_landmark_is_displayed_in_its_row_and_column(axis: str, voxel: tuple, expected: tuple) -> None:
    shown = display(landmark(*voxel), axis)
    assert [tuple(int(i) for i in index) for index in np.argwhere(shown)] == [expected]


@pytest.mark.parametrize(
    ("given_size", "expected"),
    [((6, 5), (0, 0)), ((9, 8), (1, 1)), ((10, 9), (2, 2)), ((3, 4), (-1, 0)), ((2, 2), (-2, -1)), ((7, 4), (0, 0))],
)
def test_odd_differences_leave_the_smaller_half_before(given_size: tuple, expected: tuple) -> None:
    assert place((4, 5, 6), "sagittal", given_size).offset == expected  # slices of 6 rows and 5 columns


def test_a_crop_shows_the_middle_and_returns_zero_outside() -> None:
    volume = np.arange(1, 4 * 5 * 6 + 1).reshape(4, 5, 6)
    placement = place((4, 5, 6), "axial", (3, 3))  # slices of 5 rows (y), 4 columns (x)
    images = np.zeros((6, 3, 3), volume.dtype)
    fill(images, display(volume, "axial"), placement)
    # Displayed row r is y = 4 - r, column c is x = 3 - c; one row is cut before and after, one column after.
    assert images[2, 0].tolist() == [volume[3, 3, 2], volume[2, 3, 2], volume[1, 3, 2]]
    expected = volume.copy()
    expected[0], expected[:, 0], expected[:, 4] = 0, 0, 0
    assert np.array_equal(to_volume(images, placement), expected)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    margin=st.tuples(*[st.integers(0, 7)] * 2),
    axis=st.sampled_from(AXES),
    channels=st.sampled_from([(), (2,)]),
)
def test_to_volume_undoes_placing(shape: tuple, margin: tuple, axis: str, channels: tuple) -> None:
    volume = np.random.default_rng(0).integers(1, 255, (*shape, *channels)).astype(np.uint8)
    rows, columns = {"sagittal": (2, 1), "coronal": (2, 0), "axial": (1, 0)}[axis]
    placement = place(shape, axis, (shape[rows] + margin[0], shape[columns] + margin[1]))
    images = np.zeros((len(display(volume, axis)), *placement.image_size, *channels), np.uint8)
    fill(images, display(volume, axis), placement)
    assert images.sum() == volume.sum()
    back = to_volume(images, Placement.from_dict(placement.to_dict()))
    assert back.dtype == volume.dtype
    assert np.array_equal(back, volume)


def test_what_lies_outside_a_crop_can_be_given() -> None:
    placement = place((2, 6, 6), "sagittal", (4, 4))
    volume = to_volume(np.ones((2, 4, 4), np.float32), placement, outside=-3.0)
    assert volume[:, 1:5, 1:5].min() == 1.0
    assert volume.sum() == 2 * (16 - 3 * 20)


def test_to_volume_refuses_images_of_another_scan() -> None:
    with pytest.raises(ValueError, match=r"expected .*\(4, 8, 8\)"):
        to_volume(np.zeros((5, 8, 8)), place((4, 5, 6), "sagittal", (8, 8)))


def test_corner_distance_of_a_shift_and_of_a_scale() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    shifted = affine.copy()
    shifted[:3, 3] = (3, 4, 12)
    assert corner_distance_mm((5, 6, 7), affine, shifted) == pytest.approx(13)
    scaled = np.diag([2.0, 3.0, 4.1, 1.0])
    assert corner_distance_mm((5, 6, 7), affine, scaled) == pytest.approx(0.1 * 6.5)  # the far corner, at index 6.5


def test_an_affine_without_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="not invertible"):
        ras_orientation(np.diag([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="not invertible"):
        ras_orientation(np.full((4, 4), np.nan))
    assert ras_orientation(np.diag([1e-4, -1e-4, 1e-4, 1.0])).tolist() == [[0, 1], [1, -1], [2, 1]]
