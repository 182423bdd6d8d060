"""Batches: every example once a pass, the same whether resident or streamed, a function of seed and step alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_source import make_source

from inpaint_ssl.batches import (
    ExampleOrder,
    batches_of_scan,
    device_type,
    make_batch,
    passes_per_epoch,
    resident_feed,
    stack,
    streamed_feed,
)
from inpaint_ssl.data import ArraySliceSource, Preprocessing, Scan, ScanEntry, indices_of, source_of
from inpaint_ssl.data.source import renumbered
from inpaint_ssl.errors import InputError

SOURCE = make_source()
EXAMPLES = np.array([0, 2, 3, 4, 6])


def test_batches_hold_every_slice_once_and_pad_the_last() -> None:
    feed = streamed_feed(SOURCE, np.float32, 2, 2)
    batches = list(feed.in_order(3, 4))
    assert [batch.is_real.tolist() for batch in batches] == [[True] * 3 + [False]] * 2 + [[True] + [False] * 3]
    assert {batch.slices.images.shape for batch in batches} == {(4, 16, 16, 1)}
    ids = np.concatenate([batch.slices.example_ids[batch.is_real] for batch in batches])
    np.testing.assert_array_equal(ids, SOURCE.example_ids)
    np.testing.assert_array_equal(make_batch(SOURCE, np.array([4, 1]), 2).labels, SOURCE.targets[[4, 1]])


def test_an_epoch_visits_every_example_once_in_changing_order() -> None:
    order = ExampleOrder(0, "test", EXAMPLES, 2)
    assert order.steps_per_epoch == 3
    steps = [order.at(step).tolist() for step in range(12)]
    assert [len(step) for step in steps] == [2, 2, 1] * 4
    epochs = [[one for step in steps[start : start + 3] for one in step] for start in range(0, 12, 3)]
    assert all(sorted(epoch) == EXAMPLES.tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    for other in (ExampleOrder(1, "test", EXAMPLES, 2), ExampleOrder(0, "other", EXAMPLES, 2)):
        assert [other.at(step).tolist() for step in range(12)] != steps


def test_a_small_set_is_passed_through_whole_until_an_epoch_is_long_enough() -> None:
    order = ExampleOrder(0, "test", EXAMPLES, 2, passes_per_epoch(5, 2, 7))
    assert (order.passes, order.steps_per_epoch) == (3, 8)
    for epoch in (0, 1):
        seen = np.concatenate([order.at(8 * epoch + step) for step in range(8)])
        for start in (0, 5, 10):
            assert sorted(seen[start : start + 5].tolist()) == EXAMPLES.tolist()
    assert [order.images_until(step) for step in (0, 1, 8, 9)] == [0, 2, 15, 17]


@pytest.mark.parametrize(("examples", "batch_size"), [(5, 2), (7, 7), (264, 8), (3, 9), (1, 4)])
def test_passes_are_the_fewest(examples: int, batch_size: int) -> None:
    def steps(passes: int) -> int:
        return -(-examples * passes // batch_size)

    for wanted in range(60):
        passes = passes_per_epoch(examples, batch_size, wanted)
        assert steps(passes) >= wanted and (passes == 1 or steps(passes - 1) < wanted)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_resident_and_streamed_batches_are_identical(dtype: str) -> None:
    resident, streamed = resident_feed(SOURCE, np.dtype(dtype)), streamed_feed(SOURCE, np.dtype(dtype), 2, 3)
    orders = [ExampleOrder(seed, "test", EXAMPLES, 2) for seed in (0, 1)]
    fetch = jax.jit(resident.fetch)
    count = 0
    for one, other in zip(
        resident.training(orders, range(2, 9), 4), streamed.training(orders, range(2, 9), 4), strict=True
    ):
        for seed in (0, 1):
            batches = [
                fetch(resident.data, jax.tree.map(lambda leaf, seed=seed: leaf[seed], one)),
                streamed.fetch((), jax.tree.map(lambda leaf, seed=seed: leaf[seed], other)),
            ]
            jax.tree.map(np.testing.assert_array_equal, *batches)
            wanted = make_batch(SOURCE, orders[seed].at(2 + count), 4)
            np.testing.assert_array_equal(batches[0].images, np.asarray(wanted.images).astype(dtype).astype(np.float32))
            np.testing.assert_array_equal(batches[0].example_ids, wanted.example_ids)
            np.testing.assert_array_equal(batches[0].boxes, wanted.boxes)
            assert batches[0].images.dtype == np.float32
        count += 1
    assert count == 7


def test_batches_say_what_is_no_margin() -> None:
    boxes = np.arange(4 * len(SOURCE), dtype=np.int32).reshape(-1, 4)
    source = ArraySliceSource(**{**vars(SOURCE), "boxes": boxes})
    np.testing.assert_array_equal(make_batch(source, np.array([4, 1]), 3).boxes, boxes[[4, 1, 4]])
    resident = resident_feed(source, np.float32)
    item = resident.assemble(np.array([4, 1]), 3, slice(None))
    np.testing.assert_array_equal(resident.fetch(resident.data, item).boxes, boxes[[4, 1, 4]])


def test_only_the_rows_of_this_process_are_read() -> None:
    read: list[int] = []

    class Watched(ArraySliceSource):
        def __getitem__(self, index: int):
            read.append(index)
            return super().__getitem__(index)

    feed = streamed_feed(Watched(**vars(SOURCE)), np.float32, 1, 1)
    order = ExampleOrder(0, "test", EXAMPLES, 4)
    (item,) = feed.training([order], range(0, 1), 4, slice(2, 4))
    wanted = make_batch(SOURCE, order.at(0), 4)
    assert sorted(set(read)) == sorted(order.at(0)[2:].tolist())
    for name in ("images", "labels", "example_ids"):
        np.testing.assert_array_equal(getattr(item.slices, name)[0][2:], getattr(wanted, name)[2:])
    np.testing.assert_array_equal(item.is_real[0], wanted.is_real)


def test_indices_of_scans() -> None:
    (one, other) = SOURCE.scans
    np.testing.assert_array_equal(indices_of(SOURCE, [other, one]), [3, 4, 5, 6, 0, 1, 2])
    part = SOURCE.subset(["subject_1"])
    np.testing.assert_array_equal(indices_of(SOURCE, part.scans), [3, 4, 5, 6])
    with pytest.raises(InputError, match="scan_0"):
        indices_of(part, SOURCE.scans)


def test_items_of_seeds_are_stacked() -> None:
    np.testing.assert_array_equal(stack([(np.arange(2),), (np.arange(2, 4),)])[0], [[0, 1], [2, 3]])


def raw_source(kind: type, modality: str = "mri") -> ArraySliceSource:
    """Two scans that need normalisation, one padded and one cropped."""
    rng, how = np.random.default_rng(5), Preprocessing(modality, "axial", (16, 12), "all", ((400.0, 50.0),))
    parts = []
    for number, shape in enumerate(((10, 12, 3), (20, 18, 4))):
        image, eye = rng.integers(-1000, 1000, (*shape, 1)).astype(kind), np.eye(4)
        entry = ScanEntry(f"scan_{number}", f"subject_{number}", False)
        parts.append(source_of(Scan(entry, image, None, (1.0, 1.0, 1.0), eye, eye, "RAS", shape), how))
    names = ("images", "targets", "example_ids", "slice_of", "boxes", "statistics")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    scans = renumbered(part.scans[0] for part in parts)
    return ArraySliceSource(**arrays, scan_of=np.repeat([0, 1], [3, 4]), scans=scans, preprocessing=how)


@pytest.mark.parametrize(("kind", "modality"), [(np.int16, "mri"), (np.int16, "ct"), (np.float32, "mri")])
def test_raw_slices_stay_raw_until_they_are_in_a_batch(kind: type, modality: str) -> None:
    source = raw_source(kind, modality)
    resident, streamed = resident_feed(source, np.float32), streamed_feed(source, np.float32, 1, 1)
    assert resident.data.images.dtype == kind
    order = ExampleOrder(0, "test", np.arange(7), 4)
    items = [list(feed.training([order], range(2), 4)) for feed in (resident, streamed)]
    assert items[1][0].slices.images.dtype == kind
    for step in range(2):
        one, other = (jax.tree.map(lambda leaf: leaf[0], part[step]) for part in items)
        batches = [jax.jit(resident.fetch)(resident.data, one), jax.jit(streamed.fetch)((), other)]
        jax.tree.map(np.testing.assert_array_equal, *batches)
        wanted = make_batch(source, order.at(step), 4)
        np.testing.assert_allclose(batches[0].images, wanted.images, rtol=1e-6, atol=1e-6)
        assert wanted.images.dtype == np.float32 and abs(float(wanted.images.mean())) < 1.5


def test_a_type_that_cannot_hold_raw_intensities_is_refused() -> None:
    assert device_type(raw_source(np.int16), np.float16) == np.int16
    assert device_type(raw_source(np.float32), jnp.bfloat16) == jnp.bfloat16
    with pytest.raises(InputError, match="device_dtype: got float16 with scans of float32"):
        resident_feed(raw_source(np.float32), np.float16)


def test_slices_of_one_scan() -> None:
    scan = SOURCE.scans[1]
    found = list(batches_of_scan(SOURCE, scan, 3))
    assert [indices.tolist() for indices, _ in found] == [[3, 4, 5], [6]]
    assert [batch.is_real.tolist() for _, batch in found] == [[True] * 3, [True, False, False]]
