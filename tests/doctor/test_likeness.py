"""Descriptions of slices and comparisons of all with all, against plain loops and SciPy."""

import itertools
from dataclasses import replace
from pathlib import Path

import broken_set
import numpy as np
import pytest
from scipy import fft, ndimage

from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.doctor import duplicates
from inpaint_ssl.doctor.duplicates import Twins, candidates, equal_slices, look_at_twins, pair_of, same_origin
from inpaint_ssl.doctor.inspect import Examination, inspect_scan
from inpaint_ssl.doctor.likeness import (
    GRID,
    KEPT,
    area_matrix,
    coefficients,
    descriptors,
    full_correlation,
    shifted,
)
from inpaint_ssl.doctor.scans import ScanSet

WINDOW = (-1e3, 1e3)


def smooth(seed: int, shape: tuple[int, ...], sigma: float = 2.0) -> np.ndarray:
    return ndimage.gaussian_filter(
        np.random.default_rng(seed).normal(size=shape) * 100, (0, sigma, sigma)[-len(shape) :]
    )


@pytest.mark.parametrize(("n", "size"), [(6, 4), (4, 6), (128, 64), (5, 5)])
def test_area_matrix(n: int, size: int) -> None:
    fine = 600 * n  # each pixel of either line is whole in it
    line = np.random.default_rng(0).normal(size=n)
    expected = np.repeat(line, fine // n)[: fine - fine % size].reshape(size, -1).mean(axis=1)
    np.testing.assert_allclose(area_matrix(n, size) @ line, expected, atol=1e-5)


def test_descriptors_are_correlations_of_what_is_fine() -> None:
    """Block means, SciPy's cosine transform, and the coarse part taken off by its Gaussian transfer function."""
    slices = smooth(0, (4, 2 * GRID, 3 * GRID))
    blocks = slices.reshape(4, GRID, 2, GRID, 3).mean(axis=(2, 4)) / (WINDOW[1] - WINDOW[0])
    full = fft.dctn(blocks, axes=(1, 2), norm="ortho")[:, :KEPT, :KEPT]
    waves = np.pi * np.arange(KEPT) / GRID
    full *= 1 - np.exp(-(waves[:, None] ** 2 + waves**2) * 3.0**2 / 2)
    flat = full.reshape(4, -1)
    expected = flat @ flat.T / np.outer(*[np.linalg.norm(flat, axis=1)] * 2)
    got = descriptors(coefficients(slices, WINDOW), KEPT)
    np.testing.assert_allclose(got @ got.T, expected, atol=2e-3)


def test_a_shift_is_a_map_of_coefficients() -> None:
    slices = smooth(1, (5, 48, 40))
    moved = np.roll(slices, (1, -1), (1, 2))
    moved[:, 0], moved[:, :, -1] = slices[:, 0], slices[:, :, -1]
    direct = descriptors(coefficients(moved, WINDOW), 12)
    mapped = descriptors(shifted(coefficients(slices, WINDOW), 1, -1, (48, 40)), 12)
    unmoved = descriptors(coefficients(slices, WINDOW), 12)
    assert (np.einsum("ij,ij->i", direct, mapped) > 0.97).all()
    assert (np.einsum("ij,ij->i", direct, unmoved) < 0.9).all()


def test_full_correlation_is_the_best_of_all_small_shifts() -> None:
    first = smooth(2, (30, 26), 0.8)
    second = np.roll(first, (2, -1), (0, 1)) + np.random.default_rng(3).normal(0, 12, first.shape)
    fine = [image - ndimage.gaussian_filter(image, 1.5) for image in (first, second)]
    expected = max(
        np.corrcoef(fine[0][2:-2, 2:-2].ravel(), fine[1][2 + y : 28 + y, 2 + x : 24 + x].ravel())[0, 1]
        for y in range(-2, 3)
        for x in range(-2, 3)
    )
    assert full_correlation(first, second, (WINDOW, WINDOW)) == pytest.approx(expected, abs=1e-4)
    assert expected > 0.85 > 0.5 > full_correlation(first, smooth(4, (30, 26), 0.8), (WINDOW, WINDOW))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examination, ScanSet]:
    """Scans in three parts: one is a noised, rescaled, shifted copy of another, one has a slice of another."""
    made = broken_set.MsdSet(tmp_path_factory.mktemp("twins") / "Task05")
    images = {f"scan_{seed}": broken_set.tissue(seed) for seed in range(6)}
    noise = np.random.default_rng(9).normal(0, 15, broken_set.SHAPE)
    images["copy_of_0"] = np.rint(np.roll(images["scan_0"], 1, 2) * 2.5 - 40 + noise).astype(np.int16)
    images["scan_5"][3] = images["scan_1"][4]
    for name, image in images.items():
        made.add(name, image)
    reader = open_dataset(ReaderSettings(root=str(made.write())))
    how = Preprocessing("mri", "sagittal", (48, 48), "all", ())
    examination = Examination(reader, how)
    summaries = {e.scan_id: inspect_scan(examination, e).summary for e in reader.entries}
    part = {"scan_0": "train", "scan_1": "train", "scan_2": "train", "scan_3": "validation", "copy_of_0": "validation"}
    part |= {"scan_4": "test", "scan_5": "test"}
    return examination, ScanSet(reader, "", summaries, (), part)


