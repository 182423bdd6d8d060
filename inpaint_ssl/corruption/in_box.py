"""Patches within a box of the image that is known only on the device: the part of a placed slice that is the scan's.

The two samplings are those of random_patches and poisson_disc. Their bounds for the whole image serve every box in it,
since patches fill a smaller box sooner. A box is top, left, bottom and right in pixels, the last two just outside.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from inpaint_ssl.corruption.poisson_disc import NEVER, ascending, throw_darts
from inpaint_ssl.corruption.random_patches import draw_singles, first_cover, make_plan, smallest_reaching
from inpaint_ssl.corruption.spec import (
    Patches,
    PatchSpec,
    Task,
    lattice_shape,
    lattice_step,
    patch_count,
    uniform_below,
)
from inpaint_ssl.errors import InputError


class Region(NamedTuple):
    """Where the patches of an image lie: corner int32 (2,) and size int32 (2,), rows before columns, in pixels."""

    corner: jax.Array
    size: jax.Array


def region_of(box: jax.Array | np.ndarray, image_size: tuple[int, int], spec: PatchSpec, task: Task) -> Region:
    """The part of `box` (4,) inside the image, or the whole image where that part holds too little.

    It has to hold one patch; for context restoration two, side by side or, of a Poisson-disc spec, with centres
    K*sqrt(2) apart. image_size has passed `spec.check`. Raises InputError, while tracing, for another shape of box.
    """
    box = jnp.asarray(box)
    if box.shape != (4,):
        raise InputError(f"box has shape {box.shape}, expected (4,): top, left, bottom, right; use vmap for a batch")
    whole, patch = jnp.array(image_size, jnp.int32), spec.patch_size
    ends = jnp.clip(box.astype(jnp.int32).reshape(2, 2), 0, whole)
    size = ends[1] - ends[0]
    fits = jnp.min(size) >= patch
    if task == "context_restoration":
        spare = size - patch
        holds_two = jnp.max(spare) >= patch if spec.sampling == "random" else jnp.sum(spare**2) >= 2 * patch**2
        fits &= holds_two
    return Region(jnp.where(fits, ends[0], 0), jnp.where(fits, size, whole))


def pixels_needed(size: jax.Array, image_size: tuple[int, int], spec: PatchSpec) -> jax.Array:
    """int32 (): ceil(area_fraction * area) of a region of this size, by a table: float32 products are not exact."""
    areas = np.arange(image_size[0] * image_size[1] + 1)
    table = np.ceil(np.round(spec.area_fraction * areas, 6)).astype(np.int32)
    return jnp.asarray(table)[size[0] * size[1]]


def sample_random(
    key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task, box: jax.Array | np.ndarray
) -> tuple[Patches, jax.Array]:
    """As random_patches.sample, in the region of `box`; the fraction is that of the region's area.

    Should all draws fall short, tiles of the region follow until the fraction is reached: the bool () tells.
    """
    corner, size = region_of(box, image_size, spec, task)
    plan, pairs = make_plan(image_size, spec, task), task == "context_restoration"
    drawn = (draw_pairs if pairs else draw_singles)(key, plan.n_draws, size, spec.patch_size)
    draws = jnp.concatenate([drawn, tiles(size, image_size, spec.patch_size, pairs)]) + corner
    needed = pixels_needed(size, image_size, spec)
    expected = (plan.expected_draws * (needed / plan.needed_pixels)).astype(jnp.int32)
    first = first_cover(draws, image_size, spec.patch_size)
    n_used = smallest_reaching(first, needed, draws.shape[0], expected, plan.spread)
    used = jnp.arange(draws.shape[0]) < n_used
    return Patches(draws.reshape(-1, 2), jnp.repeat(used, draws.shape[1])), n_used > plan.n_draws


def draw_pairs(key: jax.Array, n: int, size: jax.Array, patch_size: int) -> jax.Array:
    """Corners int32 (n, 2, 2) of pairs, uniform over all ordered pairs in `size` (2,) that do not overlap each other.

    Two patches are far from each other, K or more, in rows, or near in rows and far in columns. The pairs of either
    kind are numbered, so that nothing is drawn twice. `size` must hold two patches side by side.
    """
    places = size - patch_size + 1
    spare = jnp.maximum(places - patch_size, 0)
    far_count = spare * (spare + 1)
    near_count = places[0] ** 2 - far_count[0]
    float_counts = [count.astype(jnp.float32) for count in (far_count[0], places[1] ** 2, near_count, far_count[1])]
    far_in_rows = float_counts[0] * float_counts[1]
    share = far_in_rows / (far_in_rows + float_counts[2] * float_counts[3])
    bits = random.bits(key, (5, n), jnp.uint32)
    far = (bits[4] >> 8).astype(jnp.float32) * 2.0**-24 < share
    rows = jnp.where(far, _far_places(bits[:2], spare[0], patch_size), _near_places(bits[0], places[0], patch_size))
    columns = jnp.where(far, uniform_below(bits[2:4], places[1]), _far_places(bits[2:4], spare[1], patch_size))
    return jnp.stack([rows, columns]).transpose(2, 1, 0)


def _far_places(bits: jax.Array, spare: jax.Array, patch_size: int) -> jax.Array:
    """int32 (2, n): places of two patches on a side, K or more apart, uniform over all; anything where spare is 0.

    Without the K between them these are two numbers i <= j < spare in either order: the cells of a rectangle of
    spare x (spare + 1), the half beyond its diagonal turned about. bits: uint32 (2, n), random.
    """
    row, column = uniform_below(bits[0], jnp.maximum(spare, 1)), uniform_below(bits[1], spare + 1)
    beyond = column > row
    smaller, larger = jnp.where(beyond, spare - column, column), jnp.where(beyond, spare - 1 - row, row) + patch_size
    return jnp.stack([jnp.where(beyond, larger, smaller), jnp.where(beyond, smaller, larger)])


def _near_places(bits: jax.Array, places: jax.Array, patch_size: int) -> jax.Array:
    """int32 (2, n): of `places` on a side two that are less than K apart, uniform over all. bits: uint32 (n,), random.

    A pair is at a distance d > 0, of which there are places - d, or, in the other order, at w - d, of which there are
    places - w + d: together always as many. w: K, or `places` where that is less.
    """
    width = jnp.minimum(places, patch_size)
    both = 2 * places - width
    number = uniform_below(bits, places + (width - 1) * both)
    equal = number < places
    distance, place = (number - places) // both + 1, (number - places) % both
    turned = place >= places - distance
    place = jnp.where(equal, number, jnp.where(turned, place - (places - distance), place))
    other = place + jnp.where(equal, 0, jnp.where(turned, width - distance, distance))
    return jnp.stack([jnp.where(turned, other, place), jnp.where(turned, place, other)])


def tiles(size: jax.Array, image_size: tuple[int, int], patch_size: int, pairs: bool) -> jax.Array:
    """Draws int32 (n, 1 or 2, 2) that cover `size` (2,): tiles, each, for pairs, with one that does not overlap it.

    As many as the whole image needs; in a smaller region the last ones repeat.
    """
    last = size - patch_size
    starts = [jnp.minimum(jnp.arange(0, side, patch_size), end) for side, end in zip(image_size, last, strict=True)]
    tile = jnp.stack(jnp.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    if not pairs:
        return tile
    # Along the longer side, which has room for two: the last beside the first, and the first beside all others.
    longer = jnp.stack([size[0] >= size[1], size[0] < size[1]])
    other = jnp.where(longer, jnp.where(tile >= patch_size, 0, last), tile)
    return jnp.concatenate([tile, other], axis=1)


def sample_discs(
    key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task, box: jax.Array | np.ndarray
) -> tuple[Patches, jax.Array]:
    """As poisson_disc.sample, in the region of `box`; and a bool (): did darts find fewer than the fraction asks for?

    Used are ceil(area_fraction * area of the region / K^2) patches, even for context restoration. Where darts do not
    find as many, it is the lattice if it has at least as many as they found, else what they found: in a region that is
    small or narrow the patches may be fewer than asked for, but always one, or one pair.
    """
    corner, size = region_of(box, image_size, spec, task)
    most, per_draw = patch_count(image_size, spec, task), 2 if task == "context_restoration" else 1
    count = -(-pixels_needed(size, image_size, spec) // spec.patch_size**2)
    count = jnp.minimum(count + count % per_draw, most)
    rows, columns = lattice_shape(image_size, spec.patch_size)
    key_darts, key = random.split(key)
    parts = np.cumsum([2 * rows, rows * columns, most])
    bits = jnp.split(random.bits(key, (parts[-1] + 1,), jnp.uint32), parts)
    bits_lattice, bits_subset, bits_order, bits_diagonal = bits
    spare = size - spec.patch_size
    corners, number = throw_darts(key_darts, image_size, spec.patch_size, count, (corner, corner + spare))
    n_found = jnp.sum(number != NEVER)
    too_few = n_found < count
    lattice, in_lattice = _lattice(bits_lattice.reshape(2, rows), columns, size, spec.patch_size)
    n_lattice = jnp.sum(in_lattice)
    takes_lattice = too_few & (n_lattice >= n_found)
    further = (0, corners.shape[0] - lattice.shape[0])
    subset = jnp.pad(jnp.where(in_lattice, bits_subset >> 1, NEVER), further, constant_values=NEVER)
    corners = jnp.where(takes_lattice, jnp.pad(lattice + corner, (further, (0, 0))), corners)
    corners = corners[ascending(jnp.where(takes_lattice, subset, number))[:most]]
    n_used = jnp.minimum(jnp.where(takes_lattice, n_lattice, n_found), count)
    n_used -= n_used % per_draw
    index = jnp.arange(most)
    if per_draw == 2:  # the region holds two, if nowhere else then in opposite corners
        one, other = jnp.array([[0, 0], [0, 1]]), jnp.array([[1, 1], [1, 0]])
        pair = corner + spare * jnp.stack([one, other], axis=1)[bits_diagonal[0] & 1]
        none = n_used == 0
        corners = jnp.where(none, jnp.resize(pair, corners.shape), corners)
        n_used = jnp.where(none, 2, n_used)
    used = index < n_used
    corners = corners[ascending(jnp.where(used, bits_order >> 1, NEVER))]
    return Patches(jnp.where(used[:, None], corners, corners[0]), used), too_few


def _lattice(bits: jax.Array, columns: int, size: jax.Array, patch_size: int) -> tuple[jax.Array, jax.Array]:
    """As poisson_disc.jittered_lattice, in `size` (2,): corners int32 (rows * columns, 2), and which there are, bool.

    bits: uint32 (2, rows), random; rows and columns of the lattice of the whole image.
    """
    rows, step = bits.shape[1], lattice_step(patch_size)
    n = (size - patch_size) // step + 1
    jitter = uniform_below(bits, (size - patch_size - (n - 1) * step + 1)[:, None])
    in_rows, in_columns = jnp.arange(rows) < n[0], jnp.arange(columns) < n[1]
    row = jnp.arange(rows) * step + jnp.sort(jnp.where(in_rows, jitter[0], jnp.iinfo(jnp.int32).max))
    column = jnp.arange(columns) * step + jitter[1][:, None]
    corners = jnp.stack([jnp.broadcast_to(row[:, None], column.shape), column], axis=-1)
    return corners.reshape(-1, 2), (in_rows[:, None] & in_columns).reshape(-1)
