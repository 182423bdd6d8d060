"""What the training loop receives and gives."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from inpaint_ssl.batches import ExampleOrder, Feed
from inpaint_ssl.data import SliceSource
from inpaint_ssl.engine import Programs, Snapshot
from inpaint_ssl.types import Params


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """Lengths in steps; `patience` in validations (0 = never stop early); `min_delta` in units of the loss."""

    last_step: int
    ends_by: str  # "max_steps" or "max_epochs": which of the two `last_step` comes from
    validate_every: int
    patience: int
    min_delta: float
    log_every: int
    checkpoint_every: int = 0  # besides those at validations; 0 = none
    async_checkpoints: bool = False
    profile: bool = False


@dataclasses.dataclass(frozen=True)
class SeedRun:
    """One seed of a run: its name for messages, its folder for results, and which slices each step sees."""

    name: str
    directory: Path
    order: ExampleOrder


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Everything that train needs. `directory` holds the checkpoints of all seeds together.

    data, validation_data: placed on the devices. validation_keys(step) -> (seeds,) keys; validation_loss(sums) -> loss.
    stop() is the name of the signal that asks to stop, or "". is_writer: this process writes results.
    """

    name: str
    directory: Path
    seeds: tuple[SeedRun, ...]
    programs: Programs
    start: Snapshot
    keys: jax.Array
    source: SliceSource
    feed: Feed
    data: Any
    validation: Feed
    validation_data: Any
    validation_batch: int
    validation_keys: Callable[[int], jax.Array]
    validation_loss: Callable[[Any], float]
    learning_rate: Callable[[int], float]
    settings: LoopSettings
    stop: Callable[[], str] = str
    is_writer: bool = True


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """The outcome of one seed; `best` are its parameters of the lowest validation loss. error: why it failed, or "".

    seconds: this seed's share of the time of the run.
    """

    best: Params
    steps: int
    best_step: int
    best_validation_loss: float
    seconds: float
    stopped: str
    images_per_second: float
    error: str


def last_step(steps_per_epoch: int, max_epochs: int, max_steps: int) -> tuple[int, str]:
    """(last step, which limit that is); a limit of 0 does not count."""
    by_epochs = max_epochs * steps_per_epoch or math.inf
    by_steps = max_steps or math.inf
    return int(min(by_epochs, by_steps)), "max_steps" if by_steps <= by_epochs else "max_epochs"
