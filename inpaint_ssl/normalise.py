"""Normalisation on the device: raw intensities of placed slices to network input (paper, section 2.2).

MRI: z-score per volume and channel, by statistics of the whole volume that were stored when it was prepared. CT: HU
windows as channels, then z-score per image and channel from the image itself, without its margin.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from inpaint_ssl.data import Preprocessing
from inpaint_ssl.data.intensity import AIR_HU
from inpaint_ssl.types import AnyArray

Normaliser = Callable[[AnyArray, AnyArray, AnyArray], jax.Array]


@functools.lru_cache(maxsize=64)
def normaliser(preprocessing: Preprocessing | None) -> Normaliser:
    """(raw images (N, H, W, channels), boxes (N, 4), statistics (N, 4, C)) -> float32 (N, H, W, C); pure.

    boxes and statistics are those of data.SliceRecord. None, for images that are normalised already, only converts.
    """

    if preprocessing is None:
        return lambda images, boxes, statistics: jnp.asarray(images).astype(jnp.float32)
    one = functools.partial(_normalise_one, preprocessing)
    return lambda images, boxes, statistics: jax.vmap(one)(*map(jnp.asarray, (images, boxes, statistics)))


def _normalise_one(how: Preprocessing, image: jax.Array, box: jax.Array, statistics: jax.Array) -> jax.Array:
    inside = inside_box(box, *image.shape[:2])
    if how.modality == "ct":
        return window_z_score(image[..., 0], inside, how.hu_windows)
    return z_score(root_sum_of_squares(image) if how.channels == "root_sum_of_squares" else image, inside, statistics)


def part_normaliser(preprocessing: Preprocessing) -> Callable[..., jax.Array]:
    """As `normaliser`, of images that are parts of larger slices: (images, boxes, statistics, references, their boxes).

    references (N, H, W, channels) is what training would have seen of each slice, its centre: CT is scored as there.
    """
    if preprocessing.modality != "ct":
        whole = normaliser(preprocessing)
        return lambda images, boxes, statistics, references, reference_boxes: whole(images, boxes, statistics)

    def one(image: jax.Array, box: jax.Array, reference: jax.Array, reference_box: jax.Array) -> jax.Array:
        size = image.shape[:2]
        measured = reference[..., 0], inside_box(reference_box, *size)
        return window_z_score(image[..., 0], inside_box(box, *size), preprocessing.hu_windows, measured)

    return lambda images, boxes, statistics, references, reference_boxes: jax.vmap(one)(
        *map(jnp.asarray, (images, boxes, references, reference_boxes))
    )


@functools.lru_cache(maxsize=64)
def jitted_normaliser(preprocessing: Preprocessing | None) -> Normaliser:
    """`normaliser`, compiled, for use outside of a step."""
    return jax.jit(normaliser(preprocessing))


def inside_box(box: Int[AnyArray, "4"], height: int, width: int) -> Bool[Array, "h w"]:
    """True from (top, left) up to, without it, (bottom, right)."""
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    top, left, bottom, right = (jnp.asarray(box)[i] for i in range(4))
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def root_sum_of_squares(image: AnyArray) -> Float[Array, "h w 1"]:
    """The channels of (H, W, channels) combined; a single channel stays as it is."""
    values = jnp.asarray(image).astype(jnp.float32)
    if values.shape[-1] == 1:
        return values
    return jnp.sqrt(jnp.square(values).sum(axis=-1, keepdims=True))


def z_score(
    image: AnyArray, inside: Bool[AnyArray, "h w"], statistics: Float[AnyArray, "4 c"]
) -> Float[Array, "h w c"]:
    """(image - mean) / standard deviation by Preprocessing.statistics; the margin takes the scan's minimum."""
    whole, rest, scale, margin = (jnp.asarray(statistics)[i] for i in range(4))
    # The difference of whole numbers is exact in float32, whatever the mean.
    scored = ((jnp.asarray(image).astype(jnp.float32) - whole) - rest) * scale
    return jnp.where(jnp.asarray(inside)[..., None], scored, margin)


def window_z_score(
    hu: AnyArray,
    inside: Bool[AnyArray, "h w"],
    windows: tuple[tuple[float, float], ...],
    reference: tuple[AnyArray, AnyArray] | None = None,
) -> Float[Array, "h w c"]:
    """HU (H, W) as windowed channels, each z-scored over what is inside; the margin is air (-1024 HU).

    windows: (width, level) in HU; values are clipped to [level - width/2, level + width/2]. A channel that is constant
    inside becomes zeros, its margin too. reference: HU (H2, W2) and what is inside of them, over which the score is
    taken instead, for parts of a slice that is larger than an image.
    """
    values = jnp.where(inside, jnp.asarray(hu).astype(jnp.float32), AIR_HU)
    if reference is None:
        measured, measured_inside = values, jnp.asarray(inside)
    else:
        measured_inside = jnp.asarray(reference[1])
        measured = jnp.where(measured_inside, jnp.asarray(reference[0]).astype(jnp.float32), AIR_HU)
    count = jnp.maximum(measured_inside.sum(), 1)

    def mean(of: jax.Array) -> jax.Array:
        # by rows: one long float32 sum would lose digits
        return jnp.where(measured_inside, of, 0).sum(axis=1).sum() / count

    channels = []
    for width, level in windows:
        clipped, scored = (jnp.clip(part - level, -width / 2, width / 2) for part in (measured, values))
        low = jnp.where(measured_inside, clipped, jnp.inf).min()
        high = jnp.where(measured_inside, clipped, -jnp.inf).max()
        varies = low < high
        # Taken from the minimum, and the mean in two steps: an image that is nearly all air has a standard deviation
        # far below the rounding of its mean.
        base = jnp.where(varies, low, 0)
        centred = clipped - base
        first = mean(centred)
        centred = centred - first
        second = mean(centred)
        centred = centred - second
        variance = mean(jnp.square(centred))
        if reference is not None:
            centred = scored - base - first - second
        # Divided by 1 where it is constant, so that neither the value nor its derivative is infinite.
        channels.append(jnp.where(varies, centred / jnp.sqrt(jnp.where(varies, variance, 1)), 0))
    return jnp.stack(channels, axis=-1)
