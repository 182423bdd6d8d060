"""Uniformly random patches, and pairs of patches, that may overlap earlier ones (paper, sections 2.4 and 2.5.2).

"Add patches in drawing order until the union covers the fraction" is done for all patches at once: each pixel learns
the first draw that covers it, and the number of draws is the smallest one below which enough pixels lie.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from inpaint_ssl.corruption.spec import Patches, PatchSpec, Task, ceil

_FLOAT = np.float64


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """Static part of the draw: its bounds, and fixed draws (n_draws, patches per draw, 2) for when it falls short."""

    n_draws: int
    needed_pixels: int
    fallback: np.ndarray
    n_fallback: int
    fallback_mask: np.ndarray


def sample(key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task) -> tuple[Patches, jax.Array]:
    """Random patches and the bool (height, width) mask of the pixels that they touch.

    Context prediction: every corner uniform. Context restoration: pairs uniform over all pairs that do not overlap each
    other. The used draws are the first ones whose union reaches the fraction. image_size has passed `spec.check`.
    """
    plan = make_plan(image_size, spec, task)
    draw = draw_pairs if task == "context_restoration" else draw_singles
    draws = draw(key, plan.n_draws, image_size, spec.patch_size)
    first = first_cover(draws, image_size, spec.patch_size)
    n_used = _smallest_reaching(first, plan.n_draws, plan.needed_pixels)
    reached = n_used <= plan.n_draws
    draws = jnp.where(reached, draws, plan.fallback)
    mask = jnp.where(reached, first < n_used, plan.fallback_mask)
    used = jnp.arange(plan.n_draws) < jnp.where(reached, n_used, plan.n_fallback)
    per_draw = draws.shape[1]
    return Patches(draws.reshape(-1, 2), jnp.repeat(used, per_draw)), mask


def draw_singles(key: jax.Array, n: int, image_size: tuple[int, int], patch_size: int) -> jax.Array:
    """Corners int32 (n, 1, 2), uniform over all places inside the image."""
    places = jnp.array(image_size, jnp.int32) - patch_size + 1
    return random.randint(key, (n, 1, 2), 0, places)


def draw_pairs(key: jax.Array, n: int, image_size: tuple[int, int], patch_size: int) -> jax.Array:
    """Corners int32 (n, 2, 2) of pairs, uniform over all ordered pairs of patches that do not overlap each other.

    This is the distribution of redrawing a pair of uniform corners until they do not overlap, without redrawing: the
    row distance is drawn with the number of pairs that have it, then the column distance given the row distance, then
    the places given the distances.
    """
    (far, counts_row), (far_column, counts_column) = (_distances(side, patch_size) for side in image_size)
    weights = counts_row * np.where(far, counts_column.sum(), counts_column[far_column].sum())
    key_row, key_column, key_place = random.split(key, 3)
    row = _inverse_cdf(random.bits(key_row, (n,), jnp.uint32), weights)
    bits = random.bits(key_column, (n,), jnp.uint32)
    column = _inverse_cdf(bits, counts_column)
    if far_column.any():
        column = jnp.where(jnp.abs(row) >= patch_size, column, _inverse_cdf(bits, counts_column * far_column))
    distance = jnp.stack([row, column], axis=-1)
    places = jnp.array(image_size, jnp.int32) - patch_size + 1 - jnp.abs(distance)
    first = random.randint(key_place, (n, 2), 0, places) + jnp.maximum(-distance, 0)
    return jnp.stack([first, first + distance], axis=1)


def _distances(side: int, patch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """For the signed distances 1-n..n-1 of two of the n places on a side: is it >= K, and how many pairs have it."""
    places = side - patch_size + 1
    distance = np.arange(1 - places, places)
    return np.abs(distance) >= patch_size, (places - np.abs(distance)).astype(_FLOAT)


def _inverse_cdf(bits: jax.Array, weights: np.ndarray) -> jax.Array:
    """Signed distances drawn with the given weights (index (len - 1) / 2 is distance 0) from uniform 32-bit numbers."""
    possible = np.flatnonzero(weights)
    edges = np.cumsum(weights[possible])
    edges = np.minimum(np.rint(edges[:-1] / edges[-1] * 2.0**32), 2.0**32 - 1).astype(np.uint32)
    index = jnp.searchsorted(jnp.asarray(edges), bits, side="right")
    return jnp.asarray(possible - len(weights) // 2, jnp.int32)[index]


def first_cover(draws: jax.Array, image_size: tuple[int, int], patch_size: int) -> jax.Array:
    """int32 (height, width): the index of the first draw that covers a pixel; the number of draws where none does."""
    n, per_draw = draws.shape[:2]
    index = jnp.repeat(jnp.arange(n, dtype=jnp.int32), per_draw)[:, None, None]
    return lax.scatter_min(
        jnp.full(image_size, n, jnp.int32),
        draws.reshape(-1, 2),
        jnp.broadcast_to(index, (n * per_draw, patch_size, patch_size)),
        lax.ScatterDimensionNumbers((1, 2), (), (0, 1)),
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )


def _smallest_reaching(first: jax.Array, n_draws: int, needed: int) -> jax.Array:
    """Smallest number of draws that covers at least needed pixels; n_draws + 1 if all draws do not suffice."""

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds  # low draws are too few, high draws suffice
        middle = (low + high) // 2
        enough = jnp.sum(first < middle, dtype=jnp.int32) >= needed
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    # Derived from the draws, so that shard_map sees the bounds vary over the same devices.
    low = 0 * first[0, 0]
    start = (low, low + n_draws + 1)
    return lax.fori_loop(0, (n_draws + 1).bit_length(), halve, start)[1]


@functools.lru_cache(maxsize=64)
def make_plan(image_size: tuple[int, int], spec: PatchSpec, task: Task) -> _Plan:
    """Bound the number of draws so that it practically always suffices, and what replaces them when it does not."""
    height, width = image_size
    size, pairs = spec.patch_size, task == "context_restoration"
    needed = ceil(spec.area_fraction * height * width)
    miss = 1.0 - _hit_probability(image_size, size, pairs)
    one_draw = (2 if pairs else 1) * size**2 / (height * width)
    n_draws = 1
    # Mean uncovered area plus six standard deviations (an upper estimate: every draw varies by all it can add).
    while np.mean(miss**n_draws) * (1 + 6 * one_draw * n_draws**0.5) > 1 - spec.area_fraction:
        n_draws += 1 + n_draws // 16
    tiles = _tiling(image_size, size, pairs)
    mask = np.zeros(image_size, bool)
    n_fallback = covered = 0
    while covered < needed:
        for row, column in tiles[n_fallback]:
            covered += size**2 - int(mask[row : row + size, column : column + size].sum())
            mask[row : row + size, column : column + size] = True
        n_fallback += 1
    # A few draws more, for large patches: their number is small and its spread far from normal.
    n_draws = max(n_draws + 8, n_fallback)
    fallback = np.resize(tiles, (n_draws, *tiles.shape[1:]))
    return _Plan(n_draws, needed, fallback, n_fallback, mask)


def _hit_probability(image_size: tuple[int, int], patch_size: int, pairs: bool) -> np.ndarray:
    """(height, width) probability that one patch, or one of the two patches of a pair, covers a pixel."""
    covering, crowded, crowded_total, places = [], [], 1.0, 1.0
    for side in image_size:
        n = side - patch_size + 1
        place = np.arange(n)
        overlapping = (np.minimum(n, place + patch_size) - np.maximum(0, place - patch_size + 1)).astype(_FLOAT)
        covering.append(np.convolve(np.ones(n), np.ones(patch_size)))
        crowded.append(np.convolve(overlapping, np.ones(patch_size)))
        crowded_total *= overlapping.sum()
        places *= n
    if not pairs:
        return np.outer(*covering) / places
    probability = 2 * (places * np.outer(*covering) - np.outer(*crowded)) / (places**2 - crowded_total)
    return np.clip(probability, 0.0, 1.0)


def _tiling(image_size: tuple[int, int], patch_size: int, pairs: bool) -> np.ndarray:
    """Draws int32 (n, 1 or 2, 2) that cover the image: tiles, each with a disjoint partner for pairs."""
    starts = [np.minimum(np.arange(0, side, patch_size), side - patch_size) for side in image_size]
    tiles = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 1, 2).astype(np.int32)
    if not pairs:
        return tiles
    axis = int(np.argmax(image_size))
    partner = tiles.copy()
    partner[..., axis] = np.where(tiles[..., axis] < patch_size, image_size[axis] - patch_size, 0)
    return np.concatenate([tiles, partner], axis=1)
