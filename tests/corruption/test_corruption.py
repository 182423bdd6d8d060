"""Both corruptions against plain slicing in NumPy, and under the transformations of jax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec
from slicing import oracle, picture

from inpaint_ssl.corruption import CORRUPTORS, PatchSpec, context_prediction, context_restoration, sample_patches
from inpaint_ssl.errors import InputError

SPECS = [PatchSpec(8, "poisson_disc"), PatchSpec(8, "random")]
# Few compiled shapes, each visited with many keys: (height, width), patch, share.
CASES = [((40, 56), 8, 0.25), ((61, 34), 7, 0.3)]


@functools.cache
def compiled(task, size, spec):
    return jax.jit(lambda key, image: (CORRUPTORS[task](key, image, spec), sample_patches(key, size, spec, task)))


@pytest.mark.parametrize("task", CORRUPTORS)
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


def check_any(task, sampling, height, width, patch_size, fraction, channels, dtype, seed):
    """Whatever a spec accepts it does; whatever it refuses is refused before any compilation."""
    size, spec = (height, width), PatchSpec(patch_size, sampling, fraction)
    image, key = picture(size, channels, dtype), jax.random.key(seed)
    try:
        spec.check(size, task)
    except InputError:
        with pytest.raises(InputError):
            CORRUPTORS[task](key, image, spec)
        return
    out, patches = CORRUPTORS[task](key, np.asarray(image), spec), sample_patches(key, size, spec, task)
    corners = np.asarray(patches.corners)[np.asarray(patches.used)]
    assert out.dtype == image.dtype and out.shape == image.shape
    assert corners.min() >= 0 and (corners.max(axis=0) <= np.array(size) - patch_size).all()
    touched = np.zeros(size, bool)
    for row, column in corners:
        touched[row : row + patch_size, column : column + patch_size] = True
    assert touched.sum() >= fraction * height * width - 1e-6
    assert np.array_equal(out, oracle(image, patches, patch_size, task))
    assert np.array_equal(np.asarray(out)[~touched], np.asarray(image)[~touched])
    if sampling == "poisson_disc":
        assert touched.sum() == len(corners) * patch_size**2
        distance = np.hypot(*(corners[:, None] - corners[None]).T) + np.diag(np.full(len(corners), np.inf))
        assert distance.min() >= patch_size * 2**0.5


ANY = st.fixed_dictionaries(
    {
        "height": st.integers(4, 48),
        "width": st.integers(4, 48),
        "patch_size": st.integers(1, 10),
        "fraction": st.floats(0.02, 0.8),
        "channels": st.integers(1, 4),
        "dtype": st.sampled_from(["float32", "bfloat16", "float16"]),
        "seed": st.integers(0, 2**31),
    }
)
EVERY = [pytest.mark.parametrize("task", CORRUPTORS), pytest.mark.parametrize("sampling", ["poisson_disc", "random"])]


@pytest.mark.slow
@EVERY[0]
@EVERY[1]
@settings(max_examples=6, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(case=ANY)
def test_any_size_patch_fraction_and_type(task, sampling, case):
    check_any(task, sampling, **case)


@pytest.mark.full
@pytest.mark.timeout(3600)
@EVERY[0]
@EVERY[1]
@settings(max_examples=300, deadline=None, database=None)
@given(case=ANY)
def test_many_sizes_patches_fractions_and_types(task, sampling, case):
    check_any(task, sampling, **case)


def test_random_swaps_do_overlap_earlier_ones():
    """The oracle test says nothing about the order of swaps unless patches overlap."""
    patches = compiled("context_restoration", (40, 56), SPECS[1])(jax.random.key(0), picture((40, 56), 3, "float32"))[1]
    corners = np.asarray(patches.corners)[np.asarray(patches.used)]
    distance = np.abs(corners[:, None] - corners[None]).max(axis=-1)
    assert (distance[np.triu_indices(len(corners), 1)] < 8).any()


@pytest.mark.parametrize("task", CORRUPTORS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_and_numpy_images(task, dtype):
    size, spec = (40, 56), SPECS[1]
    image, key = picture(size, 2, dtype), jax.random.key(4)
    out = CORRUPTORS[task](key, np.asarray(image), spec)
    assert out.dtype == image.dtype
    assert np.array_equal(out, oracle(image, sample_patches(key, size, spec, task), 8, task))


@functools.cache
def four(task, spec):
    """Four images, their keys, and each of them corrupted alone under jit."""
    keys = jax.random.split(jax.random.key(7), 4)
    images = jnp.stack([picture((40, 56), 3, jnp.float32, seed) for seed in range(4)])
    alone = [compiled(task, (40, 56), spec)(key, image)[0] for key, image in zip(keys, images, strict=True)]
    return keys, images, jnp.stack(alone)


@pytest.mark.parametrize("task", CORRUPTORS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.sampling)
def test_same_key_same_result_in_a_batch_and_outside_jit(task, spec):
    keys, images, alone = four(task, spec)
    moved = np.asarray(jnp.any(alone != images, axis=-1))
    assert all((moved[i] != moved[j]).any() for i in range(4) for j in range(i))
    assert np.array_equal(CORRUPTORS[task](keys[0], images[0], spec), alone[0])
    batch = jax.jit(jax.vmap(lambda key, image: CORRUPTORS[task](key, image, spec)))
    assert np.array_equal(batch(keys, images), alone)


@pytest.mark.parametrize("task", CORRUPTORS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.sampling)
def test_same_key_same_result_in_a_scan_and_over_devices(task, spec):
    keys, images, alone = four(task, spec)

    def corrupt(key, image):
        return CORRUPTORS[task](key, image, spec)

    assert np.array_equal(jax.lax.map(lambda pair: corrupt(*pair), (keys, images)), alone)
    devices = jax.devices()[:2]
    spread = PartitionSpec("data")
    mesh = Mesh(np.array(devices), ("data",))
    sharded = jax.shard_map(jax.vmap(corrupt), mesh=mesh, in_specs=(spread, spread), out_specs=spread)
    assert np.array_equal(jax.jit(sharded)(keys, images), alone)
    pairs = images.reshape(len(devices), -1, *images.shape[1:])
    mapped = jax.pmap(jax.vmap(corrupt), devices=devices)(keys.reshape(len(devices), -1), pairs)
    assert np.array_equal(mapped.reshape(alone.shape), alone)


@pytest.mark.parametrize("task", CORRUPTORS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.sampling)
def test_gradient_is_the_transpose_of_the_corruption(task, spec):
    """The corruption is linear in the image, so <w, C x> = <C^T w, x>; where pixels are kept, the gradient is w."""
    key, image, weights = jax.random.key(1), picture((40, 56), 1, "float32"), picture((40, 56), 1, "float32", 5)
    out, patches = compiled(task, (40, 56), spec)(key, jnp.concatenate([image] * 3, axis=-1))
    gradient = jax.jit(jax.grad(lambda x: jnp.vdot(weights, CORRUPTORS[task](key, x, spec))))(image)
    if task == "context_prediction":
        assert np.array_equal(gradient, oracle(weights, patches, 8, task))
    else:
        places = np.arange(40 * 56).reshape(40, 56, 1)
        expected = np.zeros(40 * 56, np.float32)
        expected[oracle(places, patches, 8, task).ravel()] = np.asarray(weights).ravel()
        assert np.array_equal(gradient.ravel(), expected)
    assert np.array_equal(out[..., :1], oracle(image, patches, 8, task))


@pytest.mark.parametrize("task", CORRUPTORS)
def test_spec_is_an_argument_that_compiles_once(task):
    traces = []

    def corrupt(key, image, spec):
        traces.append(spec)
        return CORRUPTORS[task](key, image, spec)

    step = jax.jit(corrupt)
    image = picture((40, 56), 1, "float32")
    outs = [np.asarray(step(jax.random.key(seed), image, PatchSpec(8, "random"))) for seed in range(3)]
    assert len(traces) == 1
    assert not np.array_equal(outs[0], outs[1])
    step(jax.random.key(0), image, PatchSpec(7, "random"))
    assert len(traces) == 2


@pytest.mark.parametrize("task", CORRUPTORS)
def test_outside_jit_nothing_is_compiled_twice(task):
    image, spec = picture((24, 20), 1, "float32"), PatchSpec(5)
    CORRUPTORS[task](jax.random.key(0), image, spec)
    before = CORRUPTORS[task]._cache_size()
    with jax.no_tracing():
        for seed in range(3):
            CORRUPTORS[task](jax.random.key(seed), image, PatchSpec(5))
    assert CORRUPTORS[task]._cache_size() == before


def test_keys_of_either_kind():
    image, spec = picture((24, 20), 1, "float32"), PatchSpec(5)
    old, new = jax.random.PRNGKey(3), jax.random.key(3)
    assert np.array_equal(context_restoration(old, image, spec), context_restoration(new, image, spec))


def test_whole_image_is_one_patch():
    image = picture((9, 9), 2, "float32")
    assert not np.asarray(context_prediction(jax.random.key(0), image, PatchSpec(9, "random"))).any()
    assert not np.asarray(context_prediction(jax.random.key(0), image, PatchSpec(9, "poisson_disc"))).any()
