"""The bank of masks: what it draws, how it turns, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from scipy import stats
from slicing import oracle, picture

from inpaint_ssl.corruption import Patches, PatchSpec, corrupt_from_bank, make_mask_bank, mask_bank
from inpaint_ssl.errors import InputError

SIDE = 24
TASKS = ("context_prediction", "context_restoration")
CASES = [(task, PatchSpec(4, sampling)) for task in TASKS for sampling in ("poisson_disc", "random")]


def identify(case):
    return f"{case[0]}-{case[1].sampling}"


@pytest.fixture(scope="module", params=CASES, ids=identify)
def bank(request):
    task, spec = request.param
    return make_mask_bank(jax.random.key(0), (SIDE, SIDE), spec, task, size=3)


def expected_of(bank, image, mask, turns):
    """The mask applied to the image turned clockwise, turned back counter-clockwise: the mask itself is turned."""
    patches = Patches(bank.patches.corners[mask], bank.patches.used[mask])
    return np.rot90(oracle(np.rot90(image, -turns), patches, bank.spec.patch_size, bank.task), turns)


def test_every_mask_and_turn_is_drawn_alike(bank) -> None:
    image = np.asarray(picture((SIDE, SIDE), 2, jnp.float32))
    keys = jax.random.split(jax.random.key(1), 1200)
    out = np.asarray(jax.jit(jax.vmap(lambda key, bank: corrupt_from_bank(key, image, bank), (0, None)))(keys, bank))
    possible = np.stack([expected_of(bank, image, mask, turns) for mask in range(3) for turns in range(4)])
    assert len(np.unique(possible, axis=0)) == 12
    matches = (out[:, None] == possible[None]).all(axis=(2, 3, 4))
    assert (matches.sum(axis=1) == 1).all()  # each result is one of the twelve
    assert stats.chisquare(matches.sum(axis=0)).pvalue > 1e-3
    assert np.array_equal(corrupt_from_bank(keys[0], image, bank), out[0])  # alone, outside jit


def test_the_same_in_a_scan_and_over_devices() -> None:
    bank = make_mask_bank(jax.random.key(0), (SIDE, SIDE), PatchSpec(4), "context_restoration", size=3)
    keys, images = (
        jax.random.split(jax.random.key(1), 4),
        jnp.stack([picture((SIDE, SIDE), 1, "float32", i) for i in range(4)]),
    )
    alone = np.stack([corrupt_from_bank(key, image, bank) for key, image in zip(keys, images, strict=True)])

    def corrupt(key, image):
        return corrupt_from_bank(key, image, bank)

    assert np.array_equal(jax.lax.map(lambda pair: corrupt(*pair), (keys, images)), alone)
    spread = PartitionSpec("data")
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    sharded = jax.shard_map(jax.vmap(corrupt), mesh=mesh, in_specs=(spread, spread), out_specs=spread)
    assert np.array_equal(jax.jit(sharded)(keys, images), alone)
    two = len(mesh.devices)
    mapped = jax.pmap(jax.vmap(corrupt), devices=list(mesh.devices))(
        keys.reshape(two, -1), images.reshape(two, -1, *images.shape[1:])
    )
    assert np.array_equal(mapped.reshape(alone.shape), alone)


def test_the_masks_of_a_bank_differ_and_cover_the_fraction(bank) -> None:
    assert bank.patches.corners.shape[0] == 3
    masks = [expected_of(bank, np.ones((SIDE, SIDE, 1)), mask, 0) for mask in range(3)]
    if bank.task == "context_prediction":
        assert min((mask == 0).mean() for mask in masks) >= 0.25
    assert not np.array_equal(bank.patches.corners[0], bank.patches.corners[1])


def test_a_quarter_turn_is_that_of_numpy(bank) -> None:
    corners = bank.patches.corners[0][np.asarray(bank.patches.used[0])]
    mask = np.zeros((SIDE, SIDE), bool)
    for row, column in np.asarray(corners):
        mask[row : row + 4, column : column + 4] = True
    for turns in range(4):
        turned = np.zeros((SIDE, SIDE), bool)
        for row, column in np.asarray(mask_bank._turned(corners, jnp.int32(turns), bank)):
            turned[row : row + 4, column : column + 4] = True
        assert np.array_equal(turned, np.rot90(mask, turns))


def test_paired_anew() -> None:
    bank = make_mask_bank(jax.random.key(0), (SIDE, SIDE), PatchSpec(4), "context_restoration", size=1)
    image = np.asarray(picture((SIDE, SIDE), 1, jnp.float32))
    keys = jax.random.split(jax.random.key(2), 200)
    one, anew = (
        np.asarray(jax.vmap(lambda key: corrupt_from_bank(key, image, bank, pair_anew=pair))(keys))  # noqa: B023
        for pair in (False, True)
    )
    assert len(np.unique(one, axis=0)) == 4
    assert len(np.unique(anew, axis=0)) > 150
    touched = np.unique((one != image).any(axis=-1), axis=0)
    assert np.array_equal(touched, np.unique((anew != image).any(axis=-1), axis=0))  # the same masks, four ways turned
    assert (np.sort(anew.reshape(200, -1)) == np.sort(image.ravel())).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_data_types_and_gradient(dtype) -> None:
    bank = make_mask_bank(jax.random.key(0), (SIDE, SIDE), PatchSpec(4), "context_prediction", size=2)
    image = jnp.ones((SIDE, SIDE, 1), dtype)
    out = corrupt_from_bank(jax.random.key(1), image, bank)
    gradient = jax.grad(lambda x: jnp.sum(corrupt_from_bank(jax.random.key(1), x, bank).astype(jnp.float32)))(image)
    assert out.dtype == image.dtype and np.array_equal(gradient, out)


def test_refused() -> None:
    key, spec = jax.random.key(0), PatchSpec(4)
    with pytest.raises(InputError, match=r"24 x 32, expected a square one.*fresh"):
        make_mask_bank(key, (24, 32), spec, "context_prediction")
    with pytest.raises(InputError, match="size of the mask bank is 0, expected a whole"):
        make_mask_bank(key, (24, 24), spec, "context_prediction", size=0)
    with pytest.raises(InputError, match="patch_size 20"):
        make_mask_bank(key, (24, 24), PatchSpec(20), "context_restoration")
    bank = make_mask_bank(key, (24, 24), spec, "context_prediction", size=1)
    with pytest.raises(InputError, match=r"image has 24 x 32 pixels, expected the 24 x 24"):
        corrupt_from_bank(key, np.zeros((24, 32, 1)), bank)
    with pytest.raises(InputError, match="vmap"):
        corrupt_from_bank(key, np.zeros((2, 24, 24, 1)), bank)
    with pytest.raises(InputError, match="pair_anew with poisson_disc sampling and context_prediction"):
        corrupt_from_bank(key, np.zeros((24, 24, 1)), bank, pair_anew=True)


def test_a_hundred_masks_by_default() -> None:
    bank = make_mask_bank(jax.random.key(0), (SIDE, SIDE), PatchSpec(8, "random"), "context_prediction")
    assert bank.patches.used.shape[0] == 100
