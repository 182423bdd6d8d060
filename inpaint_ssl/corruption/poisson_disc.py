"""Poisson-disc sampling of patches, in parallel and in bounded time (paper, section 2.5.2).

Cells have the side K of a patch, so that the disc radius K*sqrt(2) leaves room for one centre per cell. In each round
every cell proposes one uniform candidate with a random priority. A candidate that keeps its distance from all accepted
centres is accepted if no other such candidate nearer than the radius has a better priority. Centres differ from
corners by a constant, so all distances are taken between corners, exactly, in whole pixels.
"""

import jax
import jax.numpy as jnp
from jax import lax, random

from inpaint_ssl.corruption.spec import Patches, PatchSpec, Task, lattice_shape, lattice_step, patch_count

# The paper's settings need 3 to 6 rounds; later rounds add little, so a denser demand falls back on the lattice.
MAX_ROUNDS = 32

# Cells that can hold a centre nearer than K*sqrt(2): 5 x 5 without its corners and its middle.
_NEIGHBOURS = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if 0 < i * i + j * j < 8]


def sample(key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task) -> Patches:
    """Patches with centres at least K*sqrt(2) apart, in random order; all of them are used.

    image_size is (height, width) and has passed `spec.check`. Their number is ceil(area_fraction * height * width /
    K^2), made even for context restoration.
    """
    count = patch_count(image_size, spec, task)
    key_darts, key_lattice, key_order = random.split(key, 3)
    corners, accepted = throw_darts(key_darts, image_size, spec.patch_size, count)
    enough = jnp.sum(accepted) >= count
    lattice = jittered_lattice(key_lattice, image_size, spec.patch_size)
    n_lattice, n_cells = lattice.shape[0], accepted.shape[0]
    lattice = jnp.pad(lattice, ((0, n_cells - n_lattice), (0, 0)))
    corners = jnp.where(enough, corners, lattice)
    accepted = jnp.where(enough, accepted, jnp.arange(n_cells) < n_lattice)
    priority = random.bits(key_order, (n_cells,), jnp.uint32) >> 1
    priority = jnp.where(accepted, priority, jnp.uint32(2**32 - 1))
    order = lax.sort((priority, lax.iota(jnp.int32, n_cells)), num_keys=1)[1][:count]
    return Patches(corners[order], jnp.ones(count, bool))


def throw_darts(
    key: jax.Array, image_size: tuple[int, int], patch_size: int, count: int
) -> tuple[jax.Array, jax.Array]:
    """Dart throwing until at least count corners are accepted, or for MAX_ROUNDS rounds.

    Returns int32 (n_cells, 2) corners and bool (n_cells,), whether the cell's corner was accepted.
    """
    grid = (-(-image_size[0] // patch_size), -(-image_size[1] // patch_size))
    limit = jnp.array(image_size, jnp.int32)[:, None, None] - patch_size
    key, key_shift = random.split(key)
    # A random shift of the cells leaves no trace of their grid in the distribution.
    shift = _uniform_below(random.bits(key_shift, (2, 1, 1), jnp.uint32), patch_size)
    origin = jnp.stack(jnp.meshgrid(*(jnp.arange(n) * patch_size for n in grid), indexing="ij")) - shift
    # Every loop starts from values derived from the key, so that shard_map sees them vary over the same devices.
    nowhere = jnp.full((2, *grid), -4 * patch_size, jnp.int32) + 0 * shift

    def unfinished(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        step, _, accepted = state
        return (step < MAX_ROUNDS) & (jnp.sum(accepted) < count)

    def throw(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        step, corners, accepted = state
        bits = random.bits(random.fold_in(key, step), (3, *grid), jnp.uint32)
        place = origin + _uniform_below(bits[:2], patch_size)
        priority = bits[2]
        alive = jnp.all((place >= 0) & (place <= limit), axis=0) & ~accepted & ~_near(place, corners, patch_size)
        place = jnp.where(alive, place, nowhere)
        winner = alive & ~_near(place, place, patch_size, priority)
        return step + 1, jnp.where(winner, place, corners), accepted | winner

    start = (jnp.int32(0), nowhere, nowhere[0] >= 0)
    _, corners, accepted = lax.while_loop(unfinished, throw, start)
    return corners.reshape(2, -1).T, accepted.reshape(-1)


def _uniform_below(bits: jax.Array, limit: jax.Array | int) -> jax.Array:
    """Whole numbers 0..limit-1: 2**32 is so far above any limit here that the remainder is uniform, and cheap."""
    return (bits % jnp.asarray(limit, jnp.uint32)).astype(jnp.int32)


def _near(place: jax.Array, other: jax.Array, patch_size: int, priority: jax.Array | None = None) -> jax.Array:
    """Whether a cell's place has a neighbour's other nearer than K*sqrt(2) (of better priority, where given)."""
    grid = place.shape[1:]
    others = jnp.pad(other, ((0, 0), (2, 2), (2, 2)), constant_values=-4 * patch_size)
    priorities = None if priority is None else jnp.pad(priority, 2)
    near = jnp.zeros(grid, bool)
    for i, j in _NEIGHBOURS:
        window = (slice(2 + i, 2 + i + grid[0]), slice(2 + j, 2 + j + grid[1]))
        offset = others[:, *window] - place
        close = offset[0] * offset[0] + offset[1] * offset[1] < 2 * patch_size**2
        if priorities is not None and priority is not None:
            # Equal priorities: the cell that comes first wins, so that two neighbours never both stay.
            rival = priorities[window]
            close &= (rival <= priority) if (i, j) < (0, 0) else (rival < priority)
        near |= close
    return near


def jittered_lattice(key: jax.Array, image_size: tuple[int, int], patch_size: int) -> jax.Array:
    """Corners int32 (n, 2) of a lattice of patches whose centres are at least K*sqrt(2) apart, always the same number.

    Rows keep their order and distance but are moved at random within the slack; each row has its own shift of columns.
    """
    step = lattice_step(patch_size)
    rows, columns = lattice_shape(image_size, patch_size)
    slack = [side - patch_size - (n - 1) * step for side, n in zip(image_size, (rows, columns), strict=True)]
    jitter = _uniform_below(random.bits(key, (2, rows), jnp.uint32), jnp.array(slack)[:, None] + 1)
    row = jnp.arange(rows) * step + jnp.sort(jitter[0])
    column = jnp.arange(columns) * step + jitter[1][:, None]
    return jnp.stack([jnp.broadcast_to(row[:, None], column.shape), column], axis=-1).reshape(-1, 2)
