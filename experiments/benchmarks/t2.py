"""T2 maps: seconds and memory of a scan of SKM-TEA's size beside plain NumPy, and the bias that noise brings.

The rival is the formula on whole float64 volumes, as scripts have it. Bias: mean T2 of pure voxels of the generated
knees minus their known T2, at several signal-to-noise ratios, beside what Rician noise alone makes of the noise-free
signals (drawn by scipy.stats.rice, T2 by the rival). T1 is 1200 ms in every tissue, as the knees are made. Writes
t2.json, t2_bias.csv, t2_bias.png and t2_bias.svg.
"""

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import empty_table, number, verdict, widen
from inpaint_ssl.data.phantom import PhantomDataset
from inpaint_ssl.data.phantom.knee import SEQUENCE
from inpaint_ssl.files import write_csv_atomic, write_json_atomic
from inpaint_ssl.metrics import qdess_t2_ms

Array = np.ndarray

GOAL_SECONDS, GOAL_BYTES = 5.0, 4 * 1024**3
SHAPE, QUICK_SHAPE = (512, 512, 160), (64, 64, 32)
KINDS = ("float32", "uint16")
ROUNDS, QUICK_ROUNDS = 5, 2
SNRS, QUICK_SNRS = (5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0), (5.0, 20.0)
KNEES: dict[str, Any] = {"subjects": 6, "size": (96, 96), "slices": 24, "seed": 0}
QUICK_KNEES: dict[str, Any] = {"subjects": 1, "size": (64, 64), "slices": 16, "seed": 0}
DRAWS, QUICK_DRAWS = 1000, 100  # of the noise, for what it alone explains
_AT_ONCE = 50  # of them, to bound memory
CLOSE = 4.0  # standard errors between what is measured and what is expected that count as agreement
_COLUMNS = (
    *("tissue", "snr", "voxels", "truth_ms", "valid_share", "expected_valid_share", "bias_ms", "expected_bias_ms"),
    *("standard_error_ms", "bias_zeros_counted_ms", "expected_bias_zeros_counted_ms"),
)


def plain_t2_ms(echo1: Array, echo2: Array, t1_ms: float = 1200.0) -> Array:
    """The rival: T2 of whole float64 volumes for the phantom's sequence, NaN outside 0 to 100 ms, none suppressed."""
    s1, s2 = np.asarray(echo1, np.float64), np.asarray(echo2, np.float64)
    tr, te, t1 = SEQUENCE.tr_ms * 1e-3, SEQUENCE.te_ms * 1e-3, t1_ms * 1e-3
    a, tg = np.deg2rad(SEQUENCE.flip_angle_deg), SEQUENCE.spoiler_duration_us * 1e-6
    dk = 2 * np.pi * 4258 * (SEQUENCE.spoiler_area / SEQUENCE.spoiler_duration_us * 100) * tg
    e = np.exp(-tr / t1 - tr * dk**2 * 1.25e-9)
    k = np.sin(a / 2) ** 2 * (1 + e) / (1 - np.cos(a) * e)
    c = (tr - tg / 3) * dk**2 * 1.25e-9
    with np.errstate(all="ignore"):
        t2_ms = -2000 * (tr - te) / (np.log(np.abs(s2 / s1) / k) + c)
    return np.where((t2_ms >= 0) & (t2_ms <= 100), t2_ms, np.nan)


def plain_map_ms(echo1: Array, echo2: Array) -> Array:
    """plain_t2_ms with fat and fluid suppressed."""
    return np.where(_kept(echo1, echo2, _limits(echo1, echo2)), plain_t2_ms(echo1, echo2), np.nan)


def our_map_ms(echo1: Array, echo2: Array) -> Array:
    """What is measured: `qdess_t2_ms` with the phantom's sequence, fat and fluid suppressed."""
    given: dict[str, Any] = {**SEQUENCE.as_acquisition(), "suppress_fat": True, "suppress_fluid": True}
    return qdess_t2_ms(echo1, echo2, **given)


def _limits(echo1: Array, echo2: Array) -> tuple[float, float]:
    s1, s2 = np.asarray(echo1, np.float64), np.asarray(echo2, np.float64)
    return 0.15 * s1.max(), 0.1 * (s1 - 1.2 * s2).max()


