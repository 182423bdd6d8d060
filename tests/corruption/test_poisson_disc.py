"""Poisson-disc sampling: distances, counts, distribution, and the lattice behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import cKDTree

from inpaint_ssl.corruption import PatchSpec, poisson_disc, sample_patches
from inpaint_ssl.corruption.spec import lattice_shape, patch_count

pytestmark = pytest.mark.usefixtures("optimised")  # thousands of masks take longer than compiling


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
    # the darts' bits are the only ones in three rows: row, column, priority
    same = lambda key, shape, dtype: bits(key, shape, dtype).at[2 if shape[0] == 3 else shape[0] :].set(0)  # noqa: E731
    monkeypatch.setattr(jax.random, "bits", same)
    throw = jax.jit(lambda key: poisson_disc.throw_darts(key, (64, 64), 8, 16))
    for seed in range(30):
        corners, accepted_at = throw(jax.random.key(seed))
        accepted = np.asarray(accepted_at) < 2**32 - 1
        assert accepted.sum() >= 16
        assert nearest_squared(np.asarray(corners)[None, accepted]) >= 128


def corners_and_lattice_uses(n, patch_size, task="context_restoration", size=(512, 512), seed=3, fraction=0.25):
    """Corners (n, count, 2) of n masks, and how many of them are the lattice's."""

    def one(key):
        patches, lattice = poisson_disc.sample(key, size, PatchSpec(patch_size, area_fraction=fraction), task)
        return patches.corners, lattice

    corners, lattice = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(seed), n))
    return np.asarray(corners), int(jnp.sum(lattice))


