"""Prediction: its speed beside training, what compiles at a second scan, the start of the command, and its memory.

speed: whole scans by Segmenter.segment and training steps of the same network, image size and batch in turn; ratio:
images per second of the first over those of the second. compiled: programs that each of several scans compiles.
start: seconds from the start of experiments/predict.py in a fresh process to its first mask, without and with compiled
programs in the cache. memory: peak of such a process for a scan of 512 x 512 x 1000 voxels of int16, in one network
for images of 64 x 64 (tiles) and of 512 x 512.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import number, verdict
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_json_atomic

if TYPE_CHECKING:
    from inpaint_ssl.trained.segmenter import Segmenter

GOAL_RATIO, GOAL_START_S, GOAL_BYTES = 2.5, 15.0, 4e9
QUICKSTART = (16, 32, 64, 128)
SPEED = ((64, 16, QUICKSTART), (64, 16, (16, 32, 64, 128, 256)), (128, 9, (32, 64, 128, 256, 512)))
SCAN = (512, 512, 1000)
ROUNDS, STARTS, MIN_ROUND_MS = 9, 3, 1000.0
_ROOT = Path(__file__).resolve().parents[2]
_COMPILED = "/jax/core/compile/backend_compile_duration"
Sizes = Sequence[tuple[int, int, tuple[int, ...]]]  # side of the images, batch, filters


def measure_speed(sizes: Sizes, rounds: int, min_round_ms: float) -> list[dict[str, Any]]:
    """A row for each size: both timings and the ratio of images per second."""
    import jax

    from experiments.benchmarks.predicting_run import noise, random_model
    from experiments.benchmarks.timing import Contender, interleaved
    from experiments.benchmarks.training import Size
    from experiments.benchmarks.training_ours import Training
    from inpaint_ssl.runtime import keep_freed_memory
    from inpaint_ssl.trained.segmenter import Segmenter

    keep_freed_memory()
    dtype, rows = "float32" if jax.default_backend() == "cpu" else "bfloat16", []
    for side, batch, filters in sizes:
        training = Training(Size(side, batch, filters, dtype))
        segmenter = Segmenter([random_model(side, filters, dtype)], batch_size=batch)
        scan = noise((side, side, 4 * batch))

        def segment(calls: Sequence[Any], segmenter: "Segmenter" = segmenter, scan: Any = scan) -> None:
            for _ in calls:
                segmenter.segment(scan, (1.0, 1.0, 1.0))

        timings = interleaved(
            {
                "segment": Contender(range, segment, scan.shape[2]),
                "train": Contender(range, training.run, batch * training.steps_per_call),
            },
            rounds,
            min_round_ms,
        )
        row: dict[str, Any] = {"side": side, "batch": batch, "filters": list(filters), "dtype": dtype}
        row |= {
            name: {**timing.to_json(), "images_per_second": 1e3 / timing.median_ms} for name, timing in timings.items()
        }
        ratio = row["segment"]["images_per_second"] / row["train"]["images_per_second"]
        rows.append({**row, "ratio": ratio, "goal_ratio": GOAL_RATIO})
    return rows


def count_compiled(side: int, filters: tuple[int, ...]) -> dict[str, int]:
    """Programs that jax compiles, or takes from its cache, for one scan after another with one Segmenter."""
    import jax
    import numpy as np

    from experiments.benchmarks.predicting_run import noise, random_model
    from inpaint_ssl.trained.segmenter import Segmenter

    count = [0]

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        count[0] += event == _COMPILED

    jax.monitoring.register_event_duration_secs_listener(listen)
    segmenter = Segmenter([random_model(side, filters)], batch_size=4)
    scans = {
        "first": noise((side, side, 9)),
        "same size": noise((side, side, 9), seed=1),
        "other size": noise((side - 3, side - 5, 14)),
        "other type": noise((side, side, 9)).astype(np.float32),
        "first in tiles": noise((side + 9, side, 5)),
        "other size in tiles": noise((side + 4, 2 * side + 3, 7)),
    }
    found = {}
    for name, scan in scans.items():
        before = count[0]
        segmenter.segment(scan, (1.0, 1.0, 1.0), name=name)
        found[name] = count[0] - before
    jax.monitoring.unregister_event_duration_listener(listen)
    return found


def time_start(model: Path, scan: Path, output: Path, programs: Path) -> dict[str, float]:
    """Seconds until the first mask is there and until the process has ended; OSError when the command fails."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(programs)}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}  # as without the variable
    command = [sys.executable, "-m", "experiments.predict", f"--model={model}", f"--input={scan}"]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, f"--output={output}"], cwd=_ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        mask = 0.0
        while process.poll() is None:
            if not mask and any(output.glob("masks/*.nii.gz")):
                mask = time.monotonic() - began
            time.sleep(0.01)
        if process.returncode:
            said.seek(0)
            raise OSError(f"the command failed: {said.read().strip()[-1000:]}")
    ended = time.monotonic() - began
    return {"first_mask_s": mask or ended, "end_s": ended}


