"""Speed of training beside PyTorch: images per second of whole steps (forward, backward, Adam) on the default device.

Ours and the same network in PyTorch (training_torch) take their turns in every round. On a CPU the rival is eager
PyTorch with channels_last in float32; on a GPU torch.compile with channels_last and bfloat16, as ours computes there.
The share of the card's peak counts the floating-point operations of the network's convolutions, that of its memory
bandwidth the bytes that XLA says its compiled step moves. PyTorch is in the extra `bench`; without it ours is measured
alone. JSON: device, card, rows (size and options, ours, rival, ratio and shares); times in milliseconds per image.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from experiments.benchmarks import tables, training_tables
from experiments.benchmarks.chosen import chosen, first_call
from experiments.benchmarks.machine import about, now
from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.versions import versions

if TYPE_CHECKING:
    from experiments.benchmarks import training_ours
    from experiments.benchmarks.timing import Timing

CLASSES, CHANNELS = 4, 1
ADAM = {"learning_rate": 1e-3, "b1": 0.99, "b2": 0.995, "eps": 1e-8}
NARROW, WIDE = (16, 32, 64, 128, 256), (32, 64, 128, 256, 512)
CPU_GOAL, GPU_GOAL = 1.0, 1.3  # images per second, ours over PyTorch's
# Dense bfloat16 operations and bytes of memory a second, from the makers' data sheets.
CARDS = {
    "H200": (989e12, 4.8e12),
    "H100 80GB": (989e12, 3.35e12),
    "A100-SXM4-80GB": (312e12, 2.039e12),
    "A100-SXM4-40GB": (312e12, 1.555e12),
}


@dataclass(frozen=True)
class Size:
    """One measurement: images of `side` x `side` pixels, `batch` of them a step."""

    side: int
    batch: int
    filters: tuple[int, ...]
    dtype: str = "float32"
    compiled: bool = False  # PyTorch by torch.compile


def sizes(on_gpu: bool, quick: bool, compiled: bool) -> list[Size]:
    """What is measured."""
    if quick:
        return [Size(16, 2, (16, 32), compiled=compiled)]
    if on_gpu:
        return [Size(512, batch, WIDE, "bfloat16", compiled=True) for batch in (9, 32)]
    listed = [(64, 8, NARROW[:4]), (64, 16, NARROW), (128, 9, WIDE), (256, 4, WIDE)]
    return [Size(side, batch, filters, compiled=compiled) for side, batch, filters in listed]


def forward_flops(size: Size) -> tuple[int, int]:
    """Floating-point operations (a multiplication and an addition are two) of the convolutions of one forward pass,
    in all and of the first one."""
    side, channels, layers = size.side, CHANNELS, []
    for level, width in enumerate(size.filters):
        side = size.side >> level
        layers += [side**2 * 9 * channels * width, side**2 * 9 * width**2]
        channels = width
    for level, width in reversed(list(enumerate(size.filters[:-1]))):
        side = size.side >> level
        # Every pixel of the smaller image meets all nine taps of the transposed convolution.
        layers += [(side // 2) ** 2 * 9 * channels * width, side**2 * 9 * 2 * width * width]
        channels = width
    layers.append(side**2 * channels * CLASSES)
    return 2 * size.batch * sum(layers), 2 * size.batch * layers[0]


def step_flops(size: Size) -> int:
    """Operations of a training step: forward, gradient of kernels, gradient of inputs (but that of the images)."""
    whole, first = forward_flops(size)
    return 3 * whole - first


def card_of(device: str) -> tuple[float, float] | None:
    """bfloat16 operations and bytes a second of a card by its name, None when it is not known."""
    return next((peak for name, peak in CARDS.items() if name in device), None)


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def shares(size: Size, bytes_per_step: float, ms_per_image: float, device: str) -> dict[str, float]:
    """Operations and bytes a second, and their shares of what the card can do, where it is known."""
    seconds = ms_per_image * size.batch / 1e3
    result = {"flops_per_second": step_flops(size) / seconds}
    card = card_of(device)
    if card:  # on a CPU XLA counts the loops of kernel gradients once
        result["bytes_per_second"] = bytes_per_step / seconds
        result |= {"share_of_peak": result["flops_per_second"] / card[0]}
        result |= {"share_of_bandwidth": result["bytes_per_second"] / card[1]}
    return result


def _measure(
    listed: Mapping[Size, bool],
    rounds: int,
    min_round_ms: float,
    goal: float | None,
    report: Callable[[str], None],
    write: Callable[[list[dict[str, Any]]], Any],
) -> list[dict[str, Any]]:
    """One row per size, given to `write` after every round; jax and torch start here. listed: beside PyTorch or not."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # on a GPU the rival needs memory as well
    import jax

    from experiments.benchmarks import training_ours
    from experiments.benchmarks.timing import Contender, Timing, interleaved
    from inpaint_ssl.runtime import keep_freed_memory

    keep_freed_memory()  # as a study does; PyTorch, in the same process, has it too
    rows: list[dict[str, Any]] = []
    for size, beside_rival in listed.items():
        report(f"{size.side} x {size.side}, batch of {size.batch}, filters {size.filters}, {size.dtype}")
        ours = training_ours.Training(size)
        report(f"  ours: compiled in {ours.compile_seconds:.1f} s")
        images = size.batch * ours.steps_per_call
        contenders = {"ours": Contender(range, ours.run, images)}
        if beside_rival:
            contenders["rival"] = Contender(range, _rival(size, ours), images)

        def note(timings: dict[str, Timing], size: Size = size, ours: training_ours.Training = ours) -> None:
            row = _row(size, ours, timings, goal, jax.devices()[0].device_kind)
            write([*rows, row])

        timings = interleaved(contenders, rounds, min_round_ms, on_first=first_call(report), on_round=note)
        rows.append(_row(size, ours, timings, goal, jax.devices()[0].device_kind))
        speeds = (f"{name} {tables.number(rows[-1][name]['images_per_second'])} images/s" for name in timings)
        report(f"  {', '.join(speeds)}")
    return rows


