"""Devices change nothing but rounding: jit, shard_map and pmap on one, two and four of them."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from training_on_devices import SPECS, gradient, largest_difference, make_task, measure

from inpaint_ssl.errors import InputError
from inpaint_ssl.parallel import DRIVERS, Driver, make_mesh

pytestmark = pytest.mark.usefixtures("full_precision")
LAYOUTS = [(driver, devices, 1) for driver in DRIVERS for devices in (1, 2, 4)] + [("jit", 4, 2), ("shard_map", 2, 2)]


def weighted_fit(axis_name):
    """Parameters, data, items, positions, keys -> a step of descent on a weighted mean square, as steps does it."""

    def run(weights, data, items, positions, keys):
        del positions
        values, is_real = items

        def one(weight, value, real, key):
            noise = jax.random.key_data(key).astype(jnp.float32)[0] / 2.0**32

            def loss(weight):
                total = jnp.sum(jnp.square(value @ (weight + noise) - data["offset"]) * real)
                count = jnp.sum(real)
                if axis_name is not None:
                    total, count = jax.lax.psum((total, count), axis_name)
                return total / count

            value_, slope = jax.value_and_grad(loss)(weight)
            slope = slope if axis_name is None else jax.lax.pmean(slope, axis_name)
            return weight - 0.1 * slope, value_

        weights, losses = jax.vmap(one)(weights, values[0], is_real[0], keys)
        return weights, {"loss": losses[None]}

    return run


def arguments(seeds: int):
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(seeds, 3)).astype(np.float32),
        {"offset": np.float32(2.0)},
        (rng.normal(size=(1, seeds, 8, 3)).astype(np.float32), np.broadcast_to(np.arange(8) < 6, (1, seeds, 8))),
        np.zeros((1, seeds), np.int32),
        jax.random.split(jax.random.key(1), seeds),
    )


@pytest.mark.parametrize(("name", "devices", "apart"), LAYOUTS)
def test_every_driver_gives_the_step_of_one_device(name: str, devices: int, apart: int) -> None:
    given = arguments(2)
    plain, metrics = jax.jit(weighted_fit(None))(*given)
    driver = Driver(weighted_fit, make_mesh(devices, apart), name, SPECS, (P("seed"), P(None, "seed")), donate=(0,))
    placed = [driver.put(value, spec) for value, spec in zip(given, SPECS, strict=True)]
    weights, losses = driver(*placed)
    np.testing.assert_allclose(driver.get(weights, P("seed")), plain, rtol=1e-5)
    np.testing.assert_allclose(driver.get(losses, P(None, "seed"))["loss"], metrics["loss"], rtol=1e-5)
    assert placed[0].is_deleted()  # donated: what comes in makes room for what comes out
    weights, _ = driver(weights, *placed[1:])
    again, _ = jax.jit(weighted_fit(None))(plain, *given[1:])
    np.testing.assert_allclose(driver.get(weights, P("seed")), again, rtol=1e-5)
    assert driver.lower(*given).compile().memory_analysis() is not None


@pytest.mark.parametrize("name", ["jit", "shard_map"])
def test_what_comes_out_goes_in_again_without_compiling(name: str) -> None:
    driver = Driver(weighted_fit, make_mesh(1), name, SPECS, (P("seed"), P(None, "seed")), donate=(0,))
    weights, *rest = [driver.put(value, spec) for value, spec in zip(arguments(1), SPECS, strict=True)]
    for _ in range(3):
        weights, _ = driver(weights, *rest)
    assert driver._compiled._cache_size() == 1


@pytest.mark.devices(4)
@pytest.mark.parametrize("name", DRIVERS)
def test_a_device_holds_its_rows_and_whole_states(name: str) -> None:
    driver = Driver(weighted_fit, make_mesh(4), name, SPECS, (P("seed"), P(None, "seed")))
    states, _, (values, _), _, keys = arguments(1)
    rows = driver.put(values, SPECS[2])
    shards = sorted(rows.addressable_shards, key=lambda shard: shard.device.id)
    got = np.concatenate([np.asarray(shard.data).reshape(1, 1, 2, 3) for shard in shards], axis=2)
    np.testing.assert_array_equal(got, values)
    for shard in driver.put(states, P("seed")).addressable_shards:
        np.testing.assert_array_equal(np.asarray(shard.data).reshape(1, 3), states)
    placed = driver.put(keys, P("seed"))
    assert placed.dtype == keys.dtype and len(placed.addressable_shards) == 4
    assert driver.local_rows(8) == slice(0, 8)


@pytest.mark.devices(4)
def test_seeds_lie_apart() -> None:
    driver = Driver(weighted_fit, make_mesh(4, 2), "jit", SPECS, (P("seed"), P(None, "seed")))
    shards = driver.put(np.arange(6.0).reshape(2, 3), P("seed")).addressable_shards
    by_device = {shard.device.id: np.asarray(shard.data).tolist() for shard in shards}
    devices = [device.id for device in jax.devices()]
    assert [by_device[device] for device in devices] == [[[0, 1, 2]]] * 2 + [[[3, 4, 5]]] * 2


def test_more_devices_than_there_are_are_refused() -> None:
    count, platform = jax.device_count(), jax.default_backend()
    with pytest.raises(InputError, match=rf"config\.engine\.devices: got {count + 1}, but .* {count} \({platform}\)"):
        make_mesh(count + 1)


@pytest.mark.devices(4)
def test_impossible_layouts_are_refused() -> None:
    with pytest.raises(InputError, match=r"config\.engine\.seeds.*3 groups of seeds on 4 devices"):
        make_mesh(4, 3)
    with pytest.raises(InputError, match=r"config\.engine\.driver.*config\.engine\.seeds"):
        Driver(weighted_fit, make_mesh(4, 2), "pmap", SPECS, P("seed"))
    with pytest.raises(InputError, match=r"config\.engine\.driver: got 'pjit'"):
        Driver(weighted_fit, make_mesh(1), "pjit", SPECS, P("seed"))


MANY_CALLS = """
import numpy as np
from jax.sharding import PartitionSpec as P
from inpaint_ssl.parallel import Driver, make_mesh

