"""What the settings of the engine are worth: ways to train several seeds, steps per call, resident or streamed slices.

On the quickstart's pretraining with images of noise; every contender takes its turn in every round. The defaults of
config.engine follow from these figures. JSON: seeds, steps_per_call, feeding; times in milliseconds per image.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from configs import quickstart
from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import number, widen
from inpaint_ssl.files import write_json_atomic

SEEDS = 4
ROUNDS, MIN_ROUND_MS = 11, 1500.0
MOST_WAITING = {"resident": 0.01, "streamed": 0.05}


def _measure(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Each part by contender; jax starts here."""
    import jax

    from experiments.benchmarks.engine_runs import EngineRun
    from experiments.benchmarks.timing import Contender, interleaved
    from inpaint_ssl.engine import EngineSettings
    from inpaint_ssl.runtime import keep_freed_memory

    keep_freed_memory()  # as a study does
    config = quickstart.get_config()
    if quick:
        config.data.image_size, config.model.filters, config.pretrain.batch_size = (16, 16), (16,), 2
        config.corruption.patch_size = 4
    rounds, min_ms = (2, 1.0) if quick else (ROUNDS, MIN_ROUND_MS)
    seeds = 2 if quick else SEEDS
    calls = 2 if quick else 10

    def settings(way: str, steps_per_call: int = 0) -> EngineSettings:
        return EngineSettings.resolved(way, "jit", 0, steps_per_call)

    ways = ["in_turn", "unroll", "vmap", *(["devices"] if jax.device_count() > 1 else [])]
    listed = {way: partial(EngineRun, config, seeds, settings(way)) for way in ways}
    parts: dict[str, dict[str, Callable[[], EngineRun]]] = {
        "seeds": {"one after another": partial(EngineRun, config, 1, settings("in_turn")), **listed},
        "steps_per_call": {str(n): partial(EngineRun, config, 1, settings("in_turn", n)) for n in (1, calls)},
        "feeding": {
            name: partial(EngineRun, config, 1, settings("in_turn"), name == "streamed")
            for name in ("resident", "streamed")
        },
    }
    results: dict[str, Any] = {"backend": jax.default_backend(), "device": jax.devices()[0].device_kind, "count": seeds}
    for part, makers in parts.items():
        report(f"{part}: {', '.join(makers)}")
        runs = {name: make() for name, make in makers.items()}
        timings = interleaved({n: Contender(range, r.run, r.images) for n, r in runs.items()}, rounds, min_ms)
        results[part] = {
            name: {
                **timing.to_json(),
                "first_call_seconds": timing.first_call_seconds,
                "waiting_share": runs[name].waiting / runs[name].seconds,
            }
            for name, timing in timings.items()
        }
    return results


def run(output: Path, quick: bool, console: Console) -> Path:
    """Measure, print tables, and write `output`/engine.json, whose path is returned."""
    began, date = time.monotonic(), now()

    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    measured = _measure(quick, report)
    result = {
        **about("engine", date, began, quick),
        **measured,
    }
    path = output / "engine.json"
    write_json_atomic(path, result)
    widen(console)
    for line in [*lines(result), f"Numbers: {path}"]:
        report(line)
    return path


def lines(result: dict[str, Any]) -> list[str]:
    """The results in words: images per second of the medians, and ratios to the first contender of each part."""
    found = [f"Pretraining of the quickstart on {result['device']} ({result['processor']}, {result['cores']} cores)"]
    for part, title in (
        ("seeds", f"{result['count']} seeds"),
        ("steps_per_call", "steps per call"),
        ("feeding", "training slices"),
    ):
        first = next(iter(result[part].values()))
        for name, timing in result[part].items():
            ratio = first["median_ms"] / timing["median_ms"]
            goal = MOST_WAITING.get(name)
            aim = f" (goal <= {goal:.0%})" if goal else ""
            found.append(
                f"{title}, {name}: {number(1e3 / timing['median_ms'])} images/s, {ratio:.2f}x, waiting for batches "
                f"{timing['waiting_share']:.2%}{aim}, first call {timing['first_call_seconds']:.1f} s"
            )
    return found
