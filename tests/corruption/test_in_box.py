"""Patches within a box known only on the device: where they lie, how many, how they are drawn, and boxes too small."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from scipy import stats
from slicing import oracle, picture

from inpaint_ssl.corruption import CORRUPTORS, PatchSpec, in_box, poisson_disc, sample_patches
from inpaint_ssl.corruption.apply import apply_patches
from inpaint_ssl.corruption.spec import ceil, patch_count
from inpaint_ssl.errors import InputError

SIZE, PATCH = (40, 32), 5
CASES = [(task, PatchSpec(PATCH, sampling)) for task in CORRUPTORS for sampling in ("poisson_disc", "random")]
IMAGE, KEYS = picture(SIZE, 2, jnp.float32), jax.random.split(jax.random.key(5), 80)
every_case = pytest.mark.parametrize(("task", "spec"), CASES, ids=lambda value: getattr(value, "sampling", value))


def some_boxes():
    """Boxes (n, 4): at random, in and out of the image, and the borders of what holds a patch and two of them."""
    n, rng = len(KEYS), np.random.default_rng(0)
    rows, columns = (np.sort(rng.integers(0, side + 1, (n, 2)), axis=1) for side in SIZE)
    boxes = np.stack([rows, columns], axis=2).reshape(n, 4)
    boxes[:12] = [
        *((0, 0, 40, 32), (7, 9, 12, 14), (7, 9, 12, 13), (7, 9, 17, 14), (7, 9, 12, 18), (30, 22, 40, 32)),
        *((7, 9, 12, 22), (0, 0, 0, 0), (9, 9, 3, 3), (-8, -8, 50, 20), (25, 0, 40, 5), (3, 4, 13, 13)),
    ]
    return boxes.astype(np.int32)


def covered(corners, size=SIZE):
    mask = np.zeros(size, bool)
    for row, column in np.asarray(corners):
        mask[row : row + PATCH, column : column + PATCH] = True
    return mask


def expected_region(box, task, spec):
    """(top, left, height, width) by hand."""
    top, left, bottom, right = np.clip(box, 0, [*SIZE, *SIZE])
    spare = np.array([bottom - top, right - left]) - spec.patch_size
    enough = {
        ("context_restoration", "random"): spare.max() >= spec.patch_size,
        ("context_restoration", "poisson_disc"): np.hypot(*spare) >= spec.patch_size * 2**0.5 - 1e-9,
    }.get((task, spec.sampling), True)
    return (top, left, bottom - top, right - left) if spare.min() >= 0 and enough else (0, 0, *SIZE)


@functools.cache
def compiled(task, spec):
    """Of keys and boxes the corrupted pictures and their patches; mapped, not vmapped, as that compiles faster."""

    def one(pair):
        key, box = pair
        patches = sample_patches(key, SIZE, spec, task, box)  # once: CORRUPTORS would compile the same again
        return apply_patches(IMAGE, patches, spec, task), patches

    each = jax.jit(lambda keys, boxes: jax.lax.map(one, (keys, boxes)))
    return lambda keys, boxes: jax.tree.map(np.asarray, each(keys, boxes))


@every_case
def test_patches_lie_within_the_box_and_reach_its_fraction(task, spec):
    boxes, image, short = some_boxes(), np.asarray(IMAGE), 0
    out, patches = compiled(task, spec)(KEYS, boxes)
    for i, box in enumerate(boxes):
        top, left, height, width = expected_region(box, task, spec)
        used = patches.used[i]
        corners = patches.corners[i][used]
        assert used[: used.sum()].all()  # the leading ones
        assert (corners >= [top, left]).all() and (corners + PATCH <= [top + height, left + width]).all()
        touched = covered(corners)
        assert np.array_equal(out[i], oracle(image, type(patches)(corners, used[used]), PATCH, task))
        assert np.array_equal(out[i][~touched], image[~touched])
        if task == "context_restoration":
            assert len(corners) >= 2 and len(corners) % 2 == 0
            pairs = corners.reshape(-1, 2, 2)
            assert (np.abs(pairs[:, 0] - pairs[:, 1]).max(axis=-1) >= PATCH).all()
            assert np.array_equal(np.sort(out[i].reshape(-1, 2), axis=0), np.sort(image.reshape(-1, 2), axis=0))
        needed = ceil(spec.area_fraction * height * width)
        if spec.sampling == "random":
            per_draw = 2 if task == "context_restoration" else 1
            assert touched.sum() >= needed > covered(corners[:-per_draw]).sum()
        else:
            offset = corners[:, None] - corners[None]
            squared = np.sum(offset**2, axis=-1) + np.where(np.eye(len(corners)), 10**6, 0)
            assert squared.min() >= 2 * PATCH**2
            wanted = -(-needed // PATCH**2)
            wanted += wanted % 2 if task == "context_restoration" else 0
            assert 1 <= len(corners) <= wanted
            short += len(corners) < wanted
    assert short <= 0.1 * len(boxes)


@pytest.mark.slow
@every_case
def test_the_same_in_a_batch_over_devices(task, spec):
    boxes, spread = some_boxes(), PartitionSpec("data")
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    corrupt = lambda key, box: CORRUPTORS[task](key, IMAGE, spec, box)  # noqa: E731
    sharded = jax.shard_map(jax.vmap(corrupt), mesh=mesh, in_specs=(spread, spread), out_specs=spread)
    if (task, spec) == CASES[1]:  # others take seconds to compile
        assert np.array_equal(jax.jit(sharded)(KEYS, boxes), compiled(task, spec)(KEYS, boxes)[0])
    # Only keys or only boxes differ between the devices: the loops must know, or tracing fails.
    by_key, by_box = (jax.vmap(corrupt, axes) for axes in ((0, None), (None, 0)))
    for one, key, box, specs in (
        (by_key, KEYS, boxes[0], (spread, PartitionSpec())),
        (by_box, KEYS[0], boxes, (PartitionSpec(), spread)),
    ):
        jax.eval_shape(jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=spread), key, box)


pairs_drawn = jax.jit(in_box.draw_pairs, static_argnums=(1, 3))
tiles_of = jax.jit(in_box.tiles, static_argnums=(1, 2, 3))


@pytest.mark.parametrize(("size", "patch"), [((7, 8), 3), ((9, 5), 3), ((6, 3), 3), ((3, 9), 3), ((5, 4), 1)])
def test_pairs_are_uniform_over_all_that_do_not_overlap(size, patch):
    rows, columns = (np.arange(side - patch + 1) for side in size)
    a, b, c, d = np.meshgrid(rows, columns, rows, columns, indexing="ij")
    allowed = (np.abs(a - c) >= patch) | (np.abs(b - d) >= patch)
    draws = np.asarray(pairs_drawn(jax.random.key(2), 40_000, jnp.array(size), patch)).reshape(-1, 4)
    counts = np.zeros(allowed.shape, int)
    np.add.at(counts, tuple(draws.T), 1)
    assert counts[~allowed].sum() == 0
    assert allowed.sum() == 1 or stats.chisquare(counts[allowed]).pvalue > 1e-3


def thrown(rng, size, spec, task):
    """Corners of the patches of one image of that size, one draw after another as the paper says."""
    kept, room, misses = np.zeros((0, 2), int), np.array(size) - PATCH + 1, 0
    per_draw = 2 if task == "context_restoration" else 1
    while True:
        dart = rng.integers(0, room, (1 if spec.sampling == "poisson_disc" else per_draw, 2))
        if spec.sampling == "poisson_disc":
            if len(kept) == patch_count(size, spec, task):
                return kept
            if np.sum((kept - dart) ** 2, axis=1).min(initial=10**6) < 2 * PATCH**2:
                misses += 1
                kept = kept if misses % 1000 else kept[:0]  # no room is left: all anew
                continue
        elif covered(kept, size).sum() >= ceil(spec.area_fraction * size[0] * size[1]):
            return kept
        elif per_draw == 2 and np.abs(dart[0] - dart[1]).max() < PATCH:
            continue
        kept = np.concatenate([kept, dart])


@pytest.mark.slow
@every_case
@pytest.mark.parametrize("box", [(0, 0, 40, 32), (9, 4, 37, 31)])
def test_patches_in_a_box_lie_as_in_an_image_of_its_size(task, spec, box):
    size, rng = (box[2] - box[0], box[3] - box[1]), np.random.default_rng(0)
    boxes = np.tile(np.array(box, np.int32), (len(KEYS), 1))
    ours = [
        corners[used] - box[:2]
        for start in range(3)
        for corners, used in zip(
            *compiled(task, spec)(jax.random.split(jax.random.key(start), 80), boxes)[1], strict=True
        )
    ]
    darts = [thrown(rng, size, spec, task) for _ in ours]
    numbers = [[len(corners) for corners in each] for each in (ours, darts)]
    if spec.sampling == "poisson_disc":
        assert {*numbers[0]} == {patch_count(size, spec, task)}
    else:
        assert stats.ks_2samp(*numbers).pvalue > 1e-3
    edges = [np.linspace(0, side - PATCH + 1, 5) for side in size]
    maps = [np.histogram2d(*np.concatenate(each).T, bins=edges)[0].ravel() for each in (ours, darts)]
    assert stats.chi2_contingency(maps).pvalue > 1e-3


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("size", [(40, 32), (10, 5), (5, 10), (11, 9), (10, 32), (23, 14)])
def test_tiles_cover_the_region_and_pairs_are_disjoint(size, pairs):
    tiles = np.asarray(tiles_of(jnp.array(size), SIZE, PATCH, pairs))
    assert covered(tiles.reshape(-1, 2), size).all() and tiles.shape == (8 * 7, 1 + pairs, 2)
    assert tiles.min() == 0 and (tiles.max(axis=(0, 1)) == np.array(size) - PATCH).all()
    if pairs:
        assert (np.abs(tiles[:, 0] - tiles[:, 1]).max(axis=-1) >= PATCH).all()


@pytest.mark.parametrize("task", CORRUPTORS)
def test_tiles_follow_draws_that_fall_short(monkeypatch, task):
    name = "draw_pairs" if task == "context_restoration" else "draw_singles"
    draw = getattr(in_box, name)
    monkeypatch.setattr(in_box, name, lambda key, n, *rest: jnp.repeat(draw(key, 1, *rest), n, axis=0))
    spec, box = PatchSpec(PATCH, "random", 0.7), jnp.array([3, 4, 23, 17])
    patches, too_few = jax.jit(lambda key: in_box.sample_random(key, SIZE, spec, task, box))(jax.random.key(0))
    mask = covered(np.asarray(patches.corners)[np.asarray(patches.used)])
    assert too_few and mask.sum() == mask[3:23, 4:17].sum() >= 0.7 * 20 * 13


@pytest.mark.parametrize("task", CORRUPTORS)
def test_what_takes_the_place_of_darts_that_are_too_few(monkeypatch, task):
    """The lattice where it has as many; darts where they are more; two discs in opposite corners of 2K x 2K."""
    spec, keys = PatchSpec(PATCH, area_fraction=0.36), jax.random.split(jax.random.key(0), 60)
    darts = jnp.full((12 * 12, 2), -4 * PATCH)  # more places than the lattice has

    @jax.jit
    def sampled(box, *thrown):
        monkeypatch.setattr(in_box, "throw_darts", lambda *_: thrown)
        return jax.lax.map(lambda key: in_box.sample_discs(key, SIZE, spec, task, box), keys)

    def sample(box, *found):
        corners = darts.at[: len(found)].set(jnp.array(found, int).reshape(-1, 2))
        accepted = jnp.full(len(darts), poisson_disc.NEVER).at[: len(found)].set(1)
        patches, too_few = sampled(jnp.array(box), corners, accepted)
        assert too_few.all()
        return [corners[used] for corners, used in zip(*map(np.asarray, patches), strict=True)]

    lattices = np.stack(sample((2, 3, 34, 27), (2, 3)))  # 4 x 3, of 12 wanted
    assert lattices.shape == (60, 12, 2) and all(len(np.unique(rows)) == 4 for rows in lattices[..., 0])
    squared = np.sum((lattices[:, :, None] - lattices[:, None]) ** 2, axis=-1) + 1000 * np.eye(12, dtype=int)
    assert squared.min() >= 2 * PATCH**2
    assert lattices.min(axis=(0, 1)).tolist() == [2, 3] and lattices.max(axis=(0, 1)).tolist() == [29, 22]

    three = [(2, 3), (9, 5), (2, 15)]  # of 4 wanted; with one row more the lattice has 2 x 2, else 1 x 2
    assert {len(one) for one in sample((2, 3, 15, 23), *three)} == {4}
    found = sample((2, 3, 14, 23), *three)
    if task == "context_prediction":
        assert all(sorted(map(tuple, one.tolist())) == sorted(three) for one in found)
        assert all((one == [11, 13]).all() and len(one) == 1 for one in sample((11, 13, 16, 18)))
    else:
        assert {len(one) for one in found} == {2}
        pairs = {tuple(sorted(map(tuple, one.tolist()))) for one in sample((11, 13, 21, 23), (12, 14))}
        assert pairs == {((11, 13), (16, 18)), ((11, 18), (16, 13))}


@pytest.mark.parametrize("fraction", [0.07, 0.25, 1 / 3, 0.7])
def test_needed_pixels_are_exact_for_every_area(fraction):
    sides = np.stack(np.meshgrid(np.arange(61), np.arange(51), indexing="ij"), axis=-1).reshape(-1, 2)
    spec = PatchSpec(4, "random", fraction)
    needed = jax.jit(jax.vmap(lambda size: in_box.pixels_needed(size, (60, 50), spec)))(sides)
    assert needed.tolist() == [ceil(fraction * int(h * w)) for h, w in sides]


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, 4\).*\(4,\).*vmap"):
        CORRUPTORS["context_prediction"](
            jax.random.key(0), np.zeros((*SIZE, 1)), PatchSpec(PATCH), np.zeros((2, 4), np.int32)
        )
