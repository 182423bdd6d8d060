"""Volume, area, HU and their flags: boxes and spheres of known size, HU of known inserts, and all that is undefined."""

import math

import numpy as np
import pytest

from inpaint_ssl.metrics import (
    FLAGS,
    QUANTITIES,
    area_mm2,
    flags,
    mean_hu,
    percent_error,
    slice_areas_mm2,
    touches_border,
    volume_mm3,
)

SPACING_MM = (1.0, 2.0, 3.0)


def box_mask(shape: tuple[int, int, int] = (10, 11, 12)) -> np.ndarray:
    """4 x 3 x 2 voxels that touch no border: 4 x 6 x 6 mm."""
    mask = np.zeros(shape, bool)
    mask[2:6, 3:6, 4:6] = True
    return mask


def test_a_box_of_known_volume_and_areas() -> None:
    mask = box_mask()
    assert volume_mm3(mask, SPACING_MM) == 144.0
    for axis, area, first, count in ((0, 36.0, 2, 4), (1, 24.0, 3, 3), (2, 24.0, 4, 2)):
        areas = slice_areas_mm2(mask, SPACING_MM, axis)
        assert areas.dtype == np.float64 and areas.shape == (mask.shape[axis],)
        np.testing.assert_array_equal(areas[first : first + count], area)
        assert areas.sum() == area * count  # nothing in the other slices
        assert area_mm2(mask, SPACING_MM, axis) == area
        assert areas.sum() * SPACING_MM[axis] == volume_mm3(mask, SPACING_MM)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_swapped_axes_are_another_area(axis: int) -> None:
    """4 x 3 x 2 voxels of 1 x 2 x 3 mm: the areas by hand, of both turned alike and of the mask turned alone."""
    by_hand = {0: (3 * 2) * (2 * 3), 1: (4 * 2) * (1 * 3), 2: (4 * 3) * (1 * 2)}
    mask, turned = box_mask(), (2, 0, 1)
    assert area_mm2(mask, SPACING_MM, axis) == by_hand[axis]
    moved = np.transpose(mask, turned)
    spacing = tuple(SPACING_MM[a] for a in turned)
    assert area_mm2(moved, spacing, turned.index(axis)) == by_hand[axis]
    assert area_mm2(moved, SPACING_MM, turned.index(axis)) != by_hand[axis]


def test_a_sphere_of_known_volume_and_section() -> None:
    """A voxel counts when its centre is inside, so what is counted lies between the spheres that are half a voxel's
    diagonal smaller and larger; a section alike between circles."""
    radius = 120.0
    axes = [np.arange(-math.ceil(radius / s) - 1, math.ceil(radius / s) + 2) * s for s in SPACING_MM]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    mask = x**2 + y**2 + z**2 <= radius**2
    half_diagonal = math.dist((0, 0, 0), SPACING_MM) / 2
    bound = 4 / 3 * math.pi * ((radius + half_diagonal) ** 3 - radius**3)
    assert bound < 0.05 * 4 / 3 * math.pi * radius**3
    assert abs(volume_mm3(mask, SPACING_MM) - 4 / 3 * math.pi * radius**3) < bound
    for axis in range(3):
        first, second = (s for a, s in enumerate(SPACING_MM) if a != axis)
        bound = math.pi * ((radius + math.hypot(first, second) / 2) ** 2 - radius**2)
        areas = slice_areas_mm2(mask, SPACING_MM, axis)
        assert abs(areas.max() - math.pi * radius**2) < bound < 0.04 * math.pi * radius**2
        assert area_mm2(mask, SPACING_MM, axis) == pytest.approx(2 / 3 * math.pi * radius**2, rel=0.05)


def test_area_is_of_the_slices_that_hold_the_tissue() -> None:
    mask = np.zeros((10, 10, 5), bool)
    mask[:3, 0, 1], mask[:, 0, 3] = True, True
    assert area_mm2(mask, SPACING_MM, 2) == (6.0 + 20.0) / 2
    assert area_mm2(np.pad(mask, ((0, 0), (0, 0), (0, 20))), SPACING_MM, 2) == 13.0
    assert area_mm2(mask[..., 3:4], SPACING_MM, 2) == 20.0  # a single slice: its area


def test_a_single_voxel() -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = True
    hu = np.zeros(mask.shape, np.int16)
    hu[1, 2, 3] = -73
    assert volume_mm3(mask, SPACING_MM) == 6.0
    assert [area_mm2(mask, SPACING_MM, axis) for axis in range(3)] == [6.0, 3.0, 2.0]
    assert mean_hu(mask, hu) == -73.0


def test_an_absent_tissue_has_no_volume_and_no_hu() -> None:
    nothing = np.zeros((4, 5, 6), bool)
    assert volume_mm3(nothing, SPACING_MM) == area_mm2(nothing, SPACING_MM, 2) == 0.0
    np.testing.assert_array_equal(slice_areas_mm2(nothing, SPACING_MM, 2), np.zeros(6))
    assert math.isnan(mean_hu(nothing, np.zeros(nothing.shape)))


def test_hu_of_known_inserts() -> None:
    """A phantom for calibration: water with inserts of whole HU."""
    hu = np.full((20, 20, 4), 0, np.int16)
    inserts = {
        -1000: np.s_[1:4, 1:5, :],
        -97: np.s_[6:9, 1:5, 1:3],
        52: np.s_[12:15, 8:9, :],
        914: np.s_[16:19, 16:, 3],
    }
    for value, where in inserts.items():
        hu[where] = value
    for value, where in inserts.items():
        mask = np.zeros(hu.shape, bool)
        mask[where] = True
        assert mean_hu(mask, hu) == value
    assert mean_hu((hu == -97) | (hu == 52), hu) == pytest.approx((24 * -97 + 12 * 52) / 36, rel=1e-15)


