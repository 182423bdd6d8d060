"""Uniformly random patches, and pairs of patches, that may overlap earlier ones (paper, sections 2.4 and 2.5.2).

"Add patches in drawing order until the union covers the fraction" is done for all patches at once: each pixel learns
the first draw that covers it, and the number of draws is the smallest one below which enough pixels lie.
"""

import bisect
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from inpaint_ssl.corruption.spec import Patches, PatchSpec, Task, ceil, uniform_below

_FLOAT = np.float64


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """Static part of the draw: its bounds, and fixed draws (n_draws, patches per draw, 2) for when it falls short.

    expected_draws: how many are used on average; spread: two standard deviations of it or so.
    """

    n_draws: int
    expected_draws: int
    needed_pixels: int
    fallback: np.ndarray
    n_fallback: int

    @property
    def spread(self) -> int:
        return math.isqrt(self.expected_draws) // 2 + 1


def sample(key: jax.Array, image_size: tuple[int, int], spec: PatchSpec, task: Task) -> tuple[Patches, jax.Array]:
    """Random patches, and a bool (): are they the fixed ones?

    Context prediction: every corner uniform. Context restoration: pairs uniform over all pairs that do not overlap each
    other. The used draws are the first ones whose union reaches the fraction. image_size has passed `spec.check`.
    """
    plan = make_plan(image_size, spec, task)
    draw = draw_pairs if task == "context_restoration" else draw_singles
    draws = draw(key, plan.n_draws, image_size, spec.patch_size)
    first = first_cover(draws, image_size, spec.patch_size)
    n_used = smallest_reaching(first, plan.needed_pixels, plan.n_draws, plan.expected_draws, plan.spread)
    too_few = n_used > plan.n_draws
    draws = jnp.where(too_few, plan.fallback, draws)
    used = jnp.arange(plan.n_draws) < jnp.where(too_few, plan.n_fallback, n_used)
    per_draw = draws.shape[1]
    return Patches(draws.reshape(-1, 2), jnp.repeat(used, per_draw)), too_few


def draw_singles(key: jax.Array, n: int, image_size: tuple[int, int] | jax.Array, patch_size: int) -> jax.Array:
    """Corners int32 (n, 1, 2), uniform over all places inside the image, whose size may be known on the device only."""
    return uniform_below(random.bits(key, (n, 1, 2), jnp.uint32), jnp.array(image_size) - patch_size + 1)


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
    first = uniform_below(random.bits(key_place, (n, 2), jnp.uint32), places) + jnp.maximum(-distance, 0)
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
    """int (height, width): the index of the first draw that covers a pixel; the number of draws where none does."""
    n, per_draw = draws.shape[:2]
    small = jnp.int16 if n < 2**15 else jnp.int32  # half the memory is nearly twice the speed
    index = jnp.repeat(jnp.arange(n, dtype=small), per_draw)[:, None, None]
    return lax.scatter_min(
        jnp.full(image_size, n, small),
        draws.reshape(-1, 2),
        jnp.broadcast_to(index, (n * per_draw, patch_size, patch_size)),
        lax.ScatterDimensionNumbers((1, 2), (), (0, 1)),
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )


def smallest_reaching(
    first: jax.Array, needed_pixels: int | jax.Array, n_draws: int, expected: int | jax.Array, spread: int
) -> jax.Array:
    """Smallest number of draws, by the first cover of each pixel, that covers enough; n_draws + 1 if all do not.

    expected, spread: where it is looked for first; of no effect on what is found.
    """
    small = jnp.int16 if first.shape[0] < 2**15 else jnp.int32

    def enough(n: jax.Array) -> jax.Array:
        # By columns first, in short numbers: XLA on a CPU takes three times as long over a sum of everything at once.
        by_column = jnp.sum(first < n.astype(first.dtype), axis=0, dtype=small)
        return jnp.sum(by_column, dtype=jnp.int32) >= needed_pixels

    def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds  # low draws are too few, high draws suffice
        middle = (low + high) // 2
        suffices = enough(middle)
        return jnp.where(suffices, low, middle), jnp.where(suffices, middle, high)

    # Derived from the draws, so that shard_map sees the bounds vary over the same devices.
    zero = 0 * first[0, 0].astype(jnp.int32)
    below, above = jnp.maximum(zero + expected - spread, 0), jnp.minimum(zero + expected + spread, n_draws)
    below_suffices, above_suffices = enough(below), enough(above)
    low = jnp.where(above_suffices, jnp.where(below_suffices, zero, below), above)
    high = jnp.where(above_suffices, jnp.where(below_suffices, below, above), zero + n_draws + 1)
    return lax.while_loop(lambda bounds: bounds[1] - bounds[0] > 1, halve, (low, high))[1]


@functools.lru_cache(maxsize=64)
def make_plan(image_size: tuple[int, int], spec: PatchSpec, task: Task) -> _Plan:
    """Bound the number of draws so that it practically always suffices, and what replaces them when it does not."""
    height, width = image_size
    size, pairs = spec.patch_size, task == "context_restoration"
    needed = ceil(spec.area_fraction * height * width)
    # Large images have few different probabilities: those of the border and one for all the rest.
    miss, pixels = np.unique(np.round(1.0 - _hit_probability(image_size, size, pairs), 14), return_counts=True)

    def uncovered(n: int) -> float:
        return float(miss**n @ pixels) / (height * width)

    enough = 1
    while uncovered(enough) > 1 - spec.area_fraction:
        enough *= 2
    expected_draws = bisect.bisect_left(range(enough + 1), True, key=lambda n: uncovered(n) <= 1 - spec.area_fraction)
    one_draw = (2 if pairs else 1) * size**2 / (height * width)
    # Eight standard deviations where draws are many and small, else six of an upper estimate (every draw varies by all
    # it can add); BUILD_NOTES.md tells how simulations compare.
    n_draws = expected_draws
    while True:
        deviations = min(6 * one_draw * n_draws**0.5, 4.8 * one_draw**1.5 * n_draws)
        if uncovered(n_draws) * (1 + deviations) <= 1 - spec.area_fraction:
            break
        n_draws += 1 + n_draws // 64
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
    return _Plan(n_draws, expected_draws, needed, np.resize(tiles, (n_draws, *tiles.shape[1:])), n_fallback)


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
    """Draws int32 (n, 1 or 2, 2) that cover the image: tiles, or pairs of tiles that do not overlap each other."""
    starts = [np.minimum(np.arange(0, side, patch_size), side - patch_size) for side in image_size]
    tiles = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).astype(np.int32)
    if not pairs:
        return tiles.reshape(-1, 1, 2)
    # Along the longer side, which has room for two: the first half beside the last half; one in the middle, with the
    # first. Only the last tile may overlap its neighbour.
    tiles = tiles if image_size[0] >= image_size[1] else tiles.swapaxes(0, 1)
    half, middle = len(tiles) // 2, slice(len(tiles) // 2, -(len(tiles) // 2))
    draws = np.stack([tiles[:half], tiles[-half:]], axis=2)
    rest = np.stack([tiles[middle], np.broadcast_to(tiles[:1], tiles[middle].shape)], axis=2)
    return np.concatenate([draws, rest]).reshape(-1, 2, 2)
