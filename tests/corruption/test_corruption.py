"""Both corruptions against plain slicing in NumPy, and under the transformations of jax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec

from inpaint_ssl.corruption import PatchSpec, context_prediction, context_restoration, sample_patches

CORRUPT = {"context_prediction": context_prediction, "context_restoration": context_restoration}
SPECS = [PatchSpec(8, "poisson_disc"), PatchSpec(8, "random")]
# Few compiled shapes, each visited with many keys: (height, width), patch, share.
CASES = [((40, 56), 8, 0.25), ((61, 34), 7, 0.3)]


def oracle(image, patches, patch_size, task):
    """Zero or swap the patches one after another by slicing."""
    out = np.array(image)
    corners = np.asarray(patches.corners)[np.asarray(patches.used)]
    windows = [np.s_[row : row + patch_size, column : column + patch_size] for row, column in corners.tolist()]
    if task == "context_prediction":
        for window in windows:
            out[window] = 0
        return out
    for first, second in zip(windows[::2], windows[1::2], strict=True):
        before = out.copy()
        out[first], out[second] = before[second], before[first]
    return out


def picture(size, channels, dtype, seed=0):
    """An image without zeros whose values, in every channel, tell the pixels apart where the type allows."""
    values = 1 + np.random.default_rng(seed).permuted(np.arange(size[0] * size[1] * channels))
    return jnp.asarray(values.reshape(*size, channels) / 16, dtype)


@functools.cache
def compiled(task, size, spec):
    return jax.jit(lambda key, image: (CORRUPT[task](key, image, spec), sample_patches(key, size, spec, task)))


@pytest.mark.parametrize("task", CORRUPT)
@pytest.mark.parametrize("sampling", ["poisson_disc", "random"])
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(case=st.sampled_from(CASES), seed=st.integers(0, 2**31), channels=st.sampled_from([1, 3]))
def test_equals_plain_slicing(task, sampling, case, seed, channels):
    size, patch_size, fraction = case
    image = picture(size, 3, jnp.float32)
    image = image.at[..., channels:].set(image[..., :1])  # one channel is three equal ones: no further compilation
    out, patches = compiled(task, size, PatchSpec(patch_size, sampling, fraction))(jax.random.key(seed), image)
    assert np.array_equal(out, oracle(image, patches, patch_size, task))
    if task == "context_prediction":
        zeroed = np.all(np.asarray(out) == 0, axis=-1)
        assert zeroed.mean() >= fraction
        assert np.array_equal(np.asarray(out)[~zeroed], np.asarray(image)[~zeroed])
    else:

        def sort(x):
            return np.sort(np.asarray(x).reshape(-1, 3), axis=0)

        assert np.array_equal(sort(out), sort(image))
        # Channels move together: the triples are the same ones.
        assert {tuple(p) for p in np.asarray(out).reshape(-1, 3)} == {
            tuple(p) for p in np.asarray(image).reshape(-1, 3)
        }


def test_random_swaps_do_overlap_earlier_ones():
    """The oracle test says nothing about the order of swaps unless patches overlap."""
    patches = compiled("context_restoration", (40, 56), SPECS[1])(jax.random.key(0), picture((40, 56), 3, "float32"))[1]
    corners = np.asarray(patches.corners)[np.asarray(patches.used)]
    distance = np.abs(corners[:, None] - corners[None]).max(axis=-1)
    assert (distance[np.triu_indices(len(corners), 1)] < 8).any()


@pytest.mark.parametrize("task", CORRUPT)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_and_numpy_images(task, dtype):
    size, spec = (40, 56), SPECS[1]
    image, key = picture(size, 2, dtype), jax.random.key(4)
    out = CORRUPT[task](key, np.asarray(image), spec)
    assert out.dtype == image.dtype
    assert np.array_equal(out, oracle(image, sample_patches(key, size, spec, task), 8, task))


@functools.cache
def four(task, spec):
    """Four images, their keys, and each of them corrupted alone under jit."""
    keys = jax.random.split(jax.random.key(7), 4)
    images = jnp.stack([picture((40, 56), 3, jnp.float32, seed) for seed in range(4)])
    alone = [compiled(task, (40, 56), spec)(key, image)[0] for key, image in zip(keys, images, strict=True)]
    return keys, images, jnp.stack(alone)


@pytest.mark.parametrize("task", CORRUPT)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.sampling)
def test_same_key_same_result_in_a_batch_and_outside_jit(task, spec):
    keys, images, alone = four(task, spec)
    moved = np.asarray(jnp.any(alone != images, axis=-1))
    assert all((moved[i] != moved[j]).any() for i in range(4) for j in range(i))
    assert np.array_equal(CORRUPT[task](keys[0], images[0], spec), alone[0])
    batch = jax.jit(jax.vmap(lambda key, image: CORRUPT[task](key, image, spec)))
    assert np.array_equal(batch(keys, images), alone)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.sampling)
def test_same_key_same_result_in_a_scan_and_over_devices(spec):
    keys, images, alone = four("context_restoration", spec)

    def corrupt(key, image):
        return context_restoration(key, image, spec)

    assert np.array_equal(jax.lax.map(lambda pair: corrupt(*pair), (keys, images)), alone)
    devices = jax.devices()[:2]
    spread = PartitionSpec("data")
    mesh = Mesh(np.array(devices), ("data",))
    sharded = jax.shard_map(jax.vmap(corrupt), mesh=mesh, in_specs=(spread, spread), out_specs=spread)
    assert np.array_equal(jax.jit(sharded)(keys, images), alone)
    if len(devices) == 2 and spec.sampling == "random":
        pairs = images.reshape(2, 2, *images.shape[1:])
        mapped = jax.pmap(jax.vmap(corrupt), devices=devices)(keys.reshape(2, 2), pairs)
        assert np.array_equal(mapped.reshape(alone.shape), alone)


@pytest.mark.parametrize("task", CORRUPT)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.sampling)
def test_gradient_is_the_transpose_of_the_corruption(task, spec):
    """The corruption is linear in the image, so <w, C x> = <C^T w, x>; where pixels are kept, the gradient is w."""
    key, image, weights = jax.random.key(1), picture((40, 56), 1, "float32"), picture((40, 56), 1, "float32", 5)
    out, patches = compiled(task, (40, 56), spec)(key, jnp.concatenate([image] * 3, axis=-1))
    gradient = jax.jit(jax.grad(lambda x: jnp.vdot(weights, CORRUPT[task](key, x, spec))))(image)
    if task == "context_prediction":
        assert np.array_equal(gradient, oracle(weights, patches, 8, task))
    else:
        places = np.arange(40 * 56).reshape(40, 56, 1)
        expected = np.zeros(40 * 56, np.float32)
        expected[oracle(places, patches, 8, task).ravel()] = np.asarray(weights).ravel()
        assert np.array_equal(gradient.ravel(), expected)
    assert np.array_equal(out[..., :1], oracle(image, patches, 8, task))


@pytest.mark.parametrize("task", CORRUPT)
def test_spec_is_an_argument_that_compiles_once(task):
    traces = []

    def corrupt(key, image, spec):
        traces.append(spec)
        return CORRUPT[task](key, image, spec)

    step = jax.jit(corrupt)
    image = picture((40, 56), 1, "float32")
    outs = [np.asarray(step(jax.random.key(seed), image, PatchSpec(8, "random"))) for seed in range(3)]
    assert len(traces) == 1
    assert not np.array_equal(outs[0], outs[1])
    step(jax.random.key(0), image, PatchSpec(7, "random"))
    assert len(traces) == 2


def test_whole_image_is_one_patch():
    image = picture((9, 9), 2, "float32")
    assert not np.asarray(context_prediction(jax.random.key(0), image, PatchSpec(9, "random"))).any()
    assert not np.asarray(context_prediction(jax.random.key(0), image, PatchSpec(9, "poisson_disc"))).any()
