"""Applies trained networks to whole scans, a batch of slices at a time."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from inpaint_ssl.augmentation import flip_views
from inpaint_ssl.data import Placement, display
from inpaint_ssl.data.geometry import fill, place, resample_slices, resampled_size, slice_size
from inpaint_ssl.data.intensity import Intensities, intensities_of
from inpaint_ssl.errors import InputError
from inpaint_ssl.evaluate import label_map
from inpaint_ssl.postprocess import IntramuscularFatRule
from inpaint_ssl.trained.networks import Hashed, Inputs, labels_program, views_program
from inpaint_ssl.trained.record import ModelRecord
from inpaint_ssl.trained.run import TrainedModel
from inpaint_ssl.trained.tiles import Tile, tiles_of

_IN_FLIGHT = 2  # batches that the device may be behind, so that it need not wait for the host


@dataclass(frozen=True)
class Segmentation:
    """labels: uint8 (X, Y, Z), class index + 1, 0 for none. uncertainty: float16 (X, Y, Z), the standard deviation of a
    class's probability over the views, of the class where it is largest; None unless asked for. disagreement: 1 - Dice
    of two views' labels, mean over all pairs and the classes that one of a pair has; NaN unless asked for. intensities:
    of the scan.
    """

    labels: np.ndarray
    uncertainty: np.ndarray | None
    disagreement: float
    intensities: Intensities


@dataclass(frozen=True)
class _Work:
    """One scan being segmented: displayed slices (S, rows, columns, C), statistics of Preprocessing, tiles."""

    slices: np.ndarray
    statistics: np.ndarray
    centre: Placement
    tiles: tuple[Tile, ...]


class Segmenter:
    """One or several trained networks, applied as an ensemble: the mean of their probabilities.

    batch_size: slices (or tiles) at once. flips: "rows", "columns" or both: images are also turned round along these
    axes of the displayed slice, and the mean is taken (a class that is a side of the body is not the same in a mirror).
    overlap: of tiles, where slices are larger than the network's images. uncertainty: also measure how far the views
    (networks x flips) agree. Memory: the scan, its labels, and one batch. Programs are compiled at the first scan and
    serve all others. Raises InputError for models that do not segment, or not the same classes from the same input.
    """

    def __init__(
        self,
        models: Sequence[TrainedModel],
        *,
        batch_size: int = 16,
        flips: Sequence[str] = (),
        overlap: float = 0.5,
        uncertainty: bool = False,
    ) -> None:
        self.record = _checked(models)
        self.batch_size, self.overlap, self.uncertainty = batch_size, overlap, uncertainty
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, expected at least 1")
        if not 0 <= overlap <= 0.9:
            raise InputError(f"overlap of tiles is {overlap}, expected a share from 0 to 0.9")
        self._views = [(Hashed(model.record), model.params, flip) for model in models for flip in flip_views(flips)]
        self.views = len(self._views)
        if uncertainty and self.views < 2:
            raise InputError("uncertainty needs several models or flips to compare; give more models, or flips")
        how = self.record.preprocessing
        self._rule = IntramuscularFatRule.from_config(self.record.clinical, self.record.classes.names, how.modality)

    def segment(
        self,
        image: np.ndarray,
        spacing_mm: Sequence[float],
        *,
        name: str = "scan",
        probabilities: np.ndarray | None = None,
        on_slices: Callable[[int], None] = lambda done: None,
    ) -> Segmentation:
        """Segment a scan.

        image: (X, Y, Z, C) raw intensities in RAS, HU for CT; spacing_mm: along X, Y, Z. name: of the scan, for
        messages. probabilities: array of floats (X, Y, Z, K) that is filled, such as a memory map. on_slices gets the
        number of slices done. Raises InputError for another shape, values that are not finite, and a scan without
        contrast.
        """
        how = self.record.preprocessing
        self._check(image, spacing_mm, name)
        intensities = intensities_of(image)
        if not all(np.isfinite([one.mean, one.min, one.max]).all() for one in intensities.channels):
            raise InputError(f"{name} has values that are NaN or infinite; correct the scan")
        shape = (image.shape[0], image.shape[1], image.shape[2])
        size = resampled_size(shape, tuple(spacing_mm), how.slice_axis, how.target_spacing_mm)
        centre = place(shape, how.slice_axis, how.image_size, size)
        statistics, tiles = how.statistics(intensities, name), tiles_of(centre, self.overlap)
        work = _Work(display(image, how.slice_axis), statistics, centre, tiles)
        labels = np.empty(shape, np.uint8)
        shown = display(labels, how.slice_axis)
        uncertainty, disagreement = None, float("nan")
        if self.views == 1 and len(tiles) == 1 and not size and probabilities is None:
            for start, found in self._label_maps(work):
                shown[start : start + len(found)] = found
                on_slices(start + len(found))
        else:
            outputs = None if probabilities is None else display(probabilities, how.slice_axis)
            uncertainty = np.empty(shape, np.float16) if self.uncertainty else None
            spread = None if uncertainty is None else display(uncertainty, how.slice_axis)
            agreement = _Agreement(self.views, len(self.record.classes.names))
            for start in range(0, len(work.slices), self.batch_size):
                part = slice(start, min(start + self.batch_size, len(work.slices)))
                mean, deviation = self._mean_of_views(work, part, agreement)
                shown[part] = label_map(mean, self.record.threshold)
                if outputs is not None:
                    outputs[part] = mean
                if spread is not None:
                    spread[part] = deviation
                on_slices(part.stop)
            disagreement = agreement.disagreement() if self.uncertainty else disagreement
        if self._rule is not None:
            labels = self._rule(labels, image[..., 0])
        return Segmentation(labels, uncertainty, disagreement, intensities)

    def _check(self, image: np.ndarray, spacing_mm: Sequence[float], name: str) -> None:
        channels = self.record.scan_channels
        if image.ndim != 4 or not image.size or image.dtype.kind not in "iufb":
            raise InputError(f"{name}: got {image.dtype} of shape {image.shape}, expected numbers (X, Y, Z, channels)")
        if image.shape[3] != len(channels):
            raise InputError(
                f"{name} has {image.shape[3]} channels, the model was trained on {len(channels)} "
                f"({', '.join(channels)}); give a scan with these channels"
            )
        if len(spacing_mm) != 3 or not all(np.isfinite(mm) and mm > 0 for mm in spacing_mm):
            raise InputError(f"{name}: spacing is {tuple(spacing_mm)}, expected three numbers of mm above 0")

    def _images(self, work: _Work, part: slice, placement: Placement) -> np.ndarray:
        """(batch_size, H, W, C) float32: slices as they are placed, the last batch filled up with zeros.

        Always float32, so that scans of other types compile nothing.
        """
        slices = work.slices[part]
        if work.centre.resampled:
            slices = resample_slices(slices, work.centre.slice_size)
        images = np.zeros((self.batch_size, *work.centre.image_size, slices.shape[3]), np.float32)
        fill(images[: len(slices)], slices, placement)
        return images

    def _inputs(self, work: _Work, images: np.ndarray, placement: Placement) -> Inputs:
        boxes = np.tile(np.array(placement.box, np.int32), (self.batch_size, 1))
        return images, boxes, np.tile(work.statistics, (self.batch_size, 1, 1))

    def _label_maps(self, work: _Work) -> Iterator[tuple[int, np.ndarray]]:
        """(first slice, label maps of a batch (n, rows, columns)); the device works on the next batch meanwhile."""
        (key, params, flips), tile = self._views[0], work.tiles[0]
        program = labels_program(key, (flips,))
        pending: deque[tuple[slice, jax.Array]] = deque()
        for start in range(0, len(work.slices), self.batch_size):
            part = slice(start, min(start + self.batch_size, len(work.slices)))
            images = self._images(work, part, tile.placement)
            pending.append((part, program(params, *self._inputs(work, images, tile.placement))))
            while len(pending) > _IN_FLIGHT:
                yield _fetched(*pending.popleft(), tile)
        while pending:
            yield _fetched(*pending.popleft(), tile)

    def _mean_of_views(self, work: _Work, part: slice, agreement: "_Agreement") -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities (n, rows, columns, K) on the scan's own grid and, where asked for, their deviation."""
        inputs = [self._inputs(work, self._images(work, part, tile.placement), tile.placement) for tile in work.tiles]
        in_parts = len(work.tiles) > 1 and self.record.preprocessing.modality == "ct"
        if in_parts:
            reference = self._inputs(work, self._images(work, part, work.centre), work.centre)[:2]
            inputs = [(*one, *reference) for one in inputs]
        mean: Any = 0.0
        squares: Any = 0.0
        votes = []
        for number, (key, params, flips) in enumerate(self._views, start=1):
            program = views_program(key, (flips,), in_parts)
            probability = self._on_own_grid(work, part, _ahead(program(params, *one) for one in inputs))
            if self.uncertainty:
                votes.append(label_map(probability, self.record.threshold))
            difference = probability - mean
            mean = mean + difference / number
            squares = squares + difference * (probability - mean)
        if not self.uncertainty:
            return mean, None
        agreement.add(votes)
        return mean, np.sqrt(squares / self.views).max(axis=-1)

    def _on_own_grid(self, work: _Work, part: slice, found: Iterable[jax.Array]) -> np.ndarray:
        """The tiles' outputs (1, batch, H, W, K) put together, and resampled back, (n, rows, columns, K)."""
        count = part.stop - part.start
        whole = np.zeros((count, *work.centre.slice_size, self.record.outputs), np.float32)
        for tile, output in zip(work.tiles, found, strict=True):
            shown = np.asarray(output)[0, :count][(slice(None), *tile.in_image)]
            whole[(slice(None), *tile.in_slice)] += shown * tile.weights[..., None]
        if not work.centre.resampled:
            return whole
        return resample_slices(whole, slice_size(work.centre.shape, work.centre.slice_axis))


