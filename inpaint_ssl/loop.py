"""The one training loop: it receives a step, a source and a validation, and knows neither task nor network."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from inpaint_ssl.batches import make_batch
from inpaint_ssl.checkpoint import RunCheckpoints
from inpaint_ssl.data import SliceSource
from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.rng import example_order
from inpaint_ssl.steps import TrainStep
from inpaint_ssl.types import Batch, Params, TrainState

METRICS_COLUMNS = ("step", "epoch", "split", "loss", "learning_rate", "images_per_second", "seconds")
log = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """The loss is no longer finite; the message names the step and the run."""


@dataclass(frozen=True)
class LoopSettings:
    """Lengths in steps; `patience` in validations (0 = never stop early); `min_delta` in units of the loss."""

    batch_size: int
    steps_per_epoch: int
    last_step: int
    ends_by: str  # "max_steps" or "max_epochs": which of the two `last_step` comes from
    validate_every: int
    patience: int
    min_delta: float
    log_every: int
    seed: int
    stream: str  # names the order of examples; arms that share it see the same batches


@dataclass
class LoopState:
    """What a checkpoint holds beside the arrays. `reference` is the loss that early stopping measures against."""

    best_loss: float = math.inf
    best_step: int = 0
    reference: float = math.inf
    waited: int = 0
    seconds: float = 0.0
    stopped: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a run; `best` are the parameters of the lowest validation loss."""

    best: Params
    steps: int
    best_step: int
    best_validation_loss: float
    seconds: float
    stopped: str
    images_per_second: float


@dataclass(frozen=True)
class TrainingRun:
    """Everything that train needs: `step` and `validate` are jitted by the caller, so that runs can share them.

    `validate` maps (parameters, steps done) to a loss.
    """

    name: str
    directory: Path
    state: TrainState
    step: TrainStep
    validate: Callable[[Params, int], float]
    learning_rate: Callable[[int], float]
    source: SliceSource
    key: jax.Array
    settings: LoopSettings


def loop_lengths(examples: int, batch_size: int, max_epochs: int, max_steps: int) -> tuple[int, int, str]:
    """(steps per epoch, last step, which limit that is); a limit of 0 does not count."""
    steps_per_epoch = math.ceil(examples / batch_size)
    by_epochs = max_epochs * steps_per_epoch or math.inf
    by_steps = max_steps or math.inf
    return steps_per_epoch, int(min(by_epochs, by_steps)), "max_steps" if by_steps <= by_epochs else "max_epochs"


def _training_batches(source: SliceSource, settings: LoopSettings, start: int) -> Iterator[Batch]:
    """From step `start` on; the batch of a step is a function of (seed, stream, step) alone."""
    epoch, position = divmod(start, settings.steps_per_epoch)
    while True:
        order = example_order(settings.seed, settings.stream, epoch, len(source))
        for first in range(position * settings.batch_size, len(source), settings.batch_size):
            yield make_batch(source, order[first : first + settings.batch_size], settings.batch_size)
        epoch, position = epoch + 1, 0


