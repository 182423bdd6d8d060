"""Masks made beforehand and turned at random: the paper's way (section 2.4), for comparison with fresh ones."""

import dataclasses
import functools
import numbers

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from inpaint_ssl.corruption.apply import apply_patches, as_image, sample_patches
from inpaint_ssl.corruption.spec import Patches, PatchSpec, Task
from inpaint_ssl.errors import InputError


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["patches"], meta_fields=["image_size", "spec", "task"]
)
@dataclasses.dataclass(frozen=True)
class MaskBank:
    """Masks of one task for square images; an argument of jitted functions like any array.

    patches: corners int32 (size, max_patches, 2) and used bool (size, max_patches), as `sample_patches` gives them.
    """

    patches: Patches
    image_size: tuple[int, int]
    spec: PatchSpec
    task: Task


def make_mask_bank(
    key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task, size: int = 100
) -> MaskBank:
    """`size` masks of (height, width) pixels, drawn independently. The paper makes 100 before training.

    Raises InputError when the image is not square, since masks are turned by 90 degrees, when size < 1, or when the
    spec does not suit the image size.
    """
    height, width = (int(side) for side in image_size)
    if height != width:
        raise InputError(
            f"image size is {height} x {width}, expected a square one: a bank turns its masks by 90 degrees; use fresh "
            "masks or square images"
        )
    if not isinstance(size, numbers.Integral) or size < 1:
        raise InputError(f"size of the mask bank is {size!r}, expected a whole number >= 1")
    return MaskBank(_draw(key, (height, width), spec, task, size), (height, width), spec, task)


@functools.partial(jax.jit, static_argnames=("image_size", "task", "size"))
def _draw(key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task, size: int) -> Patches:
    return lax.map(lambda one: sample_patches(one, image_size, spec, task), random.split(key, size))


@functools.partial(jax.jit, static_argnames="pair_anew")
def corrupt_from_bank(
    key: jax.Array, image: jax.Array | np.ndarray, bank: MaskBank, *, pair_anew: bool = False
) -> jax.Array:
    """Corrupt an image (H, W, C) by a mask drawn uniformly from the bank, turned by 0, 90, 180 or 270 degrees.

    Turns are counter-clockwise, all equally likely (section 2.4); the bank's task decides between zero and swap.
    pair_anew: swap the patches of a Poisson-disc mask in newly drawn pairs, as the original code does; the text of the
    paper, and the default, make the pairs part of the mask. Raises InputError for an image of another size, and for
    pair_anew with random sampling, whose patches may overlap.
    """
    image = as_image(image)
    if image.shape[:2] != bank.image_size:
        got, expected = (f"{size[0]} x {size[1]}" for size in (image.shape, bank.image_size))
        raise InputError(f"image has {got} pixels, expected the {expected} that the mask bank was made for")
    if pair_anew and (bank.spec.sampling, bank.task) != ("poisson_disc", "context_restoration"):
        raise InputError(
            f"pair_anew with {bank.spec.sampling} sampling and {bank.task}, expected poisson_disc and "
            "context_restoration: other patches have no pairs or may overlap; leave pair_anew out"
        )
    key_mask, key_turns, key_pairs = random.split(key, 3)
    mask = random.randint(key_mask, (), 0, bank.patches.used.shape[0])
    corners = _turned(bank.patches.corners[mask], random.randint(key_turns, (), 0, 4), bank)
    if pair_anew:
        corners = random.permutation(key_pairs, corners)
    return apply_patches(image, Patches(corners, bank.patches.used[mask]), bank.spec, bank.task)


def _turned(corners: jax.Array, turns: jax.Array, bank: MaskBank) -> jax.Array:
    """Corners (n, 2) of the patches after that many quarter turns of the image, counter-clockwise as in numpy.rot90."""
    last = bank.image_size[0] - bank.spec.patch_size
    row, column = corners[:, 0], corners[:, 1]
    rows = jnp.stack([row, last - column, last - row, column])
    columns = jnp.stack([column, row, last - column, last - row])
    return jnp.stack([rows[turns], columns[turns]], axis=-1)
