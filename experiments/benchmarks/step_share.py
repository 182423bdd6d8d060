"""Corruption's share of a training step, measured by leaving it out. Imports jax."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarks.timing import Contender, interleaved, left_out
from inpaint_ssl.corruption import CORRUPTORS, Corruptor, PatchSpec, corrupt_from_bank, make_mask_bank
from inpaint_ssl.corruption.spec import Sampling, Task
from inpaint_ssl.models import UNet
from inpaint_ssl.optim import OptimSettings, make_optimizer
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import TrainStep, inpainting_loss, make_train_step
from inpaint_ssl.types import Batch, TrainState

CPU_GOAL, GPU_GOAL = 0.05, 0.02  # share of fresh Poisson-disc restoration


@dataclass(frozen=True)
class Variant:
    """One corruption to be left out."""

    patch_size: int
    masks: str = "fresh"  # "fresh" | "bank"
    task: Task = "context_restoration"
    sampling: Sampling = "poisson_disc"
    dtype: str = "float32"
    goal: float | None = None


def variants(patch_size: int, on_gpu: bool, quick: bool) -> list[Variant]:
    """What is measured: on a CPU every task and sampling and the bank, on a GPU patch sizes and data types."""
    if quick:
        return [Variant(patch_size), Variant(patch_size, masks="bank", sampling="random")]
    if on_gpu:
        sizes = (patch_size, *(size for size in (64, 32, 16, 8) if size != patch_size))
        goals = [Variant(size, dtype=dtype, goal=GPU_GOAL) for dtype in ("float32", "bfloat16") for size in sizes]
        return [*goals, *_others(patch_size), Variant(8, sampling="random")]
    return [Variant(patch_size, goal=CPU_GOAL), *_others(patch_size)]


def _others(patch_size: int) -> list[Variant]:
    """What has no goal: the other tasks and samplings, and banks."""
    return [
        Variant(patch_size, sampling="random"),
        Variant(patch_size, task="context_prediction"),
        Variant(patch_size, task="context_prediction", sampling="random"),
        Variant(patch_size, masks="bank"),
        Variant(patch_size, masks="bank", task="context_prediction"),
    ]


class _Training:
    """A jitted step with donated state that goes on from call to call."""

    def __init__(self, step: TrainStep, state: TrainState, batch: Batch):
        self.step, self.state, self.batch = jax.jit(step, donate_argnums=0), state, batch
        self.key = stream_key(0, "corruption")

    def run(self, calls: Sequence[Any]) -> None:
        """As many steps; as in training nothing waits for a single one, and each draws its own patches."""
        for _ in calls:
            self.state, metrics = self.step(self.state, self.batch, self.key)
        jax.block_until_ready((self.state, metrics))


def _trainings(config: ConfigDict, batch: Batch, dtype: str) -> Callable[[Corruptor], _Training]:
    """corruptor -> training that starts from the same weights, with the optimiser of config.pretrain."""
    settings = OptimSettings(**{name: config.pretrain[name] for name in OptimSettings.__dataclass_fields__})
    optimizer = make_optimizer(settings, steps_per_epoch=1000)
    model = UNet(
        config.model.filters, 1, "inpainting", config.model.groups, jnp.dtype(dtype), config.model.conv_gradients
    )

    @jax.jit
    def start(key: jax.Array) -> TrainState:
        params = model.init(key, batch.images[:1])["params"]
        return TrainState(params=params, opt_state=optimizer.init(params), step=jnp.zeros((), jnp.int32))

    def training(corrupt: Corruptor) -> _Training:
        step = make_train_step(inpainting_loss(model, corrupt), optimizer)
        return _Training(step, start(stream_key(0, "init")), batch)

    return training


def _corruptor(config: ConfigDict, variant: Variant) -> Corruptor:
    spec = PatchSpec(variant.patch_size, variant.sampling, config.corruption.area_fraction)
    if variant.masks == "fresh":
        corrupt = CORRUPTORS[variant.task]
        return lambda key, image, box: corrupt(key, image, spec)
    bank = make_mask_bank(stream_key(0, "mask_bank"), config.data.image_size, spec, variant.task)
    return lambda key, image, box: corrupt_from_bank(key, image, bank)


def measure(
    config: ConfigDict, listed: Sequence[Variant], rounds: int, min_round_ms: float, report: Callable[[str], None]
) -> dict[str, Any]:
    """The size of the training step, and per variant the step's time with and without the corruption, in pairs."""
    height, width = config.data.image_size
    n = config.pretrain.batch_size
    images = np.random.default_rng(0).normal(size=(n, height, width, 1)).astype(np.float32)
    labels, ids, real = np.zeros((n, height, width), np.uint8), np.arange(n, dtype=np.uint32), np.ones(n, bool)
    boxes = np.tile(np.array([0, 0, height, width], np.int32), (n, 1))
    batch = jax.device_put(Batch(images, labels, ids, real, boxes))
    trainings: dict[str, Callable[[Corruptor], _Training]] = {}
    without: dict[str, _Training] = {}
    rows = []
    for v in listed:
        words = f"{v.masks} {v.task}, {v.sampling}, K = {v.patch_size}, {v.dtype}"
        report(f"training step on the {jax.default_backend()}: {words}")
        if v.dtype not in trainings:
            trainings[v.dtype] = _trainings(config, batch, v.dtype)
            without[v.dtype] = trainings[v.dtype](lambda key, image, box: image)
        runs = {"with_corruption": trainings[v.dtype](_corruptor(config, v)), "without_corruption": without[v.dtype]}
        pair = {name: Contender(range, training.run) for name, training in runs.items()}
        timings = interleaved(pair, rounds, min_round_ms)
        rows.append(
            {
                **{name: getattr(v, name) for name in ("masks", "task", "sampling", "patch_size", "dtype")},
                "goal_share": v.goal,
                **left_out(timings["with_corruption"], timings["without_corruption"]),
                "compile_seconds": timings["with_corruption"].first_call_seconds,
                **{name: timing.to_json() for name, timing in timings.items()},
            }
        )
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "image_size": [height, width],
        "batch_size": n,
        "channels": 1,
        "filters": list(config.model.filters),
        "groups": config.model.groups,
        "rows": rows,
    }
