"""Augmentation of slices: light random changes in training, and flips whose predictions are averaged.

Not in the paper, and off by default. Everything is for one image; vmap it over a batch.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8

from inpaint_ssl.errors import InputError
from inpaint_ssl.types import AnyArray

# How far a draw is from no change at most, uniformly: rotation in degrees, scale, shift as a share of the side (rows,
# columns), contrast, brightness in standard deviations of the normalised intensities.
LARGEST = (14.0, 0.2, 0.04, 0.04, 0.15, 0.15)
FLIPS = {"rows": 1, "columns": 2}  # axes of (N, H, W, C) that are turned round


class Change(NamedTuple):
    """What is done to an image, scalars: about its centre it is scaled by `scale` (above 1: larger), turned by
    `angle_deg` (above 0: counter-clockwise as displayed, rows downwards) and then shifted by `down` and `right`, shares
    of its height and width; then its intensities are stretched by `contrast` about the mean of each channel and raised
    by `brightness`.
    """

    angle_deg: AnyArray
    scale: AnyArray
    down: AnyArray
    right: AnyArray
    contrast: AnyArray
    brightness: AnyArray


def draw_change(key: jax.Array) -> Change:
    """The change that `augment` makes with this key: no change, plus or minus up to LARGEST."""
    drawn = jax.random.uniform(key, (len(LARGEST),), minval=-1.0, maxval=1.0) * np.array(LARGEST, np.float32)
    angle, scale, down, right, contrast, brightness = (drawn[i] for i in range(len(LARGEST)))
    return Change(angle, 1 + scale, down, right, 1 + contrast, brightness)


def augment(
    key: jax.Array, image: Num[AnyArray, "h w c"], label: UInt8[AnyArray, "h w"]
) -> tuple[Float[Array, "h w c"], UInt8[Array, "h w"]]:
    """An image of normalised intensities (H, W, C) and its label values (H, W), both changed at random and alike.

    The result depends on `key` and the arguments alone. Types and sizes stay (integers become float32).
    """
    return apply_change(draw_change(key), image, label)


def apply_change(
    change: Change, image: Num[AnyArray, "h w c"], label: UInt8[AnyArray, "h w"]
) -> tuple[Float[Array, "h w c"], UInt8[Array, "h w"]]:
    """The image interpolated linearly, the labels by the nearest pixel. What comes from outside takes the nearest pixel
    of the image's edge, and label 0. Intensities change in the image alone, all channels by the same numbers. No change
    (angle, shift and brightness 0, scale and contrast 1) gives back equal values.
    """
    pixels, labels = jnp.asarray(image), jnp.asarray(label)
    height, width, channels = pixels.shape
    kind = pixels.dtype if jnp.issubdtype(pixels.dtype, jnp.floating) else jnp.dtype(jnp.float32)
    rows, columns = _origins(change, height, width)
    (top, bottom, below), (left, right, beside) = _between(rows, height), _between(columns, width)
    corners = jnp.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right])
    found = pixels.reshape(height * width, channels).at[corners].get(mode="promise_in_bounds").astype(jnp.float32)
    shares = jnp.stack([(1 - below) * (1 - beside), (1 - below) * beside, below * (1 - beside), below * beside])
    parts = [found[i] * shares[i][..., None] for i in range(4)]  # a sum over an axis took twice as long on a CPU
    moved = parts[0] + parts[1] + parts[2] + parts[3]
    row, column = (jnp.floor(of + 0.5).astype(jnp.int32) for of in (rows, columns))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    nearest = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    moved_labels = labels.reshape(height * width).at[nearest].get(mode="promise_in_bounds")
    contrast, brightness = jnp.asarray(change.contrast), jnp.asarray(change.brightness)
    # Not mean + contrast * (moved - mean), which rounds where nothing is to change.
    shown = contrast * moved + ((1 - contrast) * moved.mean(axis=(0, 1)) + brightness)
    return shown.astype(kind), jnp.where(inside, moved_labels, jnp.zeros((), labels.dtype))


def _origins(change: Change, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """(H, W) row and column, both float32, that each pixel of the changed image comes from."""
    middle = (height - 1) / 2, (width - 1) / 2
    down = jnp.arange(height, dtype=jnp.float32)[:, None] - middle[0] - change.down * height
    right = jnp.arange(width, dtype=jnp.float32)[None, :] - middle[1] - change.right * width
    angle = jnp.deg2rad(jnp.asarray(change.angle_deg, jnp.float32))
    cosine, sine = jnp.cos(angle) / change.scale, jnp.sin(angle) / change.scale
    return cosine * down + sine * right + middle[0], cosine * right - sine * down + middle[1]


def _between(position: jax.Array, side: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The two pixels that a position along an axis lies between, and its share of the second; nowhere outside."""
    position = jnp.clip(position, 0, side - 1)
    first = position.astype(jnp.int32)
    return first, jnp.minimum(first + 1, side - 1), position - first


def flip_views(flips: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Every combination of the flips named, as the axes of (N, H, W, C) that it turns round; () is the image as it is.

    flips: "rows", "columns", both or none; InputError for another name.
    """
    unknown = [name for name in flips if name not in FLIPS]
    if unknown:
        raise InputError(f"flips: got {unknown[0]!r}, expected rows, columns or both")
    axes = [FLIPS[name] for name in dict.fromkeys(flips)]
    combinations = itertools.product((False, True), repeat=len(axes))
    return tuple(tuple(axis for axis, on in zip(axes, used, strict=True) if on) for used in combinations)
