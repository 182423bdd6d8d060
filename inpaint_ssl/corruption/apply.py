"""The two corruptions of the paper (section 2.4), each for one image; vmap them over a batch."""

import functools
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inpaint_ssl.corruption import in_box, poisson_disc, random_patches
from inpaint_ssl.corruption.spec import Patches, PatchSpec, Task
from inpaint_ssl.errors import InputError

# (key, image (H, W, C), box (4,) of the scan in it) -> corrupted image
Corruptor = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Corruption(Protocol):
    """A pretext task for one image: context_prediction, context_restoration."""

    def __call__(
        self, key: jax.Array, image: jax.Array, spec: PatchSpec, box: jax.Array | None = None
    ) -> jax.Array: ...


# Whole K x K windows of a map (H, W), by the corners (n, 2).
_READ = lax.GatherDimensionNumbers((1, 2), (), (0, 1))
_WRITE = lax.ScatterDimensionNumbers((1, 2), (), (0, 1))
_IN_BOUNDS = lax.GatherScatterMode.PROMISE_IN_BOUNDS
_OR_DROPPED = lax.GatherScatterMode.FILL_OR_DROP


def sample_patches(
    key: jax.Array,
    image_size: tuple[int, int],
    spec: PatchSpec,
    task: Task = "context_prediction",
    box: jax.Array | np.ndarray | None = None,
) -> Patches:
    """The patches that `context_prediction` (or the task named) uses with this key on an image of (height, width).

    For context restoration patches 2i and 2i + 1 are the pair i, to be swapped in this order. box: int (4,), top, left,
    bottom and right, the last two just outside; patches lie within it and the fraction is that of its area, unless it
    is too small, see in_box.region_of. Raises InputError, while tracing, when the spec does not suit the image size.
    """
    height, width = (int(side) for side in image_size)
    spec.check((height, width), task)
    return _sample(key, (height, width), spec, task, box)


# jitted here because outside jit the loops would be compiled anew at every call; inside jit it changes nothing.
@functools.partial(jax.jit, static_argnames=("image_size", "task"))
def _sample(key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task, box: jax.Array | None) -> Patches:
    if box is not None:
        sample_in_box = in_box.sample_random if spec.sampling == "random" else in_box.sample_discs
        return sample_in_box(key, image_size, spec, task, box)[0]
    sampler = random_patches if spec.sampling == "random" else poisson_disc
    return sampler.sample(key, image_size, spec, task)[0]


@jax.jit
def context_prediction(
    key: jax.Array, image: jax.Array | np.ndarray, spec: PatchSpec, box: jax.Array | np.ndarray | None = None
) -> jax.Array:
    """Set patches of an image (H, W, C) to zero in every channel until they cover the area fraction (section 2.4).

    All other pixels stay as they are, bit for bit; the data type stays. box: as for `sample_patches`; None is the
    whole image. Raises InputError for another number of dimensions or when the spec does not suit the image size.
    """
    image = as_image(image)
    patches = sample_patches(key, (image.shape[0], image.shape[1]), spec, "context_prediction", box)
    return apply_patches(image, patches, spec, "context_prediction")


@jax.jit
def context_restoration(
    key: jax.Array, image: jax.Array | np.ndarray, spec: PatchSpec, box: jax.Array | np.ndarray | None = None
) -> jax.Array:
    """Swap pairs of patches of an image (H, W, C) until the touched pixels reach the area fraction (section 2.4).

    The two patches of a pair never overlap. With random sampling a later pair may overlap earlier ones and moves what
    is there then. All channels move together and the values of each channel are only re-arranged; the data type stays.
    box: as for `sample_patches`; None is the whole image. Raises InputError for another number of dimensions or when
    the spec does not suit the image size.
    """
    image = as_image(image)
    patches = sample_patches(key, (image.shape[0], image.shape[1]), spec, "context_restoration", box)
    return apply_patches(image, patches, spec, "context_restoration")


CORRUPTORS: dict[str, Corruption] = {
    "context_restoration": context_restoration,
    "context_prediction": context_prediction,
}


def as_image(image: jax.Array | np.ndarray) -> jax.Array:
    """The image as a jax array; InputError unless it is (H, W, C)."""
    image = jnp.asarray(image)
    if image.ndim != 3:
        raise InputError(f"image has shape {image.shape}, expected (height, width, channels): use vmap for a batch")
    return image


def apply_patches(image: jax.Array, patches: Patches, spec: PatchSpec, task: Task) -> jax.Array:
    """Zero the used patches of an image (H, W, C), or swap its used pairs, as `task` says.

    Used patches of a Poisson-disc spec must not overlap.
    """
    height, width, channels = image.shape
    if task == "context_prediction":
        corners = jnp.where(patches.used[:, None], patches.corners, patches.corners[0])  # the first one is always used
        mask = _write(jnp.zeros((height, width), bool), corners, jnp.array(True), spec.patch_size)
        return jnp.where(mask[..., None], jnp.zeros((), image.dtype), image)
    source = lax.iota(jnp.int32, height * width).reshape(height, width)
    if spec.sampling == "random":
        source = _swap_in_order(source, patches, spec.patch_size)
    else:
        partner = patches.corners.reshape(-1, 2, 2)[:, ::-1].reshape(-1, 2)
        block = source[: spec.patch_size, : spec.patch_size]
        values = (partner[:, 0] * width + partner[:, 1])[:, None, None] + block
        # An unused patch lies beyond the image, where nothing is written, each elsewhere: indices must not repeat.
        beyond = height + spec.patch_size * lax.iota(jnp.int32, patches.used.shape[0])
        corners = jnp.where(patches.used[:, None], patches.corners, beyond[:, None])
        source = _write(source, corners, values, spec.patch_size, disjoint=True)
    pixels = image.reshape(height * width, channels)
    return pixels.at[source].get(mode="promise_in_bounds", unique_indices=True)


def _write(
    target: jax.Array, corners: jax.Array, values: jax.Array, patch_size: int, disjoint: bool = False
) -> jax.Array:
    """Write values (n, K, K), or one value, into the patches of target (H, W); disjoint ones may lie outside of it."""
    updates = jnp.broadcast_to(values, (corners.shape[0], patch_size, patch_size))
    return lax.scatter(
        target, corners, updates, _WRITE, unique_indices=disjoint, mode=_OR_DROPPED if disjoint else _IN_BOUNDS
    )


def _swap_in_order(source: jax.Array, patches: Patches, patch_size: int) -> jax.Array:
    """Swap the used pairs one after another in a map of pixels (H, W)."""
    pairs = patches.corners.reshape(-1, 2, 2)
    # An unused pair swaps a patch with itself: the number of steps is fixed, which keeps the loop cheap under vmap.
    second = jnp.where(patches.used[::2, None], pairs[:, 1], pairs[:, 0])
    pairs = jnp.stack([pairs[:, 0], second], axis=1)

    def swap(step: jax.Array, source: jax.Array) -> jax.Array:
        # One read and one write of both patches: with two of each XLA copies the whole map in every step.
        both = lax.gather(source, pairs[step], _READ, (patch_size, patch_size), mode=_IN_BOUNDS)
        return lax.scatter(source, pairs[step, ::-1], both, _WRITE, mode=_IN_BOUNDS)

    # The map varies over the same devices as the pairs, for shard_map.
    return lax.fori_loop(0, pairs.shape[0], swap, source + 0 * pairs[0, 0, 0])
