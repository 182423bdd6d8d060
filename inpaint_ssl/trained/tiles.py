"""Slices that are larger than the images a network was trained on: tiles that overlap, and how they are put together.

Along an axis in which a slice fits it is padded as in training, about its centre; nothing is ever cut off.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from inpaint_ssl.data import Placement
from inpaint_ssl.data.geometry import windows


@dataclass(frozen=True)
class Tile:
    """placement: where the slice lies in this image. weights: (rows, columns) of what the image shows of the slice; in
    every pixel of the slice those of all tiles add up to 1.
    """

    placement: Placement
    weights: np.ndarray

    @property
    def in_image(self) -> tuple[slice, ...]:
        """(rows, columns) of the image that show the slice."""
        return windows(self.placement)[0]

    @property
    def in_slice(self) -> tuple[slice, ...]:
        """(rows, columns) of the slice that are shown."""
        return windows(self.placement)[1]


def tiles_of(centre: Placement, overlap: float = 0.5) -> tuple[Tile, ...]:
    """The tiles of slices that geometry.place would crop or pad as `centre`; one tile, `centre` itself, where they fit.

    overlap: smallest share of a tile that it has in common with the next. The weight of a pixel falls linearly towards
    the border of its tile.
    """
    starts, ramps = [], []
    for size, n, offset in zip(centre.image_size, centre.slice_size, centre.offset, strict=True):
        starts.append(_starts(n, size, overlap) if n > size else [-offset])
        distance = np.minimum(np.arange(size) + 1, size - np.arange(size)).astype(np.float64)
        ramps.append(distance if n > size else np.ones(size))
    image_weights = ramps[0][:, None] * ramps[1][None, :]
    total = np.zeros(centre.slice_size)
    placed = [replace(centre, offset=(-row, -column)) for row in starts[0] for column in starts[1]]
    for one in placed:
        in_image, in_slice = windows(one)
        total[in_slice] += image_weights[in_image]
    tiles = []
    for one in placed:
        in_image, in_slice = windows(one)
        tiles.append(Tile(one, (image_weights[in_image] / total[in_slice]).astype(np.float32)))
    return tuple(tiles)


def _starts(n: int, size: int, overlap: float) -> list[int]:
    """First pixels of tiles of `size` that cover n > size pixels, spread evenly."""
    count = 1 + math.ceil((n - size) / max(1, math.floor(size * (1 - overlap))))
    return np.rint(np.linspace(0, n - size, count)).astype(int).tolist()