def _row(
    size: Size, ours: "training_ours.Training", timings: Mapping[str, "Timing"], goal: float | None, device: str
) -> dict[str, Any]:
    row: dict[str, Any] = {**asdict(size), "steps_per_call": ours.steps_per_call}
    row |= {"step_flops": step_flops(size), "step_bytes": ours.bytes_per_step}
    for name, timing in timings.items():
        row[name] = {**timing.to_json(), "images_per_second": 1e3 / timing.median_ms}
        row[name]["compile_seconds"] = timing.first_call_seconds
    row["ours"]["compile_seconds"] += ours.compile_seconds
    row["ours"] |= shares(size, ours.bytes_per_step, timings["ours"].median_ms, device)
    if "rival" in row:
        row |= {"ratio": row["ours"]["images_per_second"] / row["rival"]["images_per_second"], "goal_ratio": goal}
    return row


def _rival(size: Size, ours: "training_ours.Training") -> Callable[[Sequence[Any]], None]:
    """Calls -> PyTorch's training from the same parameters, as many steps as ours takes in these calls."""
    from experiments.benchmarks import training_torch

    model = training_torch.UNet(size.filters, CHANNELS, CLASSES, ours.groups)
    training_torch.load(model, ours.params_by_path())
    train = training_torch.trainer(model, ours.images, ours.labels, ADAM, size.dtype, size.compiled)

    def run(calls: Sequence[Any]) -> None:
        train(len(calls) * ours.steps_per_call)

    return run


def run_compiled(output: Path, quick: bool, console: Console, rounds: int = 0, only: Sequence[str] = ()) -> Path:
    """The same beside torch.compile on a CPU too; writes `output`/training_compiled.json."""
    return run(output, quick, console, rounds, only, compiled=True)


def run(
    output: Path,
    quick: bool,
    console: Console,
    rounds: int = 0,
    only: Sequence[str] = (),
    compiled: bool = False,
) -> Path:
    """Measure, print a table, and write `output`/training.json, whose path is returned.

    rounds: 0 for as many as give a good median. only: sizes by side and batch, such as "512x9", or ours alone of one,
    "512x9/ours". The file is written after every round; its `complete` tells whether all was measured.
    """
    import jax

    began, date, name = time.monotonic(), now(), "training_compiled" if compiled else "training"
    device, path = jax.devices()[0].device_kind, output / f"{name}.json"

    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    on_gpu = jax.default_backend() != "cpu"
    if not has_torch():
        report('PyTorch is not installed; ours is measured alone. For the comparison: pip install "inpaint-ssl[bench]"')
    rounds, min_round_ms = (rounds or 2, 1.0) if quick else (rounds or 15, 500.0)
    goal = None if quick else GPU_GOAL if on_gpu else CPU_GOAL
    sides = ("ours", "rival") if has_torch() else ("ours",)
    listed = chosen({f"{s.side}x{s.batch}": dict.fromkeys(sides, s) for s in sizes(on_gpu, quick, compiled)}, only)

    def write(rows: list[dict[str, Any]], complete: bool = False) -> dict[str, Any]:
        result = {
            **about(name, date, began, quick),
            "backend": jax.default_backend(),
            "device": device,
            "card": card_of(device),
            "versions": versions() | ({"torch": metadata.version("torch")} if has_torch() else {}),
            "rounds": rounds,
            "complete": complete,
            "rows": rows,
        }
        write_json_atomic(path, result)
        return result

    beside = {next(iter(of_size.values())): "rival" in of_size for of_size in listed.values()}
    output.mkdir(parents=True, exist_ok=True)
    result = write(_measure(beside, rounds, min_round_ms, goal, report, write), complete=True)
    tables.widen(console)
    training_tables.show(result, console)
    report(f"Numbers: {path}")
    return path
