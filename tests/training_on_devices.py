"""A small network trained by the engine's program through a Driver, for tests on several devices and processes.

As a script, one process of several: python tests/training_on_devices.py <address> <processes> <process> <driver>
<file> <task>...; process 0 writes what `measure` gives to <file>.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from inpaint_ssl.corruption import CORRUPTORS, PatchSpec
from inpaint_ssl.engine import POSITIONS, SEEDS, STEP_ITEMS, WHOLE, make_run_steps
from inpaint_ssl.models import UNet
from inpaint_ssl.parallel import Driver
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import inpainting_loss, make_train_step, segmentation_loss
from inpaint_ssl.types import Batch, TrainState

SPECS = (SEEDS, WHOLE, STEP_ITEMS, POSITIONS, SEEDS)
TASKS = ("inpainting", "segmentation")
MEMBERSHIP = np.zeros((256, 2), bool)
MEMBERSHIP[[1, 2], 0] = MEMBERSHIP[2, 1] = True


class Task(NamedTuple):
    loss: Any
    params: Any
    batch: Batch  # 6 real images of 8


def make_task(name: str, dtype: Any = jnp.float32) -> Task:
    """Both losses of the paper on smooth images with corrupted patches; with float64, jax_enable_x64 must be set."""
    shared = {"filters": (8, 16), "groups": 4, "dtype": dtype}
    if name == "segmentation":
        model = UNet(out_channels=2, **shared)
        loss = segmentation_loss(model, MEMBERSHIP)
    else:
        model = UNet(out_channels=1, head="inpainting", **shared)
        spec = PatchSpec(patch_size=4, sampling="poisson_disc", area_fraction=0.25)

        def corrupt(key: jax.Array, image: jax.Array, box: jax.Array) -> jax.Array:
            with jax.enable_x64(False):  # its whole numbers have 32 bits
                return CORRUPTORS["context_restoration"](key, image, spec)

        loss = inpainting_loss(model, corrupt)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), params)
    return Task(loss, params, some_batch())


def some_batch() -> Batch:
    """Eight smooth images with two nested discs as labels, the last two rows padding."""
    rng = np.random.default_rng(0)
    centre = rng.uniform(5, 11, (8, 1, 1, 2))
    distance = np.hypot(np.arange(16)[:, None] - centre[..., 0], np.arange(16) - centre[..., 1])
    images = np.cos(distance / 2)[..., None] + 0.1 * rng.normal(size=(8, 16, 16, 1))
    return Batch(
        images=images.astype(np.float32),
        labels=(distance < 5).astype(np.uint8) + (distance < 3),
        example_ids=np.arange(10, 18, dtype=np.uint32),
        is_real=np.arange(8) < 6,
        boxes=np.tile(np.array([0, 0, 16, 16], np.int32), (8, 1)),
    )


def repeat(tree: Any, *axes: int) -> Any:
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (*axes, *np.shape(leaf))).copy(), tree)


def make_driver(task: Task, optimizer: optax.GradientTransformation, mesh: Mesh, driver: str) -> Driver:
    def make_function(axis_name: str | None) -> Any:
        step = make_train_step(task.loss, optimizer, axis_name=axis_name)
        return make_run_steps(step, lambda data, item: item, "unroll", loop=False)

    return Driver(make_function, mesh, driver, SPECS, (SEEDS, POSITIONS), donate=(0,))


def train(
    task: Task, optimizer: optax.GradientTransformation, mesh: Mesh, driver: str, steps: int, seeds: int = 1
) -> tuple[Any, dict[str, np.ndarray]]:
    """(parameters (seeds, ...), metrics of the last step (seeds,)) after `steps` calls; each has its own corruption."""
    run = make_driver(task, optimizer, mesh, driver)
    state = TrainState(task.params, jax.tree.map(np.asarray, optimizer.init(task.params)), np.int32(0))
    states = run.put(repeat(state, seeds), SEEDS)
    items = run.put(repeat(task.batch, 1, seeds), STEP_ITEMS)
    keys = run.put(jnp.stack([stream_key(seed, "test") for seed in range(seeds)]), SEEDS)
    for position in range(steps):
        due = run.put(np.full((1, seeds), position, np.int32), POSITIONS)
        states, metrics = run(states, (), items, due, keys)
    got = run.get(metrics, POSITIONS)
    assert (run.get(states.step, SEEDS) == steps).all()
    return run.get(states.params, SEEDS), {name: value[0] for name, value in got.items()}


def gradient(task: Task, mesh: Mesh, driver: str, seeds: int = 1) -> tuple[Any, np.ndarray]:
    """(gradient (seeds, ...), loss (seeds,)): plain descent with rate 1 moves by the gradient."""
    moved, metrics = train(task, optax.sgd(1.0), mesh, driver, 1, seeds)
    return jax.tree.map(lambda before, after: before - after, task.params, moved), metrics["loss"]


def measure(mesh: Mesh, driver: str, tasks: Sequence[str] = TASKS) -> dict[str, np.ndarray]:
    """By name: float32 gradients and float64 parameters after five steps of Adam, of each task."""
    found = {}
    for name in tasks:
        found[f"{name}/gradient"] = gradient(make_task(name), mesh, driver)[0]
        with jax.enable_x64(True):
            task = make_task(name, jnp.float64)
            found[f"{name}/parameters"] = train(task, optax.adam(1e-3), mesh, driver, 5)[0]
    return {
        f"{name}{jax.tree_util.keystr(path)}": leaf
        for name, tree in found.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def largest_difference(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> tuple[float, float]:
    """(of the gradients, as a share of each tensor's norm; of the parameters)."""
    assert found.keys() <= wanted.keys()
    differences = {name: found[name] - wanted[name] for name in found}
    gradients = [np.linalg.norm(d) / np.linalg.norm(wanted[n]) for n, d in differences.items() if "/gradient" in n]
    parameters = [np.abs(d).max() for n, d in differences.items() if "/parameters" in n]
    assert all(found[name].dtype == np.float64 for name in found if "/parameters" in name)
    return float(max(gradients)), float(max(parameters))


if __name__ == "__main__":
    from inpaint_ssl.machines import start
    from inpaint_ssl.parallel import make_mesh

    address, processes, process, chosen, target, *tasks = sys.argv[1:]
    machines = start(address, int(processes), int(process), timeout_s=60)
    values = measure(make_mesh(), chosen, tasks)
    if machines.is_writer():
        np.savez(target, **values)
    machines.end(0)
