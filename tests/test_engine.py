"""Seeds trained together are the seeds trained alone, in every way of doing it; a seed that is not due stands still."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training_on_devices import MEMBERSHIP, Task, make_task, some_batch

from inpaint_ssl.batches import stack
from inpaint_ssl.engine import NOT_DUE, Engine, EngineSettings, Programs, Snapshot
from inpaint_ssl.losses import batch_dice_loss
from inpaint_ssl.rng import example_keys, stream_key
from inpaint_ssl.steps import make_train_step, one_hot
from inpaint_ssl.types import Batch, TrainState

pytestmark = pytest.mark.usefixtures("full_precision")
WAYS = [("in_turn", 1, 1), ("unroll", 1, 2), ("vmap", 1, 1), ("devices", 2, 1)]  # way, devices, steps per call
SGD, ADAM = optax.sgd(1.0), optax.adam(1e-3)


def as_it_is(data, item: Batch) -> Batch:
    """Items that are batches already."""
    return item


def start(task, seeds: Sequence[int], optimizer) -> Snapshot:
    """Each seed begins with its own parameters."""

    def state(seed: int) -> TrainState:
        params = jax.tree.map(lambda leaf: leaf * leaf.dtype.type(1 + seed / 8), task.params)
        return TrainState(params, jax.tree.map(np.asarray, optimizer.init(params)), np.int32(0))

    states = stack([state(seed) for seed in seeds])
    return Snapshot(states, states.params)


def batch_of(task, seed: int, step: int) -> Batch:
    """Each seed and step sees other images, of which one or two are padding."""
    rows = np.random.default_rng([seed, step]).permutation(8)
    return Batch(*(np.asarray(part)[rows] for part in task.batch))._replace(is_real=np.arange(8) < 6 + seed)


def trained(task, optimizer, seeds: Sequence[int], way: str, devices: int, per_call: int, steps: int) -> Any:
    """Parameters (seeds, ...) after `steps` steps through an Engine."""
    programs = Programs(
        EngineSettings(way, "jit", devices, per_call),
        len(seeds),
        lambda axis_name: make_train_step(task.loss, optimizer, axis_name=axis_name),
        as_it_is,
        lambda params, batch, key: {"count": batch.is_real.sum()},
        as_it_is,
    )
    keys = jnp.stack([stream_key(seed, "test") for seed in seeds])
    engine = Engine(programs, start(task, seeds, optimizer), keys, (), ())
    for first in range(0, steps, per_call):
        calls = [stack([batch_of(task, seed, step) for seed in seeds]) for step in range(first, first + per_call)]
        positions = np.broadcast_to(np.arange(first, first + per_call)[:, None], (per_call, len(seeds)))
        metrics = engine.fetch(engine.run(engine.place(stack(calls)), positions.astype(np.int32)))
        assert metrics["finite"].all() and metrics["loss"].shape == (per_call, len(seeds))
    snapshot = engine.snapshot()
    np.testing.assert_array_equal(snapshot.state.step, [steps] * len(seeds))
    return snapshot.state.params


def convolution_task(dtype: Any) -> Task:
    """One convolution and the Dice loss: what compiles soon. The U-Net is trained so in test_parallel.py."""

    def loss(params, batch, key, step, axis_name):
        dimensions = ("NHWC", "HWIO", "NHWC")
        images = jnp.asarray(batch.images).astype(params["kernel"].dtype)
        logits = jax.lax.conv_general_dilated(images, params["kernel"], (1, 1), "SAME", dimension_numbers=dimensions)
        noise = jax.vmap(lambda one: jax.random.bernoulli(one, shape=(16, 16, 1)))(
            example_keys(key, step, batch.example_ids)
        )
        target = one_hot(batch.labels, MEMBERSHIP) * noise
        return batch_dice_loss(jax.nn.sigmoid(logits), target, is_real=batch.is_real, axis_name=axis_name)

    kernel = np.random.default_rng(1).normal(size=(3, 3, 1, 2)).astype(dtype)
    return Task(loss, {"kernel": kernel, "bias": np.zeros(2, dtype)}, some_batch())


@functools.cache
def trained_alone(dtype: Any, seed: int, steps: int) -> Any:
    task = convolution_task(dtype)
    return at(trained(task, SGD if steps == 1 else ADAM, (seed,), "in_turn", 1, 1, steps), 0)


def at(tree: Any, seed: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[seed], tree)


@pytest.mark.parametrize(("way", "devices", "per_call"), WAYS)
def test_first_gradients_are_those_of_the_seed_alone(way: str, devices: int, per_call: int) -> None:
    del per_call
    task = convolution_task(np.float32)
    together = trained(task, SGD, (0, 1), way, devices, 1, 1)["kernel"]
    for number, seed in enumerate((0, 1)):
        before = at(start(task, (seed,), SGD).state.params, 0)["kernel"]
        expected = before - trained_alone(np.float32, seed, 1)["kernel"]
        assert np.linalg.norm(before - together[number] - expected) <= 1e-5 * np.linalg.norm(expected)
        assert np.linalg.norm(expected) > 1e-3


@pytest.mark.parametrize(("way", "devices", "per_call"), WAYS)
def test_parameters_after_five_steps_are_those_of_the_seed_alone(way: str, devices: int, per_call: int) -> None:
    steps = 6 if per_call == 2 else 5
    with jax.enable_x64(True):
        together = trained(convolution_task(np.float64), ADAM, (0, 1), way, devices, per_call, steps)
        for number, seed in enumerate((0, 1)):
            alone = trained_alone(np.float64, seed, steps)
            assert alone["kernel"].dtype == np.float64
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), at(together, number), alone)


@pytest.mark.slow
def test_a_vmapped_u_net_is_trained_as_alone() -> None:
    with jax.enable_x64(True):
        task = make_task("segmentation", jnp.float64)
        together = trained(task, ADAM, (0, 1), "vmap", 1, 1, 5)
        for number in (0, 1):
            alone = at(trained(task, ADAM, (number,), "in_turn", 1, 1, 5), 0)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), at(together, number), alone)


@pytest.mark.parametrize("way", ["in_turn", "vmap"])
def test_a_seed_that_is_not_due_stands_still(way: str) -> None:
    task = convolution_task(np.float32)
    programs = Programs(
        EngineSettings(way, "jit", 1, 1),
        2,
        lambda axis_name: make_train_step(task.loss, SGD, axis_name=axis_name),
        as_it_is,
        lambda params, batch, key: {"count": batch.is_real.sum(), "largest": jax.tree.leaves(params)[-1].max()},
        as_it_is,
    )
    begin = start(task, (0, 1), SGD)
    engine = Engine(programs, begin, jnp.stack([stream_key(seed, "test") for seed in (0, 1)]), (), ())
    placed = engine.place(stack([stack([batch_of(task, seed, 0) for seed in (0, 1)])]))
    metrics = engine.fetch(engine.run(placed, np.array([[0, NOT_DUE]], np.int32)))
    assert metrics["finite"].all()
    snapshot = engine.snapshot()
    np.testing.assert_array_equal(snapshot.state.step, [1, 0])
    same = jax.tree.map(lambda a, b: bool((a == b).all()), begin.state.params, snapshot.state.params)
    assert not jax.tree.all(same)
    jax.tree.map(np.testing.assert_array_equal, at(begin.state.params, 1), at(snapshot.state.params, 1))
    engine.keep_best(np.array([True, False]))
    best = engine.snapshot().best
    jax.tree.map(np.testing.assert_array_equal, at(best, 0), at(snapshot.state.params, 0))
    jax.tree.map(np.testing.assert_array_equal, at(best, 1), at(begin.best, 1))
    sums = engine.validate(iter([task.batch, task.batch]), engine_keys(), np.array([True, True]))
    assert [one["count"] for one in sums] == [12, 12]
    assert sums[0]["largest"] != sums[1]["largest"]


def engine_keys() -> jax.Array:
    return jnp.stack([stream_key(seed, "validation") for seed in (0, 1)])


@pytest.mark.devices(4)
def test_seeds_are_divided_among_devices_as_far_as_they_can_be() -> None:
    task = convolution_task(np.float32)
    for seeds, devices, mesh in ((2, 4, (2, 2)), (3, 4, (1, 4)), (4, 2, (2, 1)), (4, 4, (4, 1))):
        programs = Programs(
            EngineSettings("devices", "jit", devices, 1),
            seeds,
            lambda axis_name: make_train_step(task.loss, SGD),
            as_it_is,
            lambda params, batch, key: {},
            as_it_is,
        )
        assert (programs.mesh.shape["seed"], programs.mesh.shape["batch"]) == mesh
        assert programs.padded(9) % mesh[1] == 0 and programs.padded(9) - 9 < mesh[1]


@pytest.mark.parametrize(("platform", "seeds", "steps"), [("cpu", "in_turn", 1), ("gpu", "vmap", 5)])
def test_defaults_of_a_platform(platform: str, seeds: str, steps: int, monkeypatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert EngineSettings.resolved("auto", "jit", 0, 0) == EngineSettings(seeds, "jit", 0, steps)
    assert EngineSettings.resolved("vmap", "pmap", 2, 3) == EngineSettings("vmap", "pmap", 2, 3)