class _Agreement:
    """Counts, batch by batch, in how many voxels each pair of views agrees on each class."""

    def __init__(self, views: int, classes: int) -> None:
        self._pairs = list(itertools.combinations(range(views), 2))
        self._both = np.zeros((len(self._pairs), classes), np.int64)
        self._each = np.zeros((views, classes), np.int64)

    def add(self, votes: Sequence[np.ndarray]) -> None:
        classes = self._each.shape[1]
        for view, labels in enumerate(votes):
            self._each[view] += np.bincount(labels.ravel(), minlength=classes + 1)[1:]
        for row, (first, second) in enumerate(self._pairs):
            same = votes[first][votes[first] == votes[second]]
            self._both[row] += np.bincount(same, minlength=classes + 1)[1:]

    def disagreement(self) -> float:
        total = np.array([self._each[first] + self._each[second] for first, second in self._pairs])
        there = total > 0
        return float(1 - (2 * self._both[there] / total[there]).mean()) if there.any() else 0.0


def _ahead(outputs: Iterable[jax.Array]) -> Iterator[jax.Array]:
    """The same, with some more under way: the device need not wait, and those of many tiles are not held together."""
    pending: deque[jax.Array] = deque()
    for one in outputs:
        pending.append(one)
        if len(pending) > _IN_FLIGHT:
            yield pending.popleft()
    yield from pending


def _fetched(part: slice, output: jax.Array, tile: Tile) -> tuple[int, np.ndarray]:
    found = np.asarray(output)[: part.stop - part.start]
    return part.start, found[(slice(None), *tile.in_image)]


def _checked(models: Sequence[TrainedModel]) -> ModelRecord:
    """The record of the first model; InputError where the others do not segment the same from the same."""
    if not models:
        raise InputError("no model was given; name at least one")
    first = models[0]
    for model in models:
        if model.record.task != "segmentation":
            raise InputError(
                f"{model.origin} restores images (it is a pretraining) and segments nothing; give a fine-tuned run"
            )
        for what in ("preprocessing", "input_channels", "scan_channels", "classes", "threshold"):
            one, other = getattr(first.record, what), getattr(model.record, what)
            if one != other:
                raise InputError(
                    f"{model.origin} and {first.origin} cannot be averaged: {what} is {other!r} and {one!r}; give "
                    "models of the same classes and input"
                )
    return first.record
