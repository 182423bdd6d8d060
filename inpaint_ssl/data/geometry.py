"""Grids: from file order to RAS, from RAS volumes to displayed slices of one size, and back."""

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from nibabel import orientations

SLICE_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def ras_orientation(affine: np.ndarray) -> np.ndarray:
    """The flips and permutation (nibabel orientation array) that bring a grid closest to RAS; no resampling.

    Raises ValueError when the affine does not describe a grid in space.
    """
    linear = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(linear)) <= 1e-9 * np.prod(np.linalg.norm(linear, axis=0)):
        raise ValueError("the affine in the header is not invertible")
    orientation = orientations.io_orientation(affine)
    if np.isnan(orientation).any():
        raise ValueError("the affine in the header has no usable axis directions")
    return orientation


def reorient(data: np.ndarray, affine: np.ndarray, orientation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply an orientation array to (X, Y, Z, ...) data; returns the data (a view) and the affine of the new grid."""
    moved = orientations.apply_orientation(data, orientation)
    return moved, affine @ orientations.inv_ornt_aff(orientation, data.shape[:3])


def axis_codes(affine: np.ndarray) -> str:
    """Directions towards which the voxel indices grow, for example "LPS"."""
    return "".join(orientations.aff2axcodes(affine))


def corner_distance_mm(shape: tuple[int, ...], first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance in mm between corresponding outer corners of two grids of the same shape."""
    corners = np.array([(*corner, 1.0) for corner in product(*((-0.5, n - 0.5) for n in shape[:3]))])
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


@dataclass(frozen=True)
class Placement:
    """Where the slices of a volume lie inside images of one size.

    shape: the RAS volume. image_size: (height, width). offset: (row, column) of the slice's first pixel inside the
    image; negative where the slice is cropped. The same for every slice of a scan.
    """

    shape: tuple[int, int, int]
    slice_axis: str
    image_size: tuple[int, int]
    offset: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Placement":
        """The inverse of to_dict."""
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**given)


def place(shape: tuple[int, int, int], slice_axis: str, image_size: tuple[int, int]) -> Placement:
    """Pad or crop about the centre: of an odd difference the smaller half comes before."""
    rows, columns = _slice_size(shape, slice_axis)
    height, width = image_size
    return Placement(shape, slice_axis, image_size, (_half(height - rows), _half(width - columns)))


def _half(difference: int) -> int:
    return difference // 2 if difference >= 0 else -(-difference // 2)


def _slice_size(shape: tuple[int, int, int], slice_axis: str) -> tuple[int, int]:
    """(rows, columns) of a displayed slice."""
    columns, rows = (n for axis, n in enumerate(shape) if axis != SLICE_AXES[slice_axis])
    return rows, columns


def display(volume: np.ndarray, slice_axis: str) -> np.ndarray:
    """A view of an RAS volume (X, Y, Z, ...) as displayed slices (S, rows, columns, ...).

    Sagittal: rows superior to inferior, columns anterior to posterior. Coronal: rows superior to inferior, columns
    patient right to left. Axial: rows anterior to posterior, columns patient right to left. Slices run along +RAS.
    """
    axis = SLICE_AXES[slice_axis]
    column_axis, row_axis = (a for a in range(3) if a != axis)
    # Both image axes of all three planes run against RAS, and rows follow the later of the two remaining axes.
    return np.moveaxis(volume, (axis, row_axis, column_axis), (0, 1, 2))[:, ::-1, ::-1]


def _windows(placement: Placement) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The overlap of image and slice: (rows, columns) inside the image and inside the slice."""
    size = _slice_size(placement.shape, placement.slice_axis)
    inside_image, inside_slice = [], []
    for image, n, offset in zip(placement.image_size, size, placement.offset, strict=True):
        length = min(image, n)
        inside_image.append(slice(max(offset, 0), max(offset, 0) + length))
        inside_slice.append(slice(max(-offset, 0), max(-offset, 0) + length))
    return tuple(inside_image), tuple(inside_slice)


def fill(images: np.ndarray, slices: np.ndarray, placement: Placement) -> None:
    """Write displayed slices (S, rows, columns, ...) into images (S, H, W, ...) in place; the margin stays as it is."""
    inside_image, inside_slice = _windows(placement)
    images[(slice(None), *inside_image)] = slices[(slice(None), *inside_slice)]


def visible(slices: np.ndarray, placement: Placement) -> np.ndarray:
    """The part of displayed slices (S, rows, columns, ...) that is inside the images, as a view."""
    return slices[(slice(None), *_windows(placement)[1])]


def to_volume(slices: np.ndarray, placement: Placement, outside: float = 0) -> np.ndarray:
    """Images (S, H, W, ...) of one scan back on its RAS grid (X, Y, Z, ...); voxels outside a crop are `outside`.

    Raises ValueError when the images are not those of the placement.
    """
    expected = (placement.shape[SLICE_AXES[placement.slice_axis]], *placement.image_size)
    if slices.shape[:3] != expected:
        raise ValueError(f"got images of shape {slices.shape}, expected (slices, height, width) = {expected}")
    volume = np.full((*placement.shape, *slices.shape[3:]), outside, slices.dtype)
    inside_image, inside_slice = _windows(placement)
    display(volume, placement.slice_axis)[(slice(None), *inside_slice)] = slices[(slice(None), *inside_image)]
    return volume
