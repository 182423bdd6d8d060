"""Losses of the paper (section 6.1.1, equations 1 and 2), cross-entropy, and the sums they are made of.

With `axis_name` the sums run over all devices of that axis (pmap, shard_map), so that a batch gives the same value
however it is split. `is_real` (N,) leaves padded rows out.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from inpaint_ssl.types import AnyArray


def _global_sum(value: jax.Array, axis_name: str | None) -> jax.Array:
    return value if axis_name is None else jax.lax.psum(value, axis_name)


def _at_least_float32(values: AnyArray) -> jax.Array:
    array = jnp.asarray(values)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _weights(is_real: Bool[AnyArray, "n"] | None, count: int) -> jax.Array:
    return jnp.ones((count,), jnp.float32) if is_real is None else jnp.asarray(is_real).astype(jnp.float32)


def _check_shapes(prediction: AnyArray, target: AnyArray, is_real: AnyArray | None) -> None:
    if prediction.ndim != 4 or prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape} and target {target.shape}, expected the same (N, H, W, C) of both"
        )
    if is_real is not None and is_real.shape != prediction.shape[:1]:
        raise ValueError(f"is_real has shape {is_real.shape}, expected ({prediction.shape[0]},): one entry per image")


def inpainting_sums(
    prediction: Float[AnyArray, "n h w c"],
    target: Float[AnyArray, "n h w c"],
    is_real: Bool[AnyArray, "n"] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Sum over the real images of the squared error (summed over pixels, averaged over channels), and their number."""
    _check_shapes(prediction, target, is_real)
    squared = jnp.square(_at_least_float32(prediction) - _at_least_float32(target))
    weights = _weights(is_real, prediction.shape[0])
    return jnp.sum(jnp.mean(jnp.sum(squared, axis=(1, 2)), axis=-1) * weights), jnp.sum(weights)


def inpainting_l2(
    prediction: Float[AnyArray, "n h w c"],
    target: Float[AnyArray, "n h w c"],
    *,
    is_real: Bool[AnyArray, "n"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Equation 1: squared error summed over pixels, averaged over images and channels. 0 when no image is real."""
    total, count = inpainting_sums(prediction, target, is_real)
    return _global_sum(total, axis_name) / jnp.maximum(_global_sum(count, axis_name), 1.0)


def dice_sums(
    probability: Float[AnyArray, "n h w k"],
    target: Shaped[AnyArray, "n h w k"],
    is_real: Bool[AnyArray, "n"] | None = None,
) -> tuple[Float[Array, "k"], Float[Array, "k"]]:
    """Per class the sums over images and pixels of probability * target and of probability + target."""
    _check_shapes(probability, target, is_real)
    weights = _weights(is_real, probability.shape[0])[:, None]
    probability, target = _at_least_float32(probability), _at_least_float32(target)
    intersection = jnp.sum(jnp.sum(probability * target, axis=(1, 2)) * weights, axis=0)
    total = jnp.sum(jnp.sum(probability + target, axis=(1, 2)) * weights, axis=0)
    return intersection, total


def dice_loss_of_sums(intersection: AnyArray, total: AnyArray, epsilon: float = 1e-7) -> Any:
    """Equation 2 from the sums (K,) of dice_sums, over a batch or a whole set: mean over classes."""
    return (1.0 - (2.0 * intersection + epsilon) / (total + epsilon)).mean()


def batch_dice_loss(
    probability: Float[AnyArray, "n h w k"],
    target: Shaped[AnyArray, "n h w k"],
    *,
    epsilon: float = 1e-7,
    is_real: Bool[AnyArray, "n"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Equation 2: Dice loss over the whole mini-batch per class, averaged over classes.

    `probability` in [0, 1], `target` 0 or 1 (any dtype). A class absent from batch and prediction has loss 0.
    """
    intersection, total = dice_sums(probability, target, is_real)
    intersection, total = _global_sum(intersection, axis_name), _global_sum(total, axis_name)
    return jnp.asarray(dice_loss_of_sums(intersection, total, epsilon))


def cross_entropy_loss(
    logits: Float[AnyArray, "n h w k"],
    target: Shaped[AnyArray, "n h w k"],
    *,
    is_real: Bool[AnyArray, "n"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Binary cross-entropy (natural logarithm) of sigmoid(logits), mean over real images, pixels and classes; not in
    the paper.

    `target` 0 or 1 (any dtype). Finite for every finite logit. 0 when no image is real.
    """
    _check_shapes(logits, target, is_real)
    weights = _weights(is_real, logits.shape[0])
    # -log of the probability of what is true: of a target that is 0 or 1 one softplus is enough.
    wrong = jax.nn.softplus(_at_least_float32(logits) * (1.0 - 2.0 * _at_least_float32(target)))
    total = _global_sum(jnp.sum(jnp.mean(wrong, axis=(1, 2, 3)) * weights), axis_name)
    return total / jnp.maximum(_global_sum(jnp.sum(weights), axis_name), 1.0)
