"""Runs small enough for tests: a parameter that counts its steps, or a small U-Net, on seven slices of two scans."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from small_source import make_source

from inpaint_ssl.batches import ExampleOrder, Feed, resident_feed, stack
from inpaint_ssl.engine import WHOLE, EngineSettings, Programs, Snapshot
from inpaint_ssl.models import UNet
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import make_segmentation_validation_step, make_train_step, segmentation_loss
from inpaint_ssl.training import LoopSettings, SeedRun, TrainingRun
from inpaint_ssl.types import TrainState

QUIET = Console(file=io.StringIO())
SETTINGS = {
    "last_step": 12,
    "ends_by": "max_steps",
    "validate_every": 3,
    "patience": 0,
    "min_delta": 0.1,
    "log_every": 2,
}
MEMBERSHIP = np.zeros((256, 2), bool)
MEMBERSHIP[1, 0] = MEMBERSHIP[2, 1] = True
SOURCE = make_source()
MODEL = UNet(filters=(16, 16), out_channels=2)
OPTIMIZER = optax.adam(1e-2)
ENGINE = EngineSettings("in_turn", "jit", 1, 1)


def _counting_step(axis_name: str | None) -> Callable[..., Any]:
    def step(state, batch, key):
        params = {"w": state.params["w"] + 1}
        metrics = {"loss": batch.images.mean(), "gradient_norm": jnp.float32(2), "finite": jnp.bool_(True)}
        return TrainState(params, state.opt_state, state.step + 1), metrics

    return step


def _counting_validation(params, batch, key):
    return {"w": params["w"]}


def _snapshot(states: Sequence[TrainState]) -> Snapshot:
    stacked = stack(states)
    return Snapshot(stacked, stacked.params)


def counting_programs(seeds: int = 1, engine: EngineSettings = ENGINE, feed: Feed | None = None, step=None) -> Programs:
    fetch = (feed or resident_feed(SOURCE, np.float32)).fetch
    return Programs(engine, seeds, step or _counting_step, fetch, _counting_validation, fetch)


def counting_start(seeds: int = 1) -> Snapshot:
    state = TrainState({"w": np.zeros((), np.float32)}, (np.zeros((), np.float32),), np.zeros((), np.int32))
    return _snapshot([state] * seeds)


def unet_programs(
    seeds: int = 1, engine: EngineSettings = ENGINE, feed: Feed | None = None, loss=None, optimizer=OPTIMIZER
) -> Programs:
    fetch = (feed or resident_feed(SOURCE, np.float32)).fetch
    loss = loss or segmentation_loss(MODEL, MEMBERSHIP)
    return Programs(
        engine,
        seeds,
        lambda axis_name: make_train_step(loss, optimizer, axis_name=axis_name),
        fetch,
        make_segmentation_validation_step(MODEL, MEMBERSHIP),
        fetch,
    )


def unet_start(seeds: Sequence[int] = (0,), optimizer=OPTIMIZER) -> Snapshot:
    init = jax.jit(lambda key: MODEL.init(key, SOURCE.images[:1])["params"])
    params = [jax.tree.map(np.asarray, init(jax.random.key(seed))) for seed in seeds]
    return _snapshot([TrainState(one, optimizer.init(one), np.zeros((), np.int32)) for one in params])


def make_run(
    directory: Path,
    programs: Programs,
    start: Snapshot,
    validation_loss: Callable[[Any], float],
    *,
    seeds: Sequence[int] = (0,),
    feed: Feed | None = None,
    batch_size: int = 3,
    stop: Callable[[], str] = str,
    **settings: Any,
) -> TrainingRun:
    feed = feed or resident_feed(SOURCE, np.float32)
    validation = resident_feed(SOURCE, np.float32) if feed.is_resident else feed
    orders = [ExampleOrder(seed, "test/order", np.arange(len(SOURCE)), batch_size) for seed in seeds]
    folders = [directory if len(seeds) == 1 else directory / f"seed-{seed}" for seed in seeds]
    put = programs.train.put
    return TrainingRun(
        name="test",
        directory=directory,
        seeds=tuple(SeedRun(f"seed {s}", f, o) for s, f, o in zip(seeds, folders, orders, strict=True)),
        programs=programs,
        start=start,
        keys=jnp.stack([stream_key(seed, "test") for seed in seeds]),
        source=SOURCE,
        feed=feed,
        data=put(feed.data, WHOLE),
        validation=validation,
        validation_data=put(validation.data, WHOLE),
        validation_batch=4,
        validation_keys=lambda step: jnp.stack([stream_key(seed, "validation") for seed in seeds]),
        validation_loss=validation_loss,
        learning_rate=lambda step: 1e-2,
        settings=LoopSettings(**(SETTINGS | settings)),
        stop=stop,
    )
