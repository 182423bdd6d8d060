"""ASSD and HD95 of generated tissues: seconds and memory of ours, of plain SciPy, and of MedPy where it is installed.

Plain: surfaces by erosion, distance transforms of the whole scan, as most tools do. Each in a process of its own. The
thin tissue of the largest size is measured as a network that has learnt predicts it, and with a few stray voxels, with
stray blobs, and everywhere, as networks that have not do. JSON: one entry a case.
"""

import importlib
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy import ndimage

from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import number, verdict
from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.metrics import surface_distances

GOAL_SECONDS = 1.0  # of a scan of 512 x 512 x 160 with a thin tissue
MIB = 1024**2
SMALL, MIDDLE, LARGE = (35, 50, 36), (102, 62, 108), (512, 512, 160)
SPACING_MM = {SMALL: (1.0, 1.0, 1.0), MIDDLE: (3.9, 3.9, 3.0), LARGE: (0.3125, 0.3125, 0.8)}
THIN = "large, thin"
CASES: dict[str, tuple[tuple[int, int, int], str]] = {
    "small, solid": (SMALL, "solid"),
    "middle, solid": (MIDDLE, "solid"),
    THIN: (LARGE, "thin"),
    "large, thin and stray voxels": (LARGE, "stray"),
    "large, thin and stray blobs": (LARGE, "blobs"),
    "large, all predicted": (LARGE, "all"),
}
ROUNDS = {SMALL: 20, MIDDLE: 10, LARGE: 1}


def _solid(shape: tuple[int, int, int], centre: float, squeeze: float) -> np.ndarray:
    """An ellipsoid."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    return (x - centre) ** 2 + squeeze * y**2 + z**2 < 0.3


def _thin(shape: tuple[int, int, int], centre: float, radius: float, half: float, end: float) -> np.ndarray:
    """Half of a shell, as cartilage covers the end of a bone; plane by plane, to take no memory of its own."""
    xs, y, z = (np.linspace(-1, 1, n) for n in shape)
    rest = y[:, None] ** 2 + z**2
    below = (y < end)[:, None]
    return np.stack([(np.abs(np.sqrt((x - centre) ** 2 + rest) - radius) < half) & below for x in xs])


def masks(shape: tuple[int, int, int], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, truth) of a case."""
    if kind == "solid":
        return _solid(shape, 0.03, 1.0), _solid(shape, 0.0, 1.1)
    truth = _thin(shape, 0.0, 0.45, 0.015, 0.1)
    if kind == "all":
        return np.ones(shape, bool), truth
    prediction, rng = _thin(shape, 0.005, 0.455, 0.018, 0.12), np.random.default_rng(0)
    if kind == "stray":
        prediction.reshape(-1)[rng.integers(0, prediction.size, 50)] = True
    for corner in rng.integers(0, np.subtract(shape, 8), (60, 3)) if kind == "blobs" else ():
        prediction[tuple(slice(first, first + 8) for first in corner)] = True
    return prediction, truth


def plain(prediction: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[float, float]:
    """(ASSD, HD95): the same definitions, without a thought of the time."""
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction, truth)]
    maps = [ndimage.distance_transform_edt(~one, sampling=spacing_mm) for one in surfaces]
    there, back = maps[1][surfaces[0]], maps[0][surfaces[1]]
    both = np.concatenate([there, back])
    return float(both.mean()), float(max(np.percentile(there, 95), np.percentile(back, 95)))


def ours(prediction: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[float, float]:
    found = surface_distances(prediction, truth, spacing_mm)
    return found.assd_mm, found.hd95_mm


def medpy(prediction: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[float, float]:
    """Its HD95 is another one: of both sides together."""
    binary = importlib.import_module("medpy.metric.binary")  # no dependency of ours
    return float(binary.assd(prediction, truth, spacing_mm)), float(binary.hd95(prediction, truth, spacing_mm))


CONTENDERS: dict[str, Callable[..., tuple[float, float]]] = {"ours": ours, "plain": plain, "medpy": medpy}


def measure(case: str, contender: str, rounds: int) -> dict[str, Any]:
    """What a started process does: seconds of each round, and its peak memory with the masks and Python itself."""
    shape, kind = CASES[case]
    prediction, truth = masks(shape, kind)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        assd_mm, hd95_mm = CONTENDERS[contender](prediction, truth, SPACING_MM[shape])
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "median_seconds": float(np.median(seconds)),
        "seconds": seconds,
        "peak_bytes": peak,
        "assd_mm": assd_mm,
        "hd95_mm": hd95_mm,
    }


def _in_a_process(case: str, contender: str, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "experiments.benchmarks.surface", case, contender, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{contender} of {case} could not be run: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(output: Path, quick: bool, console: Console) -> Path:
    """Measure, print, and write `output`/surface.json, whose path is returned."""
    began, date = time.monotonic(), now()
    names = [name for name in CONTENDERS if name != "medpy" or importlib.util.find_spec("medpy")]
    cases: dict[str, dict[str, Any]] = {}
    for case, (shape, _) in CASES.items():
        if quick and shape == LARGE:
            continue
        rounds = 2 if quick else ROUNDS[shape]
        measured = {name: _in_a_process(case, name, rounds) for name in names}
        cases[case] = {"shape": list(shape), "spacing_mm": list(SPACING_MM[shape]), **measured}
    path = output / "surface.json"
    write_json_atomic(path, {**about("surface", date, began, quick), "cases": cases})
    for line in [*_lines(cases), f"Numbers: {path}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return path


def _lines(cases: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["ASSD and HD95 of one tissue of a scan: seconds, and peak memory of the process in MiB"]
    for case, one in cases.items():
        shown = [
            f"{name} {number(one[name]['median_seconds'])} s and {number(one[name]['peak_bytes'] / MIB)}"
            for name in CONTENDERS
            if name in one
        ]
        size = " x ".join(map(str, one["shape"]))
        lines.append(f"{case} ({size}): {', '.join(shown)}; ASSD {number(one['ours']['assd_mm'])} mm")
    if THIN in cases:
        met = cases[THIN]["ours"]["median_seconds"] <= GOAL_SECONDS
        lines.append(f"goal for {verdict(f'{THIN} <= {GOAL_SECONDS:g} s', met)}")
    return lines


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
