"""Runs the tiny study as a real process, ends it by signals, and says what a finished study holds, bit by bit."""

import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from study.tiny import arguments

ROOT = Path(__file__).resolve().parent.parent
UNFINISHED = "*/*/checkpoints/*.orbax-checkpoint-tmp"
TIMEOUT = 600  # seconds; a process of the study takes some, on a machine with much other work a few minutes


class Study:
    """One folder in which processes of the same command are started until the study is complete."""

    def __init__(self, workdir: Path, cache: Path, *settings: str):
        self.workdir = workdir
        self.command = [sys.executable, "-m", "experiments.main"]
        self.command += arguments(workdir, f"engine.compilation_cache={cache}", *settings)[1:]
        self.outputs: list[Path] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Its output goes to the newest of `outputs`."""
        self.workdir.mkdir(exist_ok=True)
        self.outputs.append(self.workdir.parent / f"{self.workdir.name}-{len(self.outputs)}.txt")
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        with self.outputs[-1].open("wb") as output:
            return subprocess.Popen(self.command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        """What the newest process has printed so far."""
        return self.outputs[-1].read_text()

    def run(self) -> None:
        """Run it to its end."""
        assert self.start().wait(TIMEOUT) == 0, self.output

    def wait_for(self, process: subprocess.Popen[bytes], happened: Callable[[], Any]) -> bool:
        """True once something has happened, False when the process ended before."""
        deadline = time.monotonic() + TIMEOUT
        while not happened():
            if process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.output
            time.sleep(0.002)
        return True

    def checkpoints(self, phase: str) -> set[Path]:
        """The complete checkpoints of pretraining or of all fine-tuned runs."""
        return {path for path in self.workdir.glob(f"{phase}/*/checkpoints/*") if path.name.isdecimal()}

    def is_saving(self) -> bool:
        """Whether a checkpoint is being written, or was when the process was killed."""
        return any(self.workdir.glob(UNFINISHED))

    def goes_on_to(self, place: str, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the process is there; False when it ended before."""
        if place == "save":  # the one that was cut off is cleared away before another begins
            return self.wait_for(process, lambda: not self.is_saving()) and self.wait_for(process, self.is_saving)
        if place == "evaluation":
            return self.wait_for(process, lambda: "\nevaluate " in self.output)
        before = self.checkpoints(place)
        return place == "start" or self.wait_for(process, lambda: not self.checkpoints(place) <= before)

    def kill(self, place: str, draw: random.Random) -> bool:
        """Start a process and kill it in `place`, at a random moment; False when the study was complete before."""
        longest = {"start": 10.0, "pretrain": 1.0, "finetune": 1.0, "evaluation": 1.0, "save": 0.1}[place]
        process = self.start()
        if self.goes_on_to(place, process):
            time.sleep(draw.uniform(0, longest))
            process.send_signal(signal.SIGKILL)
        code = process.wait(TIMEOUT)
        assert code in (0, -signal.SIGKILL), self.output
        return code != 0

    def contents(self) -> dict[str, str]:
        """SHA-256 of all parameters, of all that the newest checkpoints hold, and of what was logged and measured."""
        found = {}
        for path in sorted(self.workdir.glob("*/*/best")):
            found[str(path.relative_to(self.workdir))] = _sha256(_arrays(path))
        for path in sorted(self.workdir.glob("*/*/checkpoints")):
            steps = [int(step.name) for step in path.iterdir() if step.name.isdecimal()]
            name = f"{path.relative_to(self.workdir)}/{max(steps)}"
            for item in ("params", "best", "opt_state"):
                found[f"{name}/{item}"] = _sha256(_arrays(path / str(max(steps)) / item))
        for path in sorted(self.workdir.glob("*/*/metrics.csv")):
            rows = list(csv.DictReader(path.read_text().splitlines()))
            measured = ("step", "epoch", "split", "loss", "gradient_norm", "learning_rate")
            found[str(path.relative_to(self.workdir))] = _sha256([row[name] for row in rows for name in measured])
        for path in sorted(self.workdir.glob("per_*.csv")):
            found[path.name] = _sha256(path.read_text())
        return found


def _arrays(path: Path) -> list[Any]:
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.restore(path.absolute())
    arrays = [(jax.tree_util.keystr(name), np.asarray(leaf)) for name, leaf in jax.tree.leaves_with_path(tree)]
    return [(name, leaf.dtype.name, leaf.shape, leaf.tobytes().hex()) for name, leaf in arrays]


def _sha256(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
