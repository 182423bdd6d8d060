"""Batches of one fixed size from a source of slices: the last one is padded, none is dropped.

They reach the compiled step in one of two ways that give it identical batches: the set lies on the device and a step
picks its slices by index, or Grain assembles them ahead in threads. What a step gets is called an item.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np

from inpaint_ssl.data import ArraySliceSource, ScanInfo, SliceSource
from inpaint_ssl.errors import InputError
from inpaint_ssl.normalise import jitted_normaliser, normaliser
from inpaint_ssl.rng import example_order
from inpaint_ssl.types import AnyArray, Batch

Fetch = Callable[[Any, Any], Batch]
ALL_ROWS = slice(None)


class RawSlices(NamedTuple):
    """Slices before normalisation: images (n, H, W, channels), labels (n, H, W), example_ids (n,), and boxes (n, 4) and
    statistics (n, 4, C) as in data.SliceRecord.
    """

    images: AnyArray
    labels: AnyArray
    example_ids: AnyArray
    boxes: AnyArray
    statistics: AnyArray


class RawBatch(NamedTuple):
    """A batch before normalisation; is_real (n,) bool is False for padding."""

    slices: RawSlices
    is_real: AnyArray


class Picked(NamedTuple):
    """Which slices of a resident set make a batch; indices int32 and is_real bool, both (..., n)."""

    indices: AnyArray
    is_real: AnyArray


def raw_batch(source: SliceSource, indices: np.ndarray, batch_size: int) -> RawBatch:
    """The slices at `indices`, padded to `batch_size` by repeating the first with is_real = False."""
    records = [source[int(index)] for index in indices]
    padded = records + records[:1] * (batch_size - len(records))
    slices = RawSlices(
        images=np.stack([record.image for record in padded]),
        labels=np.stack([record.target for record in padded]),
        example_ids=np.array([record.example_id for record in padded], np.uint32),
        boxes=np.stack([record.box for record in padded]),
        statistics=np.stack([record.statistics for record in padded]),
    )
    return RawBatch(slices, np.arange(batch_size) < len(records))


def make_batch(source: SliceSource, indices: np.ndarray, batch_size: int) -> Batch:
    """As raw_batch, normalised on the device."""
    raw, is_real = raw_batch(source, indices, batch_size)
    images = jitted_normaliser(source.preprocessing)(raw.images, raw.boxes, raw.statistics)
    return Batch(images, raw.labels, raw.example_ids, is_real, raw.boxes)


def batches_of_scan(source: SliceSource, scan: ScanInfo, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """(indices, padded batch) over the slices of one scan."""
    end = scan.first + scan.n_slices
    for start in range(scan.first, end, batch_size):
        indices = np.arange(start, min(start + batch_size, end))
        yield indices, make_batch(source, indices, batch_size)


def pick(indices: np.ndarray, batch_size: int) -> Picked:
    """The slices at `indices` of a resident set, padded as raw_batch pads."""
    padded = np.full(batch_size, indices[0], np.int32)
    padded[: len(indices)] = indices
    return Picked(padded, np.arange(batch_size) < len(indices))


def make_fetch(source: SliceSource, resident: bool) -> Fetch:
    """(data, item) -> Batch, pure: of resident slices the item says which, else it holds them; normalised there."""
    normalise = normaliser(source.preprocessing)

    def fetch(data: RawSlices, item: Picked) -> Batch:
        indices = jnp.asarray(item.indices)
        raw = RawSlices(*(jnp.asarray(leaf)[indices] for leaf in data))
        return fetch_streamed((), RawBatch(raw, item.is_real))

    def fetch_streamed(data: Any, item: RawBatch) -> Batch:
        del data
        raw = item.slices
        images = normalise(raw.images, raw.boxes, raw.statistics)
        return Batch(images, raw.labels, raw.example_ids, item.is_real, raw.boxes)

    return fetch if resident else fetch_streamed


@dataclasses.dataclass(frozen=True)
class ExampleOrder:
    """Which slices each step of a run sees: a function of (seed, stream, step) alone.

    examples: (n,) positions in the source. An epoch passes `passes` times through all of them, each time in a new
    order, and only its last batch may be short.
    """

    seed: int
    stream: str
    examples: np.ndarray
    batch_size: int
    passes: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.examples) * self.passes / self.batch_size)

    def at(self, step: int) -> np.ndarray:
        """(batch_size,) or fewer positions of the slices of this step."""
        count, (epoch, batch) = len(self.examples), divmod(step, self.steps_per_epoch)
        first = batch * self.batch_size
        end = min(first + self.batch_size, count * self.passes)
        passes = range(first // count, (end - 1) // count + 1)  # of this epoch, those that the batch lies in
        orders = [example_order(self.seed, self.stream, epoch * self.passes + one, count) for one in passes]
        skipped = passes.start * count
        return self.examples[np.concatenate(orders)[first - skipped : end - skipped]]

    def images_until(self, step: int) -> int:
        """Number of slices, repeats counted, that the steps before `step` saw."""
        epochs, batches = divmod(step, self.steps_per_epoch)
        seen = len(self.examples) * self.passes
        return epochs * seen + min(batches * self.batch_size, seen)


def passes_per_epoch(examples: int, batch_size: int, min_steps: int) -> int:
    """Smallest number of whole passes through `examples` slices that makes an epoch of `min_steps` steps or more."""
    return max(min_steps - 1, 0) * batch_size // examples + 1


@dataclasses.dataclass(frozen=True)
class Feed:
    """How slices of one source reach the device; `data` and items are host values, placed by the caller.

    `assemble(indices, size, rows)` makes an item of `size` rows from positions in the source, of which this process
    needs `rows`; it runs in threads when `threads` > 0. dtype: of images on the device.
    """

    data: Any
    fetch: Fetch
    assemble: Callable[[np.ndarray, int, slice], Any]
    count: int
    dtype: Any
    threads: int = 0
    ahead: int = 1

    @property
    def is_resident(self) -> bool:
        return self.threads == 0

    def training(
        self, orders: Sequence[ExampleOrder], steps: range, size: int, rows: slice = ALL_ROWS
    ) -> Iterator[Any]:
        """One item per step, its leaves (seeds, size, ...); `size` is the batch size, padded to share among devices."""
        return self._items(steps, lambda step: stack([self.assemble(order.at(step), size, rows) for order in orders]))

    def in_order(self, batch_size: int, size: int, rows: slice = ALL_ROWS) -> Iterator[Any]:
        """Items, leaves (size, ...), that hold every slice once, in the order of the source."""
        starts, last = range(0, self.count, batch_size), self.count
        return self._items(starts, lambda i: self.assemble(np.arange(i, min(i + batch_size, last)), size, rows))

    def _items(self, numbers: range, make: Callable[[int], Any]) -> Iterator[Any]:
        if self.is_resident:
            return map(make, numbers)
        dataset = grain.MapDataset.range(numbers.start, numbers.stop, numbers.step).map(make)
        return iter(dataset.to_iter_dataset(grain.ReadOptions(self.threads, self.ahead)))


def stack(items: Sequence[Any]) -> Any:
    """Trees of arrays as one tree with a new leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *items)


