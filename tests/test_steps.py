"""Training steps: padding and devices change nothing, keys follow the example, one trace for a whole run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from inpaint_ssl.corruption import CORRUPTORS, PatchSpec, corrupt_from_bank, make_mask_bank
from inpaint_ssl.models import UNet
from inpaint_ssl.rng import example_keys, example_order, stream_key
from inpaint_ssl.steps import (
    Slowed,
    corrupt_batch,
    inpainting_loss,
    make_inpainting_validation_step,
    make_segmentation_validation_step,
    make_train_step,
    one_hot,
    segmentation_loss,
)
from inpaint_ssl.types import Batch, TrainState

pytestmark = pytest.mark.usefixtures("full_precision")
SPEC = PatchSpec(patch_size=4, sampling="random", area_fraction=0.25)
MEMBERSHIP = np.zeros((256, 2), bool)
MEMBERSHIP[[1, 2], 0] = MEMBERSHIP[2, 1] = True


def restore(key, image, box):
    return CORRUPTORS["context_restoration"](key, image, SPEC)


def make_batch(n: int = 4, real: int = 4) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        images=rng.normal(size=(n, 16, 16, 1)).astype(np.float32),
        labels=rng.integers(0, 3, (n, 16, 16)).astype(np.uint8),
        example_ids=np.arange(10, 10 + n, dtype=np.uint32),
        is_real=np.arange(n) < real,
        boxes=np.tile(np.array([0, 0, 16, 16], np.int32), (n, 1)),
    )


def take(batch: Batch, rows) -> Batch:
    return Batch(*(part[rows] for part in batch))


def loss_and_params(task: str):
    if task == "segmentation":
        model = UNet(filters=(16, 32), out_channels=2)
        loss = segmentation_loss(model, MEMBERSHIP)
    else:
        model = UNet(filters=(16, 32), out_channels=1, head="inpainting")
        loss = inpainting_loss(model, restore)
    return model, loss, model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]


def test_classes_are_sets_of_labels() -> None:
    labels = np.array([[[0, 1], [2, 7]]], np.uint8)
    np.testing.assert_array_equal(one_hot(labels, MEMBERSHIP)[0, :, :, 0], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(one_hot(labels, MEMBERSHIP)[0, :, :, 1], [[0, 0], [1, 0]])


@pytest.mark.parametrize("task", ["inpainting", "segmentation"])
def test_padded_rows_change_neither_loss_nor_gradient(task: str) -> None:
    _, loss, params = loss_and_params(task)
    key = stream_key(0, "test")
    padded, alone = make_batch(4, real=3), take(make_batch(), slice(0, 3))
    gradient = jax.jit(lambda params, batch: jax.value_and_grad(loss)(params, batch, key, 0, None))
    first, second = gradient(params, padded), gradient(params, alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3, rtol=1e-4), first, second)


@pytest.mark.devices(2)
@pytest.mark.parametrize("task", ["inpainting", "segmentation"])
def test_two_devices_take_the_step_of_one(task: str) -> None:
    _, loss, params = loss_and_params(task)
    optimizer, key, batch = optax.sgd(1.0), stream_key(0, "test"), make_batch(4, real=3)
    state = TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))
    one, metrics = jax.jit(make_train_step(loss, optimizer))(state, batch, key)
    split = Batch(*(part.reshape(2, 2, *part.shape[1:]) for part in batch))
    step = jax.pmap(
        make_train_step(loss, optimizer, axis_name="d"),
        axis_name="d",
        in_axes=(None, 0, None),
        devices=jax.devices()[:2],
    )
    two, metrics_two = step(state, split, key)
    np.testing.assert_allclose(metrics_two["loss"], [metrics["loss"]] * 2, rtol=1e-5)

    def close(a, b, before):
        gradient = np.asarray(before) - np.asarray(a)  # plain descent with rate 1: the update is the gradient
        scale = 1e-5 * np.linalg.norm(gradient) + 1e-6
        np.testing.assert_allclose(np.asarray(b)[0], a, atol=scale)
        np.testing.assert_array_equal(np.asarray(b)[0], np.asarray(b)[1])

    jax.tree.map(close, one.params, two.params, params)


def test_an_example_is_corrupted_alike_wherever_it_stands() -> None:
    batch, key = make_batch(), stream_key(3, "pretrain/corruption")
    whole = corrupt_batch(batch, key, 5, restore)
    reversed_rows = corrupt_batch(take(batch, slice(None, None, -1)), key, 5, restore)
    np.testing.assert_array_equal(whole, reversed_rows[::-1])
    assert not np.array_equal(whole, corrupt_batch(batch, key, 6, restore))
    assert not np.array_equal(whole[0] == batch.images[0], whole[1] == batch.images[1])


def test_an_example_is_corrupted_within_its_own_box() -> None:
    batch, key = make_batch(), stream_key(3, "pretrain/corruption")
    boxes = np.array([[0, 0, 16, 16], [0, 0, 8, 16], [3, 5, 16, 13], [8, 8, 16, 16]], np.int32)
    restore_in = lambda key, image, box: CORRUPTORS["context_restoration"](key, image, SPEC, box)  # noqa: E731
    changed = np.asarray(corrupt_batch(batch._replace(boxes=boxes), key, 5, restore_in) != batch.images).any(axis=-1)
    for image, (top, left, bottom, right) in zip(changed, boxes, strict=True):
        assert image.sum() == image[top:bottom, left:right].sum() > 0


def test_streams_and_orders_are_named() -> None:
    ids = np.arange(3, dtype=np.uint32)
    first = jax.random.key_data(example_keys(stream_key(0, "a"), 1, ids))
    assert len(np.unique(first, axis=0)) == 3
    for other in (
        example_keys(stream_key(0, "b"), 1, ids),
        example_keys(stream_key(1, "a"), 1, ids),
        example_keys(stream_key(0, "a"), 2, ids),
    ):
        assert not np.array_equal(first, jax.random.key_data(other))
    order = example_order(0, "a", 0, 50)
    np.testing.assert_array_equal(np.sort(order), np.arange(50))
    np.testing.assert_array_equal(order, example_order(0, "a", 0, 50))
    assert not np.array_equal(order, example_order(0, "a", 1, 50))
    assert not np.array_equal(order, example_order(0, "b", 0, 50))


def test_slowed_parts_wait_and_then_move_by_a_share_of_the_step() -> None:
    _, loss, params = loss_and_params("segmentation")
    optimizer, key = optax.sgd(0.5), stream_key(0, "x")

    def after(steps: int, slowed: Slowed):
        step = jax.jit(make_train_step(loss, optimizer, slowed=slowed))
        state = TrainState(params=params, opt_state=optimizer.init(params), step=jnp.zeros((), jnp.int32))
        for _ in range(steps):
            state, _ = step(state, make_batch(), key)
        return state.params

    def moved(new, part: str) -> np.ndarray:
        pairs = zip(jax.tree.leaves(new[part]), jax.tree.leaves(params[part]), strict=True)
        return np.concatenate([np.ravel(a - b) for a, b in pairs])

    plain, slow = after(1, Slowed()), after(1, Slowed(("encoder",), 0.25, 0))
    np.testing.assert_allclose(moved(slow, "encoder"), 0.25 * moved(plain, "encoder"), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(moved(slow, "decoder"), moved(plain, "decoder"), rtol=1e-6)
    held = Slowed(("encoder", "decoder"), 1.0, 2)
    for steps, moves in ((1, False), (2, False), (3, True)):
        assert bool(np.any(moved(after(steps, held), "encoder"))) is moves
        assert np.any(moved(after(steps, held), "post_processing"))


def test_validation_sums_do_not_depend_on_the_step_and_skip_padding() -> None:
    model, _, params = loss_and_params("inpainting")
    step = jax.jit(make_inpainting_validation_step(model, restore))
    key = stream_key(0, "validation/corruption")
    sums = [step(params, take(make_batch(), slice(i, i + 1)), key) for i in range(3)]
    whole = step(params, make_batch(4, real=3), key)
    assert float(whole["count"]) == 3
    assert float(whole["total"]) == pytest.approx(sum(float(s["total"]) for s in sums), rel=1e-4)
    segmenter, _, weights = loss_and_params("segmentation")
    dice = jax.jit(make_segmentation_validation_step(segmenter, MEMBERSHIP))(weights, make_batch(4, real=3), key)
    probability = jax.nn.sigmoid(segmenter.apply({"params": weights}, make_batch().images[:3]))
    truth = MEMBERSHIP[make_batch().labels[:3]]
    np.testing.assert_allclose(dice["intersection"], (probability * truth).sum((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(dice["total"], (probability + truth).sum((0, 1, 2)), rtol=1e-4)


def corruptor(task: str, sampling: str, masks: str):
    spec = PatchSpec(4, sampling, 0.25)
    if masks == "fresh":
        return lambda key, image, box: CORRUPTORS[task](key, image, spec)
    bank = make_mask_bank(jax.random.key(0), (16, 16), spec, task, 3)
    return lambda key, image, box: corrupt_from_bank(key, image, bank)


@pytest.mark.parametrize(
    ("task", "sampling", "masks"),
    [
        ("context_prediction", "poisson_disc", "fresh"),
        ("context_prediction", "random", "bank"),
        ("context_restoration", "poisson_disc", "bank"),
        ("context_restoration", "random", "fresh"),
    ],
)
def test_a_run_compiles_its_step_once_and_transfers_nothing(task: str, sampling: str, masks: str) -> None:
    model, _, params = loss_and_params("inpainting")
    loss = inpainting_loss(model, corruptor(task, sampling, masks))
    traces = []

    def counted(*arguments):
        traces.append(1)
        return loss(*arguments)

    optimizer, key = optax.adam(1e-3), stream_key(0, "test")
    step = jax.jit(make_train_step(counted, optimizer), donate_argnums=0)
    state = TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))
    state, _ = step(state, jax.device_put(make_batch()), key)
    # The last batch is padded, so it has the shapes of the others.
    batches = [jax.device_put(make_batch(4, real=real)) for real in (4, 4, 1)]
    with jax.transfer_guard("disallow"):  # moving a batch explicitly, as above, would still be allowed
        for batch in batches:
            state, _ = step(state, batch, key)
    assert len(traces) == 1 and step._cache_size() == 1 and int(state.step) == 4


def test_training_lowers_both_losses() -> None:
    for task in ("inpainting", "segmentation"):
        _, loss, params = loss_and_params(task)
        optimizer = optax.adam(1e-2)
        step = jax.jit(make_train_step(loss, optimizer))
        state, losses = TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32)), []
        for _ in range(15):
            state, metrics = step(state, make_batch(), stream_key(0, "test"))
            losses.append(float(metrics["loss"]))
        assert np.mean(losses[-3:]) < 0.9 * losses[0]