def make(axis_name):
    def function(weights, images):
        for _ in range(20):
            images = images @ weights
            total = images.sum()
            images = images + 1e-9 * total
        return total
    return function

driver = Driver(make, make_mesh(4), "jit", (P(), P("batch")), P())
weights, images = np.eye(256, dtype=np.float32), np.ones((64, 256), np.float32)
results = [driver(driver.put(weights, P()), driver.put(images, P("batch"))) for _ in range(300)]
print(len(driver.get(results, P())))
"""


@pytest.mark.slow
def test_many_calls_on_devices_of_one_cpu_do_not_get_stuck() -> None:
    """Without waiting for each XLA aborts the process."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", MANY_CALLS], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "300", done.stderr[-500:]


@pytest.mark.slow
@pytest.mark.devices(4)
def test_a_network_has_the_gradient_of_one_device() -> None:
    task = make_task("segmentation")
    expected, loss = gradient(task, make_mesh(1), "jit")
    found, found_loss = gradient(task, make_mesh(4), "jit")
    np.testing.assert_allclose(found_loss, loss, rtol=1e-6)

    def close(a, b):
        assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)

    jax.tree.map(close, found, expected)


@pytest.fixture(scope="module")
def of_one_device():
    return measure(make_mesh(1), "jit")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "devices"),
    [
        *((name, 4) for name in DRIVERS),
        *(pytest.param(name, 2, marks=pytest.mark.full) for name in DRIVERS),
        *(pytest.param(name, 1, marks=pytest.mark.full) for name in DRIVERS if name != "jit"),
    ],
)
def test_training_does_not_depend_on_devices(of_one_device, name: str, devices: int) -> None:
    """Six images of eight are real. Parameters in float64: in float32 Adam makes rounding visible, rightly."""
    gradients, parameters = largest_difference(measure(make_mesh(devices), name), of_one_device)
    assert gradients < 1e-5 and parameters < 1e-9


@pytest.fixture(scope="module")
def two_seeds():
    """The task, and both seeds' gradients on one device."""
    task = make_task("inpainting")
    return task, gradient(task, make_mesh(1), "jit", seeds=2)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "devices", "apart"),
    [
        ("pmap", 2, 1),
        ("jit", 4, 2),
        *(pytest.param("jit", *layout, marks=pytest.mark.full) for layout in ((4, 1), (2, 2))),
    ],
)
def test_several_seeds_have_the_gradients_of_one(two_seeds, name: str, devices: int, apart: int) -> None:
    task, expected = two_seeds
    found, _ = gradient(task, make_mesh(devices, apart), name, seeds=2)

    def close(a, b):
        for seed in range(2):
            assert np.linalg.norm(a[seed] - b[seed]) < 1e-5 * np.linalg.norm(b[seed])
        assert not np.allclose(a[0], a[1])  # each seed has its own corruption

    jax.tree.map(close, found, expected)