def _kept(echo1: Array, echo2: Array, limits: tuple[float, float]) -> Array:
    s1, s2 = np.asarray(echo1, np.float64), np.asarray(echo2, np.float64)
    return (s1 > limits[0]) & (s1 - 1.2 * s2 > limits[1])


def expected_moments(
    clean: tuple[Array, Array], sigma: float, limits: tuple[float, float], draws: int, seed: int
) -> tuple[Array, Array, Array]:
    """What noise makes of voxels with these noise-free signals, (n,) each: the share of draws with a valid T2, and over
    these the mean T2 in ms and its variance (0 without any).
    """
    rng = np.random.default_rng(seed)
    count, total, squares = np.zeros((3, len(clean[0])))
    repeats = math.ceil(draws / _AT_ONCE)
    for _ in range(repeats):
        echo1, echo2 = (
            stats.rice.rvs(s / sigma, scale=sigma, size=(_AT_ONCE, len(s)), random_state=rng) for s in clean
        )
        t2_ms = np.where(_kept(echo1, echo2, limits), plain_t2_ms(echo1, echo2), np.nan)
        count += np.isfinite(t2_ms).sum(axis=0)
        total += np.nansum(t2_ms, axis=0)
        squares += np.nansum(t2_ms**2, axis=0)
    mean = total / np.maximum(count, 1)
    return count / (repeats * _AT_ONCE), mean, squares / np.maximum(count, 1) - mean**2


def _one_scan(knees: dict[str, Any], index: int, snr: float, draws: int) -> dict[str, tuple[Array, ...]]:
    """By tissue: T2 of its pure voxels, the known one, share, mean and variance of valid draws; (n,) each."""
    clean_set, noisy_set = (PhantomDataset(unlabelled_subjects=0, snr=s, **knees) for s in (math.inf, snr))
    clean, truth = clean_set.read_with_truth(clean_set.entries[index])
    noisy = noisy_set.read(noisy_set.entries[index])
    echoes = noisy.image[..., 0], noisy.image[..., 1]
    t2_ms, limits = our_map_ms(*echoes), _limits(*echoes)
    femoral = truth.tissue == clean_set.labels["femoral_cartilage"]
    sigma = float(clean.image[..., 0][femoral].mean()) / snr
    found: dict[str, tuple[Array, ...]] = {}
    for name, tissue in clean_set.labels.items():
        where = truth.pure & (truth.tissue == tissue)
        signals = clean.image[..., 0][where].astype(np.float64), clean.image[..., 1][where].astype(np.float64)
        moments = expected_moments(signals, sigma, limits, draws, seed=1000 * index + tissue)
        found[name] = (t2_ms[where], truth.t2_ms[where].astype(np.float64), *moments)
    return found


def bias_rows(knees: dict[str, Any], snrs: Sequence[float], draws: int) -> list[dict[str, Any]]:
    """Measured and expected bias in ms, one row a tissue and SNR, pooled over the pure voxels of all knees.

    bias: over valid voxels alone; bias_zeros_counted: with 0 ms for the others (the convention of the original code).
    standard_error: of the measured minus the expected bias.
    """
    rows = []
    for snr in snrs:
        scans = [_one_scan(knees, index, snr, draws) for index in range(knees["subjects"])]
        for name in scans[0]:
            columns = (np.concatenate(parts) for parts in zip(*(scan[name] for scan in scans), strict=True))
            rows.append({"tissue": name, "snr": snr, **_bias(*columns)})
    return sorted(rows, key=lambda row: row["tissue"])


def _bias(t2_ms: Array, known: Array, share: Array, mean: Array, variance: Array) -> dict[str, Any]:
    valid, truth, n = np.isfinite(t2_ms), float(known.mean()), len(t2_ms)
    expected = float((share * mean).sum() / share.sum())
    # Of a mean over as many voxels as happen to be valid.
    spread = (share * (variance + (1 - share) * (mean - expected) ** 2)).sum()
    return {
        "voxels": n,
        "truth_ms": truth,
        "valid_share": float(valid.mean()),
        "expected_valid_share": float(share.mean()),
        "bias_ms": float(t2_ms[valid].mean()) - truth,
        "expected_bias_ms": expected - truth,
        "standard_error_ms": float(np.sqrt(spread) / share.sum()),
        "bias_zeros_counted_ms": float(t2_ms[valid].sum()) / n - truth,
        "expected_bias_zeros_counted_ms": float((share * mean).sum()) / n - truth,
    }