def train(run: TrainingRun, console: Console) -> TrainResult:
    """Train until early stopping or the last step, going on from the newest checkpoint in the run's directory.

    The order at every step is: batch, step, log, validate, keep the best, decide on stopping, save. Do not change it: a
    checkpoint must hold the state after its validation. Raises TrainingDiverged when a loss is not finite.
    """
    settings, checkpoints = run.settings, RunCheckpoints(run.directory / "checkpoints")
    restored = checkpoints.restore(run.state)
    state, best, loop = (run.state, run.state.params, LoopState()) if restored is None else _resumed(restored)
    # The step donates its state: neither the caller's parameters nor the best ones may share its memory.
    state = jax.tree.map(lambda leaf: jax.numpy.array(leaf, copy=True), state)
    first, began, losses = int(state.step), time.monotonic() - loop.seconds, []
    batches = _training_batches(run.source, settings, first)
    with StageProgress(run.name, settings.last_step, start=first, console=console) as progress:
        step, note = first, ""
        while step < settings.last_step and not loop.stopped:
            state, metrics = run.step(state, next(batches), run.key)
            losses.append(metrics["loss"])
            step += 1
            validates = step % settings.validate_every == 0 or step == settings.last_step
            if validates or step % settings.log_every == 0:
                note = _log(run, loop, step, losses, time.monotonic() - began)
                losses.clear()
            if validates:
                loss = run.validate(state.params, step)
                if _judge(run, loop, step, loss, time.monotonic() - began):
                    best = jax.tree.map(lambda leaf: jax.numpy.array(leaf, copy=True), state.params)
                note = f"{note}  validation {loss:.4g}"
                checkpoints.save(state, best, asdict(loop))
                _write_metrics(run, loop)
            progress.update(step, note)
        loop.stopped = loop.stopped or settings.ends_by
        progress.finish(step, f"best validation {loop.best_loss:.4g} at step {loop.best_step}")
    checkpoints.close()
    _write_metrics(run, loop)  # once more: a kill may have come between the last checkpoint and this file
    speed = _images_per_second(run, loop, step)
    return TrainResult(best, step, loop.best_step, loop.best_loss, loop.seconds, loop.stopped, speed)


def _resumed(restored: tuple[TrainState, Params, dict[str, Any]]) -> tuple[TrainState, Params, LoopState]:
    state, best, loop = restored
    log.info("resumed at step %d", int(state.step))
    return state, best, LoopState(**loop)


def _images_per_second(run: TrainingRun, loop: LoopState, step: int) -> float:
    """Training slices over all time since the start, validation and saving included."""
    epochs, rest = divmod(step, run.settings.steps_per_epoch)
    seen = epochs * len(run.source) + min(rest * run.settings.batch_size, len(run.source))
    return seen / loop.seconds if loop.seconds > 0 else 0.0


def _log(run: TrainingRun, loop: LoopState, step: int, losses: list[jax.Array], seconds: float) -> str:
    """Fetch the losses since the last row, add a row, and return the note of the progress line."""
    loss = float(np.mean(np.asarray(jax.device_get(losses), np.float64)))
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"{run.name}: the training loss is {loss} in the {len(losses)} steps before step {step} (learning rate "
            f"{run.learning_rate(step - 1):.3g}); the last good checkpoint is in {run.directory / 'checkpoints'}; "
            "lower the learning rate"
        )
    loop.seconds = seconds
    speed, epoch = _images_per_second(run, loop, step), (step - 1) // run.settings.steps_per_epoch
    _add_row(run, loop, step, "train", loss, speed)
    return f"epoch {epoch + 1}  loss {loss:.4g}  {speed:.0f} images/s"


def _write_metrics(run: TrainingRun, loop: LoopState) -> None:
    write_csv_atomic(run.directory / "metrics.csv", METRICS_COLUMNS, loop.rows)


def _add_row(run: TrainingRun, loop: LoopState, step: int, split: str, loss: float, speed: float) -> None:
    epoch = (step - 1) // run.settings.steps_per_epoch
    rate = f"{run.learning_rate(step - 1):.6g}"
    values = (step, epoch, split, repr(loss), rate, f"{speed:.1f}", f"{loop.seconds:.1f}")
    loop.rows.append(dict(zip(METRICS_COLUMNS, values, strict=True)))


def _judge(run: TrainingRun, loop: LoopState, step: int, loss: float, seconds: float) -> bool:
    """Note a validation and the stopping rule; True when these are the best parameters so far."""
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"{run.name}: the validation loss is {loss} at step {step}; the last good checkpoint is in "
            f"{run.directory / 'checkpoints'}; lower the learning rate"
        )
    settings = run.settings
    loop.seconds = seconds
    _add_row(run, loop, step, "validation", loss, _images_per_second(run, loop, step))
    if loss < loop.reference - settings.min_delta:
        loop.reference, loop.waited = loss, 0
    else:
        loop.waited += 1
    if settings.patience and loop.waited >= settings.patience:
        loop.stopped = "early_stopping"
    if loss >= loop.best_loss:
        return False
    loop.best_loss, loop.best_step = loss, step
    return True
