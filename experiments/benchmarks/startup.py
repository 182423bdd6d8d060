"""From the start of the command to the end of its first training step: with an empty cache of programs, then again.

The quickstart's pretraining, begun in fresh processes by the code of experiments/main.py. JSON: first and second, one
entry a round: seconds since the process began, and of them jax's tracing, lowering, and compiling or fetching.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import number, verdict
from inpaint_ssl.files import write_json_atomic

GOAL_RATIO = 0.5  # second start over first one
ROUNDS = 3
QUICK_SETTINGS = (
    "--config.model.filters=(16,16)",
    "--config.data.phantom.subjects=4",
    "--config.pretrain.batch_size=1",
)
PARTS = {
    "trace": "/jax/core/compile/jaxpr_trace_duration",
    "lower": "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "compile_or_fetch": "/jax/core/compile/backend_compile_duration",
}


class _FirstStep(BaseException):
    """The first training step is done; no one else catches it."""


def _until_first_step(arguments: list[str]) -> dict[str, float]:
    """What the started process does: the command until its first step, whose loss is fetched, hence done."""
    import jax
    import psutil

    from experiments.main import main
    from inpaint_ssl.progress import StageProgress

    spent: defaultdict[str, float] = defaultdict(float)

    def add(event: str, duration_secs: float, **about: str | int) -> None:
        spent[event] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(add)
    update = StageProgress.update

    def until_first_step(self: StageProgress, position: int, note: str = "") -> None:
        update(self, position, note)
        if self.unit == "step":
            raise _FirstStep

    StageProgress.update = until_first_step  # type: ignore[method-assign]
    try:
        code = main(["main", *arguments])
    except _FirstStep:
        seconds = time.time() - psutil.Process().create_time()
        return {"seconds": seconds, **{part: spent[name] for part, name in PARTS.items()}}
    sys.exit(code or 1)


def _start(folder: Path, turn: str, quick: bool) -> dict[str, float]:
    arguments = [
        "--config=configs/quickstart.py",
        f"--workdir={folder / turn}",
        f"--config.engine.compilation_cache={folder / 'programs'}",
        "--config.stage=pretrain",
        "--config.evaluate.corruption_gallery=False",
        "--config.log_every_steps=1",
        *(QUICK_SETTINGS if quick else ()),
    ]
    command = [sys.executable, "-m", "experiments.benchmarks.startup", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"the study could not be started: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(output: Path, quick: bool, console: Console) -> Path:
    """Measure, print, and write `output`/startup.json, whose path is returned."""
    began, date = time.monotonic(), now()
    turns: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
    for _ in range(1 if quick else ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            for turn, results in turns.items():
                results.append(_start(Path(folder), turn, quick))
    medians = {turn: statistics.median(result["seconds"] for result in results) for turn, results in turns.items()}
    result = {
        **about("startup", date, began, quick),
        **turns,
        "ratio": medians["second"] / medians["first"],
        "goal_ratio": GOAL_RATIO,
    }
    path = output / "startup.json"
    write_json_atomic(path, result)
    for line in [*_lines(result), f"Numbers: {path}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return path


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [f"Start of the quickstart to its first step on {result['processor']}, {result['cores']} cores; medians"]
    for turn in ("first", "second"):
        median = {name: statistics.median(r[name] for r in result[turn]) for name in ("seconds", *PARTS)}
        parts = ", ".join(f"{name.replace('_', ' ')} {number(median[name])} s" for name in PARTS)
        lines.append(f"{turn} start: {number(median['seconds'])} s ({parts})")
    goal = verdict(f"<= {GOAL_RATIO:g}", result["ratio"] <= GOAL_RATIO)
    return [*lines, f"second over first: {number(result['ratio'])} (goal {goal})"]


if __name__ == "__main__":
    print(json.dumps(_until_first_step(sys.argv[1:])))
