"""What training on a data set will take: memory and time, from a step of each phase measured on random images.

Imports jax.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from inpaint_ssl.forecast.lengths import steps_of, validations_of
from inpaint_ssl.memory import capacity_bytes, largest_batch, limit_bytes, predicted_peak_bytes
from inpaint_ssl.models import UNet
from inpaint_ssl.optim import OptimSettings, make_optimizer
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import inpainting_loss, make_train_step, segmentation_loss
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.designs import cells_of
from inpaint_ssl.study.phases import compute_dtype, make_corruptor
from inpaint_ssl.types import Batch, TrainState

_MOST_STEPS, _MOST_SECONDS = 5, 15.0  # of the measurement, after a first step
_VALIDATION = 1 / 3  # of a training step's time takes a slice in validation: the forward pass alone


@dataclass(frozen=True)
class Slices:
    """What a study would train on: slices of pretraining, of both validation sets (one), and per label fraction.

    channels: of the network's input; classes: number of them. stored_bytes: of a slice's image and label on the device.
    extents: slices of each pretraining set of config.split.pretraining_extents.
    """

    pretraining: int
    validation: int
    finetuning: Mapping[float, int]
    channels: int
    classes: int
    resident: int
    stored_bytes: int
    extents: Mapping[float, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PhaseForecast:
    """steps, runs: steps of one run and number of runs at each label fraction (of pretraining at each extent, 0.0 where
    there is one). step_seconds: measured, None when the step does not fit into memory. peak_bytes: predicted. seconds:
    of all runs of the phase, their validation included.
    """

    phase: str
    batch_size: int
    steps: Mapping[float, int]
    runs: Mapping[float, int]
    step_seconds: float | None
    compile_seconds: float
    peak_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Forecast:
    """device: in words. limit_bytes: what a step may take; resident_bytes of allowed_bytes: training slices."""

    device: str
    limit_bytes: int
    resident_bytes: int
    allowed_bytes: int
    phases: tuple[PhaseForecast, ...]

    @property
    def is_resident(self) -> bool:
        """Whether all slices stay on the device."""
        return self.resident_bytes <= self.allowed_bytes

    @property
    def seconds(self) -> float | None:
        """Of the whole study, without evaluation; None when a step does not fit."""
        parts = [phase.seconds for phase in self.phases]
        return None if None in parts else sum(part for part in parts if part is not None)


def make_forecast(config: ConfigDict, slices: Slices) -> Forecast:
    """Compile and time a training step of each phase of which the study has runs."""
    limit, cells = limit_bytes(), cells_of(config)
    phases = tuple(
        _phase(config, name, slices, limit, own)
        for name in ("pretrain", "finetune")
        if (own := [cell for cell in cells if cell.phase == name])
    )
    device = jax.local_devices()[0]
    kind = f"{jax.local_device_count()} x {device.device_kind}" if jax.local_device_count() > 1 else device.device_kind
    allowed = int(config.data.device_memory_fraction * capacity_bytes())
    return Forecast(kind, limit, slices.resident * slices.stored_bytes, allowed, phases)


def _phase(config: ConfigDict, phase: str, slices: Slices, limit: int, cells: Sequence[Cell]) -> PhaseForecast:
    section = config[phase]
    if phase == "pretrain":
        runs = Counter(float(cell.config(config).split.pretraining_extent) for cell in cells)
        counts = {extent: slices.extents.get(extent, slices.pretraining) for extent in runs}
    else:
        runs = Counter(cell.label_fraction for cell in cells)
        counts = {fraction: slices.finetuning[fraction] for fraction in runs}
    peak, compile_seconds, step_seconds = measure_step(config, phase, slices, limit)
    steps = {key: steps_of(section, n) for key, n in counts.items()}
    result = PhaseForecast(phase, section.batch_size, steps, dict(runs), step_seconds, compile_seconds, peak, None)
    if step_seconds is None:
        return result
    validation = validation_seconds(step_seconds, section.batch_size, slices.validation)
    seconds = sum(
        runs[key] * (steps[key] * step_seconds + validations_of(section, n) * validation) for key, n in counts.items()
    )
    return replace(result, seconds=compile_seconds + seconds)


def validation_seconds(step_seconds: float, batch_size: int, n_slices: int) -> float:
    """Estimated from a training step's time for each of its slices."""
    return _VALIDATION * step_seconds / batch_size * n_slices


