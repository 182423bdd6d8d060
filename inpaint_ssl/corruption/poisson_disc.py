"""Poisson-disc sampling of patches by dart throwing, in parallel and in bounded time (paper, section 2.5.2).

Dart throwing: uniform darts, one after another; a dart nearer than the radius to an accepted one is rejected. Here many
darts fly at once. Cells have the side K of a patch, so that the radius K*sqrt(2) leaves room for one accepted dart per
cell. In each round every cell throws one dart, and a random priority puts the darts of a round in order. Priorities are
resolved in two passes: a dart is accepted if no dart of better priority that is still in play is too near; darts near
an accepted one leave the play. What two passes leave undecided (few darts) is thrown away. Patches are taken in the
order of acceptance, so that they lie nearly as those of dart throwing one by one (BUILD_NOTES.md says how nearly).

Centres differ from corners by a constant, so all distances are taken between corners, exactly, in whole pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from inpaint_ssl.corruption.spec import (
    Patches,
    PatchSpec,
    Task,
    lattice_shape,
    lattice_step,
    patch_count,
    uniform_below,
)

# The paper's settings need 2 or 3 rounds, with patches of 64 x 64 now and then 20. Once in 30,000 masks the first of 16
# such patches leave no room for the others: then all darts are thrown anew. A denser demand ends with the lattice.
ROUNDS_OF_A_TRY = 31  # five bits below the 31 of NEVER, so that no dart is ever taken for none
MAX_ROUNDS = 3 * ROUNDS_OF_A_TRY
_PASSES = 2
NEVER = np.uint32(2**32 - 1)

# Cells that can hold a centre nearer than K*sqrt(2): 5 x 5 without its corners and its middle.
_NEIGHBOURS = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if 0 < i * i + j * j < 8]


def sample(key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task) -> tuple[Patches, jax.Array]:
    """Patches with centres at least K*sqrt(2) apart, in random order, all used; and a bool (): are they the lattice's?

    image_size is (height, width) and has passed `spec.check`. Their number is ceil(area_fraction * height * width /
    K^2), made even for context restoration.
    """
    count = patch_count(image_size, spec, task)
    rows, columns = lattice_shape(image_size, spec.patch_size)
    key_darts, key = random.split(key)
    # All random numbers but those of the darts at once: a call costs more than what it draws.
    parts = np.cumsum([2 * rows, rows * columns])
    bits_lattice, bits_subset, bits_order = jnp.split(random.bits(key, (parts[-1] + count,), jnp.uint32), parts)
    corners, accepted_at = throw_darts(key_darts, image_size, spec.patch_size, count)
    too_few = jnp.sum(accepted_at != NEVER) < count
    lattice = jittered_lattice(bits_lattice.reshape(2, rows), image_size, spec.patch_size)
    further = (0, accepted_at.shape[0] - lattice.shape[0])
    number = bits_subset >> 1
    corners = jnp.where(too_few, jnp.pad(lattice, (further, (0, 0))), corners)
    number = jnp.where(too_few, jnp.pad(number, further, constant_values=NEVER), accepted_at)
    corners = corners[ascending(number)[:count]]
    return Patches(corners[ascending(bits_order)], jnp.ones(count, bool)), too_few


def ascending(number: jax.Array) -> jax.Array:
    """Indices int32 (n,) that sort uint32 numbers (n,) by all but their lowest log2(n) bits.

    These bits make room for the index: XLA on a CPU sorts single numbers five times faster than pairs.
    """
    n = number.shape[0]
    low = jnp.uint32(2 ** (n - 1).bit_length() - 1)
    return (lax.sort((number & ~low) | lax.iota(jnp.uint32, n)) & low).astype(jnp.int32)


def throw_darts(
    key: jax.Array,
    image_size: tuple[int, int],
    patch_size: int,
    count: int | jax.Array,
    limits: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Dart throwing until at least count corners are accepted, from the start every ROUNDS_OF_A_TRY, for MAX_ROUNDS.

    limits: the first and the last corner, int32 (2,) each, that a dart may hit; None: any in the image. Returns int32
    (n_cells, 2) corners and uint32 (n_cells,) numbers that put them in the order of acceptance, 2**32 - 1 where a cell
    has none.
    """
    rows, columns = (-(-side // patch_size) for side in image_size)
    # The cells row by row in one dimension, each row with two more that stay empty: a neighbour is a constant number
    # of places away, and shifts of one dimension are what XLA turns into the fastest code on a CPU.
    width = columns + 2
    cell = lax.iota(jnp.int32, rows * width)
    keys = random.split(key, MAX_ROUNDS + 1)
    # A random shift of the cells leaves no trace of their grid in the distribution.
    shift = uniform_below(random.bits(keys[-1], (2, 1), jnp.uint32), patch_size)
    origin = jnp.stack([cell // width, cell % width]) * patch_size - shift
    limit = jnp.array(image_size, jnp.int32)[:, None] - patch_size
    least, largest = (0, limit) if limits is None else (limits[0][:, None], limits[1][:, None])
    # Every loop starts from values derived from the key, so that shard_map sees them vary over the same devices.
    nowhere = jnp.full(origin.shape, -4 * patch_size, jnp.int32) + 0 * shift + 0 * least

    def unfinished(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        step, _, accepted_at = state
        return (step < MAX_ROUNDS) & (jnp.sum(accepted_at != NEVER) < count)

    def throw(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        step, corners, accepted_at = state
        starts = step % ROUNDS_OF_A_TRY == 0
        corners, accepted_at = jnp.where(starts, nowhere, corners), jnp.where(starts, NEVER, accepted_at)
        bits = random.bits(keys[step], (3, rows * width), jnp.uint32)
        dart, priority = origin + uniform_below(bits[:2], patch_size), bits[2]
        inside = jnp.all((dart >= least) & (dart <= largest), axis=0) & (cell % width < columns)
        now = ((step % ROUNDS_OF_A_TRY).astype(jnp.uint32) << 27) | (priority >> 5)

        def decide(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            corners, accepted_at = state
            in_play = inside & (accepted_at == NEVER) & ~_near(dart, corners, width, patch_size)
            darts = jnp.where(in_play, dart, nowhere)
            winner = in_play & ~_near(darts, darts, width, patch_size, priority)
            return jnp.where(winner, dart, corners), jnp.where(winner, now, accepted_at)

        return step + 1, *lax.fori_loop(0, _PASSES, decide, (corners, accepted_at))

    never = jnp.full(rows * width, NEVER, jnp.uint32) + 0 * nowhere[0].astype(jnp.uint32)
    _, corners, accepted_at = lax.while_loop(unfinished, throw, (jnp.int32(0), nowhere, never))
    return corners.T, accepted_at


def _near(
    place: jax.Array, other: jax.Array, width: int, patch_size: int, priority: jax.Array | None = None
) -> jax.Array:
    """Whether a cell's place has a neighbour's other nearer than K*sqrt(2) (of better priority, where given).

    place, other: int32 (2, n) corners of the cells, in rows of `width`; result: bool (n,).
    """
    n, margin = place.shape[1], 2 * width + 2
    others = jnp.pad(other, ((0, 0), (margin, margin)), constant_values=-4 * patch_size)
    priorities = None if priority is None else jnp.pad(priority, margin)
    near = jnp.zeros(n, bool)
    for i, j in _NEIGHBOURS:
        start = margin + i * width + j
        offset = others[:, start : start + n] - place
        close = offset[0] * offset[0] + offset[1] * offset[1] < 2 * patch_size**2
        if priorities is not None and priority is not None:
            # Equal priorities: the cell that comes first wins, so that two neighbours never both stay.
            rival = priorities[start : start + n]
            close &= (rival <= priority) if (i, j) < (0, 0) else (rival < priority)
        near |= close
    return near


def jittered_lattice(bits: jax.Array, image_size: tuple[int, int], patch_size: int) -> jax.Array:
    """Corners int32 (n, 2) of a lattice of patches whose centres are at least K*sqrt(2) apart, always the same number.

    Rows keep their order and distance but are moved at random within the slack; each row has its own shift of columns.
    bits: uint32 (2, rows), random.
    """
    step = lattice_step(patch_size)
    rows, columns = lattice_shape(image_size, patch_size)
    slack = [side - patch_size - (n - 1) * step for side, n in zip(image_size, (rows, columns), strict=True)]
    jitter = uniform_below(bits, jnp.array(slack)[:, None] + 1)
    row = jnp.arange(rows) * step + jnp.sort(jitter[0])
    column = jnp.arange(columns) * step + jitter[1][:, None]
    return jnp.stack([jnp.broadcast_to(row[:, None], column.shape), column], axis=-1).reshape(-1, 2)
