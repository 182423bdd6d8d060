"""Random patches and pairs: distribution, stopping at the fraction, and what happens when the draws fall short."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from inpaint_ssl.corruption import PatchSpec, random_patches, sample_patches

TASKS = ("context_prediction", "context_restoration")


pytestmark = pytest.mark.usefixtures("optimised")  # thousands of masks take longer than compiling


def union_after(corners, per_draw, size, patch_size):
    """Covered pixels after each draw, by plain slicing."""
    mask, covered = np.zeros(size, bool), []
    for draw in np.asarray(corners).reshape(-1, per_draw, 2):
        for row, column in draw:
            mask[row : row + patch_size, column : column + patch_size] = True
        covered.append(mask.sum())
    return np.array(covered)


def test_single_corners_are_uniform_to_the_last_row_and_column():
    draws = jax.jit(lambda key: random_patches.draw_singles(key, 60000, (11, 14), 4))(jax.random.key(1))
    places = np.zeros((8, 11), int)
    np.add.at(places, tuple(np.asarray(draws).reshape(-1, 2).T), 1)
    assert stats.chisquare(places.ravel()).pvalue > 1e-3


@pytest.mark.parametrize(("size", "patch_size"), [((7, 8), 3), ((9, 5), 4)])
def test_pairs_are_uniform_over_all_that_do_not_overlap(size, patch_size):
    rows, columns = (np.arange(side - patch_size + 1) for side in size)
    a, b, c, d = np.meshgrid(rows, columns, rows, columns, indexing="ij")
    allowed = (np.abs(a - c) >= patch_size) | (np.abs(b - d) >= patch_size)
    n = 60 * int(allowed.sum())
    draws = np.asarray(random_patches.draw_pairs(jax.random.key(2), n, size, patch_size)).reshape(-1, 4)
    counts = np.zeros(allowed.shape, int)
    np.add.at(counts, tuple(draws.T), 1)
    assert counts[~allowed].sum() == 0
    assert stats.chisquare(counts[allowed]).pvalue > 1e-3


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("size", "patch_size", "fraction"),
    [((50, 37), 9, 0.6), ((64, 40), 32, 0.25)],
)
def test_stops_at_the_first_draw_that_reaches_the_fraction(size, patch_size, fraction, task):
    spec = PatchSpec(patch_size, "random", fraction)
    per_draw = 2 if task == "context_restoration" else 1
    sample = jax.jit(lambda key: sample_patches(key, size, spec, task))
    for seed in range(12):
        patches = sample(jax.random.key(seed))
        used = np.asarray(patches.used).reshape(-1, per_draw)
        assert (used == used[:, :1]).all()
        n_used = int(used[:, 0].sum())
        assert used[:n_used].all()
        covered = union_after(patches.corners[: n_used * per_draw], per_draw, size, patch_size)
        assert covered[-1] >= fraction * size[0] * size[1]
        assert (covered[:-1] < fraction * size[0] * size[1]).all()
        corners = np.asarray(patches.corners)
        assert corners.min() >= 0
        assert (corners <= np.array(size) - patch_size).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("size", "patch_size", "fraction"),
    [((64, 64), 8, 0.25), ((64, 64), 32, 0.75), ((128, 96), 4, 0.5)],
)
def test_the_bound_on_draws_suffices(size, patch_size, fraction, task):
    spec = PatchSpec(patch_size, "random", fraction)
    plan = random_patches.make_plan(size, spec, task)
    draw = random_patches.draw_pairs if task == "context_restoration" else random_patches.draw_singles

    def covered(key):
        first = random_patches.first_cover(draw(key, plan.n_draws, size, patch_size), size, patch_size)
        return jnp.sum(first < plan.n_draws)

    covered_pixels = jax.jit(lambda keys: jax.lax.map(covered, keys))(jax.random.split(jax.random.key(5), 1000))
    assert np.asarray(covered_pixels).min() >= fraction * size[0] * size[1]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("size", "patch_size"), [((37, 52), 8), ((80, 31), 26)])
def test_fixed_draws_replace_those_that_fall_short(monkeypatch, size, patch_size, task):
    spec = PatchSpec(patch_size, "random", 0.75)
    plan = random_patches.make_plan(size, spec, task)
    per_draw = 2 if task == "context_restoration" else 1
    covered = union_after(plan.fallback[: plan.n_fallback], per_draw, size, patch_size)
    assert covered[-1] >= 0.75 * size[0] * size[1] == plan.needed_pixels
    assert (covered[:-1] < plan.needed_pixels).all()
    if per_draw == 2:
        assert (np.abs(plan.fallback[:, 0] - plan.fallback[:, 1]).max(axis=-1) >= patch_size).all()

    n = plan.n_fallback
    name = "draw_pairs" if per_draw == 2 else "draw_singles"
    # Every draw is the first one: never enough.
    monkeypatch.setattr(random_patches, name, lambda *_: jnp.broadcast_to(plan.fallback[:1], plan.fallback.shape))
    patches, too_few = random_patches.sample(jax.random.key(0), size, spec, task)
    assert too_few and int(patches.used.sum()) == n * per_draw
    assert np.array_equal(patches.corners[: n * per_draw], plan.fallback[:n].reshape(-1, 2))


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("sides", [(8, 8), (9, 5), (4, 11), (13, 4), (21, 30), (23, 23)])
def test_tiles_cover_the_image_and_pairs_are_disjoint(sides, pairs):
    tiles = random_patches._tiling(sides, 4, pairs)
    assert union_after(tiles, 1 + pairs, sides, 4)[-1] == sides[0] * sides[1]
    assert tiles.min() == 0 and (tiles.max(axis=(0, 1)) == np.array(sides) - 4).all()
    if pairs:
        assert (np.abs(tiles[:, 0] - tiles[:, 1]).max(axis=-1) >= 4).all()


def test_hit_probability_is_the_share_of_draws_that_hit():
    size, patch_size, n = (9, 12), 4, 40000
    for pairs, draw in ((False, random_patches.draw_singles), (True, random_patches.draw_pairs)):
        draws = np.asarray(draw(jax.random.key(3), n, size, patch_size)).reshape(-1, 2)
        hits = np.zeros(size)
        for i in range(patch_size):
            for j in range(patch_size):
                np.add.at(hits, (draws[:, 0] + i, draws[:, 1] + j), 1)
        expected = random_patches._hit_probability(size, patch_size, pairs)
        assert np.abs(hits / n - expected).max() < 5 * 0.5 / n**0.5


@pytest.mark.parametrize("task", TASKS)
def test_plans_of_large_images_and_small_patches_are_quick_to_make(task):
    """Minutes when every draw is tried and every pixel counted; the timeout tells."""
    plan = random_patches.make_plan((1024, 1024), PatchSpec(2, "random", 0.25), task)
    per_draw = 2 if task == "context_restoration" else 1
    assert plan.expected_draws == pytest.approx(np.log(0.75) / np.log(1 - per_draw * 4 / 1024**2), rel=1e-3)
    assert plan.n_draws > plan.expected_draws


def test_plan_is_immutable():
    plan = random_patches.make_plan((32, 32), PatchSpec(4, "random"), "context_prediction")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.n_draws = 1