def agrees(row: dict[str, Any]) -> bool:
    """Whether noise alone explains the measured bias."""
    return bool(abs(row["bias_ms"] - row["expected_bias_ms"]) <= CLOSE * row["standard_error_ms"])


def timing_rows(shape: tuple[int, int, int], rounds: int) -> list[dict[str, Any]]:
    """Seconds and peak memory of a pair, ours and the rival's, each in a process of its own."""
    rows = []
    for kind in KINDS:
        row: dict[str, Any] = {"dtype": kind, "shape": list(shape)}
        for who in ("ours", "plain"):
            words = [who, kind, str(rounds), *map(str, shape)]
            command = [sys.executable, "-m", "experiments.benchmarks.t2", *words]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise OSError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
            row[who] = json.loads(done.stdout)
        rows.append(row)
    return rows


def _timed(who: str, kind: str, rounds: str, *shape: str) -> dict[str, Any]:
    """What a started process does; the first call, in fresh memory, is one of the rounds."""
    rng = np.random.default_rng(0)
    size = tuple(map(int, shape))
    echo1 = rng.random(size, np.float32)
    echo1 *= 2000
    echo2 = rng.random(size, np.float32)
    echo2 *= 0.8 * echo1
    echo1, echo2 = echo1.astype(kind), echo2.astype(kind)
    seconds = []
    for _ in range(int(rounds)):
        began = time.perf_counter()
        (our_map_ms if who == "ours" else plain_map_ms)(echo1, echo2)
        seconds.append(time.perf_counter() - began)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": float(np.median(seconds)), "all_seconds": seconds, "peak_bytes": peak}


def run(output: Path, quick: bool, console: Console) -> Path:
    """Measure, print, and write `output`/t2.json, whose path is returned."""
    from experiments.benchmarks.t2_figure import draw_bias  # Matplotlib would count in the processes that are timed

    began, date = time.monotonic(), now()
    timing = timing_rows(QUICK_SHAPE if quick else SHAPE, QUICK_ROUNDS if quick else ROUNDS)
    knees, draws = (QUICK_KNEES, QUICK_DRAWS) if quick else (KNEES, DRAWS)
    bias = bias_rows(knees, QUICK_SNRS if quick else SNRS, draws)
    path = output / "t2.json"
    settings = {"knees": knees, "draws": draws, "standard_errors": CLOSE}
    write_json_atomic(path, {**about("t2", date, began, quick), "timing": timing, "settings": settings, "bias": bias})
    write_csv_atomic(output / "t2_bias.csv", _COLUMNS, bias)
    draw_bias(bias, output)
    widen(console)
    console.print(_bias_table(bias))
    for line in [*_lines(timing), f"Numbers: {path}; picture: {output / 't2_bias.png'}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return path


def _bias_table(rows: Sequence[dict[str, Any]]) -> Table:
    numbers = ("SNR", "voxels", "valid %", "bias ms", "of noise alone", "standard error", "zeros counted")
    table = empty_table("Mean T2 minus the known T2, pure voxels of generated knees", ("tissue",), numbers)
    for row in rows:
        table.add_row(
            row["tissue"].replace("_", " "),
            f"{row['snr']:g}",
            str(row["voxels"]),
            f"{100 * row['valid_share']:.1f}",
            *(f"{row[name]:+.2f}" for name in ("bias_ms", "expected_bias_ms")),
            f"{row['standard_error_ms']:.2f}",
            f"{row['bias_zeros_counted_ms']:+.2f}",
            verdict(f"within {CLOSE:g} standard errors", agrees(row)),
        )
    return table


def _lines(timing: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for row in timing:
        ours, plain, size = row["ours"], row["plain"], " x ".join(map(str, row["shape"]))
        memory, plain_memory = (number(one["peak_bytes"] / 1024**3) for one in (ours, plain))
        met = max(ours["all_seconds"]) <= GOAL_SECONDS and ours["peak_bytes"] <= GOAL_BYTES
        lines.append(
            f"{size} {row['dtype']}: {number(ours['seconds'])} s, {memory} GiB; plain NumPy "
            f"{number(plain['seconds'])} s, {plain_memory} GiB; "
            f"{verdict(f'goal <= {GOAL_SECONDS:g} s, <= {GOAL_BYTES / 1024**3:g} GiB', met)}"
        )
    return lines


if __name__ == "__main__":
    print(json.dumps(_timed(*sys.argv[1:])))
