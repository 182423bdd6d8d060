"""T2 of generated knees, whose T2 is known: returned without noise, and with noise off by what that explains alone."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from experiments.benchmarks import t2 as benchmark
from inpaint_ssl.data.phantom import PhantomDataset
from inpaint_ssl.data.phantom.knee import SEQUENCE
from inpaint_ssl.metrics import QdessT2Map, T2Settings, qdess_t2_ms
from inpaint_ssl.qdess import echo_ratio

ROOT = Path(__file__).resolve().parents[2]
ACQUISITION: dict[str, Any] = SEQUENCE.as_acquisition()
CARTILAGES = ("patellar_cartilage", "femoral_cartilage", "tibial_cartilage")


@pytest.mark.parametrize("seed", [0, 5])
def test_without_noise_the_known_t2_comes_back(seed: int) -> None:
    """In every pure voxel; suppression may take dark ones, and changes none that it leaves."""
    knees = PhantomDataset(subjects=2, unlabelled_subjects=0, size=(80, 80), slices=20, seed=seed, snr=math.inf)
    plain = T2Settings("original_code", suppress_fat=False, suppress_fluid=False)
    for entry in knees.entries:
        scan, truth = knees.read_with_truth(entry)
        echoes = scan.image[..., 0], scan.image[..., 1]
        found = qdess_t2_ms(*echoes, **ACQUISITION)
        t2, suppressed = (QdessT2Map(*echoes, SEQUENCE, one) for one in (plain, T2Settings("original_code")))
        for name, tissue in knees.labels.items():
            where = truth.pure & (truth.tissue == tissue)
            assert where.sum() > 50
            np.testing.assert_allclose(found[where], truth.t2_ms[where], atol=0.1)
            mean = t2.mean_ms(where, plain.t1_of(name))
            assert mean.mean_ms == pytest.approx(truth.t2_ms[where].mean(), abs=0.1) and mean.invalid == 0
            values = suppressed.values_ms(where, plain.t1_of(name))
            left = np.isfinite(values)
            np.testing.assert_allclose(values[left], truth.t2_ms[where][left], atol=0.1)
            assert left.all() or name == "meniscus"


def test_menisci_of_the_phantom_are_made_with_the_longer_t1() -> None:
    """skm_tea reads their T2 with 1000 ms, so that it comes out higher by what the formula says."""
    knees = PhantomDataset(subjects=1, unlabelled_subjects=0, snr=math.inf)
    scan, truth = knees.read_with_truth(knees.entries[0])
    where = truth.pure & (truth.tissue == knees.labels["meniscus"])
    settings = T2Settings()
    t2 = QdessT2Map(scan.image[..., 0], scan.image[..., 1], SEQUENCE, settings)
    found = t2.values_ms(where, settings.t1_of("meniscus"))
    assert (found > truth.t2_ms[where] + 0.1).all()
    np.testing.assert_allclose(echo_ratio(found, SEQUENCE, 1000.0), echo_ratio(truth.t2_ms[where], SEQUENCE), rtol=1e-5)


def test_what_noise_explains_against_an_integral() -> None:
    """Of a voxel near every limit: suppression and bounds each leave out a part of its draws."""
    signals, sigma, limits = (3.0, 1.5), 1.0, (2.0, 0.4)
    s1 = np.linspace(limits[0], 11.0, 801)
    s2 = np.linspace(0.0, 9.0, 801)
    first, second = np.meshgrid(s1, s2, indexing="ij")
    t2 = qdess_t2_ms(first, second, **ACQUISITION)
    weight = stats.rice.pdf(first, signals[0]) * stats.rice.pdf(second, signals[1])
    weight = np.where(np.isfinite(t2) & (first - 1.2 * second > limits[1]), weight, 0.0)
    t2 = np.where(weight > 0, t2, 0.0)

    def over(values: np.ndarray) -> float:
        return float(integrate.trapezoid(integrate.trapezoid(values, s2, axis=1), s1))

    share = over(weight)
    mean = over(weight * t2) / share
    variance = over(weight * t2**2) / share - mean**2
    assert 0.3 < share < 0.8
    clean = (np.full(400, signals[0]), np.full(400, signals[1]))
    found = [float(part.mean()) for part in benchmark.expected_moments(clean, sigma, limits, 500, seed=0)]
    assert found == pytest.approx([share, mean, variance], rel=0.01)
    scaled = (100 * clean[0], 100 * clean[1])
    again = benchmark.expected_moments(scaled, 100 * sigma, (200.0, 40.0), 500, seed=0)
    assert [float(part.mean()) for part in again] == pytest.approx(found, rel=1e-6)


def test_noise_alone_explains_the_bias() -> None:
    knees = {"subjects": 2, "size": (80, 80), "slices": 20, "seed": 2}
    rows = benchmark.bias_rows(knees, (5.0, 12.0, 40.0), draws=150)
    assert len(rows) == 12 and all(row["voxels"] > 100 for row in rows)
    for row in rows:
        error, share, n = row["standard_error_ms"], row["expected_valid_share"], row["voxels"]
        assert abs(row["bias_ms"] - row["expected_bias_ms"]) < 4 * error
        assert abs(row["valid_share"] - share) <= 4 * math.sqrt(max(share * (1 - share), 1 / n) / n)
        zeros = row["bias_zeros_counted_ms"], row["expected_bias_zeros_counted_ms"]
        assert zeros[0] + row["truth_ms"] == pytest.approx((row["bias_ms"] + row["truth_ms"]) * row["valid_share"])
        assert zeros[1] + row["truth_ms"] == pytest.approx((row["expected_bias_ms"] + row["truth_ms"]) * share)
        if row["snr"] == 5.0 and row["tissue"] in CARTILAGES:
            assert row["expected_bias_ms"] > 2 * error  # there is a bias to be explained
        if row["snr"] == 40.0 and row["tissue"] in CARTILAGES:
            assert abs(row["bias_ms"]) < 1.0
    noisy, clean = ([r["expected_bias_ms"] for r in rows if r["snr"] == snr] for snr in (5.0, 40.0))
    assert (np.array(noisy) > np.array(clean)).all()


def test_the_rival_is_the_same_map() -> None:
    rng = np.random.default_rng(0)
    echo1 = rng.uniform(0.0, 1000.0, (12, 11, 10)).astype(np.float32)
    echo2 = (echo1 * rng.random(echo1.shape)).astype(np.float32)
    np.testing.assert_allclose(benchmark.plain_map_ms(echo1, echo2), benchmark.our_map_ms(echo1, echo2), rtol=1e-10)


@pytest.mark.slow
def test_the_benchmark_from_end_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.benchmark", "t2", "--quick", f"--output={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads((tmp_path / "t2.json").read_text())
    assert [(row["dtype"], row["shape"]) for row in result["timing"]] == [
        (kind, list(benchmark.QUICK_SHAPE)) for kind in ("float32", "uint16")
    ]
    for row in result["timing"]:
        for who in ("ours", "plain"):
            assert row[who]["seconds"] == np.median(row[who]["all_seconds"]) > 0 and row[who]["peak_bytes"] > 2e7
    assert len(result["bias"]) == 8 and all(row["voxels"] > 10 for row in result["bias"])
    lines = (tmp_path / "t2_bias.csv").read_text().splitlines()
    assert len(lines) == 9 and lines[0].split(",") == list(result["bias"][0])
    assert (tmp_path / "t2_bias.png").read_bytes()[:4] == b"\x89PNG" and "<svg" in (
        tmp_path / "t2_bias.svg"
    ).read_text()
    for words in (
        "tibial cartilage",
        "of noise alone",
        "64 x 64 x 32 uint16",
        "goal <= 5 s, <= 4 GiB",
        "Numbers:",
    ):
        assert words in done.stdout


@pytest.mark.full
def test_the_curve_and_a_whole_scan(keep_summary) -> None:
    """The figures that are kept: bias over the signal-to-noise ratio, and a pair of SKM-TEA's size."""
    rows = benchmark.bias_rows(benchmark.KNEES, benchmark.SNRS, benchmark.DRAWS)
    timing = benchmark.timing_rows(benchmark.SHAPE, benchmark.ROUNDS)

    def rounded(row: dict[str, Any]) -> dict[str, Any]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}

    keep_summary("t2_snr", {"knees": benchmark.KNEES, "bias": [rounded(row) for row in rows], "timing": timing})
    assert all(map(benchmark.agrees, rows))
    for row in timing:
        assert row["ours"]["peak_bytes"] <= benchmark.GOAL_BYTES
        assert max(row["ours"]["all_seconds"]) <= benchmark.GOAL_SECONDS