def device_type(source: SliceSource, dtype: Any) -> Any:
    """Of raw images on the device: integers stay as they are, anything else becomes `dtype`.

    InputError when it cannot hold the intensities of a scan whose statistics are known.
    """
    if source.image_dtype.kind in "iu":
        return source.image_dtype
    if jnp.dtype(dtype) == jnp.float16 and source.preprocessing is not None:
        raise InputError(
            f"config.data.device_dtype: got float16 with scans of {source.image_dtype} intensities, which may pass its "
            'largest number; use "bfloat16" or "float32"'
        )
    return jnp.dtype(dtype)


def resident_feed(source: SliceSource, dtype: Any) -> Feed:
    """The source as arrays that the caller puts on the device once; images as device_type says."""
    loaded: ArraySliceSource = source.load()
    kind = device_type(source, dtype)
    data = RawSlices(
        loaded.images.astype(kind, copy=False), loaded.targets, loaded.example_ids, loaded.boxes, loaded.statistics
    )
    return Feed(data, make_fetch(source, True), lambda indices, size, rows: pick(indices, size), len(source), kind)


def streamed_feed(source: SliceSource, dtype: Any, threads: int, ahead: int) -> Feed:
    """Batches read from the source by `threads` threads, at most `ahead` of them waiting; images as device_type says.

    Of several processes each reads the rows of its own devices.
    """
    kind = device_type(source, dtype)

    def assemble(indices: np.ndarray, size: int, rows: slice) -> RawBatch:
        ours = np.asarray(pick(indices, size).indices)[rows]
        real = raw_batch(source, ours, len(ours)).slices
        slices = [np.zeros((size, *leaf.shape[1:]), leaf.dtype) for leaf in real]
        for whole, part in zip(slices, real, strict=True):
            whole[rows] = part
        raw = RawSlices(*slices)
        return RawBatch(raw._replace(images=raw.images.astype(kind, copy=False)), np.arange(size) < len(indices))

    return Feed((), make_fetch(source, False), assemble, len(source), kind, threads, ahead)
