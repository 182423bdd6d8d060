"""A training step from a configuration alone, without data: what it would take, and what it takes. Imports jax."""

import ctypes
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from ml_collections import ConfigDict

from inpaint_ssl.corruption import CORRUPTORS, PatchSpec
from inpaint_ssl.memory import limit_bytes, predicted_peak_bytes
from inpaint_ssl.models import UNet
from inpaint_ssl.optim import OptimSettings, make_optimizer
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import inpainting_loss, make_train_step, segmentation_loss
from inpaint_ssl.study.phases import compute_dtype
from inpaint_ssl.types import Batch, TrainState

CLASSES = 4  # where a configuration leaves them to the data; they hardly matter


def _step(config: ConfigDict, phase: str) -> tuple[Any, Any]:
    """(jitted step, function from a key to the state that it starts with)."""
    channels = len(config.data.hu_windows) if config.data.modality == "ct" else 1
    classes = len(config.data.classes) or CLASSES
    section = config[phase]
    settings = OptimSettings(**{name: section[name] for name in OptimSettings.__dataclass_fields__})
    optimizer = make_optimizer(settings, steps_per_epoch=1000)
    shared = (config.model.groups, compute_dtype(config.model.dtype), config.model.conv_gradients)
    if phase == "pretrain":
        model = UNet(config.model.filters, channels, "inpainting", *shared)
        c = config.corruption
        spec, corrupt = PatchSpec(c.patch_size, c.sampling, c.area_fraction), CORRUPTORS[c.task]
        loss = inpainting_loss(model, lambda key, image, box: corrupt(key, image, spec))
    else:
        model = UNet(config.model.filters, classes, "segmentation", *shared)
        loss = segmentation_loss(model, np.arange(256)[:, None] == np.arange(1, classes + 1))

    def start(key: jax.Array) -> TrainState:
        params = model.init(key, jnp.zeros((1, *config.data.image_size, channels)))["params"]
        return TrainState(params=params, opt_state=optimizer.init(params), step=jnp.zeros((), jnp.int32))

    return jax.jit(make_train_step(loss, optimizer), donate_argnums=0), start


def _batch(config: ConfigDict, size: int) -> Any:
    """Shapes of a batch."""
    height, width = config.data.image_size
    channels = len(config.data.hu_windows) if config.data.modality == "ct" else 1
    return jax.eval_shape(
        lambda: Batch(
            images=jnp.zeros((size, height, width, channels)),
            labels=jnp.zeros((size, height, width), jnp.uint8),
            example_ids=jnp.zeros(size, jnp.uint32),
            is_real=jnp.ones(size, bool),
            boxes=jnp.zeros((size, 4), jnp.int32),
        )
    )


def _compiled(config: ConfigDict, phase: str, size: int) -> Any:
    step, start = _step(config, phase)
    key = stream_key(0, "corruption")
    return step.lower(jax.eval_shape(start, key), _batch(config, size), key).compile()


def predict(config: ConfigDict, phase: str) -> dict[str, Any]:
    """Predicted peak, memory of the device, and the largest batch on the line through a batch of 1 and the set one."""
    size = config[phase].batch_size
    predicted, limit = predicted_peak_bytes(_compiled(config, phase, size)), limit_bytes()
    other = 1 if size > 1 else 2
    per_image = (predicted - predicted_peak_bytes(_compiled(config, phase, other))) / (size - other)
    return {
        "device": jax.devices()[0].device_kind,
        "image_size": list(config.data.image_size),
        "filters": list(config.model.filters),
        "dtype": str(compute_dtype(config.model.dtype)),
        "batch_size": size,
        "predicted_bytes": predicted,
        "bytes_per_image": per_image,
        "limit_bytes": limit,
        "largest_batch": max(0, int(size + (limit - predicted) / per_image)),
    }


def measure(config: ConfigDict, phase: str, steps: int) -> dict[str, Any]:
    """Peak bytes of `steps` steps, with the state and the batch that they work on."""
    size = config[phase].batch_size
    compiled, key = _compiled(config, phase, size), stream_key(0, "corruption")
    shapes = jax.eval_shape(_step(config, phase)[1], key)
    before = _start_measuring()
    # Zeros from the host: initialising by a program of its own would take memory that is not the step's.
    state, batch = jax.tree.map(_zeros, (shapes, _batch(config, size)))
    batch = batch._replace(is_real=jax.device_put(np.ones(size, bool)))
    for _ in range(steps):
        state, metrics = compiled(state, batch, key)
        jax.block_until_ready((state, metrics))
    return {"measured_bytes": peak_bytes() - before}


def _zeros(shape: jax.ShapeDtypeStruct) -> jax.Array:
    return jax.block_until_ready(jax.device_put(np.zeros(shape.shape, shape.dtype)))


def _start_measuring() -> int:
    """Bytes that count for nothing, to be taken off the peak."""
    if _gpu_stats():
        return 0
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what compiling has left behind would be used again unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    return psutil.Process().memory_info().rss


def _gpu_stats() -> dict[str, int]:
    return jax.devices()[0].memory_stats() or {}


def peak_bytes() -> int:
    """The most memory so far: of a GPU by jax's own count, else resident memory of this process."""
    if stats := _gpu_stats():
        return stats["peak_bytes_in_use"]
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return peak * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
