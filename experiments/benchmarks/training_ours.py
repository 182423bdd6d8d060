"""Our side of the training benchmark: one compiled training step that goes on from call to call. Imports jax."""

import time
from collections.abc import Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.training import ADAM, CHANNELS, CLASSES, Size
from inpaint_ssl.engine import EngineSettings
from inpaint_ssl.models import UNet
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import make_train_step, segmentation_loss
from inpaint_ssl.types import Batch, TrainState


class Training:
    """Fine-tuning on one batch of noise, by default with as many steps in a compiled call as the engine takes."""

    groups = 16

    def __init__(self, size: Size, steps_per_call: int = 0):
        rng = np.random.default_rng(0)
        shape = (size.batch, size.side, size.side)
        self.images = rng.normal(size=(*shape, CHANNELS)).astype(np.float32)
        self.labels = rng.integers(0, CLASSES + 1, size=shape).astype(np.uint8)
        ids, boxes = np.arange(size.batch, dtype=np.uint32), np.zeros((size.batch, 4), np.int32)
        batch = Batch(self.images, self.labels, ids, np.ones(size.batch, bool), boxes)
        self.model = UNet(size.filters, CLASSES, groups=self.groups, dtype=jnp.dtype(size.dtype), conv_gradients="auto")
        optimizer = optax.adam(ADAM["learning_rate"], b1=ADAM["b1"], b2=ADAM["b2"], eps=ADAM["eps"])
        membership = np.zeros((256, CLASSES), bool)
        membership[1 : CLASSES + 1] = np.eye(CLASSES, dtype=bool)
        step = make_train_step(segmentation_loss(self.model, membership), optimizer)

        @jax.jit
        def start(key: jax.Array) -> TrainState:
            params = self.model.init(key, self.images[:1])["params"]
            return TrainState(params=params, opt_state=optimizer.init(params), step=jnp.zeros((), jnp.int32))

        def steps(state: TrainState, batch: Batch, key: jax.Array) -> TrainState:
            return jax.lax.scan(lambda s, _: (step(s, batch, key)[0], None), state, length=self.steps_per_call)[0]

        self.steps_per_call = steps_per_call or EngineSettings.resolved("auto", "jit", 1, 0).steps_per_call
        self.state, self.batch, self.key = start(stream_key(0, "init")), jax.device_put(batch), stream_key(0, "steps")
        began = time.monotonic()
        self.compiled = jax.jit(steps, donate_argnums=0).lower(self.state, self.batch, self.key).compile()
        self.compile_seconds = time.monotonic() - began
        # XLA counts the body of a loop once.
        self.bytes_per_step = float((self.compiled.cost_analysis() or {}).get("bytes accessed", 0.0))

    def params_by_path(self) -> dict[str, np.ndarray]:
        """Parameters by path, such as encoder/level_0/conv_0/kernel."""
        flat = flax.traverse_util.flatten_dict(self.state.params, sep="/")
        return {path: np.asarray(value) for path, value in flat.items()}

    def run(self, calls: Sequence[Any]) -> None:
        """As many calls; nothing waits for a single one."""
        for _ in calls:
            self.state = self.compiled(self.state, self.batch, self.key)
        jax.block_until_ready(self.state)