def test_candidates_against_a_loop_over_all_pairs(found: tuple[Examination, ScanSet], monkeypatch) -> None:
    """With low thresholds, so that there is something to compare."""
    _, scans = found
    monkeypatch.setattr(duplicates, "_ROUGH", 0.35)
    monkeypatch.setattr(duplicates, "_CLOSE", 0.3)
    expected = set()
    for one, other in itertools.permutations(scans.scans, 2):
        parts = [duplicates.PARTS.index(scans.part[scan.entry.scan_id]) for scan in (one, other)]
        if parts[0] >= parts[1]:
            continue
        for i, j in itertools.product(range(one.n_slices), range(other.n_slices)):
            if min(one.content[i], other.content[j]) < duplicates.LEAST_CONTENT:
                continue
            for rows, columns in itertools.product((-1, 0, 1), repeat=2):
                moved = shifted(one.coefficients[i : i + 1], rows, columns, one.slice_size)
                rough, fine = (
                    float((descriptors(moved, k) @ descriptors(other.coefficients[j : j + 1], k).T)[0, 0])
                    for k in (12, KEPT)
                )
                if rough > 0.35 and fine > 0.3:
                    expected.add((one.entry.scan_id, other.entry.scan_id))
    twins = candidates(scans)
    assert {(t.first, t.second) for t in twins} == expected and len(expected) >= 2
    assert (twins[0].first, twins[0].second) in {("scan_0", "copy_of_0"), ("scan_1", "scan_5")}


def test_twins_are_confirmed_and_others_are_not(found: tuple[Examination, ScanSet]) -> None:
    examination, scans = found
    results = {(t.first, t.second): look_at_twins(examination, pair_of(scans, t)) for t in candidates(scans)}
    assert {pair for pair, twins in results.items() if twins} == {("scan_0", "copy_of_0"), ("scan_1", "scan_5")}
    copied = results["scan_0", "copy_of_0"]
    assert copied is not None and copied.likeness > 0.9 and all(i == j for i, j in copied.slices)
    unlike = Twins("scan_2", "scan_4", ((4, 4), (5, 5)), 0.9)
    assert look_at_twins(examination, pair_of(scans, unlike)) is None


def test_equal_slices(found: tuple[Examination, ScanSet]) -> None:
    (pair,) = equal_slices(found[1])
    assert (pair.first, pair.second, pair.slices) == ("scan_1", "scan_5", ((4, 3),))


def test_share_of_common_values(tmp_path: Path) -> None:
    """The sketches' estimate, against the sets of distinct values."""
    made = broken_set.MsdSet(tmp_path / "Task06")
    large = (broken_set.tissue(0, (10, 32, 80)) * np.float32(1.23)).astype(np.float32)
    images = {"left": large[..., :40], "right": np.ascontiguousarray(large[..., 30:70])}
    images |= {f"other_{n}": broken_set.tissue(n, (10, 32, 40)) * np.float32(1.5 + 0.01 * n) for n in (1, 2)}
    for name, image in images.items():
        made.add(name, image)
    reader = open_dataset(ReaderSettings(root=str(made.write())))
    examination = Examination(reader, Preprocessing("mri", "sagittal", (48, 48), "all", ()))
    scans = [inspect_scan(examination, entry).summary for entry in reader.entries]
    ((first, second, share),) = same_origin(scans)
    values = [set(np.unique(images[name][images[name] != np.rint(images[name])]).tolist()) for name in (first, second)]
    assert {first, second} == {"left", "right"}
    assert share == pytest.approx(len(values[0] & values[1]) / len(values[0] | values[1]), abs=0.2)
    same = [replace(scan, sketch=scans[0].sketch) for scan in scans]
    assert same_origin(same) == []  # values that all have say nothing
