"""Training, validation and prediction steps: pure functions of (state, batch, key), ready for jit, pmap and shard_map.

Mask generation, patch swapping, one-hot classes and Dice all run inside the step, on the device.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, UInt8

from inpaint_ssl.augmentation import augment, flip_views
from inpaint_ssl.corruption import Corruptor
from inpaint_ssl.losses import batch_dice_loss, cross_entropy_loss, dice_sums, inpainting_l2, inpainting_sums
from inpaint_ssl.models import UNet
from inpaint_ssl.rng import example_keys
from inpaint_ssl.types import AnyArray, Batch, Params, TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]
ValidationStep = Callable[[Params, Batch, jax.Array], Metrics]
LossFunction = Callable[[Params, Batch, jax.Array, jax.Array | int, str | None], jax.Array]


def corrupt_batch(batch: Batch, key: jax.Array, step: jax.Array | int, corrupt: Corruptor) -> jax.Array:
    """Images (N, H, W, C), each corrupted with the key of its own example id."""
    keys = example_keys(key, step, batch.example_ids)
    return jax.vmap(corrupt)(keys, jnp.asarray(batch.images), jnp.asarray(batch.boxes))


def augment_batch(batch: Batch, key: jax.Array, step: jax.Array | int) -> Batch:
    """The batch with images and labels changed by augmentation.augment, each with the key of its own example id.

    The boxes stay those of the slices as they were.
    """
    keys = example_keys(key, step, batch.example_ids)
    images, labels = jax.vmap(augment)(keys, jnp.asarray(batch.images), jnp.asarray(batch.labels))
    return batch._replace(images=images, labels=labels)


def _apply(model: UNet, params: Params, images: AnyArray) -> jax.Array:
    """The network's output; Flax types it as if it could carry mutable collections, which this network has none of."""
    return jnp.asarray(model.apply({"params": params}, images))


def one_hot(labels: UInt8[AnyArray, "n h w"], membership: Bool[AnyArray, "256 k"]) -> Float[Array, "n h w k"]:
    """Classes as sets of label values: 1 where the pixel's label belongs to the class. Classes may overlap."""
    return jnp.asarray(membership)[jnp.asarray(labels).astype(jnp.int32)].astype(jnp.float32)


def inpainting_loss(model: UNet, corrupt: Corruptor) -> LossFunction:
    """Equation 1 between the restored and the original images."""

    def loss(params: Params, batch: Batch, key: jax.Array, step: jax.Array | int, axis_name: str | None) -> jax.Array:
        restored = _apply(model, params, corrupt_batch(batch, key, step, corrupt))
        return inpainting_l2(restored, batch.images, is_real=batch.is_real, axis_name=axis_name)

    return loss


def segmentation_loss(
    model: UNet,
    membership: Bool[AnyArray, "256 k"],
    epsilon: float = 1e-7,
    *,
    cross_entropy_weight: float = 0.0,
    augmentation: str = "off",
) -> LossFunction:
    """Equation 2 between the sigmoid of the logits and the classes of the labels.

    Plus cross_entropy_weight * cross-entropy, where it is above 0. augmentation: "off" | "light" (augment_batch).
    """

    def loss(params: Params, batch: Batch, key: jax.Array, step: jax.Array | int, axis_name: str | None) -> jax.Array:
        if augmentation == "light":
            batch = augment_batch(batch, key, step)
        logits, real = _apply(model, params, batch.images), batch.is_real
        probability = jax.nn.sigmoid(logits)
        target = one_hot(batch.labels, membership)
        dice = batch_dice_loss(probability, target, epsilon=epsilon, is_real=real, axis_name=axis_name)
        if not cross_entropy_weight:
            return dice
        return dice + cross_entropy_weight * cross_entropy_loss(logits, target, is_real=real, axis_name=axis_name)

    return loss


class Slowed(NamedTuple):
    """Parts whose parameters learn at the learning rate times `factor`, and not at all in the first `steps` steps."""

    parts: tuple[str, ...] = ()
    factor: float = 1.0
    steps: int = 0


NOT_SLOWED = Slowed()


