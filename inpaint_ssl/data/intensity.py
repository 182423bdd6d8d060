"""Intensities of a volume in float64: what the z-score of an MRI scan needs."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

AIR_HU = -1024.0
_SLAB_VOXELS = 1 << 20  # are taken at once, to bound memory


@dataclass(frozen=True)
class ChannelStatistics:
    """Of one channel over the whole volume; std is the population standard deviation, 0 where all values are equal."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class Intensities:
    """Of one scan: `channels` in their order, and `combined`, of their root sum of squares."""

    channels: tuple[ChannelStatistics, ...]
    combined: ChannelStatistics


def intensities_of(image: np.ndarray) -> Intensities:
    """Of (X, Y, Z, C)."""
    channels = channel_statistics(image)
    return Intensities(channels, channels[0] if len(channels) == 1 else combined_statistics(image))


def channel_statistics(image: np.ndarray) -> tuple[ChannelStatistics, ...]:
    """Of every channel of (X, Y, Z, C)."""
    return tuple(_statistics(image, operator.itemgetter((..., channel))) for channel in range(image.shape[-1]))


def combined_statistics(image: np.ndarray) -> ChannelStatistics:
    """Of the root sum of squares of the channels of (X, Y, Z, C); a single channel is taken as it is."""
    if image.shape[-1] == 1:
        return channel_statistics(image)[0]
    return _statistics(image, lambda slab: np.sqrt(np.square(slab, dtype=np.float64).sum(axis=-1)))


def _statistics(image: np.ndarray, values: Callable[[np.ndarray], np.ndarray]) -> ChannelStatistics:
    count = math.prod(image.shape[:-1])
    step = max(1, _SLAB_VOXELS * len(image) // count)
    slabs = [slice(start, start + step) for start in range(0, len(image), step)]
    total, low, high = 0.0, math.inf, -math.inf

    def exact(slab: slice) -> np.ndarray:
        return values(image[slab]).astype(np.float64, copy=False)

    for slab in slabs:
        part = exact(slab)
        total, low, high = total + float(part.sum()), min(low, float(part.min())), max(high, float(part.max()))
    mean = total / count
    squares = sum(float(np.square(exact(slab) - mean).sum()) for slab in slabs)
    return ChannelStatistics(mean, math.sqrt(squares / count) if low < high else 0.0, low, high)
