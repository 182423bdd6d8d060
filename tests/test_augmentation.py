"""Light augmentation against SciPy, its draws, its place in the training step; flips against means by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from scipy import ndimage

from inpaint_ssl.augmentation import LARGEST, Change, apply_change, augment, draw_change, flip_views
from inpaint_ssl.errors import InputError
from inpaint_ssl.losses import batch_dice_loss
from inpaint_ssl.models import UNet
from inpaint_ssl.rng import example_keys, stream_key
from inpaint_ssl.steps import (
    augment_batch,
    make_predict_step,
    make_train_step,
    one_hot,
    segmentation_loss,
)
from inpaint_ssl.types import Batch, TrainState

pytestmark = pytest.mark.usefixtures("full_precision")
NO_CHANGE = Change(0.0, 1.0, 0.0, 0.0, 1.0, 0.0)
KEY = stream_key(0, "finetune/corruption")
MODEL = UNet(filters=(4,), out_channels=2, groups=2)  # one level: it compiles quickly
MEMBERSHIP = np.zeros((256, 2), bool)
MEMBERSHIP[[1, 2], 0] = MEMBERSHIP[2, 1] = True
LIGHT = {"augmentation": "light", "cross_entropy_weight": 0.5}
changed = jax.jit(apply_change)


def example(height: int = 24, width: int = 17, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(1.0, 2.0, (height, width, channels)).astype(np.float32)
    return image, rng.integers(0, 4, (height, width)).astype(np.uint8)


def make_batch(n: int = 4, real: int = 4) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        images=rng.normal(size=(n, 16, 16, 1)).astype(np.float32),
        labels=rng.integers(0, 3, (n, 16, 16)).astype(np.uint8),
        example_ids=np.arange(10, 10 + n, dtype=np.uint32),
        is_real=np.arange(n) < real,
        boxes=np.tile(np.array([0, 0, 16, 16], np.int32), (n, 1)),
    )


@functools.cache
def weights():
    return jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]


@pytest.mark.parametrize(
    "change",
    [
        Change(14.0, 0.8, 0.04, -0.04, 0.85, 0.15),
        Change(-9.3, 1.17, -0.031, 0.013, 1.1, -0.07),
        Change(63.0, 0.61, 0.3, -0.4, 1.0, 0.0),
    ],
)
def test_a_change_is_that_of_scipy(change: Change) -> None:
    image, label = example()
    size = np.array(label.shape)
    angle = np.deg2rad(change.angle_deg)
    forth = change.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back, middle = np.linalg.inv(forth), (size - 1) / 2
    offset = middle - back @ (middle + size * [change.down, change.right])
    moved = np.stack(
        [ndimage.affine_transform(image[..., i], back, offset, order=1, mode="nearest") for i in range(2)], axis=-1
    )
    found, labels = changed(change, image, label)
    # Contrast is about the mean of each channel, brightness is added.
    mean = moved.astype(np.float64).mean(axis=(0, 1))
    np.testing.assert_allclose(found, mean + change.contrast * (moved - mean) + change.brightness, atol=2e-4)
    expected = ndimage.affine_transform(label, back, offset, order=0, mode="grid-constant", cval=0)
    assert labels.dtype == np.uint8 and (np.asarray(labels) == expected).all()
    outside = ndimage.affine_transform(label + 1, back, offset, order=0, mode="grid-constant", cval=0) == 0
    assert outside.any() == (change.scale < 1) and not np.asarray(labels)[outside].any()


def test_directions() -> None:
    label = np.zeros((11, 11), np.uint8)
    label[5, 8] = 1  # three pixels to the right of the centre
    for change, place in (
        (NO_CHANGE._replace(angle_deg=90.0), (2, 5)),  # counter-clockwise: above the centre
        (NO_CHANGE._replace(down=2 / 11), (7, 8)),
        (NO_CHANGE._replace(right=-2 / 11), (5, 6)),
    ):
        found, labels = changed(change, label[..., None].astype(np.float32), label)
        assert [tuple(position) for position in np.argwhere(np.asarray(labels))] == [place]
        assert np.unravel_index(np.argmax(found), (11, 11)) == place
    label[5, 7], label[5, 8] = 1, 0
    larger = np.asarray(changed(NO_CHANGE._replace(scale=2.0), np.zeros((11, 11, 1), np.float32), label)[1])
    assert larger.sum() == 4 and larger[5, 9] == 1  # one pixel is four, twice as far from the centre


@pytest.mark.parametrize("size", [(24, 17), (16, 16), (1, 3)])
def test_no_change_gives_equal_values(size: tuple[int, int]) -> None:
    image, label = example(*size)
    image[0, 0] = 1e4
    found, labels = changed(NO_CHANGE, image, label)
    assert found.dtype == np.float32 and np.array_equal(found, image) and np.array_equal(labels, label)


def test_draws_fill_their_ranges_evenly_and_independently() -> None:
    drawn = np.stack(jax.jit(jax.vmap(draw_change))(jax.random.split(KEY, 4000)), axis=1)
    ranges = np.array([(-14, 14), (0.8, 1.2), (-0.04, 0.04), (-0.04, 0.04), (0.85, 1.15), (-0.15, 0.15)])
    np.testing.assert_allclose(np.array(LARGEST), (ranges[:, 1] - ranges[:, 0]) / 2)
    share = (drawn - ranges[:, 0]) / (ranges[:, 1] - ranges[:, 0])
    assert share.min() > -1e-6 and share.max() < 1 + 1e-6
    for one in share.T:
        counts = np.histogram(one, 10, (0, 1))[0]
        assert abs(counts - 400).max() < 100  # five standard deviations
    assert abs(np.corrcoef(share.T) - np.eye(6)).max() < 0.08


def test_a_change_follows_the_example_and_the_step() -> None:
    batch, augmented = make_batch(), jax.jit(augment_batch)
    first = augmented(batch, KEY, 3)
    turned = augmented(Batch(*(part[::-1] for part in batch)), KEY, 3)
    for name in ("images", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(turned, name)[::-1])
        for other in (augmented(batch, KEY, 4), augmented(batch, stream_key(1, "finetune/corruption"), 3)):
            assert not np.array_equal(getattr(first, name), getattr(other, name))
    alone = jax.jit(augment)(example_keys(KEY, 3, batch.example_ids)[2], batch.images[2], batch.labels[2])
    np.testing.assert_allclose(first.images[2], alone[0], atol=1e-5)
    np.testing.assert_array_equal(first.labels[2], alone[1])
    same = batch._replace(images=batch.images[:1].repeat(4, axis=0))
    assert len(np.unique(np.asarray(augmented(same, KEY, 3).images).reshape(4, -1), axis=0)) == 4


def test_by_default_a_step_is_what_it_was() -> None:
    def before(params, batch, key, step, axis_name):
        del key, step
        probability = jax.nn.sigmoid(MODEL.apply({"params": params}, batch.images))
        target = one_hot(batch.labels, MEMBERSHIP)
        return batch_dice_loss(probability, target, epsilon=1e-7, is_real=batch.is_real, axis_name=axis_name)

    optimizer, batch = optax.adam(1e-2), make_batch(4, real=3)
    state = TrainState(weights(), optimizer.init(weights()), jnp.zeros((), jnp.int32))

    def program(loss) -> str:
        return str(jax.make_jaxpr(make_train_step(loss, optimizer))(state, batch, KEY))

    assert program(segmentation_loss(MODEL, MEMBERSHIP)) == program(before)
    for name, value in LIGHT.items():
        assert program(segmentation_loss(MODEL, MEMBERSHIP, **{name: value})) != program(before)


def test_the_loss_is_that_of_the_changed_batch_plus_weighted_cross_entropy() -> None:
    batch, network = make_batch(4, real=3), jax.jit(MODEL.apply)
    seen = jax.jit(augment_batch)(batch, KEY, 5)
    logits = np.asarray(network({"params": weights()}, seen.images), np.float64)[:3]
    target = MEMBERSHIP[np.asarray(seen.labels)[:3]]
    probability = 1 / (1 + np.exp(-logits))
    dice = 1 - 2 * (probability * target).sum((0, 1, 2)) / (probability + target).sum((0, 1, 2))
    entropy = -np.where(target, np.log(probability), np.log(1 - probability))
    loss = segmentation_loss(MODEL, MEMBERSHIP, augmentation="light", cross_entropy_weight=0.3)
    found = jax.jit(lambda params: loss(params, batch, KEY, 5, None))(weights())
    assert float(found) == pytest.approx(dice.mean() + 0.3 * entropy.mean(), rel=1e-5)


def step_of(loss, axis_name=None):
    return make_train_step(loss, optax.sgd(1.0), axis_name=axis_name)


@functools.cache
def one_step():
    state = TrainState(weights(), optax.sgd(1.0).init(weights()), jnp.zeros((), jnp.int32))
    return state, jax.jit(step_of(segmentation_loss(MODEL, MEMBERSHIP, **LIGHT)))(state, make_batch(4, real=3), KEY)


@pytest.mark.slow
@pytest.mark.devices(2)
@pytest.mark.parametrize("driver", ["pmap", "shard_map"])
def test_two_devices_take_the_step_of_one(driver: str) -> None:
    (state, (one, metrics)), batch = one_step(), make_batch(4, real=3)
    step, devices = step_of(segmentation_loss(MODEL, MEMBERSHIP, **LIGHT), "d"), jax.devices()[:2]
    if driver == "pmap":
        batch = Batch(*(part.reshape(2, 2, *part.shape[1:]) for part in batch))
        two, of_two = jax.pmap(step, "d", in_axes=(None, 0, None), out_axes=None, devices=devices)(state, batch, KEY)
    else:
        mesh = jax.sharding.Mesh(np.array(devices), ("d",))
        shared = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("d"), P()), out_specs=P(), check_vma=False)
        two, of_two = jax.jit(shared)(state, batch, KEY)
    np.testing.assert_allclose(of_two["loss"], metrics["loss"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one.params, two.params)


def test_flips_are_averaged() -> None:
    images, predict = make_batch().images, jax.jit(make_predict_step(MODEL))
    every, back = slice(None), slice(None, None, -1)
    rows, columns, both = (every, back), (every, every, back), (every, back, back)
    views = np.stack([np.asarray(predict(weights(), images[axes]))[axes] for axes in (every, rows, columns, both)])
    assert abs(views[1] - views[2]).max() > 1e-3
    for flips, used in ((("rows",), [0, 1]), (("columns",), [0, 2]), (("columns", "rows", "rows"), [0, 1, 2, 3])):
        found = jax.jit(make_predict_step(MODEL, flips))(weights(), images)
        np.testing.assert_allclose(found, views[used].mean(axis=0), atol=1e-6)
    plain = jax.make_jaxpr(lambda params, images: jax.nn.sigmoid(MODEL.apply({"params": params}, images)))
    assert str(jax.make_jaxpr(make_predict_step(MODEL))(weights(), images)) == str(plain(weights(), images))
    assert flip_views(()) == ((),) and len(set(flip_views(("rows", "columns")))) == 4
    with pytest.raises(InputError, match="flips: got 'up', expected rows, columns or both"):
        make_predict_step(MODEL, ("up",))
