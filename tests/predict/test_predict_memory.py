"""Memory of the command: the scan itself, what is made of each of its voxels, and one batch, however long the scan."""

import pytest

from experiments.benchmarks.predicting import GOAL_BYTES, QUICKSTART, SCAN, measure_memory

VOXELS = SCAN[0] * SCAN[1]  # of a slice


def peak(side: int, slices: int, filters: tuple[int, ...] = QUICKSTART, groups: int = 16) -> int:
    """Of a process that segments, measures and writes a generated scan."""
    return measure_memory(side, filters, (*SCAN[:2], slices), groups=groups)["peak_bytes"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_large_scan_fits_by_what_each_slice_adds() -> None:
    """What a slice adds is measured with a network that takes hardly any memory, what the network of the quickstart
    takes with a scan of three batches."""
    few, many, batches = 100, 300, 48
    per_slice = (peak(512, many, (1,), groups=1) - peak(512, few, (1,), groups=1)) / (many - few)
    assert 2 * VOXELS < per_slice < 8 * VOXELS  # at least the scan, in int16; no copy of it in float64
    assert peak(64, batches) + per_slice * (SCAN[2] - batches) < GOAL_BYTES


@pytest.mark.full
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("side", [64, 512])
def test_512_x_512_x_1000(side: int, keep_summary) -> None:
    found = measure_memory(side, QUICKSTART, SCAN)
    keep_summary(f"predict_memory_{side}", found)
    assert found["peak_bytes"] < GOAL_BYTES
