"""What the settings of the engine are worth: ways to train several seeds, steps per call, resident or streamed slices.

On the quickstart's pretraining with images of noise; every contender takes its turn in every round. The defaults of
config.engine follow from these figures. JSON: seeds, steps_per_call, feeding; times in milliseconds per image.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from configs import quickstart
from experiments.benchmarks.chosen import chosen, first_call
from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import number, widen
from inpaint_ssl.files import write_json_atomic

if TYPE_CHECKING:
    from experiments.benchmarks.engine_runs import EngineRun

SEEDS = 4
PARTS = {"seeds": "{count} seeds", "steps_per_call": "steps per call", "feeding": "training slices"}
ROUNDS, MIN_ROUND_MS = 11, 1500.0
MOST_WAITING = {"resident": 0.01, "streamed": 0.05}


def _settings(way: str, steps_per_call: int = 0) -> Any:
    from inpaint_ssl.engine import EngineSettings

    return EngineSettings.resolved(way, "jit", 0, steps_per_call)


def _contenders(quick: bool, only: Sequence[str]) -> dict[str, dict[str, Callable[[], "EngineRun"]]]:
    """What makes the run of each contender, by part and name; those that `only` names."""
    import jax

    from experiments.benchmarks.engine_runs import EngineRun

    config = quickstart.get_config()
    if quick:
        config.data.image_size, config.model.filters, config.pretrain.batch_size = (16, 16), (16,), 2
        config.corruption.patch_size = 4
    ways = ["in_turn", "unroll", "vmap", *(["devices"] if jax.device_count() > 1 else [])]
    listed = {way: partial(EngineRun, config, _seeds(quick), _settings(way)) for way in ways}
    alone, calls = partial(EngineRun, config, 1), 2 if quick else 10
    parts: dict[str, dict[str, Callable[[], EngineRun]]] = {
        "seeds": {"one after another": partial(alone, _settings("in_turn")), **listed},
        "steps_per_call": {str(n): partial(alone, _settings("in_turn", n)) for n in (1, calls)},
        "feeding": {name: partial(alone, _settings("in_turn"), name == "streamed") for name in MOST_WAITING},
    }
    return chosen(parts, only)


def _seeds(quick: bool) -> int:
    return 2 if quick else SEEDS


def _measure(
    quick: bool,
    rounds: int,
    only: Sequence[str],
    report: Callable[[str], None],
    write: Callable[[dict[str, Any]], Any],
) -> dict[str, Any]:
    """Each part by contender, given to `write` after every round; jax starts here."""
    import jax

    from experiments.benchmarks.timing import Contender, Timing, interleaved
    from inpaint_ssl.runtime import keep_freed_memory

    keep_freed_memory()  # as a study does
    results: dict[str, Any] = {"backend": jax.default_backend(), "device": jax.devices()[0].device_kind}
    results["count"] = _seeds(quick)

    for part, makers in _contenders(quick, only).items():
        report(f"{part}: {', '.join(makers)}")
        runs = {name: make() for name, make in makers.items()}

        def note(timings: dict[str, Timing], part: str = part, runs: dict[str, "EngineRun"] = runs) -> None:
            results[part] = {
                name: {
                    **timing.to_json(),
                    "first_call_seconds": timing.first_call_seconds,
                    "waiting_share": runs[name].waiting / runs[name].seconds,
                }
                for name, timing in timings.items()
            }
            write(results)

        contenders = {name: Contender(range, run.run, run.images) for name, run in runs.items()}
        min_ms = 1.0 if quick else MIN_ROUND_MS
        interleaved(contenders, rounds, min_ms, on_first=first_call(report), on_round=note)
        for line in _lines_of(part, results):
            report(line)
    return results


def run(output: Path, quick: bool, console: Console, rounds: int = 0, only: Sequence[str] = ()) -> Path:
    """Measure, print what was found, and write `output`/engine.json, whose path is returned.

    rounds: 0 for as many as give a good median. only: parts, such as "seeds", or single contenders: "seeds/vmap". The
    file is written after every round; its `complete` tells whether all was measured.
    """
    began, date, path = time.monotonic(), now(), output / "engine.json"
    rounds = rounds or (2 if quick else ROUNDS)

    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def write(measured: dict[str, Any], complete: bool = False) -> dict[str, Any]:
        result = {**about("engine", date, began, quick), "rounds": rounds, "complete": complete, **measured}
        write_json_atomic(path, result)
        return result

    result = write(_measure(quick, rounds, only, report, write), complete=True)
    widen(console)
    for line in [*lines(result), f"Numbers: {path}"]:
        report(line)
    return path


def lines(result: dict[str, Any]) -> list[str]:
    """The results in words: images per second of the medians, and ratios to the first contender of each part."""
    head = f"Pretraining of the quickstart on {result['device']} ({result['processor']}, {result['cores']} cores)"
    return [head, *(line for part in PARTS if part in result for line in _lines_of(part, result))]


def _lines_of(part: str, result: dict[str, Any]) -> list[str]:
    found, title = [], PARTS[part].format(count=result["count"])
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
