"""Poisson-disc sampling: distances, counts, distribution, and the lattice behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from inpaint_ssl.corruption import PatchSpec, poisson_disc, sample_patches
from inpaint_ssl.corruption.spec import lattice_shape, patch_count


def nearest_squared(corners):
    """Smallest squared distance between two of the corners (n_masks, n, 2) of each mask."""
    corners = np.asarray(corners, np.int64)
    offset = corners[:, :, None] - corners[:, None]
    squared = np.sum(offset**2, axis=-1)
    squared[:, np.arange(corners.shape[1]), np.arange(corners.shape[1])] = np.iinfo(np.int64).max
    return squared.min()


def many(n, size, spec, task="context_restoration"):
    """Patches of n masks; mapped, not vmapped, as that compiles faster."""
    keys = jax.random.split(jax.random.key(0), n)
    return jax.jit(lambda keys: jax.lax.map(lambda key: sample_patches(key, size, spec, task), keys))(keys)


@pytest.mark.parametrize(
    ("size", "patch_size", "fraction", "n"),
    [
        ((64, 64), 8, 0.35, 200),  # beyond what darts always find: partly the lattice
        ((90, 61), 7, 0.25, 200),
        ((13, 21), 1, 0.2, 50),
    ],
)
def test_centres_keep_their_distance_inside_the_image(size, patch_size, fraction, n):
    patches = many(n, size, PatchSpec(patch_size, area_fraction=fraction))
    corners = np.asarray(patches.corners)
    assert nearest_squared(corners) >= 2 * patch_size**2
    assert corners.min() >= 0
    assert (corners.max(axis=(0, 1)) <= np.array(size) - patch_size).all()
    assert np.asarray(patches.used).all()


def test_equal_priorities_keep_their_distance(monkeypatch):
    bits = jax.random.bits
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: bits(key, shape, dtype).at[2].set(0))
    throw = jax.jit(lambda key: poisson_disc.throw_darts(key, (64, 64), 8, 16))
    for seed in range(30):
        corners, accepted = throw(jax.random.key(seed))
        assert nearest_squared(np.asarray(corners)[None, np.asarray(accepted)]) >= 128


@pytest.mark.parametrize(("patch_size", "n"), [(64, 1200), (32, 500), (16, 200), (8, 100)])
def test_paper_settings_never_use_the_lattice(patch_size, n):
    size = (512, 512)
    count = patch_count(size, PatchSpec(patch_size), "context_restoration")

    def accepted(key):
        return jnp.sum(poisson_disc.throw_darts(key, size, patch_size, count)[1])

    found = jax.jit(lambda keys: jax.lax.map(accepted, keys))(jax.random.split(jax.random.key(3), n))
    assert np.asarray(found).min() >= count


@pytest.mark.parametrize(("size", "patch_size"), [((64, 64), 8), ((96, 70), 11), ((45, 90), 32), ((20, 20), 20)])
def test_lattice_always_has_its_number_of_patches(size, patch_size):
    keys = jax.random.split(jax.random.key(0), 50)
    lattice = jax.jit(jax.vmap(lambda key: poisson_disc.jittered_lattice(key, size, patch_size)))
    corners = np.asarray(lattice(keys))
    rows, columns = lattice_shape(size, patch_size)
    assert corners.shape == (50, rows * columns, 2)
    assert nearest_squared(corners) >= 2 * patch_size**2
    assert corners.min() == 0
    assert (corners.max(axis=(0, 1)) == np.array(size) - patch_size).all()


def test_lattice_steps_in_when_the_rounds_run_out(monkeypatch):
    monkeypatch.setattr(poisson_disc, "MAX_ROUNDS", 1)
    patches = many(40, (64, 64), PatchSpec(8, area_fraction=0.37))
    corners = np.asarray(patches.corners)
    assert corners.shape == (40, 24, 2)
    assert nearest_squared(corners) >= 128
    assert max(len(np.unique(mask[:, 0])) for mask in corners) == 5  # rows of the lattice of 5 x 5


def test_every_pixel_is_reached_and_regions_are_alike():
    size, patch = (40, 48), 8
    corners = np.asarray(many(3000, size, PatchSpec(patch)).corners)
    hits = np.zeros(size, int)
    np.add.at(hits, (corners[..., 0], corners[..., 1]), 1)
    places = hits[: size[0] - patch + 1, : size[1] - patch + 1]
    assert places.min() > 0
    assert hits.sum() == places.sum()
    # Mirror images are alike: four quadrants, and interior places of each phase of a cell.
    top, bottom = places[:16], places[-16:]
    quadrants = [half[:, columns].sum() for half in (top, bottom) for columns in (slice(0, 20), slice(-20, None))]
    assert stats.chisquare(quadrants).pvalue > 1e-3
    inner = places[8:24, 8:32]
    phases = inner.reshape(2, 8, 3, 8).sum(axis=(0, 2))
    assert stats.chisquare(phases.sum(axis=0)).pvalue > 1e-3
    assert stats.chisquare(phases.sum(axis=1)).pvalue > 1e-3


def dart_throwing(rng, size, patch_size, count):
    """One place after another, kept if far enough from all kept ones."""
    kept = []
    while len(kept) < count:
        place = rng.integers(0, np.array(size) - patch_size + 1)
        if all(np.sum((place - other) ** 2) >= 2 * patch_size**2 for other in kept):
            kept.append(place)
    return np.array(kept)


def pair_statistics(corners, patch_size):
    """Nearest-neighbour distance of every patch, and the direction (modulo 90 degrees) of close pairs."""
    offset = (corners[:, :, None] - corners[:, None]).astype(float)
    distance = np.hypot(offset[..., 0], offset[..., 1])
    close = (distance > 0) & (distance < 2 * patch_size)
    direction = np.degrees(np.arctan2(offset[..., 0], offset[..., 1]))[close] % 90
    return np.where(distance > 0, distance, np.inf).min(axis=-1), direction


def test_distances_and_directions_are_those_of_dart_throwing():
    size, patch, count = (128, 128), 8, 64
    spec = PatchSpec(patch)
    ours = np.asarray(many(400, size, spec).corners, np.int64)
    rng = np.random.default_rng(0)
    darts = np.stack([dart_throwing(rng, size, patch, count) for _ in range(60)])
    assert ours.shape[1:] == darts.shape[1:]
    (near, direction), (near_dart, direction_dart) = pair_statistics(ours, patch), pair_statistics(darts, patch)
    assert abs(near.mean() - near_dart.mean()) < 0.03 * near_dart.mean()
    edges = np.arange(0, 91, 15)
    share = np.histogram(direction, edges)[0] / direction.size
    share_dart = np.histogram(direction_dart, edges)[0] / direction_dart.size
    assert np.abs(share - share_dart).max() < 0.02