def measure_starts(quick: bool) -> dict[str, list[dict[str, float]]]:
    """Of each turn, "cold" and "warm", what time_start gives in every round."""
    from experiments.benchmarks.predicting_run import random_model, write_run, write_scan

    turns: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(1 if quick else STARTS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            model = write_run(folder / "run", random_model(16, (16,)) if quick else random_model(64, QUICKSTART))
            scan = write_scan(folder / "scan.nii", (16, 16, 8) if quick else (64, 64, 40))
            for turn, results in turns.items():
                results.append(time_start(model, scan, folder / turn, folder / "programs"))
    return turns


def measure_memory(
    side: int, filters: tuple[int, ...], shape: tuple[int, int, int], overlap: float = 0.0, groups: int = 16
) -> dict[str, Any]:
    """Peak memory in bytes of experiments/predict.py for one generated scan; OSError when the command fails.

    side, filters, groups: of the network with random weights; overlap: of its tiles.
    """
    from experiments.benchmarks.predicting_run import random_model, write_run, write_scan

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        model = write_run(folder / "run", random_model(side, filters, groups=groups, spread=0.1))
        scan = write_scan(folder / "scan.nii", shape)
        words = [f"--model={model}", f"--input={scan}", f"--output={folder / 'output'}", f"--overlap={overlap}"]
        command = [sys.executable, "-m", "experiments.benchmarks.predicting", *words]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"the command failed: {done.stdout.strip()[-500:]} {done.stderr.strip()[-1000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
    return {"side": side, "filters": list(filters), "shape": list(shape), "overlap": overlap, **found}


def run(output: Path, quick: bool, console: Console, only: Sequence[str] = ()) -> Path:
    """Measure, print, and write `output`/predict.json, whose path is returned; printed and written after every part.

    only: names of PARTS; () for all. InputError for another name.
    """
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise InputError(f"--only: got {', '.join(unknown)}, expected some of {', '.join(PARTS)}, with commas between")
    began, path = time.monotonic(), output / "predict.json"
    date, measured = now(), dict[str, Any]()
    for name, measure in PARTS.items():
        if not only or name in only:
            measured[name] = measure(quick)
            goals = {"goal_start_s": GOAL_START_S, "goal_bytes": GOAL_BYTES}
            write_json_atomic(path, {**about("predict", date, began, quick), **measured, **goals})
            for line in lines_of({name: measured[name]}):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Numbers: {path}", markup=False, highlight=False, soft_wrap=True)
    return path


def _speed(quick: bool) -> list[dict[str, Any]]:
    rounds, least = (2, 1.0) if quick else (ROUNDS, MIN_ROUND_MS)
    return measure_speed([(16, 2, (16, 16))] if quick else SPEED, rounds, least)


def _compiled(quick: bool) -> dict[str, int]:
    return count_compiled(16, (16,)) if quick else count_compiled(64, QUICKSTART)


def _memory(quick: bool) -> list[dict[str, Any]]:
    filters, shape, sides = ((16,), (32, 32, 10), (16, 32)) if quick else (QUICKSTART, SCAN, (64, 512))
    return [measure_memory(side, filters, shape) for side in sides]


PARTS: dict[str, Callable[[bool], Any]] = {
    "speed": _speed,
    "compiled": _compiled,
    "start": measure_starts,
    "memory": _memory,
}


def lines_of(measured: Mapping[str, Any]) -> list[str]:
    """What is printed of the parts in predict.json."""
    lines = []
    for row in measured.get("speed", ()):
        segment, train = (number(row[name]["images_per_second"]) for name in ("segment", "train"))
        lines.append(
            f"{row['side']} x {row['side']}, batch of {row['batch']}, filters {tuple(row['filters'])}, {row['dtype']}: "
            f"{segment} images/s segmented, {train} trained, ratio {number(row['ratio'])} "
            f"(goal {verdict(f'>= {GOAL_RATIO:g}', row['ratio'] >= GOAL_RATIO)})"
        )
    if "compiled" in measured:
        counts = ", ".join(f"{name} {count}" for name, count in measured["compiled"].items())
        later = [count for name, count in measured["compiled"].items() if not name.startswith("first")]
        goal = verdict("0 later", not any(later))
        lines.append(f"programs compiled by one scan after another: {counts} (goal {goal})")
    for turn, results in measured.get("start", {}).items():
        seconds = statistics.median(one["first_mask_s"] for one in results)
        goal = f" (goal {verdict(f'< {GOAL_START_S:g} s', seconds < GOAL_START_S)})" if turn == "warm" else ""
        lines.append(f"start to first mask, {turn} cache of programs: {number(seconds)} s{goal}")
    for row in measured.get("memory", ()):
        shape = " x ".join(map(str, row["shape"]))
        goal = verdict(f"< {GOAL_BYTES / 1e9:g} GB", row["peak_bytes"] < GOAL_BYTES)
        lines.append(
            f"peak memory, {shape} in images of {row['side']} x {row['side']}: {number(row['peak_bytes'] / 1e9)} GB, "
            f"{number(row['seconds'])} s (goal {goal})"
        )
    return lines


def _predict_and_tell_memory(words: Sequence[str]) -> int:
    from experiments.benchmarks.step_memory import peak_bytes
    from experiments.predict import main

    began = time.monotonic()
    code = main(["predict", *words])
    print(json.dumps({"peak_bytes": peak_bytes(), "seconds": time.monotonic() - began}))
    return code


if __name__ == "__main__":
    sys.exit(_predict_and_tell_memory(sys.argv[1:]))