def measure_step(config: ConfigDict, phase: str, slices: Slices, limit: int) -> tuple[int, float, float | None]:
    """(predicted peak bytes, seconds to compile, median seconds of a step on random images).

    A step that would take more than `limit` bytes is not run: None in place of its time.
    """
    began = time.monotonic()
    compiled, start, shape = _compiled(config, phase, slices, config[phase].batch_size)
    compile_seconds = time.monotonic() - began
    peak = predicted_peak_bytes(compiled)
    if peak > limit:
        return peak, compile_seconds, None
    key = stream_key(0, "doctor")
    batch = _batch(shape)._replace(images=jax.random.normal(key, shape))
    state, _ = jax.block_until_ready(compiled(jax.jit(start)(key), batch, key))
    first = time.monotonic()
    samples: list[float] = []
    while not samples or (len(samples) < _MOST_STEPS and time.monotonic() - first < _MOST_SECONDS):
        began = time.monotonic()
        state, _ = jax.block_until_ready(compiled(state, batch, key))
        samples.append(time.monotonic() - began)
    return peak, compile_seconds, float(np.median(samples))


def fitting_batch(config: ConfigDict, phase: str, slices: Slices, limit: int) -> int:
    """The largest batch size, up to the set one, whose step fits into `limit` bytes; 0 when none does."""

    def predict(size: int) -> int:
        return predicted_peak_bytes(_compiled(config, phase, slices, size)[0])

    return largest_batch(predict, config[phase].batch_size, limit)


def _compiled(config: ConfigDict, phase: str, slices: Slices, size: int) -> tuple[Any, Any, tuple[int, int, int, int]]:
    """(compiled step for batches of `size`, function from a key to its first state, shape of the images)."""
    step, start = _step(config, phase, slices)
    shape = (size, *config.data.image_size, slices.channels)
    key = stream_key(0, "doctor")
    batch = jax.eval_shape(lambda: _batch(shape))
    return step.lower(jax.eval_shape(start, key), batch, key).compile(), start, shape


def _batch(shape: tuple[int, int, int, int]) -> Batch:
    n = shape[0]
    ids, real, boxes = jnp.arange(n, dtype=jnp.uint32), jnp.ones(n, bool), jnp.zeros((n, 4), jnp.int32)
    return Batch(jnp.zeros(shape), jnp.zeros(shape[:3], jnp.uint8), ids, real, boxes)


def _step(config: ConfigDict, phase: str, slices: Slices) -> tuple[Any, Any]:
    """(jitted step, function from a key to its first state)."""
    settings = OptimSettings(**{name: config[phase][name] for name in OptimSettings.__dataclass_fields__})
    optimizer = make_optimizer(settings, steps_per_epoch=1000)
    shared = (config.model.groups, compute_dtype(config.model.dtype), config.model.conv_gradients)
    if phase == "pretrain":
        model = UNet(config.model.filters, slices.channels, "inpainting", *shared)
        loss = inpainting_loss(model, make_corruptor(config))
    else:
        model = UNet(config.model.filters, slices.classes, "segmentation", *shared)
        membership = np.arange(256)[:, None] == np.arange(1, slices.classes + 1)
        loss = segmentation_loss(
            model,
            membership,
            config.finetune.dice_epsilon,
            cross_entropy_weight=config.finetune.cross_entropy_weight,
            augmentation=config.finetune.augmentation,
        )

    def start(key: jax.Array) -> TrainState:
        params = model.init(key, jnp.zeros((1, *config.data.image_size, slices.channels)))["params"]
        return TrainState(params=params, opt_state=optimizer.init(params), step=jnp.zeros((), jnp.int32))

    return jax.jit(make_train_step(loss, optimizer), donate_argnums=0), start