@pytest.mark.parametrize(
    ("patch_size", "n"), [(64, 2000), (32, 2000), (16, 1000), pytest.param(8, 400, marks=pytest.mark.slow)]
)
def test_paper_settings_never_use_the_lattice(patch_size, n):
    corners, lattice_uses = corners_and_lattice_uses(n, patch_size)
    assert corners.shape == (n, (256 // patch_size) ** 2, 2)
    assert lattice_uses == 0
    if patch_size == 8:  # exactly K*sqrt(2), patches that touch at a corner, is far enough
        assert nearest_squared(corners[:50]) == 2 * 8**2


def test_lattice_uses_are_counted():
    assert corners_and_lattice_uses(50, 8, size=(64, 64), fraction=0.38)[1] > 25


def test_patches_come_in_random_order():
    """Wherever the dart accepted first ends up, every place is alike; pairs to swap are neighbours in this order."""
    size, spec = (64, 64), PatchSpec(16)
    keys = jax.random.split(jax.random.key(8), 2000)

    def place(key):
        corners, accepted_at = poisson_disc.throw_darts(jax.random.split(key)[0], size, 16, 4)
        found = poisson_disc.sample(key, size, spec, "context_restoration")[0].corners
        return jnp.all(found == corners[jnp.argmin(accepted_at)], axis=1)

    places = np.asarray(jax.jit(lambda keys: jax.lax.map(place, keys))(keys))
    assert (places.sum(axis=1) == 1).all()
    assert stats.chisquare(places.sum(axis=0)).pvalue > 1e-3


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_hundred_thousand_masks_at_each_paper_setting(keep_summary):
    """Every mask: no lattice, the right number of patches, inside the image, no two centres nearer than K*sqrt(2)."""
    rows = []
    for patch_size in (64, 32, 16, 8):
        masks = lattice_uses = 0
        nearest = np.inf
        for seed in range(50):
            corners, uses = corners_and_lattice_uses(2000, patch_size, seed=seed)
            masks, lattice_uses = masks + len(corners), lattice_uses + uses
            assert corners.shape[1] == (256 // patch_size) ** 2
            assert corners.min() >= 0 and corners.max() <= 512 - patch_size
            nearest = min(nearest, min(cKDTree(mask).query(mask, k=2)[0][:, 1].min() for mask in corners))
        rows.append(
            {
                "patch_size": patch_size,
                "masks": masks,
                "patches_per_mask": corners.shape[1],
                "lattice_uses": lattice_uses,
                "smallest_centre_distance_px": round(float(nearest), 4),
                "required_distance_px": round(patch_size * 2**0.5, 4),
            }
        )
    keep_summary("poisson_disc_100000", {"image_size": [512, 512], "area_fraction": 0.25, "settings": rows})
    for row in rows:
        assert row["masks"] == 100_000 and row["lattice_uses"] == 0
        assert row["smallest_centre_distance_px"] >= row["required_distance_px"]


@pytest.mark.parametrize(("size", "patch_size"), [((64, 64), 8), ((96, 70), 11), ((45, 90), 32), ((20, 20), 20)])
def test_lattice_always_has_its_number_of_patches(size, patch_size):
    keys = jax.random.split(jax.random.key(0), 50)
    rows, columns = lattice_shape(size, patch_size)
    bits = jax.vmap(lambda key: jax.random.bits(key, (2, rows)))(keys)
    corners = np.asarray(jax.jit(jax.vmap(lambda bits: poisson_disc.jittered_lattice(bits, size, patch_size)))(bits))
    assert corners.shape == (50, rows * columns, 2)
    assert nearest_squared(corners) >= 2 * patch_size**2
    assert corners.min() == 0
    assert (corners.max(axis=(0, 1)) == np.array(size) - patch_size).all()


def test_lattice_steps_in_when_the_rounds_run_out(monkeypatch):
    monkeypatch.setattr(poisson_disc, "MAX_ROUNDS", 1)
    corners, lattice_uses = corners_and_lattice_uses(40, 8, size=(64, 64), fraction=0.37)
    assert corners.shape == (40, 24, 2) and lattice_uses == 40
    assert nearest_squared(corners) >= 128
    assert max(len(np.unique(mask[:, 0])) for mask in corners) == 5  # rows of the lattice of 5 x 5


def test_darts_are_thrown_anew_when_they_leave_no_room(monkeypatch):
    monkeypatch.setattr(poisson_disc, "ROUNDS_OF_A_TRY", 2)
    lattice_uses = []
    for tries in (1, 3):
        monkeypatch.setattr(poisson_disc, "MAX_ROUNDS", 2 * tries)
        corners, uses = corners_and_lattice_uses(300, 64)
        assert nearest_squared(corners) >= 2 * 64**2
        lattice_uses.append(uses)
    assert 50 < lattice_uses[0] < 130  # a try fails in 30 % of the masks, so three tries in 3 %
    assert 1 <= lattice_uses[1] < 25


def test_a_jam_is_cleared_before_darts_are_thrown_anew():
    """Of 4 columns only the first and last leave room for two patches: half the tries jam, so an eighth of three."""
    _, uses = corners_and_lattice_uses(1000, 2, task="context_prediction", size=(2, 5), fraction=0.8)
    assert abs(uses / 1000 - 0.125) < 0.04


def test_the_last_round_is_not_taken_for_no_dart():
    number = np.full(5000, 2**32 - 1, np.uint32)
    number[4000] = ((poisson_disc.ROUNDS_OF_A_TRY - 1) << 27) | (2**27 - 1)
    assert poisson_disc.ascending(jnp.asarray(number))[0] == 4000


def test_darts_are_ordered_by_round(monkeypatch):
    monkeypatch.setattr(poisson_disc, "MAX_ROUNDS", 2)
    key, accepted_at = jax.random.key(0), []
    for count in (1, 300):  # one round suffices, two do not
        accepted_at.append(np.asarray(jax.jit(lambda k: poisson_disc.throw_darts(k, (128, 128), 8, count)[1])(key)))  # noqa: B023
    first, both = accepted_at
    earlier = first < 2**32 - 1
    assert earlier.sum() < (both < 2**32 - 1).sum()
    assert both[earlier].max() < both[~earlier].min()


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


def dart_throwing(rng, n, size, patch_size, count):
    """Corners (n, count, 2) of n masks: in each, one dart after another, kept if far enough from all kept ones."""
    kept, number, unfinished = np.full((n, count, 2), -(10**6)), np.zeros(n, int), np.arange(n)
    while len(unfinished):
        dart = rng.integers(0, np.array(size) - patch_size + 1, (len(unfinished), 2))
        far = np.sum((kept[unfinished] - dart[:, None]) ** 2, axis=-1).min(axis=1) >= 2 * patch_size**2
        hit = unfinished[far]
        kept[hit, number[hit]] = dart[far]
        number[hit] += 1
        unfinished = unfinished[number[unfinished] < count]
    return kept


def pair_statistics(corners, patch_size):
    """Nearest-neighbour distance of every patch, and the direction (modulo 90 degrees) of close pairs."""
    offset = (corners[:, :, None] - corners[:, None]).astype(float)
    distance = np.hypot(offset[..., 0], offset[..., 1])
    pair_once = np.triu(np.ones(distance.shape[1:], bool), 1)
    close = pair_once & (distance < 2 * patch_size)
    direction = np.degrees(np.arctan2(offset[..., 0], offset[..., 1]))[close] % 90
    return np.where(distance > 0, distance, np.inf).min(axis=-1), direction


@pytest.mark.parametrize(
    ("size", "patch_size", "fraction", "n"),
    [((128, 128), 16, 0.25, 6000), ((128, 128), 16, 0.1, 6000), ((71, 23), 8, 0.15, 4000)],
)
def test_coverage_distances_and_directions_are_those_of_dart_throwing(size, patch_size, fraction, n):
    spec = PatchSpec(patch_size, area_fraction=fraction)
    ours = np.asarray(many(n, size, spec, "context_prediction").corners, np.int64)
    darts = dart_throwing(np.random.default_rng(0), n, size, patch_size, patch_count(size, spec, "context_prediction"))
    assert ours.shape == darts.shape

    edges = [np.linspace(0, side - patch_size + 1, 8) for side in size]
    maps = [np.histogram2d(*corners.reshape(-1, 2).T, bins=edges)[0] for corners in (ours, darts)]
    assert stats.chi2_contingency([m.ravel() for m in maps]).pvalue > 1e-3

    (near, direction), (near_dart, direction_dart) = (pair_statistics(c[:1500], patch_size) for c in (ours, darts))
    assert abs(near.mean() - near_dart.mean()) < 0.015 * near_dart.mean()
    assert stats.ks_2samp(near.ravel(), near_dart.ravel()).statistic < 0.03
    counts = [np.histogram(d, np.arange(0, 91, 15))[0] for d in (direction, direction_dart)]
    assert stats.chi2_contingency(counts).pvalue > 1e-3
