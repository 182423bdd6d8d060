"""Times of the very programs that a study runs, measured on its own slices. Imports jax."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from inpaint_ssl.batches import ExampleOrder, batches_of_scan, stack
from inpaint_ssl.config import evaluated_parts
from inpaint_ssl.data import ScanInfo, SliceSource
from inpaint_ssl.engine import Engine, Snapshot
from inpaint_ssl.evaluate import SCAN_COLUMNS, SLICE_COLUMNS
from inpaint_ssl.forecast.runs import Program
from inpaint_ssl.measure import measure_scan
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import make_predict_step
from inpaint_ssl.study.phases import Phases
from inpaint_ssl.study.prepare import StudyData
from inpaint_ssl.types import TrainState

_MOST_CALLS, _MOST_SECONDS = 5, 15.0  # of a measurement, after a first call


@dataclass(frozen=True)
class Training:
    """Seconds of a program: to compile it, of a step of all seeds, and of a whole validation of all seeds."""

    compiling: float
    step: float
    validation: float


@dataclass(frozen=True)
class Evaluating:
    """Of one run: seconds of measuring it, and bytes of the rows in its per_scan.csv and per_slice.csv, by phase."""

    seconds: dict[str, float]
    row_bytes: dict[str, int]


def measure_training(phases: Phases, data: StudyData, own: ConfigDict, program: Program) -> Training:
    """Compile the program, take a few steps from fresh weights and validate some batches.

    own: settings of a run that uses the program. Raises InputError when a step does not fit into memory.
    """
    config, seeds, section = phases.config, tuple(phases.config.seeds), own[program.phase]
    phases.check_memory(program.phase, len(seeds))
    programs, optimizer, _ = phases.get(own, program.phase, len(seeds), program.steps_per_epoch, program.frozen)
    params = [phases.init(program.phase)(stream_key(seed, f"{program.phase}/init")) for seed in seeds]
    states = [TrainState(params=one, opt_state=optimizer.init(one), step=jnp.zeros((), jnp.int32)) for one in params]
    keys = jnp.stack([stream_key(seed, f"{program.phase}/corruption") for seed in seeds])
    engine = Engine(programs, Snapshot(stack(states), stack(params)), keys, *phases.placed(programs))
    examples = np.arange(len(data.learning))
    orders = [ExampleOrder(seed, f"{program.phase}/order", examples, section.batch_size) for seed in seeds]
    size, most = programs.padded(section.batch_size), programs.settings.steps_per_call
    items = phases.feed.training(orders, range((_MOST_CALLS + 2) * most), size, programs.train.local_rows(size))
    position = 0

    def steps(count: int) -> Callable[[], Any]:
        def call() -> None:
            nonlocal position
            placed = engine.place(stack([next(items) for _ in range(count)]))
            positions = (position + np.arange(count))[:, None] + np.zeros(len(seeds), np.int32)
            engine.fetch(engine.run(placed, positions.astype(np.int32)))
            position += count

        return call

    try:
        compiling, each = _timed(steps(most))
        if most > 1:  # single steps, where a row or a validation is due, are a program of their own
            compiling += _first(steps(1))
    finally:
        if hasattr(items, "close"):  # Grain's threads
            items.close()
    first, validation = _validation(phases, engine, keys, config.evaluate.batch_size)
    return Training(compiling + first, each / most, validation)


def _validation(phases: Phases, engine: Engine, keys: jax.Array, batch_size: int) -> tuple[float, float]:
    """Seconds to compile it, and of a whole validation, from some of its batches."""
    programs, feed = engine.programs, phases.validation_feed
    size = programs.padded(batch_size)

    def validate(items: Iterable[Any]) -> Any:
        return engine.validate(iter(items), keys, np.ones(programs.seeds, bool))

    every = -(-feed.count // batch_size)
    some: list[Any] = []
    for item in feed.in_order(batch_size, size, programs.validate.local_rows(size)):
        some.append(item)
        if len(some) == _MOST_CALLS:
            break
    compiling, seconds = _timed(lambda: validate(some))
    return compiling, seconds / len(some) * every


def measure_evaluation(config: ConfigDict, phases: Phases, data: StudyData) -> Evaluating:
    """From the network's forward pass on a batch, and all that is measured on one test scan as if it were predicted.

    What is measured may take longer of predictions that are poor.
    """
    parts, sources = evaluated_parts(config), {"validation": data.validation, "test": data.test}
    scan, size = data.test.scans[0], config.evaluate.batch_size
    predict = jax.jit(make_predict_step(phases.segmenter, config.evaluate.flips))
    params = phases.init("finetune")(stream_key(0, "forecast"))

    def forward() -> None:
        _, batch = next(batches_of_scan(data.test, scan, size))
        np.asarray(predict(params, batch.images))

    _, each = _timed(forward)
    volumes = data.test.volumes(scan)
    truth = data.classes.label_map(volumes.label)
    began = time.monotonic()
    measured = measure_scan(truth, volumes, scan, data.measures)
    measuring = time.monotonic() - began
    n_scans, batches = (sum(count(sources[part]) for part in parts) for count in (_scans, lambda s: _batches(s, size)))
    rows = n_scans * (_bytes(measured.rows, SCAN_COLUMNS, scan) + _bytes(measured.slice_rows, SLICE_COLUMNS, scan))
    of_slice = [{"value": repr(1.0 / 3), "class": name} for name in data.channel_names]
    return Evaluating(
        {"pretrain": each * _batches(data.test, size), "finetune": each * batches + measuring * n_scans},
        {"pretrain": len(data.test) * _bytes(of_slice, SLICE_COLUMNS, scan), "finetune": rows},
    )


def _scans(source: SliceSource) -> int:
    return len(source.scans)


def _batches(source: SliceSource, size: int) -> int:
    return sum(-(-scan.n_slices // size) for scan in source.scans)


def _bytes(rows: Sequence[dict[str, Any]], columns: Sequence[str], scan: ScanInfo) -> int:
    """Of the rows as CSV; columns that all rows of a run share are taken to have 60 characters together."""
    values = 60 + len(scan.subject_id) + len(scan.scan_id) + len(columns)
    return sum(values + sum(len(str(value)) for value in row.values()) for row in rows)


def _first(call: Callable[[], Any]) -> float:
    """Seconds that a first call takes longer than a second one."""
    began = time.monotonic()
    call()
    compiled = time.monotonic()
    call()
    return max(compiled - began - (time.monotonic() - compiled), 0.0)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """(seconds that the first call takes longer than others, median seconds of some others)."""
    began = time.monotonic()
    call()
    first, samples = time.monotonic() - began, list[float]()
    began = time.monotonic()
    while not samples or (len(samples) < _MOST_CALLS - 1 and time.monotonic() - began < _MOST_SECONDS):
        last = time.monotonic()
        call()
        samples.append(time.monotonic() - last)
    each = float(np.median(samples))
    return max(first - each, 0.0), each