def test_hu_of_small_types_lose_nothing() -> None:
    mask = np.ones((200, 200, 5), bool)
    assert mean_hu(mask, np.full(mask.shape, 30_000, np.int16)) == 30_000.0
    values = np.random.default_rng(0).normal(1e6, 1.0, mask.shape).astype(np.float32)
    assert mean_hu(mask, values) == pytest.approx(math.fsum(values.ravel().tolist()) / values.size, rel=1e-15)
    assert mean_hu(mask, values) != float(values.mean())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_hu_with_a_voxel_that_is_no_number_are_undefined(value: float) -> None:
    mask, hu = box_mask(), np.full((10, 11, 12), 40.0)
    hu[0, 0, 0] = value
    assert mean_hu(mask, hu) == 40.0
    hu[2, 3, 4] = value
    assert math.isnan(mean_hu(mask, hu))


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (110.0, 100.0, 10.0),
        (0.0, 100.0, -100.0),
        (3940.0, 100.0, 3840.0),
        (-90.0, -100.0, 10.0),  # HU: less negative is more
        (-110.0, -100.0, -10.0),
        (20.0, -10.0, 300.0),
        (0.0, 0.0, math.nan),
        (5.0, 0.0, math.nan),
        (5.0, -0.0, math.nan),
        (math.nan, 100.0, math.nan),
        (100.0, math.nan, math.nan),
        (math.nan, 0.0, math.nan),
        (math.inf, 100.0, math.nan),
    ],
)
def test_percent_error(prediction: float, truth: float, expected: float) -> None:
    assert percent_error(prediction, truth) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_the_border_is_the_outermost_layer(axis: int, end: int) -> None:
    mask = np.zeros((5, 6, 7), bool)
    place = [2, 3, 3]
    place[axis] = end
    mask[tuple(place)] = True
    assert touches_border(mask)
    place[axis] = 1 if end == 0 else -2
    mask[:] = False
    mask[tuple(place)] = True
    assert not touches_border(mask)


def test_an_axis_of_one_voxel_has_no_border() -> None:
    mask = np.zeros((5, 6, 1), bool)
    mask[2, 3, 0] = True
    assert not touches_border(mask)
    mask[4, 3, 0] = True
    assert touches_border(mask)


def test_each_flag() -> None:
    nothing, inside = np.zeros((10, 11, 12), bool), box_mask()
    reaching = inside.copy()
    reaching[9, 4, 4] = True
    found = {
        "": flags(inside, inside, true_value=144.0),
        "absent": flags(nothing, nothing, true_value=0.0),
        "empty_prediction": flags(nothing, inside, true_value=144.0),
        "empty_truth": flags(inside, nothing, true_value=0.0),
        "zero_truth": flags(inside, inside, true_value=0.0),
        "t2_invalid": flags(inside, inside, true_value=30.0, t2_invalid=True),
        "t2_unknown": flags(inside, inside, t2_unknown=True),
        "touches_border": flags(reaching, inside),
    }
    assert {name: name for name in found} == found
    assert set(found) - {""} == set(FLAGS)
    assert flags(inside, reaching) == "touches_border"
    assert flags(nothing, reaching, true_value=0.0, t2_invalid=True) == (
        "empty_prediction;t2_invalid;touches_border;zero_truth"
    )
    assert flags(reaching, nothing, true_value=math.nan) == "empty_truth;touches_border"


def test_names_of_quantities_end_in_their_unit() -> None:
    assert list(QUANTITIES) == ["volume_mm3", "area_mm2", "mean_hu", "mean_t2_ms"]
    for name, quantity in QUANTITIES.items():
        assert name.rpartition("_")[2] == quantity.unit
    assert [name for name, q in QUANTITIES.items() if "ct" in q.modalities] == ["volume_mm3", "area_mm2", "mean_hu"]
    assert [name for name, q in QUANTITIES.items() if "mri" in q.modalities] == ["volume_mm3", "area_mm2", "mean_t2_ms"]


@pytest.mark.parametrize(
    "spacing",
    [(1.0, 2.0), (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 0.0), (1.0, -2.0, 3.0), (math.nan, 2.0, 3.0), (1.0, math.inf, 3.0)],
)
def test_a_wrong_spacing_is_refused(spacing: tuple[float, ...]) -> None:
    for measure in (volume_mm3, lambda mask, spacing: area_mm2(mask, spacing, 0)):
        with pytest.raises(ValueError, match="three finite numbers above 0"):
            measure(box_mask(), spacing)


def test_wrong_masks_are_refused() -> None:
    mask = box_mask()
    labels, flat = mask.astype(np.uint8), mask[..., 4]
    for measure in (volume_mm3, lambda mask, spacing: slice_areas_mm2(mask, spacing, 0)):
        with pytest.raises(ValueError, match="uint8, expected bool"):
            measure(labels, SPACING_MM)
        with pytest.raises(ValueError, match=r"\(10, 11\), expected \(X, Y, Z\)"):
            measure(flat, SPACING_MM)
    with pytest.raises(ValueError, match="along axis 3, expected 0, 1 or 2"):
        area_mm2(mask, SPACING_MM, 3)
    with pytest.raises(ValueError, match="uint8, expected bool"):
        mean_hu(labels, mask.astype(np.int16))
    with pytest.raises(ValueError, match="expected equal shapes"):
        mean_hu(mask, np.zeros((10, 11, 12, 1)))
    with pytest.raises(ValueError, match="expected equal shapes"):
        flags(mask, flat)
    with pytest.raises(ValueError, match="expected bool"):
        flags(mask, labels)
