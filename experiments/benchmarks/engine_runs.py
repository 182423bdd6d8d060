"""The engine on the quickstart's network with images of noise, for the benchmark of its settings. Imports jax."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from inpaint_ssl.batches import ExampleOrder, Feed, resident_feed, stack, streamed_feed
from inpaint_ssl.corruption import CORRUPTORS, PatchSpec
from inpaint_ssl.data import ArraySliceSource, ScanInfo
from inpaint_ssl.data.geometry import place
from inpaint_ssl.engine import WHOLE, Engine, EngineSettings, Programs, Snapshot
from inpaint_ssl.models import UNet
from inpaint_ssl.optim import OptimSettings, make_optimizer
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import inpainting_loss, make_inpainting_validation_step, make_train_step
from inpaint_ssl.study.phases import compute_dtype
from inpaint_ssl.types import TrainState

SLICES = 512


def noise(size: Sequence[int], count: int = SLICES) -> ArraySliceSource:
    """One scan of `count` slices of (height, width) pixels."""
    rng, shape = np.random.default_rng(0), (size[1], size[0], count)
    scan = ScanInfo("noise", "noise", True, count, 0, (1.0, 1.0, 1.0), place(shape, "axial", (size[0], size[1])))
    return ArraySliceSource.normalised(
        rng.normal(size=(count, *size, 1)).astype(np.float32),
        np.zeros((count, *size), np.uint8),
        np.arange(count, dtype=np.uint32),
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int32),
        (scan,),
    )


def feed_of(config: ConfigDict, source: ArraySliceSource, streamed: bool) -> Feed:
    """How the training slices reach the device."""
    data = config.data
    if streamed:
        return streamed_feed(source, np.dtype(data.device_dtype), data.stream_threads, data.stream_prefetch)
    return resident_feed(source, np.dtype(data.device_dtype))


class EngineRun:
    """Pretraining of several seeds that goes on from call to call; `waiting` are the seconds spent on batches."""

    def __init__(self, config: ConfigDict, seeds: int, settings: EngineSettings, streamed: bool = False) -> None:
        section, dtype = config.pretrain, compute_dtype(config.model.dtype)
        model = UNet(config.model.filters, 1, "inpainting", config.model.groups, dtype, config.model.conv_gradients)
        c = config.corruption
        spec, corrupt = PatchSpec(c.patch_size, c.sampling, c.area_fraction), CORRUPTORS[c.task]
        optim = OptimSettings(**{name: section[name] for name in OptimSettings.__dataclass_fields__})
        optimizer = make_optimizer(optim, steps_per_epoch=1000)
        source = noise(config.data.image_size)
        self.feed, self.per_call, self.seeds = feed_of(config, source, streamed), settings.steps_per_call, seeds
        fetch, loss = self.feed.fetch, inpainting_loss(model, lambda key, image, box: corrupt(key, image, spec))
        self.programs = Programs(
            settings,
            seeds,
            lambda axis_name: make_train_step(loss, optimizer, axis_name=axis_name),
            fetch,
            make_inpainting_validation_step(model, lambda key, image, box: corrupt(key, image, spec)),
            fetch,
        )
        keys = jnp.stack([stream_key(seed, "corruption") for seed in range(seeds)])
        init = jax.jit(lambda key: model.init(key, source.images[:1])["params"])
        params = [jax.tree.map(np.asarray, init(key)) for key in keys]
        states = stack([TrainState(one, optimizer.init(one), np.zeros((), np.int32)) for one in params])
        self.engine = Engine(
            self.programs, Snapshot(states, states.params), keys, self.programs.train.put(self.feed.data, WHOLE), ()
        )
        orders = [ExampleOrder(seed, "order", np.arange(len(source)), section.batch_size) for seed in range(seeds)]
        self.images = section.batch_size * seeds * self.per_call
        size = self.programs.padded(section.batch_size)
        self._items = self.feed.training(orders, range(0, 1_000_000), size)
        self._steps, self.waiting, self.seconds = itertools.count(0, self.per_call), 0.0, 0.0
        self._next, self._warm = self._place(), False

    def _place(self) -> Any:
        return self.engine.place(stack([next(self._items) for _ in range(self.per_call)]))

    def run(self, calls: Sequence[Any]) -> None:
        """As many calls of the compiled steps; metrics are fetched at the end, as at a row of metrics.csv."""
        began, results = time.perf_counter(), []
        for _ in calls:
            placed, first = self._next, next(self._steps)
            positions = np.broadcast_to(first + np.arange(self.per_call)[:, None], (self.per_call, self.seeds))
            results.append(self.engine.run(placed, positions.astype(np.int32)))
            waited = time.perf_counter()
            self._next = self._place()
            self.waiting += time.perf_counter() - waited
        for result in results:
            if not self.engine.fetch(result)["finite"].all():
                raise FloatingPointError("a step was not finite")
        self.seconds += time.perf_counter() - began
        if not self._warm:  # the first call compiles
            self.waiting, self.seconds, self._warm = 0.0, 0.0, True
