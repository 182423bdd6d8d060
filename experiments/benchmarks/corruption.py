"""Speed of the corruption: masks and images on one core beside NumPy, and the corruption's share of a training step.

Every time is the median, 10th and 90th percentile over rounds in which all contenders take their turn; drawing fresh
keys and compiling are not timed. JSON: masks, corruption (one core; rival, tuned_rival, single, batch),
training_step, and on a machine with a GPU masks_on_device and corruption_on_device (batches alone). Times are
milliseconds per image.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from configs import base, quickstart
from experiments.benchmarks import tables
from experiments.benchmarks.machine import about, available_cores, now, on_one_core
from experiments.benchmarks.settings import QUICK, Settings
from inpaint_ssl.files import write_json_atomic


def _on_one_core(settings: Settings) -> dict[str, Any]:
    """What the process with one core does; jax starts here."""
    from experiments.benchmarks import masks

    rows = masks.measure(settings, functools.partial(print, flush=True), on_one_core=True)
    return {"mask_cores": available_cores(), **rows}


def _on_default_device(settings: Settings, quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Share of a training step, and on a GPU masks and corruption in batches; jax starts here."""
    import jax

    from experiments.benchmarks import masks, step_share
    from inpaint_ssl.runtime import keep_freed_memory

    keep_freed_memory()  # as a study does
    on_gpu = jax.default_backend() != "cpu"
    config = base.get_config() if on_gpu and not quick else quickstart.get_config()
    if quick:
        config.model.filters, config.pretrain.batch_size = (16,), 2
    listed = step_share.variants(config.corruption.patch_size, on_gpu, quick)
    step = step_share.measure(config, listed, settings.step_pairs, settings.min_step_round_ms, report)
    result: dict[str, Any] = {"training_step": step}
    if on_gpu:
        rows = masks.measure(settings, report, on_one_core=False)
        result |= {"masks_on_device": rows["masks"], "corruption_on_device": rows["corruption"]}
    return result


def run(output: Path, quick: bool, console: Console) -> Path:
    """Measure, print tables, and write `output`/corruption.json, whose path is returned."""
    settings = QUICK if quick else Settings()
    began, date = time.monotonic(), now()

    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    on_core = on_one_core(_on_one_core, settings)
    on_device = _on_default_device(settings, quick, report)
    result = {
        **about("corruption", date, began, quick),
        "settings": asdict(settings),
        **on_core,
        **on_device,
    }
    output.mkdir(parents=True, exist_ok=True)
    path = output / "corruption.json"
    write_json_atomic(path, result)
    show(result, console)
    console.print(f"Numbers: {path}", markup=False, highlight=False, soft_wrap=True)
    return path


def show(result: dict[str, Any], console: Console) -> None:
    """The tables of a result, as it is in corruption.json."""
    tables.widen(console)
    size, cores = result["settings"]["image_size"], result["mask_cores"]
    where = "one CPU core" if cores == 1 else f"{cores} CPU cores: this platform cannot bind a process to one"
    console.print(f"\n{result['processor']}, {result['cores']} cores", markup=False, highlight=False)
    console.print(f"Medians (10th-90th percentile) of {result['settings']['rounds']} rounds", highlight=False)
    if result["quick"]:
        console.print("--quick shows that the command runs; these numbers mean nothing", highlight=False)
    listed = [
        (f"Poisson-disc masks of {size} x {size}, {where}", "masks"),
        (f"Corruption of a {size} x {size} image, {where}", "corruption"),
        (f"Poisson-disc masks of {size} x {size}, {result['training_step']['device']}", "masks_on_device"),
        (f"Corruption of a {size} x {size} image, {result['training_step']['device']}", "corruption_on_device"),
    ]
    for title, name in listed:
        if name in result:
            console.print()
            console.print(tables.mask_table(title, result[name]))
    drawn = sum(row["batch_masks"] for row in result["masks"])
    lattice = sum(row["batch_masks_from_lattice"] for row in result["masks"])
    console.print(f"\n{lattice} of {drawn} masks of the timed batches came from the lattice", highlight=False)
    console.print()
    console.print(tables.step_table(result["training_step"]))
