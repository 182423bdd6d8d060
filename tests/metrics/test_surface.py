"""ASSD and HD95 against all pairs of surface voxels and against distances known by hand; their benchmark."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from inpaint_ssl.metrics import surface, surface_distances

ROOT = Path(__file__).resolve().parents[2]
SPACING_MM = (1.0, 2.0, 3.0)


def surface_by_hand(mask: np.ndarray) -> np.ndarray:
    """Indices of the voxels with a face neighbour outside the mask, one after the other."""
    axes = [axis for axis in range(3) if mask.shape[axis] > 1]
    found = []
    for voxel in map(tuple, np.argwhere(mask)):
        for axis, step in itertools.product(axes, (-1, 1)):
            neighbour = list(voxel)
            neighbour[axis] += step
            if not 0 <= neighbour[axis] < mask.shape[axis] or not mask[tuple(neighbour)]:
                found.append(voxel)
                break
    return np.array(found, float)


def all_pairs(prediction: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[float, float]:
    """ASSD and HD95 from the distances between all surface voxels."""
    between = cdist(*(surface_by_hand(mask) * spacing_mm for mask in (prediction, truth)))
    there, back = between.min(axis=1), between.min(axis=0)
    assd = (there.sum() + back.sum()) / (len(there) + len(back))
    return assd, max(np.percentile(there, 95), np.percentile(back, 95))


def blobs(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return noise > np.quantile(noise, 0.8)


WAYS = {
    "as_set": {},
    "tree_alone": {"_NEAR_VOXELS": 0.0, "_VOXELS_OF_A_FAR_ONE": 0},
    "transform_alone": {"_NEAR_VOXELS": 0.0, "_VOXELS_OF_A_FAR_ONE": 10**9},
    "tree_and_transform": {"_NEAR_VOXELS": 0.5, "_VOXELS_OF_A_FAR_ONE": 10**9},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(14, 11, 9), (17, 13, 1), (1, 16, 15), (1, 1, 20)])
def test_agrees_with_all_pairs(way: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WAYS[way].items():
        monkeypatch.setattr(surface, name, value)
    for seed in range(4):
        prediction, truth = blobs(seed, shape), blobs(seed + 100, shape)
        found = surface_distances(prediction, truth, SPACING_MM)
        assert (found.assd_mm, found.hd95_mm) == pytest.approx(all_pairs(prediction, truth, SPACING_MM), rel=1e-12)


def test_the_spacing_belongs_to_its_axis() -> None:
    prediction, truth = blobs(0, (14, 11, 9)), blobs(1, (14, 11, 9))
    right = surface_distances(prediction, truth, SPACING_MM)
    for other in itertools.permutations(SPACING_MM):
        if other != SPACING_MM:
            assert surface_distances(prediction, truth, other).assd_mm != pytest.approx(right.assd_mm, rel=1e-3)


def test_far_apart_as_all_pairs() -> None:
    """Near ones, far ones, and so many far ones that the distance transform is called for."""
    truth = np.zeros((60, 50, 40), bool)
    truth[25:30, 20:26, 15:19] = True
    near, far, many = (truth.copy() for _ in range(3))
    near[30, 20:26, 15:19] = True
    far[59, 0, 39] = far[0, 49, 0] = True
    many[:8, :8, :8] = True
    for prediction in (near, far, many):
        found = surface_distances(prediction, truth, SPACING_MM)
        assert (found.assd_mm, found.hd95_mm) == pytest.approx(all_pairs(prediction, truth, SPACING_MM), rel=1e-12)


@pytest.mark.parametrize(("axis", "distance_mm"), [(0, 5.0), (1, 10.0), (2, 15.0)])
def test_parallel_plates(axis: int, distance_mm: float) -> None:
    first, second = np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
    np.moveaxis(first, axis, 0)[2] = True
    np.moveaxis(second, axis, 0)[7] = True
    found = surface_distances(first, second, SPACING_MM)
    assert (found.assd_mm, found.hd95_mm) == (distance_mm, distance_mm)


def test_single_voxels_by_hand() -> None:
    truth, prediction = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    truth[1, 2, 3], prediction[5, 5, 3] = True, True
    found = surface_distances(prediction, truth, SPACING_MM)
    assert found.assd_mm == found.hd95_mm == pytest.approx(math.sqrt(4**2 + 6**2), rel=1e-15)
    alone = np.ones((1, 1, 1), bool)
    assert surface_distances(alone, alone, SPACING_MM).assd_mm == 0.0


def test_both_sides_count_by_hand() -> None:
    """Distances 0 and 10 mm one way, 0 the other: pooled for ASSD, the larger side for HD95."""
    truth = np.zeros((12, 3, 3), bool)
    truth[0, 1, 1] = True
    prediction = truth.copy()
    prediction[10, 1, 1] = True
    for one, other in ((prediction, truth), (truth, prediction)):
        found = surface_distances(one, other, SPACING_MM)
        assert found.assd_mm == pytest.approx(10 / 3, rel=1e-15)
        assert found.hd95_mm == pytest.approx(9.5, rel=1e-15)


def test_the_surface_of_a_slice_is_its_contour() -> None:
    square = np.zeros((9, 9, 1), bool)
    square[2:7, 2:7] = True
    outline = square.copy()
    outline[3:6, 3:6] = False
    found = surface_distances(square, outline, SPACING_MM)
    assert (found.assd_mm, found.hd95_mm) == (0.0, 0.0)
    # In a volume a flat mask is all surface, wherever it is cut out. The 6 voxels beside the outline along x are 1 mm
    # away from it, the 3 between them 2 mm.
    flat, flat_outline = (np.pad(mask, ((0, 0), (0, 0), (1, 1))) for mask in (square, outline))
    found = surface_distances(flat, flat_outline, SPACING_MM)
    assert found.assd_mm == pytest.approx((6 * 1 + 3 * 2) / (25 + 16), rel=1e-12)
    assert found.assd_mm == pytest.approx(all_pairs(flat, flat_outline, SPACING_MM)[0], rel=1e-12)


def test_what_lies_around_the_masks_does_not_matter() -> None:
    prediction, truth = blobs(2, (14, 11, 9)), blobs(3, (14, 11, 9))
    margins = ((3, 20), (0, 31), (8, 1))
    found = surface_distances(np.pad(prediction, margins), np.pad(truth, margins), SPACING_MM)
    assert found == surface_distances(prediction, truth, SPACING_MM)


def test_identical_masks_are_exactly_0_apart() -> None:
    mask = blobs(4, (14, 11, 9))
    found = surface_distances(mask, mask.copy(), (0.3125, 0.3125, 0.8))
    assert (found.assd_mm, found.hd95_mm) == (0.0, 0.0)


def test_an_empty_mask_has_no_distance() -> None:
    nothing, something = np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    for prediction, truth in itertools.product((nothing, something), repeat=2):
        found = surface_distances(prediction, truth, SPACING_MM)
        assert math.isnan(found.assd_mm) == math.isnan(found.hd95_mm) == (not (prediction.any() and truth.any()))


def test_the_masks_are_left_as_they_are() -> None:
    prediction, truth = blobs(5, (14, 11, 9)), blobs(6, (14, 11, 9))
    before = prediction.copy(), truth.copy()
    surface_distances(prediction, truth, SPACING_MM)
    np.testing.assert_array_equal((prediction, truth), before)


def test_wrong_arguments_are_refused() -> None:
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(ValueError, match="expected bool"):
        surface_distances(mask, mask.astype(np.uint8), SPACING_MM)
    with pytest.raises(ValueError, match="expected equal shapes"):
        surface_distances(mask, mask[1:], SPACING_MM)
    with pytest.raises(ValueError, match=r"expected \(X, Y, Z\)"):
        surface_distances(mask[0], mask[0], SPACING_MM)
    with pytest.raises(ValueError, match="three finite numbers above 0"):
        surface_distances(mask, mask, (1.0, 2.0, 0.0))


@pytest.mark.slow
def test_the_benchmark_measures_what_it_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.benchmark", "surface", "--quick", f"--output={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    cases = json.loads((tmp_path / "surface.json").read_text())["cases"]
    assert list(cases) == ["small, solid", "middle, solid"]
    for one in cases.values():
        for name in ("ours", "plain"):
            assert len(one[name]["seconds"]) == 2 and one[name]["median_seconds"] == np.median(one[name]["seconds"])
            assert one[name]["peak_bytes"] > 2e7
        for metric in ("assd_mm", "hd95_mm"):
            assert one["ours"][metric] == pytest.approx(one["plain"][metric], rel=1e-12)
    assert "middle, solid (102 x 62 x 108): ours" in done.stdout
