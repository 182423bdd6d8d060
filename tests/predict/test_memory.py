"""Memory of the command: the scan itself, what is made of each of its voxels, and one batch, however long the scan."""

import pytest

from experiments.benchmarks.predicting import GOAL_BYTES, QUICKSTART, SCAN, measure_memory


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_large_scan_fits_by_what_each_slice_adds() -> None:
    """Scans of 48 and 144 slices in one process each; the line through both, at 1,000 slices, is below the promise."""
    few, more = 48, 144
    peaks = {n: measure_memory(64, QUICKSTART, (*SCAN[:2], n), 0.0)["peak_bytes"] for n in (few, more)}
    per_slice = (peaks[more] - peaks[few]) / (more - few)
    voxels = SCAN[0] * SCAN[1]
    assert 2 * voxels < per_slice < 9 * voxels  # int16, and no copy in float64
    assert peaks[more] + per_slice * (SCAN[2] - more) < GOAL_BYTES


@pytest.mark.full
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("side", [64, 512])
def test_512_x_512_x_1000(side: int, keep_summary) -> None:
    found = measure_memory(side, QUICKSTART, SCAN, 0.0)
    keep_summary(f"predict_memory_{side}", found)
    assert found["peak_bytes"] < GOAL_BYTES