def keep_where(condition: jax.Array, new: Any, old: Any) -> Any:
    """`new` where the scalar `condition` holds, else `old`: trees of one structure."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def make_train_step(
    loss: LossFunction,
    optimizer: optax.GradientTransformation,
    *,
    frozen: Sequence[str] = (),
    slowed: Slowed = NOT_SLOWED,
    axis_name: str | None = None,
) -> TrainStep:
    """(state, batch, key) -> (state, {"loss", "gradient_norm", "finite"}); with `axis_name`, of the global batch.

    The parameters of the parts in `frozen` stay bit-equal, and no gradient of them is computed. Adam's moments of
    `slowed` parts are those of a run that is not slowed; only its updates are.
    A step whose loss or gradient is not finite leaves the state as it was, and says so by `finite`.
    """

    def loss_of_rest(params: Params, *rest: Any) -> jax.Array:
        held = {part: jax.lax.stop_gradient(params[part]) if part in frozen else params[part] for part in params}
        return loss(held, *rest)

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        value, gradients = jax.value_and_grad(loss_of_rest)(state.params, batch, key, state.step, axis_name)
        if axis_name is not None:
            # The loss is a global sum, whose transpose sums over devices once more: the mean is the exact gradient.
            gradients = jax.lax.pmean(gradients, axis_name)
        finite = functools.reduce(
            jnp.logical_and, (jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)), jnp.isfinite(value)
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        if slowed.parts:
            rate = jnp.where(state.step < slowed.steps, 0.0, slowed.factor)
            scaled = {part: jax.tree.map(lambda u: rate * u, updates[part]) for part in slowed.parts}
            updates = {**updates, **scaled}
        params = optax.apply_updates(state.params, updates)
        params = {**params, **{part: state.params[part] for part in frozen}}
        moved = TrainState(params=params, opt_state=opt_state, step=state.step + 1)
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(gradients), "finite": finite}
        return keep_where(finite, moved, state), metrics

    return step


def make_inpainting_validation_step(model: UNet, corrupt: Corruptor) -> ValidationStep:
    """(params, batch, key) -> sums of equation 1; the corruption depends on key and example alone, not on the epoch."""

    def step(params: Params, batch: Batch, key: jax.Array) -> Metrics:
        restored = _apply(model, params, corrupt_batch(batch, key, 0, corrupt))
        total, count = inpainting_sums(restored, batch.images, batch.is_real)
        return {"total": total, "count": count}

    return step


def make_segmentation_validation_step(model: UNet, membership: Bool[AnyArray, "256 k"]) -> ValidationStep:
    """(params, batch, key) -> per class the sums of equation 2."""

    def step(params: Params, batch: Batch, key: jax.Array) -> Metrics:
        del key
        probability = jax.nn.sigmoid(_apply(model, params, batch.images))
        intersection, total = dice_sums(probability, one_hot(batch.labels, membership), batch.is_real)
        return {"intersection": intersection, "total": total}

    return step


def make_restore_step(
    model: UNet, corrupt: Corruptor
) -> Callable[[Params, Batch, jax.Array], tuple[jax.Array, jax.Array]]:
    """(params, batch, key) -> corrupted and restored images (N, H, W, C)."""

    def step(params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        corrupted = corrupt_batch(batch, key, 0, corrupt)
        return corrupted, _apply(model, params, corrupted)

    return step


def make_predict_step(model: UNet, flips: Sequence[str] = ()) -> Callable[[Params, AnyArray], jax.Array]:
    """(params, images) -> (N, H, W, K) sigmoid probabilities, the mean over all combinations of `flips` of the images.

    flips: "rows", "columns" or both, as of trained.Segmenter; InputError for another name.
    """
    views = flip_views(flips)

    def step(params: Params, images: AnyArray) -> jax.Array:
        if len(views) == 1:
            return jax.nn.sigmoid(_apply(model, params, images))
        turned = [_apply(model, params, jnp.flip(images, axes)) for axes in views]
        found = [jnp.flip(jax.nn.sigmoid(logits), axes) for logits, axes in zip(turned, views, strict=True)]
        return functools.reduce(jnp.add, found) / len(found)

    return step
