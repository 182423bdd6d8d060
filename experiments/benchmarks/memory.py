"""Peak memory of a training step: predicted from its compiled program, measured while it runs, and what would fit.

Both phases of a configuration, each in fresh processes: one compiles and predicts, the next one runs three steps.
Measured are, on a GPU, JAX's own count of the bytes in use; on Linux the peak of the resident memory over what it was
before the states and the batch were made; elsewhere the peak of the process so far, which includes compiling.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.machine import about, now
from experiments.benchmarks.tables import number
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_json_atomic

PHASES = ("pretrain", "finetune")
STEPS = 3
MIB = 1024**2


def run(output: Path, quick: bool, console: Console, config: str = "configs/quickstart.py") -> Path:
    """Measure, print, and write `output`/memory.json, whose path is returned; InputError for a wrong config file."""
    if not Path(config).is_file():
        raise InputError(
            f"--config: no such file: {config}; expected a file of configs/, such as configs/quickstart.py"
        )
    began, date = time.monotonic(), now()
    rows = []
    with tempfile.TemporaryDirectory() as programs:
        for phase in PHASES:
            said = [_in_a_process(what, config, phase, programs, quick) for what in ("predict", "measure")]
            rows.append({"phase": phase, **said[0], **said[1]})
            rows[-1]["predicted_over_measured"] = rows[-1]["predicted_bytes"] / max(rows[-1]["measured_bytes"], 1)
    result = {
        **about("memory", date, began, quick),
        "config": config,
        "rows": rows,
    }
    path = output / "memory.json"
    write_json_atomic(path, result)
    for line in [*_lines(result), f"Numbers: {path}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return path


def _in_a_process(what: str, config: str, phase: str, programs: str, quick: bool) -> dict[str, Any]:
    words = [what, config, phase, programs, *(["quick"] if quick else [])]
    command = [sys.executable, "-m", "experiments.benchmarks.memory", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{phase} of {config} could not be run: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [f"Peak memory of a training step of {result['config']}, MiB"]
    for row in result["rows"]:
        height, width = row["image_size"]
        lines.append(
            f"{row['phase']}, {row['device']}, batch {row['batch_size']} of {height} x {width} in {row['dtype']}: "
            f"predicted {number(row['predicted_bytes'] / MIB)}, measured {number(row['measured_bytes'] / MIB)} "
            f"(ratio {number(row['predicted_over_measured'], 2)}); about {row['largest_batch']} images would fit "
            f"into the {number(row['limit_bytes'] / MIB)} that can be used"
        )
    return lines


def _main(what: str, file: str, phase: str, programs: str, quick: str = "") -> dict[str, Any]:
    """What a started process does."""
    import runpy

    from experiments.benchmarks import step_memory
    from inpaint_ssl.runtime import configure

    config = runpy.run_path(file)["get_config"]()
    if quick:
        config.model.filters, config[phase].batch_size = (16, 16), 2
    config.engine.compilation_cache = programs
    configure(config)
    return step_memory.predict(config, phase) if what == "predict" else step_memory.measure(config, phase, STEPS)


if __name__ == "__main__":
    print(json.dumps(_main(*sys.argv[1:])))
